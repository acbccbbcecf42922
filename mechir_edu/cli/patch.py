"""Patch one ranker on one axiom's pairs, into a folder; an interrupted run resumes.

Arguments only; what is done stands in `mechir_edu.cli.patch_run`.
"""

import argparse
from pathlib import Path

from mechir_edu.patching.budget import SHARD_SIZE

RUNNER = "mechir_edu.cli.patch_run"
DESCRIPTION = (
    "Draw judged pairs, perturb each document by an axiom, and keep the relevance score of every "
    "pair after every patch in a folder, which PatchingResult.load(DIR) reads. A long run may be "
    "stopped at any time (Ctrl-C, a crash, a full disk): the same command goes on behind the last "
    "shard that was finished and ends with the same bits. Another argument, model, data set or "
    "package version is refused for a folder that was begun without it."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``mechir-edu patch``."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    _add_input(parser)
    _add_patch(parser)
    _add_resources(parser)


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", choices=("dot", "cat"), default="dot", help="bi-/cross-encoder")
    parser.add_argument(
        "--model",
        default="embedded",
        help='"embedded", a folder, a hub id, or "planted" (a cat whose mechanism is known)',
    )
    parser.add_argument(
        "--dataset",
        nargs="+",
        default=["embedded"],
        metavar="ID",
        help='"embedded", or ir_datasets ids such as msmarco-passage/trec-dl-2019/judged',
    )
    parser.add_argument(
        "--axiom",
        default="TFC1",
        metavar="NAME",
        help="TFC1, TDC, ..., or its control TFC1-control",
    )
    parser.add_argument(
        "--pairs", type=int, default=1000, metavar="N", help="pairs, even over grades"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of all draws")
    parser.add_argument(
        "--place", choices=("end", "start"), default="end", help="where a word is added"
    )


def _add_patch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--site", default="head", help="head, pattern, q, k, v, resid_pre, attn_out or mlp_out"
    )
    parser.add_argument(
        "--by", choices=("pos", "role"), help="each position alone, or all of one role; else all"
    )
    parser.add_argument(
        "--heads", metavar="L.H,...", help="only these heads, such as 3.5,4.1 (layer.head)"
    )
    parser.add_argument(
        "--together", action="store_true", help="patch all of --heads in one run, as one set"
    )
    parser.add_argument(
        "--direction",
        default="auto",
        help="auto, perturbed_to_baseline (perturbed activations into the baseline run) "
        "or baseline_to_perturbed",
    )
    parser.add_argument("--method", default="exact", help="exact, naive or gradient")
    parser.add_argument(
        "--filler",
        default="a",
        help='what fills the gap in the shorter text: a word, "mask", "pad", "neutral"',
    )


def _add_resources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--memory", metavar="SIZE", help="memory that patching may take beside the model, as 1GB"
    )
    parser.add_argument(
        "--shard-size",
        type=int,
        default=SHARD_SIZE,
        metavar="N",
        help="pairs in a file: the most that an interruption costs",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
