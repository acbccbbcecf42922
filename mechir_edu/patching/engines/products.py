"""Matrix products through oneDNN, where that is faster.

PyTorch multiplies float32 matrices with Intel's MKL, which on processors of other makers leaves
half of the vector unit idle (on an AMD EPYC with AVX-512 one thread does 98 GFLOP/s through MKL,
210 through oneDNN). A tensor in oneDNN's layout goes the second way, forwards and backwards;
`enter` and `leave` convert it.
"""

import platform

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

IS_X86 = platform.machine().lower() in ("x86_64", "amd64")


def enter(x: Tensor) -> Tensor:
    """Put an activation into oneDNN's layout, where products are then faster."""
    suits = x.device.type == "cpu" and x.dtype == torch.float32
    return x.to_mkldnn() if suits and IS_X86 and torch.backends.mkldnn.is_available() else x


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
