"""Patch residual stream, attention output and MLP output: ours by role, MechIR's block_all.

MechIR patches every position of every layer by a forward pass each, which takes hours; it is timed
on some positions of all layers and components and scaled to all. Where a single pair is as long as
these, both sides' scores are compared at the same positions.

To reach on one thread: the sweep by role 25 times as fast as block_all on tight padding.
"""

import statistics
from argparse import Namespace
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from common import Timing, arguments, interleave, load_pairs, parse, report
from mechir_client import MechIR, Ours, add_ranker_options, check_agreement, describe, mechir

SITES = ("resid_pre", "attn_out", "mlp_out")  # in MechIR's order
TIGHT, README = "MechIR block_all, tight", "MechIR block_all, as its README"
TO_REACH = {TIGHT: ">= 25"}


def main() -> None:
    """Time both sides on the same pairs, in turns."""
    options = read_options()
    title, pairs = load_pairs(options)
    ours = Ours(pairs, options.pooling)
    tasks: dict[str, Any] = {"by role": lambda: [ours.scores(site=s, by="role") for s in SITES]}
    with mechir(options, options.pooling) as other:
        if other is not None:
            compare(other, ours, options.positions)
            wanted = {"tight": [TIGHT], "readme": [README], "both": [TIGHT, README]}
            for name in wanted[options.padding]:
                tasks[name] = partial(other.blocks, name, options.positions)
        times, _ = interleave(tasks, options.repeats)
    part = f"MechIR timed at {options.positions} positions of each text and scaled to all"
    title = f"Patch blocks, {ours.describe()}; {title}; {part}; {describe(other)}"
    report(title, [row(name, times) for name in times], options)


def read_options() -> Namespace:
    """Read the options of all benchmarks and of this one."""
    parser = arguments(__doc__.splitlines()[0], pairs=16, repeats=3)
    parser.add_argument("--positions", type=int, default=2, help="at which MechIR is timed")
    add_ranker_options(parser)
    return parse(parser)


def compare(other: MechIR, ours: Ours, n_positions: int) -> None:
    """Give MechIR the pairs, and see that the shortest scores as ours at its positions."""
    batches = ours.batches()
    other.hand_over(TIGHT, batches)
    other.collate(README, [aligned.pair for aligned in ours.pairs.aligned])
    one = batches[0][:1]
    other.hand_over("one", [one])
    theirs = np.array(other.blocks("one", n_positions).value[0])
    at = np.unique(np.linspace(0, len(one[0].roles) - 1, n_positions).astype(int))
    alone = replace(ours.pairs, aligned=tuple(one))
    scores = np.stack([ours.scores(alone, site=site, by="pos")[:, at] for site in SITES])
    check_agreement("the shortest pair", scores.reshape(theirs.shape), theirs)


def row(name: str, times: dict[str, Timing]) -> dict[str, Any]:
    """One line of the table."""
    ratios = [a / b for a, b in zip(times[name].cpu, times["by role"].cpu, strict=True)]
    return {
        "sweep": name,
        "CPU s": times[name].median_cpu,
        "wall s": times[name].median_wall,
        "spread": times[name].spread,
        "CPU s / by role's": statistics.median(ratios),
        "to reach": TO_REACH.get(name, ""),
    }


if __name__ == "__main__":
    main()
