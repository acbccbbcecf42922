"""Find and read the hand-written sources; the paths of sources and notebooks."""

import json
from dataclasses import dataclass
from pathlib import Path

import jupytext
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
# Copy -> tag of the cells that it leaves out.
COPIES = {"participant": "solution", "solutions": "stub"}
_TAGS = {"figure", "parameters", "solution", "stub", "widget"}


@dataclass(frozen=True)
class Entry:
    """One notebook of the sequence, as tutorials/contents.json lists it."""

    name: str
    minutes: str
    afterwards: str


def contents(root: Path = ROOT) -> dict[str, Entry]:
    """Read the sequence, in its order: name -> entry, for the notebooks that have a source."""
    listed = json.loads((root / "tutorials/contents.json").read_text(encoding="utf-8"))
    entries = {entry["name"]: Entry(**entry) for entry in listed}
    unlisted = sorted(set(path.stem for path in source_folder(root).glob("*.py")) - set(entries))
    if unlisted:
        raise ValueError(
            f"tutorials/contents.json needs an entry for each source, has none for {unlisted}; "
            "add name, minutes and afterwards"
        )
    return {
        name: entry for name, entry in entries.items() if source_path(name, root=root).is_file()
    }


def titles(root: Path = ROOT) -> dict[str, str]:
    """Titles of the notebooks: name -> ``03 Patch by hand``, from the first line of each source."""
    return {name: f"{name[:2]} {_title(source_path(name, root=root))}" for name in contents(root)}


def _title(source: Path) -> str:
    lines = source.read_text(encoding="utf-8").splitlines()
    return next((line[4:] for line in lines if line.startswith("# # ")), source.stem)


def select(wanted: list[str], root: Path = ROOT) -> list[str]:
    """Names that start with one of the wanted; all names if none is wanted."""
    names = list(contents(root))
    chosen = [name for name in names if not wanted or name.startswith(tuple(wanted))]
    unknown = [want for want in wanted if not any(name.startswith(want) for name in names)]
    if unknown:
        raise ValueError(f"needed notebooks among {names}, got {unknown}; try the number alone")
    return chosen


def source_folder(root: Path) -> Path:
    """Folder of the hand-written sources."""
    return root / "tutorials/src"


def source_path(name: str, *, root: Path = ROOT) -> Path:
    """Path of a notebook's hand-written source."""
    return source_folder(root) / f"{name}.py"


def notebook_path(name: str, copy: str, *, root: Path = ROOT) -> Path:
    """Path of a generated notebook; ``copy`` is a key of `COPIES`."""
    folder = root / "tutorials"
    return (folder if copy == "participant" else folder / copy) / f"{name}.ipynb"


def slug(name: str) -> str:
    """``00_start_here`` -> ``start-here``, the beginning of its cells' ids."""
    return name.split("_", 1)[-1].replace("_", "-")


def tags(cell: NotebookNode) -> set[str]:
    """Tags of a cell; none is the empty set."""
    return set(cell.metadata.get("tags", ()))


def read_source(name: str, *, root: Path = ROOT) -> NotebookNode:
    """Read a source as a notebook, with ids that stay as they are from build to build.

    Raises
    ------
    ValueError
        If a cell has an unknown tag, or the first cell is not the opening.
    """
    notebook = jupytext.read(source_path(name, root=root), fmt="py:percent")
    for number, cell in enumerate(notebook.cells, start=1):
        # Numbered in the source, so that a cell has the same id in both copies.
        cell.id = f"{slug(name)}-{number:03d}"
        unknown = {tag for tag in tags(cell) - _TAGS if not tag.startswith("expected-")}
        if unknown:
            raise ValueError(
                f"{name}, cell {cell.id}: needed tags among {sorted(_TAGS)} or expected-NAME, "
                f"got {sorted(unknown)}"
            )
    if not notebook.cells or not notebook.cells[0].source.startswith("# "):
        raise ValueError(f"{name}: needed a first cell in markdown that begins '# Title'")
    return notebook


def check_of(stub: NotebookNode, following: list[NotebookNode]) -> NotebookNode:
    """Find the cell that checks an exercise, among the cells that follow its stub.

    Raises
    ------
    ValueError
        If none does before the next stub.
    """
    for cell in following:
        if "stub" in tags(cell):
            break
        if cell.cell_type == "code" and not tags(cell) and "check_" in cell.source:
            return cell
    raise ValueError(f"{stub.id}: needed a cell that calls check_... after this stub, found none")
