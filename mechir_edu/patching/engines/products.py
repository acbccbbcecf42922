"""Which library multiplies float32 matrices on this processor: the faster one, by measurement.

PyTorch multiplies float32 matrices with Intel's MKL on x86 and with OpenBLAS or Apple's Accelerate
elsewhere. On processors of other makers MKL may leave half of the vector unit idle (on an AMD EPYC
with AVX-512 one thread does 98 GFLOP/s through MKL, 210 through oneDNN); on Intel's own, oneDNN
costs more in converting layouts than it gains. PyTorch carries both. A tensor in oneDNN's layout is
multiplied by oneDNN, forwards and backwards; `enter` and `leave` convert it.

The choice is made once a process for each class of shapes (the length of a row, and how many
threads share the work) from a few products and the conversions around them, in about 30 ms.
Results differ by float32 rounding only. `product` is recorded in a result's provenance, and
``MECHIR_EDU_PRODUCT=torch`` or ``=oneDNN`` in the environment overrides the measurement: set it
where two processes must agree to the last bit.
"""

import os
import threading
import time
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

OVERRIDE = "MECHIR_EDU_PRODUCT"
NAMES = ("torch", "oneDNN")
SECONDS = 0.025  # for measuring one class of shapes
OPERATIONS = 5e7  # of one product measured: about a millisecond
OUT = 256  # numbers in a row of its result at most; more would leave it too few rows to tell
TURNS = 8  # of each at least, where other programs take the processor in between
_LOCK = threading.Lock()
GAIN = 1.1  # oneDNN must be faster by this factor; the inner activations are converted as well


def enter(x: Tensor, width: int | None = None) -> Tensor:
    """Put an activation into oneDNN's layout, where products over ``width`` are then faster.

    The width is the length of x's rows when omitted; a part of longer rows is better counted as
    whole rows than measured as a class of its own.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return x
    return x.to_mkldnn() if product(width or x.shape[-1]) == "oneDNN" else x


def leave(x: Tensor) -> Tensor:
    """Take a tensor out of oneDNN's layout, if it is in it."""
    return x.to_dense() if x.is_mkldnn else x


def linear(
    x: Float[Tensor, "*rows d_in"],
    weight: Float[Tensor, "d_out d_in"],
    bias: Float[Tensor, " d_out"] | None = None,
) -> Float[Tensor, "*rows d_out"]:
    """``x @ weight.T + bias``, equal to `torch.nn.functional.linear` to float32 rounding."""
    return leave(F.linear(enter(x), weight, bias))


def product(width: int) -> str:
    """The library for products over ``width`` numbers on a CPU: "torch" or "oneDNN".

    Raises
    ------
    ValueError
        If the environment asks for a library that is not one of `NAMES`, or for oneDNN where
        PyTorch was built without it.
    """
    asked = os.environ.get(OVERRIDE, "")
    if asked and asked not in NAMES:
        raise ValueError(f"needed {OVERRIDE} to be one of {', '.join(NAMES)} or unset, got {asked}")
    has_onednn = torch.backends.mkldnn.is_available()
    if asked == "oneDNN" and not has_onednn:
        raise ValueError(f"needed oneDNN because {OVERRIDE} says so, but this PyTorch lacks it")
    if asked or not has_onednn:
        return asked or "torch"
    with _LOCK:  # batches side by side wait for one measurement
        return _faster(width, torch.get_num_threads())


@cache
def _faster(width: int, n_threads: int) -> str:
    """The library that is faster now: the best of several turns each."""
    n_out = min(width, OUT)
    n_rows = max(16, int(OPERATIONS / (2 * width * n_out)))
    # Not random numbers: those of a user's seed stay as they are.
    x = torch.linspace(-1, 1, n_rows * width).view(n_rows, width)
    weight = torch.linspace(-1, 1, n_out * width).view(n_out, width)
    seconds = {"torch": [0.0], "oneDNN": [0.0]}
    start = time.perf_counter()
    with torch.inference_mode():
        # The first turn of each does not count; it holds what a library does once.
        while len(seconds["oneDNN"]) <= TURNS or time.perf_counter() - start < SECONDS:
            for name, taken in seconds.items():
                before = time.perf_counter()
                F.linear(x, weight) if name == "torch" else _through_onednn(x, weight)
                taken.append(time.perf_counter() - before)
    best = {name: min(taken[2:]) for name, taken in seconds.items()}
    return "oneDNN" if best["oneDNN"] * GAIN < best["torch"] else "torch"


def _through_onednn(x: Tensor, weight: Tensor) -> Tensor:
    return F.linear(x.to_mkldnn(), weight).to_dense()
