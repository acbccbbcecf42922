"""Run the study: TFC1 and TDC against their controls, at both ends of a document, head by head.

Arguments only; what is done stands in `study.run`.
"""

import argparse
from pathlib import Path

RUNNER = "study.run"
DESCRIPTION = (
    "Add a query term (TFC1: a random one, TDC: the most discriminative one) or a neutral word to "
    "judged passages, at the end and at the start, and patch every attention head of both "
    "rankers. Then test what can be concluded and write report.md (two pages), details.md, "
    "heads.csv and figures. The work goes in rounds over blocks of pairs, each block even over "
    "grades, so that a report can be made at any time (--report-only). A run that was stopped "
    "goes on where it was: give the same command again. Two processes may work in one folder, one "
    "with --rankers dot and one with --rankers cat."
)
COLLECTIONS = ("msmarco-passage/trec-dl-2019/judged", "msmarco-passage/trec-dl-2020/judged")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``mechir-edu study``."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="folder of the report; DIR/report when omitted"
    )
    parser.add_argument(
        "--report-only", action="store_true", help="compute nothing, report what is there"
    )
    _add_what(parser)
    _add_how_much(parser)


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--collections",
        nargs="+",
        default=list(COLLECTIONS),
        metavar="ID",
        help='ir_datasets ids, or "embedded"; with two, the second tests the first',
    )
    parser.add_argument(
        "--rankers", default="dot,cat", metavar="KINDS", help="dot, cat, or dot,cat"
    )
    parser.add_argument("--bi", default="embedded", metavar="MODEL", help="the bi-encoder (dot)")
    parser.add_argument(
        "--cross", default="embedded", metavar="MODEL", help="the cross-encoder (cat)"
    )
    parser.add_argument(
        "--method",
        choices=("exact", "gradient"),
        default="exact",
        help="gradient estimates every head's effect, some 25 times faster; the report says so",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")


def _add_how_much(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--n", type=int, default=1000, metavar="N", help="judged pairs, even over grades"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of all draws")
    parser.add_argument("--block", type=int, default=100, metavar="N", help="pairs in a round")
    parser.add_argument(
        "--checks",
        type=int,
        default=100,
        metavar="N",
        help="pairs that are patched again with other fillers and in the other direction",
    )
