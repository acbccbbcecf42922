"""Install a bundle into the caches: everything in it, or nothing.

A bundle may come from anyone's USB stick, so it is not trusted. Names cannot lead out of the
caches; links, compressed or encrypted members are refused; sizes and SHA-256 are the manifest's,
and it cannot unpack to more than its own size. All is written aside and checked before the first
file is put in its place.

That the files are intact does not say that they are harmless: document stores of ir_datasets are
Python pickles. Take a bundle from those whom you would take a program from.
"""

import hashlib
import json
import os
import shutil
import stat
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mechir_edu.cli.offline.bundle import CHUNK, FORMAT, MANIFEST, check_name

LARGEST_MANIFEST = 50_000_000  # bytes; a bundle of 100,000 files has one of 20 MB


def install(path: Path, folders: Mapping[str, Path]) -> dict[str, Any]:
    """Install a bundle and give its manifest.

    Parameters
    ----------
    path : a file that `mechir_edu.cli.offline.bundle.write_bundle` made.
    folders : where the parts "hub", "ir_datasets" and "statistics" belong.

    Raises
    ------
    ValueError
        If the file is no bundle, is damaged, or holds what a bundle must not.
    OSError
        If it cannot be read or there is no room. In either case no file was changed.
    """
    try:
        with zipfile.ZipFile(path) as archive, ExitStack() as stack:
            manifest = read_manifest(archive, path.stat().st_size)
            entries = manifest["files"]
            targets = {name: _target(name, folders) for name in entries}
            used = {name.split("/")[0] for name in entries}
            aside = {part: stack.enter_context(_aside(folders[part])) for part in sorted(used)}
            _require_room(entries, aside)
            moves = []
            for number, (name, entry) in enumerate(entries.items()):
                moves.append((aside[name.split("/")[0]] / str(number), targets[name]))
                _extract(archive, name, entry, moves[-1][0])
            _put_in_place(moves)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ValueError(f"{path} is no bundle or is damaged ({error}); copy it again") from error
    return manifest


def read_manifest(archive: zipfile.ZipFile, size: int) -> dict[str, Any]:
    """Read the manifest and hold every member of the zip against it.

    Parameters
    ----------
    archive : the zip, open.
    size : bytes of the zip's file, which what it holds cannot exceed.

    Raises
    ------
    ValueError
        As `install`.
    """
    members = {info.filename: info for info in archive.infolist()}
    if len(members) != len(archive.infolist()) or MANIFEST not in members:
        raise ValueError(f"needed one {MANIFEST} and each name once; this is no bundle of ours")
    if sum(info.file_size for info in members.values()) > size:
        raise ValueError(f"the bundle would unpack to more than its own {size:,} bytes; refused")
    for info in members.values():
        _check_member(info)
    manifest = _parse(archive, members.pop(MANIFEST))
    stated = {name: entry["size"] for name, entry in manifest["files"].items()}
    if {name: info.file_size for name, info in members.items()} != stated:
        raise ValueError("what the bundle holds is not what its manifest says; copy it again")
    _check_names(list(stated))
    return manifest


def _check_member(info: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or info.is_dir():
        raise ValueError(f"{info.filename!r} is a link or no file; a bundle holds only files")
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise ValueError(
            f"{info.filename!r} is compressed or encrypted; a bundle holds files as they are"
        )


def _parse(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> dict[str, Any]:
    if info.file_size > LARGEST_MANIFEST:
        raise ValueError(f"the manifest has {info.file_size:,} bytes; this is no bundle of ours")
    try:
        manifest = json.loads(archive.read(info))
        for entry in manifest["files"].values():
            if not (type(entry["size"]) is int and len(entry["sha256"]) == 64):
                raise ValueError("needed a size and a SHA-256 for each file")
        if manifest["format"] != FORMAT or not isinstance(manifest["contents"], list):
            raise ValueError(f"needed the format {FORMAT!r}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"the bundle's manifest cannot be read: {error}") from error
    return manifest


def _check_names(names: list[str]) -> None:
    for name in names:
        check_name(name)
    # Also where a file system does not tell capitals from small letters.
    files = {name.casefold() for name in names}
    above = {str(parent) for name in files for parent in Path(name).parents}
    if len(files) != len(names) or {str(Path(name)) for name in files} & above:
        raise ValueError("two files of the bundle would be written to one place; refused")


def _target(name: str, folders: Mapping[str, Path]) -> Path:
    part, inside = name.split("/", maxsplit=1)
    root = folders[part].resolve()
    target = root / inside
    if not target.parent.resolve().is_relative_to(root) or target.is_dir():
        raise ValueError(
            f"{name!r} would be written outside of {root} or over a folder; "
            "remove the link or folder that is there"
        )
    return target


@contextmanager
def _aside(root: Path) -> Iterator[Path]:
    """Make a folder on the same disk as the target, so that files are moved and not copied."""
    folder = root.resolve() / f".unfinished-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require_room(entries: Mapping[str, Any], aside: Mapping[str, Path]) -> None:
    for part, folder in aside.items():
        needed = sum(e["size"] for name, e in entries.items() if name.startswith(f"{part}/"))
        if (free := shutil.disk_usage(folder).free) < needed:
            raise OSError(f"needed {needed:,} bytes in {folder.parent}, {free:,} are free")


def _extract(archive: zipfile.ZipFile, name: str, entry: Mapping[str, Any], to: Path) -> None:
    digest, left = hashlib.sha256(), entry["size"]
    with archive.open(name) as source, to.open("xb") as target:
        while chunk := source.read(min(CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            target.write(chunk)
            digest.update(chunk)
    if left or digest.hexdigest() != entry["sha256"]:
        raise ValueError(f"{name!r} is damaged: its size or SHA-256 is not the manifest's")


def _put_in_place(moves: list[tuple[Path, Path]]) -> None:
    """Move files to their targets; where one cannot be moved, everything is as it was before."""
    done: list[tuple[Path, Path | None]] = []
    try:
        for new, target in moves:
            target.parent.mkdir(parents=True, exist_ok=True)
            before = new.with_name(f"{new.name}.before") if os.path.lexists(target) else None
            if before:
                os.replace(target, before)
            done.append((target, before))
            os.replace(new, target)
    except BaseException:
        for target, before in reversed(done):
            target.unlink(missing_ok=True)
            if before:
                os.replace(before, target)
        raise
