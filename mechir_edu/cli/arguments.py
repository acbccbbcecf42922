"""What several commands' arguments share."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
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


def path(text: str) -> Path:
    """Read the name of a file or folder; an empty one would mean the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("needed a name, got an empty one")
    return Path(text)


def require_folder(option: str, folder: Path) -> None:
    """Make sure that files can be written into a folder, without making it.

    Raises
    ------
    OSError
        If it, or what it would be made in, is no folder, or must not be written to.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{option} needs a folder, but {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(
            f"{option} needs a folder to write to, but {there} is write-protected"
        )


def require_counts(least: int, **counts: int | None) -> None:
    """Refuse numbers that are too small.

    Raises
    ------
    ValueError
        With the option, the least number and what was given.
    """
    for name, count in counts.items():
        if count is not None and count < least:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} needs a whole number of at least {least}, got {count}")


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
