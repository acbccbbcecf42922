"""Validate the statistics by simulation, and write docs/study/validation.md.

::

    python tools/validate_statistics.py sizes     # cluster sizes of TREC DL, needs ir_datasets
    python tools/validate_statistics.py report    # half an hour on one core

``sizes`` draws the samples that a study draws and writes how many pairs of each grade each query
has: numbers, not data. ``report`` measures on them how often 95 % intervals hold the truth
(:mod:`simulate`), how other intervals would have done (:mod:`other_intervals`), how often studies
without an effect show a head (:mod:`null_studies`), and what other corrections for many heads would
have found (:mod:`max_t_studies`); and the same on our study's scores (:mod:`real_scores`). Each row
of its tables is drawn from the seed anew.
"""

import argparse
import json
from pathlib import Path

from max_t_studies import SMALL, tell_corrections
from real_scores import read_runs
from simulate import SIZES, count_pairs, read_designs
from study.scores import SCORES
from validation_tables import (
    tell_coverage,
    tell_designs,
    tell_limits,
    tell_methods,
    tell_null,
    tell_real,
)

from mechir_edu.collection.load import load_collection
from mechir_edu.files import write_whole

STUDY = Path(__file__).resolve().parents[1] / "docs" / "study"
REPORT = STUDY / "validation.md"
DL19, DL20 = (f"msmarco-passage/trec-dl-{year}/judged" for year in (2019, 2020))
SAMPLES = {"DL19": [DL19], "DL20": [DL20], "DL19 and DL20": [DL19, DL20]}


def write_sizes(n: int, seed: int) -> None:
    """Draw the samples of a study and keep their cluster sizes."""
    sizes = {
        name: count_pairs(load_collection(*ids).sample(n, seed=seed).judged)
        for name, ids in SAMPLES.items()
    }
    write_whole(SIZES, json.dumps(sizes).replace("]], ", "]],\n").encode())


def write_report(n: int, n_null: int, n_compared: int, seed: int) -> None:
    """Measure everything and write the report.

    Parameters
    ----------
    n : data sets for each cell about intervals.
    n_null : studies for each row about heads.
    n_compared : studies for each row about corrections for many heads.
    seed : of the draws of each row.
    """
    designs, runs = read_designs(), read_runs(STUDY / SCORES)
    parts = [*designs.values(), *(design.only(3) for design in designs.values())]
    sections = [
        INTRODUCTION,
        "## The designs\n\n" + tell_designs(parts),
        "## Intervals: do 95 % of them hold the truth?\n\n" + tell_coverage(parts, n, seed),
        "## Where the intervals do not hold\n\n" + tell_limits(designs, n, seed),
        "## Intervals that were not taken\n\n" + tell_methods(designs["DL19"], n, seed),
        "## Heads that are not there\n\n" + tell_null(designs.values(), n_null, seed),
        "## Heads tested together\n\n"
        + tell_corrections([*designs.values(), *SMALL], runs, n_compared, seed),
        "## The same on real scores\n\n" + tell_real(runs, n_null, seed),
        f"Made by `python tools/validate_statistics.py report --runs {n} --null-runs {n_null} "
        f"--compared {n_compared} --seed {seed}`.",
    ]
    write_whole(REPORT, ("\n\n".join(sections) + "\n").encode())
    print(f"Written: {REPORT.name}")


INTRODUCTION = """\
# Do the intervals and tests keep what they promise?

An interval of 95 % promises to hold the truth 95 times in 100. Whether it does depends on how the
data come about, and here they come in clusters: pairs of one query share its terms, and a few
queries can move much further than the rest. So we drew data sets whose truth we know, with the
numbers of pairs that a study on TREC DL has, and counted."""


def main(arguments: list[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    sizes = commands.add_parser("sizes", help="write the cluster sizes of TREC DL")
    sizes.add_argument("--pairs", type=int, default=1000)
    report = commands.add_parser("report", help="simulate, and write the report")
    report.add_argument("--runs", type=int, default=10_000, help="data sets for each cell")
    report.add_argument("--null-runs", type=int, default=2_000, help="studies for each row")
    report.add_argument("--compared", type=int, default=500, help="studies for each correction")
    for command in (sizes, report):
        command.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    if args.command == "sizes":
        write_sizes(args.pairs, args.seed)
    else:
        write_report(args.runs, args.null_runs, args.compared, args.seed)


if __name__ == "__main__":
    main()
