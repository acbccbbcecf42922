"""Patch all heads on a GPU: exact, naive, gradient and MechIR, on two shapes.

One run of at most eight minutes. The shapes are MiniLM's and BERT-base's, with random weights, on
which speed does not depend, so that no checkpoint has to travel to the GPU: the words are the
planted ranker's, which the repository holds. Batch sizes are tried and the fastest is kept; TF32 is
off, so that products are float32's as on the CPU, with which eight pairs are compared. The table of
a shape is printed when it is done. The tests marked ``gpu`` come last.
"""

import json
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentTypeError, Namespace
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import DL, arguments, parse, report, save_bert
from floor import Operations
from mechir_client import MechIR, add_mechir_option, check_agreement, describe, mechir

TESTS = Path(__file__).resolve().parents[1] / "tests" / "test_gpu.py"
TOKENS = (4_096, 16_384, 65_536, 262_144)  # in one pass: what is tried
N_COMPARED = 8  # pairs that the CPU patches too
MEGABYTE = 1e6
SHAPES = {  # layers, heads, d_model, d_mlp
    "minilm": (6, 12, 384, 1536),
    "base": (12, 12, 768, 3072),
}


def main() -> int:
    """Measure both shapes, print their tables, run the tests; gives the exit code of the tests."""
    options = read_options()
    import torch

    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("needed a GPU, but PyTorch sees none; try --device cpu to test the script")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for shape in options.shapes:
            made, described = measure(shape, Path(folder), options)
            rows += made
            # Everything so far: a run that is cut off has then lost one shape at most.
            report(f"Patch all heads on {device_name(options.device)}; {described}", rows, options)
    if not options.device.startswith("cuda"):
        return 0
    tests = [sys.executable, "-m", "pytest", "-m", "gpu", TESTS]
    return subprocess.run(tests, check=False).returncode


def read_options() -> Namespace:
    """Read the options of all benchmarks and of this one."""
    parser = arguments(__doc__.splitlines()[0], pairs=64, repeats=3)
    add_mechir_option(parser)
    parser.add_argument("--device", default="cuda", help="where to patch")
    parser.add_argument("--drawn", type=int, default=2000, help="pairs to take full batches from")
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=SHAPES)
    parser.add_argument(
        "--tokens", type=_whole, nargs="+", default=list(TOKENS), help="batch sizes to try"
    )
    return parse(parser)


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 512:
        raise ArgumentTypeError(f"needs whole numbers of at least 512 tokens, got {text}")
    return int(text)


def measure(shape: str, folder: Path, options: Namespace) -> tuple[list[dict[str, Any]], str]:
    """Rows of one shape, and what MechIR ran on."""
    import mechir_edu as me

    model = save_random(shape, folder / shape)
    gpu, cpu = load(model, options.device), load(model, "cpu")
    pairs = full_batches(gpu, options)
    lengths = [len(pair.roles) for pair in pairs.aligned]
    patch = partial(me.patch, direction="perturbed_to_baseline", progress=False)
    few = replace(pairs, aligned=pairs.aligned[:N_COMPARED])
    on_both = [patch(ranker, few).scores for ranker in (gpu, cpu)]
    to_cpu = check_agreement(f"{shape}: {options.device} and CPU", *on_both)
    patch(gpu, few, method="naive"), patch(gpu, few, method="gradient")  # nothing is timed cold

    memory, tried = choose_memory(partial(patch, gpu, pairs), gpu, options)
    tasks: dict[str, Callable[[], Any]] = {
        "exact": partial(patch, gpu, pairs, memory=memory),
        "naive": partial(patch, gpu, pairs, method="naive"),
        "gradient": partial(patch, gpu, pairs, method="gradient"),
    }
    runs = {name: [] for name in tasks}
    for _ in range(options.repeats):
        for name, task in tasks.items():
            runs[name].append(on_device(task, options.device))
    peak = product_peak(options.device)
    floor = Operations.of(gpu).all_heads(lengths)
    exact = runs["exact"][-1][2].scores
    rows = []
    for name, measured in runs.items():
        result = measured[-1][2]
        rows.append(
            row(shape, name, measured, runs["exact"])
            | {
                "of fp32 peak": floor / _median(measured) / peak if name == "exact" else "",
                "largest score difference": float(np.abs(result.scores - exact).max()),
                "note": note(name, result, runs, to_cpu, tried),
            }
        )
    with mechir(options, "mean", model) as other:
        if other is not None:
            rows.append(mechir_row(shape, other, pairs, exact, runs["exact"]))
        return (
            rows,
            f"{shape}: {len(lengths)} pairs of {sorted(set(lengths))} tokens, {describe(other)}",
        )


def save_random(shape: str, folder: Path) -> Path:
    """Save random weights of a shape as a checkpoint with the planted ranker's tokenizer."""
    import mechir_edu as me

    words = me.Cat("planted", device="cpu").tokenizer
    save_bert(folder, words, *SHAPES[shape])
    # MechIR's transformers does not know the name that newer ones write for the same class.
    named = folder / "tokenizer_config.json"
    settings = json.loads(named.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    named.write_text(json.dumps(settings), encoding="utf-8")
    return folder


def load(model: Path, device: str) -> Any:
    """A bi-encoder that scores as MechIR's does: mean pooling, dot product, not normalised."""
    import mechir_edu as me

    ranker = me.Dot(model, pooling="mean", similarity="dot", device=device)
    ranker.head = replace(ranker.head, normalise=False)
    return ranker


def full_batches(ranker: Any, options: Namespace) -> Any:
    """Align drawn pairs and keep those of the most frequent lengths, as large studies have them."""
    import mechir_edu as me
    from mechir_edu.patching.scoring import align_as_read

    name = ["embedded"] if options.trec_dl is None else DL
    drawn = me.make_pairs(
        me.load_collection(*name), options.axiom, n=options.drawn, seed=options.seed
    )
    aligned = align_as_read(ranker, drawn, "a")
    by_length = defaultdict(list)
    for pair in aligned.aligned:
        by_length[len(pair.roles)].append(pair)
    groups = sorted(by_length.values(), key=len, reverse=True)
    kept = [pair for group in groups for pair in group][: options.pairs]
    return replace(aligned, aligned=tuple(kept))


def choose_memory(patch: Callable, ranker: Any, options: Namespace) -> tuple[int, str]:
    """The budget in bytes under which exact patching is fastest, and the seconds of each tried."""
    from mechir_edu.patching.budget import bytes_of_weights, bytes_per_token

    seconds = {}
    for n_tokens in options.tokens:
        memory = bytes_of_weights(ranker) + n_tokens * bytes_per_token(ranker)
        seconds[n_tokens, memory] = on_device(partial(patch, memory=memory), options.device)[0]
    (_, best) = min(seconds, key=seconds.get)
    tried = ", ".join(f"{n_tokens} tokens {s:.2f} s" for (n_tokens, _), s in seconds.items())
    return best, tried


def on_device(task: Callable[[], Any], device: str) -> tuple[float, float | str, Any]:
    """Run a task: its wall seconds, peak MB beside what was held before, and its value."""
    import torch

    if not device.startswith("cuda"):
        start = time.perf_counter()
        value = task()
        return time.perf_counter() - start, "", value
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before, start = torch.cuda.memory_allocated(), time.perf_counter()
    value = task()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return seconds, (torch.cuda.max_memory_allocated() - before) / MEGABYTE, value


def product_peak(device: str, size: int = 8192) -> float:
    """Operations a second of one large float32 product; a small one on a CPU."""
    import torch

    n = size if device.startswith("cuda") else 1024
    a = torch.randn(n, n, device=device)
    a @ a
    seconds = min(on_device(lambda: a @ a, device)[0] for _ in range(5))
    return 2 * n**3 / seconds


def row(shape: str, name: str, measured: Sequence, exact: Sequence) -> dict[str, Any]:
    """What all lines of the table have."""
    ratios = [run[0] / of_exact[0] for run, of_exact in zip(measured, exact, strict=False)]
    return {
        "shape": shape,
        "method": name,
        "wall s": _median(measured),
        "wall s / exact's": float(np.median(ratios)),
        "extra GPU MB": measured[-1][1],
    }


def note(name: str, result: Any, runs: dict[str, list], to_cpu: float, tried: str) -> str:
    """What else is to be known of a method."""
    if name == "exact":
        return f"CPU and GPU differ by {to_cpu:.1g} at most; {tried}"
    if name == "gradient":
        effects = [r.scores.mean(-1) - r.recipient.mean() for r in (result, runs["exact"][-1][2])]
        return f"Pearson {np.corrcoef(*(effect.ravel() for effect in effects))[0, 1]:.3f}"
    return ""


def mechir_row(
    shape: str, other: MechIR, pairs: Any, exact: np.ndarray, of_exact: Sequence
) -> dict[str, Any]:
    """Let MechIR patch the same token ids, each length a batch without padding."""
    by_length = defaultdict(list)
    for index, pair in enumerate(pairs.aligned):
        by_length[len(pair.roles)].append(index)
    groups = list(by_length.values())
    other.hand_over("tight", [[pairs.aligned[i] for i in group] for group in groups])
    other.hand_over("first", [[pairs.aligned[i] for i in groups[0][:2]]])
    other.heads("first")  # warm
    run = other.heads("tight")
    in_order = run.value[:, np.argsort(np.concatenate(groups))].reshape(exact.shape)
    return row(shape, "MechIR, tight", [(run.wall, other.gpu_megabytes, None)], of_exact) | {
        "of fp32 peak": "",
        "largest score difference": check_agreement("MechIR", exact, in_order),
        "note": "",
    }


def _median(measured: Sequence) -> float:
    return float(np.median([run[0] for run in measured]))


def device_name(device: str) -> str:
    """What the GPU calls itself."""
    import torch

    return torch.cuda.get_device_name() if device.startswith("cuda") else device


if __name__ == "__main__":
    sys.exit(main())
