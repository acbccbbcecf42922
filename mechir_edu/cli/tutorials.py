"""Copy the notebooks of the installed version into a folder.

A wheel holds them under ``assets/tutorials`` (setup.py puts them there); in a checkout, and for an
editable installation, they are the folder ``tutorials`` beside the package.
"""

import argparse
import os
from pathlib import Path

import mechir_edu
from mechir_edu.cli.arguments import path, require_folder

DESCRIPTION = (
    "Copy the notebooks that belong to the installed version into a folder. A notebook that is "
    "already there and differs, such as one that you have worked in, stops the command before "
    "anything is written. Links to the documentation lead somewhere only in a clone."
)
_PACKAGE = Path(mechir_edu.__file__).parent
PLACES = (_PACKAGE / "assets/tutorials", _PACKAGE.parent / "tutorials")


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


def copy_notebooks(to: Path, *, solutions: bool = False) -> tuple[int, int]:
    """Copy the notebooks, all of them or none.

    Parameters
    ----------
    to : folder; made if it is missing.
    solutions : also copy the solutions, into its folder ``solutions``.

    Returns
    -------
    Numbers of notebooks that were copied and that were there already, byte for byte.

    Raises
    ------
    ValueError
        If the folder has a file of the same name that differs; nothing was written.
    OSError
        If the installation holds no notebooks, or the folder cannot be written; nothing was.
    """
    from mechir_edu.cli.offline.switch import beside, switch

    require_folder("--to", to)
    contents = {
        to / name: file.read_bytes() for name, file in notebooks(solutions=solutions).items()
    }
    there = {target for target in contents if os.path.lexists(target)}
    same = {t for t in there if t.is_file() and t.read_bytes() == contents[t]}
    if there != same:
        names = ", ".join(str(target.relative_to(to)) for target in sorted(there - same))
        raise ValueError(
            f"{to} has other versions of {names}, such as those that you have worked in; nothing "
            "was copied. Choose an empty folder for --to, or move them away"
        )
    if new := {t: content for t, content in contents.items() if t not in same}:
        place = to.resolve()
        with beside([place]) as aside:
            moves = [(aside[place] / str(number), target) for number, target in enumerate(new)]
            for (unfinished, _), content in zip(moves, new.values(), strict=True):
                unfinished.write_bytes(content)
            switch(moves, aside)
    return len(new), len(same)
