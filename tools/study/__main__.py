"""Run the study: TFC1 and TDC against their controls, at both ends of a document, head by head."""

import argparse
import os
import sys
from collections.abc import Sequence

from mechir_edu.cli.arguments import Listed, path
from mechir_edu.cli.main import explained
from mechir_edu.files import write_whole
from study.compute import compute
from study.part import read_parts
from study.publish import WRITTEN, write_tables
from study.scores import SCORES, write_scores
from study.tables import all_tables

TABLES = "tables.md"

DESCRIPTION = (
    "Add a query term (TFC1: a random one, TDC: the rarest) or a neutral word to judged passages, "
    "at the end and at the start, and patch every attention head of both rankers. Writes the "
    "scores, and tables and figures made from them. The work is done in rounds over blocks of "
    "pairs, so that they can be written at any time (--report-only). Rerun the command to resume "
    "after the last finished block. Two processes may work in one folder, one with --rankers dot "
    "and one with --rankers cat."
)
COLLECTIONS = ("msmarco-passage/trec-dl-2019/judged", "msmarco-passage/trec-dl-2020/judged")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m study",
        description=DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=path, required=True, metavar="DIR", help="folder of the run")
    add("--report", type=path, metavar="DIR", help="where to write; DIR/report when omitted")
    add("--report-only", action="store_true", help="compute nothing, report what is complete")
    add(
        "--collections",
        nargs="+",
        action=Listed,
        default=list(COLLECTIONS),
        metavar="ID",
        help='ir_datasets ids, or "embedded"; with two, the second tests the first',
    )
    add("--rankers", default="dot,cat", metavar="KINDS", help="dot, cat, or dot,cat")
    add("--bi", dest="dot", default="embedded", metavar="MODEL", help="the bi-encoder (dot)")
    add("--cross", dest="cat", default="embedded", metavar="MODEL", help="the cross-encoder (cat)")
    add(
        "--method",
        choices=("exact", "gradient"),
        default="exact",
        help="gradient estimates every head's effect, some 25 times faster",
    )
    add("--device", default="auto", help="auto, cpu, cuda, ...")
    add("--n", type=int, default=1000, metavar="N", help="judged pairs, even over grades")
    add("--seed", type=int, default=0, metavar="S", help="seed of all draws")
    add("--block", type=int, default=100, metavar="N", help="pairs in a round")
    add(
        "--checks",
        type=int,
        default=100,
        metavar="N",
        help="pairs that are patched again with other fillers and in the other direction",
    )
    add(
        "--circuits",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="with two collections, measure each axiom's circuit on the second",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study, or resume it; returns the exit code: 0, or 130 if interrupted.

    Raises
    ------
    ValueError, OSError
        For bad arguments, and a folder that holds something else or cannot be written.
    """
    args = parse(arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        if not args.report_only:
            compute(args)
    except KeyboardInterrupt:
        print(
            f"Interrupted. Rerun the command to resume with what is in {args.out}; with "
            "--report-only it writes tables of what is complete.",
            file=sys.stderr,
        )
        return 130
    folder = args.report or args.out / "report"
    write_scores(read_parts(args.out), folder / SCORES)
    write_whole(folder / TABLES, all_tables(write_tables(folder)).encode())
    print(f"Written to {folder}: {', '.join((*WRITTEN, TABLES, SCORES))}")
    return 0


if __name__ == "__main__":
    sys.exit(explained("study", main))
