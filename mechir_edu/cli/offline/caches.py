"""Find what was downloaded: models, collections, and the term statistics that were counted.

Three folders: the hub's cache, the home of ir_datasets, and our own cache (counting terms takes
minutes over millions of passages). Imports nothing heavy, as ``mechir-edu check`` must not.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mechir_edu.collection.terms import cache_folder

UNFINISHED = (".incomplete", ".lock", ".tmp")


@dataclass(frozen=True)
class Cached:
    """A model, or a family of collections, in a cache.

    Attributes
    ----------
    kind : "model" or "collection".
    name : hub id with the commit, ``OWNER/NAME@COMMIT``; or the first part of ir_datasets ids.
    files : path inside a bundle (``hub/...`` or ``ir_datasets/...``) -> the file.
    """

    kind: str
    name: str
    files: dict[str, Path]

    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files.values())


def folders() -> dict[str, Path]:
    """Give the three folders by the names that they have in a bundle; none need exist."""
    from huggingface_hub import constants

    home = os.environ.get("IR_DATASETS_HOME") or Path.home() / ".ir_datasets"
    return {
        "hub": Path(constants.HF_HUB_CACHE),
        "ir_datasets": Path(home),
        "statistics": cache_folder(),
    }


def is_offline() -> bool:
    """Tell whether HF_HUB_OFFLINE forbids downloads."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def cached_models(hub: Path) -> Iterator[Cached]:
    """List the models in the hub's cache: each commit, with the branches and tags that name it."""
    from huggingface_hub import scan_cache_dir

    repositories = scan_cache_dir(hub).repos if hub.is_dir() else ()
    for repository in sorted(repositories, key=lambda repository: repository.repo_id):
        for revision in sorted(repository.revisions, key=lambda revision: revision.commit_hash):
            files = [file.file_path for file in revision.files]
            if files and repository.repo_type == "model":
                files += [repository.repo_path / "refs" / name for name in revision.refs]
                name = f"{repository.repo_id}@{revision.commit_hash}"
                yield Cached("model", name, _named(files, hub, "hub"))


def cached_collections(home: Path) -> Iterator[Cached]:
    """List families of collections in the home of ir_datasets (it makes empty folders, too)."""
    for folder in sorted(path for path in home.glob("[!.]*") if path.is_dir()):
        files = [path for path in folder.rglob("*") if path.is_file()]
        files = [f for f in files if f.suffix not in UNFINISHED and not f.name.startswith(".")]
        if files:
            yield Cached("collection", folder.name, _named(files, home, "ir_datasets"))


def cached_statistics(folder: Path) -> dict[str, Path]:
    """Give the files of counted terms; they are few and small, so a bundle takes all of them."""
    return _named(folder.glob("df-*.json.gz"), folder, "statistics")


def _named(files: Iterable[Path], root: Path, name: str) -> dict[str, Path]:
    return {f"{name}/{path.relative_to(root).as_posix()}": path for path in files}
