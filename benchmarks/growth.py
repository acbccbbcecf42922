"""How the cost of exact patching grows: with layers, heads, tokens, pairs and cores.

One size is varied at a time, the others stay at `BASE` (a half MiniLM), with random weights and
made-up passages. Slopes are fitted on a log-log scale, beside the slopes of the counted operations
(`floor.Operations`). CPU seconds count, but for cores, where wall seconds do. Memory is what
patching adds to the loaded model, in fresh processes (Linux).
"""

import json
import subprocess
import sys
import tempfile
from argparse import Namespace
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import interleave, options_of_all, parse, report, save_bert
from floor import Operations
from memory import made_up

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Size:
    """One point: the model's sizes, the passages' length, and how many pairs there are."""

    layers: int = 6
    heads: int = 6
    tokens: int = 64
    pairs: int = 4
    cores: int = 1


D_MODEL, D_MLP = 192, 768
BASE = Size()
VARIED = {
    "layers": (3, 6, 9, 12),
    "heads": (3, 6, 12, 24),
    "tokens": (32, 64, 128, 256),
    "pairs": (2, 4, 8, 16),
    "cores": (1, 2),
}
PAIRS_IN_MEMORY = (4, 16, 64)


def main() -> None:
    """Time every size, fit the slopes, draw them."""
    options = read_options()
    with tempfile.TemporaryDirectory() as folder:
        measured = {what: curve(what, options, Path(folder)) for what in VARIED}
    rows = [row(what, *curves) for what, curves in measured.items()]
    if options.memory and Path("/proc/self/clear_refs").exists():
        rows.append(memory_row([extra_megabytes(n) for n in options.memory], options.memory))
    title = f"Exact patching of all heads; otherwise {asdict(BASE)}, d_model {D_MODEL}"
    report(title, rows, options)
    if options.figure is not None:
        draw(measured, options.figure)


def read_options() -> Namespace:
    """Read the options of all benchmarks and of this one."""
    parser = options_of_all(__doc__.splitlines()[0], repeats=3)
    parser.add_argument("--figure", type=Path, help="draw the curves into this file")
    parser.add_argument(
        "--points", type=int, default=4, help="points of each curve, smallest first"
    )
    parser.add_argument(
        "--memory", type=int, nargs="*", default=PAIRS_IN_MEMORY, help="pairs; none leaves it out"
    )
    return parse(parser)


def curve(what: str, options: Namespace, folder: Path) -> tuple[list[Size], list[float]]:
    """Median seconds of each size, all sizes run in turns."""
    from mechir_edu.alignment.aligner import align

    sizes = [replace(BASE, **{what: value}) for value in VARIED[what][: options.points]]
    tasks = {}
    for size in sizes:
        ranker = load(size, folder)
        pairs = made_up(Namespace(pairs=size.pairs, tokens=size.tokens))
        aligned = replace(align([], ranker.tokenizer, kind="dot"), aligned=tuple(pairs))
        tasks[str(size)] = task(ranker, aligned, size.cores)
        tasks[str(size)]()  # the first run also measures products
    times, _ = interleave(tasks, options.repeats)
    return sizes, [t.median_wall if what == "cores" else t.median_cpu for t in times.values()]


def task(ranker: Any, aligned: Any, cores: int) -> Any:
    """Patch all heads on so many cores."""
    import torch

    import mechir_edu as me

    def run() -> None:
        torch.set_num_threads(cores)
        me.patch(ranker, aligned, direction="perturbed_to_baseline", progress=False)

    return run


def load(size: Size, folder: Path) -> Any:
    """A random bi-encoder of a size, with MiniLM's word pieces."""
    import mechir_edu as me

    place = folder / f"{size.layers}-{size.heads}"
    if not place.exists():
        words = me.Dot("embedded", verify=False).tokenizer
        save_bert(place, words, size.layers, size.heads, D_MODEL, D_MLP)
    return me.Dot(str(place), pooling="mean", similarity="dot")


def operations(size: Size) -> float:
    """Floating-point operations that exact patching of all heads needs."""
    counted = Operations(D_MODEL, D_MLP, size.layers, size.heads, first_row_only=False, folds=True)
    return counted.all_heads([size.tokens] * size.pairs) / size.cores


def slope(at: list[int], values: list[float]) -> float:
    """Exponent of a power law through the points."""
    return float(np.polyfit(np.log(at), np.log(values), 1)[0])


def row(what: str, sizes: list[Size], seconds: list[float]) -> dict[str, Any]:
    """One line of the table."""
    at = [getattr(size, what) for size in sizes]
    return {
        "varied": what,
        "at": ", ".join(map(str, at)),
        "seconds (cores: wall; else CPU) or MB": ", ".join(f"{s:.2f}" for s in seconds),
        "exponent": f"{slope(at, seconds):.2f}",
        "of the operations": f"{slope(at, [operations(size) for size in sizes]):.2f}",
    }


def extra_megabytes(pairs: int) -> float:
    """What patching so many pairs adds to the loaded model (`memory.py`), MiniLM, 64 tokens."""
    command = [sys.executable, HERE / "memory.py", "--child", "--pairs", str(pairs)]
    done = subprocess.run(
        [*command, "--tokens", "64"], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def memory_row(megabytes: list[float], pairs: tuple[int, ...]) -> dict[str, Any]:
    """The table's last line."""
    return {
        "varied": "memory against pairs",
        "at": ", ".join(map(str, pairs)),
        "seconds (cores: wall; else CPU) or MB": ", ".join(f"{mb:.0f}" for mb in megabytes),
        "exponent": f"{slope(list(pairs), megabytes):.2f}" if len(pairs) > 1 else "",
        "of the operations": "0.00",
    }


def draw(measured: dict[str, tuple[list[Size], list[float]]], file: Path) -> None:
    """Curves beside what the operations predict from the first point."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    figure, axes = plt.subplots(1, len(measured), figsize=(14, 3.2), layout="constrained")
    for ax, (what, (sizes, seconds)) in zip(axes, measured.items(), strict=True):
        at = [getattr(size, what) for size in sizes]
        counted = np.array([operations(size) for size in sizes])
        ax.loglog(at, seconds, "o-", color="#2166ac", label="measured")
        ax.loglog(at, seconds[0] * counted / counted[0], "--", color="gray", label="operations")
        ax.set(xlabel=what, xticks=at, xticklabels=at, xmargin=0.1)
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
    axes[0].set_ylabel("CPU seconds (cores: wall)")
    axes[0].legend(frameon=False)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
