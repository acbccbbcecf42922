"""What several commands' arguments share."""

import argparse
from collections.abc import Sequence
from typing import Any

EMBEDDED = '"embedded" (default)'


class Listed(argparse.Action):
    """A list in one option or in several: ``--dataset A B`` is ``--dataset A --dataset B``.

    What is named replaces the default; argparse's own "extend" would add to it.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the values to those that were named before."""
        named = getattr(namespace, self.dest)
        before = [] if named is self.default else named
        setattr(namespace, self.dest, [*before, *values])


def add_input(parser: argparse.ArgumentParser, *, pairs: int) -> None:
    """Add what pairs are drawn from: collections, number of pairs, seed."""
    parser.add_argument(
        "--dataset",
        nargs="+",
        action=Listed,
        default=["embedded"],
        metavar="ID",
        help=f"{EMBEDDED}, or ir_datasets ids such as msmarco-passage/trec-dl-2019/judged",
    )
    parser.add_argument(
        "--pairs",
        type=int,
        default=pairs,
        metavar="N",
        help=f"pairs for each axiom, drawn evenly over grades (default: {pairs})",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of all draws (default: 0)"
    )


def add_computation(parser: argparse.ArgumentParser, *, methods: str) -> None:
    """Add how patching is computed: method, filler, device."""
    parser.add_argument("--method", default="exact", help=methods)
    parser.add_argument(
        "--filler",
        default="a",
        help='what fills the gap in the shorter text: a word (default: a), "mask", "pad" or '
        '"neutral"',
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, ...")
