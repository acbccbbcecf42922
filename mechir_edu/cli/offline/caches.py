"""Say where downloaded models and collections are kept, and what is there.

Three folders: the hub's cache (models), the home of ir_datasets (collections), and our own
(term statistics, which take minutes to count over millions of passages). Imports nothing heavy.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mechir_edu.collection.terms import cache_folder


@dataclass(frozen=True)
class Kept:
    """A model or a family of collections in a cache.

    Attributes
    ----------
    kind : "model" or "collection".
    name : hub id with the commit, ``OWNER/NAME@COMMIT``; or the first part of ir_datasets ids.
    files : path inside a bundle (``hub/...`` or ``ir_datasets/...``) -> where the file lies.
    """

    kind: str
    name: str
    files: dict[str, Path]

    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files.values())


def folders() -> dict[str, Path]:
    """Give the three folders by the names that they have in a bundle; none need exist."""
    # Imported here: `mechir-edu check` must be able to say that the package is missing.
    from huggingface_hub import constants

    home = os.environ.get("IR_DATASETS_HOME") or Path.home() / ".ir_datasets"
    return {
        "hub": Path(constants.HF_HUB_CACHE),
        "ir_datasets": Path(home),
        "statistics": cache_folder(),
    }


def kept_models(hub: Path) -> Iterator[Kept]:
    """List models in the hub's cache, each commit of each, with the names that lead to it."""
    for snapshot in sorted(hub.glob("models--*/snapshots/*")):
        model = snapshot.parents[1]
        refs = [ref for ref in _files(model / "refs") if ref.read_text().strip() == snapshot.name]
        if found := _files(snapshot):
            name = f"{model.name.removeprefix('models--').replace('--', '/')}@{snapshot.name}"
            yield Kept("model", name, _named(found + refs, hub, "hub"))


def kept_collections(home: Path) -> Iterator[Kept]:
    """List families of collections in the home of ir_datasets (it makes empty folders, too)."""
    for folder in sorted(path for path in home.glob("*") if path.is_dir()):
        if found := _files(folder):
            yield Kept("collection", folder.name, _named(found, home, "ir_datasets"))


def kept_statistics(folder: Path) -> dict[str, Path]:
    """Give the files of counted terms; few and small, so none is left out of a bundle."""
    return _named(sorted(folder.glob("df-*.json.gz")), folder, "statistics")


def _files(folder: Path) -> list[Path]:
    """Files below a folder but unfinished ones (links to files count: the hub's cache has them)."""
    endings = (".incomplete", ".lock", ".tmp")
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(p for p in found if not p.name.endswith(endings) and not p.name.startswith("."))


def _named(files: list[Path], root: Path, name: str) -> dict[str, Path]:
    return {f"{name}/{path.relative_to(root).as_posix()}": path for path in files}
