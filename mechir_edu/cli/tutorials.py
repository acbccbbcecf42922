"""Copy the notebooks of the installed version into a folder.

A wheel holds them under ``assets/tutorials`` (setup.py puts them there); in a checkout, and for an
editable installation, they are the folder ``tutorials`` beside the package. The pages that they
link to come along (`linked_pages`), so that no link of a copy leads out of its folder.
"""

import argparse
import os
from pathlib import Path

import mechir_edu
from mechir_edu.cli import linked_pages
from mechir_edu.cli.arguments import path, require_folder

DESCRIPTION = (
    "Copy the notebooks that belong to the installed version into a folder. A notebook that is "
    "already there and differs, such as one that you have worked in, stops the command before "
    "anything is written. The pages that notebooks link to are copied into DIR/pages."
)
_PACKAGE = Path(mechir_edu.__file__).parent
PLACES = (_PACKAGE / "assets/tutorials", _PACKAGE.parent / "tutorials")
# Where README.md, docs/ and mechir_edu/ lie: in a wheel, in a checkout.
ROOTS = (_PACKAGE / "assets/tutorials/pages", _PACKAGE.parent)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``mechir-edu tutorials``."""
    parser.add_argument(
        "--to", type=path, required=True, metavar="DIR", help="folder to copy the notebooks into"
    )
    parser.add_argument(
        "--solutions", action="store_true", help="also copy the solutions, into DIR/solutions"
    )


def run(args: argparse.Namespace) -> int:
    """Copy the notebooks and print what was copied.

    Raises
    ------
    ValueError, OSError
        As `copy_notebooks`.
    """
    copied, same = copy_notebooks(args.to, solutions=args.solutions)
    already = f"; {same} more were there already" if same else ""
    print(f"{copied} notebooks copied to {args.to}{already}")
    print(f"Begin with: jupyter lab {args.to / '00_start_here.ipynb'}")
    return 0


def notebooks(*, solutions: bool = False) -> dict[str, Path]:
    """Notebooks of the installed version: place in the copy -> file.

    Raises
    ------
    FileNotFoundError
        If the installation holds none.
    """
    parts = ["", "solutions/"] if solutions else [""]
    for root in PLACES:
        sets = [sorted((root / part).glob("[0-9][0-9]_*.ipynb")) for part in parts]
        if all(sets):
            return {
                f"{part}{file.name}": file
                for part, files in zip(parts, sets, strict=True)
                for file in files
            }
    raise FileNotFoundError(
        "this installation holds no notebooks; pip install --force-reinstall --no-deps mechir-edu"
    )


def contents(*, solutions: bool = False) -> dict[str, bytes]:
    """All that is copied, with links that hold there: place in the copy -> content.

    Raises
    ------
    FileNotFoundError
        If the installation holds no notebooks, or not all pages that they link to.
    """
    read = {name: file.read_bytes() for name, file in notebooks(solutions=solutions).items()}
    targets = set().union(*map(linked_pages.linked, read.values()))
    made = {name: linked_pages.relinked(content, name) for name, content in read.items()}
    return made | linked_pages.pages(targets, ROOTS)


def copy_notebooks(to: Path, *, solutions: bool = False) -> tuple[int, int]:
    """Copy the notebooks and the pages that they link to, all of them or none.

    Parameters
    ----------
    to : folder; made if it is missing.
    solutions : also copy the solutions, into its folder ``solutions``.

    Returns
    -------
    Numbers of notebooks that were copied and that were there already, unchanged.

    Raises
    ------
    ValueError
        If the folder has a file of the same name that differs; nothing was written.
    OSError
        If the installation holds no notebooks, or the folder cannot be written; nothing was.
    """
    from mechir_edu.cli.offline.switch import beside, switch

    require_folder("--to", to)
    made = {to / name: content for name, content in contents(solutions=solutions).items()}
    there = {target for target in made if os.path.lexists(target)}
    same = {t for t in there if t.is_file() and t.read_bytes() == made[t]}
    if there != same:
        names = ", ".join(str(target.relative_to(to)) for target in sorted(there - same))
        raise ValueError(
            f"{to} has other versions of {names}, such as those that you have worked in; nothing "
            "was copied. Choose an empty folder for --to, or move them away"
        )
    if new := {t: content for t, content in made.items() if t not in same}:
        place = to.resolve()
        with beside([place]) as aside:
            moves = [(aside[place] / str(number), target) for number, target in enumerate(new)]
            for (unfinished, _), content in zip(moves, new.values(), strict=True):
                unfinished.write_bytes(content)
            switch(moves, aside)
    is_notebook = [target.suffix == ".ipynb" for target in new]
    return sum(is_notebook), sum(target.suffix == ".ipynb" for target in same)
