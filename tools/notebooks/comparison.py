"""Compare the notebooks on disk with what their sources make."""

import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from notebooks.address import Address
from notebooks.copies import fingerprint, make_copy
from notebooks.predictions import unanswered
from notebooks.sources import COPIES, ROOT, contents, notebook_path, source_path

_PICTURE = re.compile(
    r"data:image/png;base64,[\w+/=]+|\*\(drawn when the solutions are executed\)\*"
)


def differences(address: Address, *, root: Path = ROOT) -> list[str]:
    """List what differs in sources, tags and metadata, each with what to run; not outputs."""
    found = []
    for name in contents(root):
        for copy in COPIES:
            found += _differences(name, copy, address, root)
    return found + _orphans(root)


def _differences(name: str, copy: str, address: Address, root: Path) -> list[str]:
    path = notebook_path(name, copy, root=root)
    place = path.relative_to(root)
    if not path.is_file():
        return [f"{place} is missing; run: python tools/build_notebooks.py build {name}"]
    built, found = make_copy(name, copy, address, root=root), nbformat.read(path, as_version=4)
    executed = found.metadata.pop("executed", None)
    if copy == "participant" and any(cell.outputs for cell in unanswered(found.cells)):
        return [
            f"{place}: shows what a prediction asks for; "
            f"run: python tools/build_notebooks.py build {name}"
        ]
    where = _first_difference(built, found)
    if where:
        return [f"{place}: {where}; run: python tools/build_notebooks.py build {name}"]
    if executed != fingerprint(built):
        return [
            f"{place}: its outputs are of other code than it has; "
            f"run: python tools/build_notebooks.py --execute {name}"
        ]
    return []


def _first_difference(built: NotebookNode, found: NotebookNode) -> str | None:
    if built.metadata != found.metadata:
        return f"metadata differ, {dict(found.metadata)} instead of {dict(built.metadata)}"
    for new, old in zip(built.cells, found.cells, strict=False):
        for part in ("id", "cell_type", "metadata", "source"):
            if _comparable(new[part]) != _comparable(old[part]):
                return f"cell {new.id} differs from its source ({part})"
    if len(built.cells) != len(found.cells):
        return f"it has {len(found.cells)} cells, its source makes {len(built.cells)}"
    return None


def _comparable(value: object) -> object:
    """Pictures inside a text are outputs of another notebook, and not compared either."""
    return _PICTURE.sub("", value) if isinstance(value, str) else value


def _orphans(root: Path) -> list[str]:
    notebooks = sorted((root / "tutorials").rglob("*.ipynb"))
    return [
        f"{path.relative_to(root)} has no source tutorials/src/{path.stem}.py; remove it"
        for path in notebooks
        if ".ipynb_checkpoints" not in path.parts
        and not source_path(path.stem, root=root).is_file()
    ]
