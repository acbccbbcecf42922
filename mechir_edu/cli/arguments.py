"""What several commands' arguments share."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mechir_edu.collection.collection import Collection
    from mechir_edu.perturb.axiom import Axiom

EMBEDDED = '"embedded" (default)'
DEFAULT_DATASET = ["embedded"]
FILES = ("queries", "docs", "qrels")
OWN_AXIOM = "or a function of your own, as my_axioms.py:shout"


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
        default=DEFAULT_DATASET,
        metavar="ID",
        help=f"{EMBEDDED}, or ir_datasets ids such as msmarco-passage/trec-dl-2019/judged",
    )
    for name, form in (
        ("queries", "id<TAB>text, or JSON lines"),
        ("docs", "id<TAB>text, or JSON lines"),
        ("qrels", "TREC's four columns, or BEIR's three with their header"),
    ):
        parser.add_argument(
            f"--{name}", type=path, metavar="FILE", help=f"{name} of your own collection: {form}"
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


def own_files(args: argparse.Namespace) -> dict[str, Path]:
    """Look up the files of an own collection: all three, or none.

    Raises
    ------
    ValueError, FileNotFoundError
        If one of the options is missing, or a file.
    """
    files = {name: getattr(args, name) for name in FILES if getattr(args, name) is not None}
    if files and len(files) < len(FILES):
        missing = " and ".join(f"--{name}" for name in FILES if name not in files)
        raise ValueError(f"your own collection needs --queries, --docs and --qrels; add {missing}")
    for name, file in files.items():
        if not file.is_file():
            raise FileNotFoundError(f"--{name} needs a file, there is none at {file}")
    return files


def asked_datasets(args: argparse.Namespace) -> list[str]:
    """List the collections' ids; with files of one's own, "embedded" is no longer the default."""
    return [] if args.dataset is DEFAULT_DATASET and own_files(args) else args.dataset


def collection_asked_for(args: argparse.Namespace) -> "Collection":
    """Load the collections that `add_input` has asked for."""
    from mechir_edu.collection.load import load_collection

    return load_collection(*asked_datasets(args), **own_files(args))


def axiom_asked_for(text: str) -> "Axiom":
    """Find an axiom by its name, or take it from a file, as in ``my_axioms.py:shout``.

    Raises
    ------
    ValueError, FileNotFoundError
        For an unknown axiom, and as `mechir_edu.perturb.own.axiom_in_file`.
    """
    from mechir_edu.perturb.axioms.registry import find_axiom
    from mechir_edu.perturb.own import axiom_in_file

    return axiom_in_file(text) if ".py:" in text else find_axiom(text)


def checksums(args: argparse.Namespace, axioms: Sequence[str]) -> dict[str, str]:
    """SHA-256 of each file of one's own that was used: of a collection, and of axioms."""
    from mechir_edu.files import sha256

    of_axioms = [Path(text.rpartition(":")[0]) for text in axioms if ".py:" in text]
    return {str(file): sha256(file) for file in (*own_files(args).values(), *of_axioms)}


def add_computation(parser: argparse.ArgumentParser, *, methods: str | None = None) -> None:
    """Add how patching is computed: method (where there are several), filler, device."""
    if methods is not None:
        parser.add_argument("--method", default="exact", help=methods)
    parser.add_argument(
        "--filler",
        default="a",
        help='what fills the gap in the shorter text: a word (default: a), "mask", "pad" or '
        '"neutral"',
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, ...")
