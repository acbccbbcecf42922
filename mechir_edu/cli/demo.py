"""Run the demonstration: which heads carry one more query term (TFC1) or the rarest one (TDC).

Arguments only; what is done stands in `mechir_edu.cli.experiments`.
"""

import argparse
from pathlib import Path

RUNNER = "mechir_edu.cli.experiments"
DESCRIPTION = (
    "Append a query term to judged passages (TFC1: a random one, TDC: the most discriminative one, "
    "controls: a neutral word), and patch every attention head of each ranker to see which of them "
    "carry the change of the relevance score. Writes figure2.png and .svg, heads.csv, summary.md "
    "and run.json, and prints the summary. The default needs no network."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the demonstration's arguments."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--dataset",
        nargs="+",
        default=["embedded"],
        metavar="ID",
        help='"embedded", or ir_datasets ids such as msmarco-passage/trec-dl-2019/judged',
    )
    parser.add_argument(
        "--bi",
        default="embedded",
        metavar="MODEL",
        help='bi-encoder: "embedded", a folder, a hub id, or "none"',
    )
    parser.add_argument(
        "--cross",
        default="embedded",
        metavar="MODEL",
        help='cross-encoder: "embedded", "planted", a folder, a hub id, or "none"',
    )
    parser.add_argument(
        "--axiom", nargs="+", default=["TFC1", "TDC"], metavar="NAME", help="axioms to compare"
    )
    parser.add_argument(
        "--pairs", type=int, default=60, metavar="N", help="pairs for each axiom, even over grades"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of all draws")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument("--method", default="exact", help="exact, naive, gradient or screened")
    parser.add_argument(
        "--filler",
        default="a",
        help='what fills the gap in the shorter text: a word, "mask", "pad"',
    )
