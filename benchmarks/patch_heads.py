"""Patch all heads: exact, naive and MechIR on the same token ids, and the floor of operations.

To reach on one thread: exact 3.2 times as fast as naive, at least 60 % of the floor at the speed of
the faster product, 3 times as fast as MechIR on tight padding and 10 times as fast as MechIR as its
README runs it.
"""

import statistics
from argparse import Namespace
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from common import Timing, arguments, interleave, load_pairs, parse, report
from floor import Operations, gemm_peaks
from mechir_client import MechIR, Ours, add_ranker_options, check_agreement, describe, mechir

TIGHT, README = "MechIR, tight", "MechIR, as its README"
FLOORS = {"floor": False, "floor, head folded into the MLP": True}
TO_REACH = {"naive": ">= 3.2", TIGHT: ">= 3", README: ">= 10"}
OF_FLOOR = ">= 0.6"  # at the faster product's speed


def main() -> None:
    """Time all on the same pairs, in turns, and compare their scores."""
    options = read_options()
    title, pairs = load_pairs(options)
    ours, peaks = Ours(pairs, options.pooling), []
    tasks: dict[str, Any] = {
        "exact": partial(ours.scores, method="exact"),
        "naive": partial(ours.scores, method="naive"),
        "peak": lambda: peaks.append(gemm_peaks()),
    }
    with mechir(options, options.pooling) as other:
        if other is not None:
            tasks |= prepare(other, ours, options.padding)
        times, scores = interleave(tasks, options.repeats)
    differences = compare(scores, ours)
    del times["peak"]
    for (way, speeds), (name, folds) in product(by_way(peaks).items(), FLOORS.items()):
        operations = Operations.of(ours.ranker, folds=folds).all_heads(ours.lengths)
        seconds = [operations / speed for speed in speeds]
        times[f"{name}, at {way}'s peak"] = Timing(seconds, seconds)
    rates = [f"{way} {statistics.median(s) / 1e9:.1f}" for way, s in by_way(peaks).items()]
    counted = f"GEMM peak in GFLOP/s: {', '.join(rates)}"
    title = f"Patch all heads, {ours.describe()}; {title}; {counted}; {describe(other)}"
    rows = {name: row(name, times, differences) for name in times}
    fastest = max(by_way(peaks).items(), key=lambda way: statistics.median(way[1]))[0]
    rows[f"floor, at {fastest}'s peak"]["to reach"] = OF_FLOOR
    report(title, list(rows.values()), options)


def by_way(peaks: list[dict[str, float]]) -> dict[str, list[float]]:
    """Speeds of each way to multiply, over the repeats."""
    return {way: [peak[way] for peak in peaks] for way in peaks[0]}


def read_options() -> Namespace:
    """Read the options of all benchmarks and of this one."""
    parser = arguments(__doc__.splitlines()[0], pairs=16, repeats=3)
    add_ranker_options(parser)
    return parse(parser)


def prepare(other: MechIR, ours: Ours, padding: str) -> dict[str, Any]:
    """Give MechIR the pairs, see that one group scores as ours, and make its tasks."""
    batches = ours.batches()
    other.hand_over(TIGHT, batches)
    other.hand_over("shortest", batches[:1])
    shortest = replace(ours.pairs, aligned=tuple(batches[0]))
    theirs = other.heads("shortest").value
    check_agreement("the shortest pairs", ours.scores(shortest).reshape(theirs.shape), theirs)
    other.collate(README, [aligned.pair for aligned in ours.pairs.aligned])
    wanted = {"tight": [TIGHT], "readme": [README], "both": [TIGHT, README]}[padding]
    return {name: partial(other.heads, name) for name in wanted}


def compare(scores: dict[str, np.ndarray], ours: Ours) -> dict[str, float]:
    """Largest difference of each score from exact's."""
    if TIGHT in scores:  # its pairs stand group by group
        scores[TIGHT] = scores[TIGHT][:, np.argsort(np.concatenate(ours.groups))]
    exact = scores["exact"].reshape(-1, len(ours.lengths))
    patched = {name: array.reshape(exact.shape) for name, array in scores.items() if name != "peak"}
    return {name: check_agreement(name, array, exact) for name, array in patched.items()}


def row(name: str, times: dict[str, Timing], differences: dict[str, float]) -> dict[str, Any]:
    """One line of the table."""
    ratios = [a / b for a, b in zip(times[name].cpu, times["exact"].cpu, strict=True)]
    return {
        "method": name,
        "CPU s": times[name].median_cpu,
        "wall s": times[name].median_wall,
        "spread": times[name].spread,
        "CPU s / exact's": statistics.median(ratios),
        "to reach": TO_REACH.get(name, ""),
        "largest score difference": differences.get(name, ""),
    }


if __name__ == "__main__":
    main()
