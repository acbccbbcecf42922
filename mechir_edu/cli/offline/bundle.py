"""Carry files of the caches to a machine without a network, all of them or none.

A bundle is a zip whose members are stored as they are (weights do not shrink), with a manifest of
sizes and SHA-256. It may come from anyone's USB stick, so `install` does not trust it: names cannot
lead out of the caches; links, compressed and encrypted members are refused; sizes and checksums
must be the manifest's; and everything is extracted aside before the first file is put in its place
(`mechir_edu.cli.offline.switch`, which also keeps a program that is killed from leaving a mixture).
Python's `tarfile` has a filter for such archives, but it knows nothing of Windows' names, of names
that differ in capitals alone, or of a manifest, so a tar would need the same code.

An intact file can still be harmful: document stores of ir_datasets are Python pickles. Take a
bundle only from people whose programs you would run.
"""

import json
import re
import shutil
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mechir_edu.cli.offline.switch import beside, switch
from mechir_edu.files import sha256, whole_file

MANIFEST = "manifest.json"
FORMAT = "mechir-edu bundle 1"
LARGEST_MANIFEST = 50_000_000  # bytes; a bundle of 100,000 files has one of 20 MB
FOLDERS = ("hub", "ir_datasets", "statistics")
# Without separators and drive letters of any system, and without what Windows cannot write: names
# of devices, and a space or a full stop at the end.
_FORBIDDEN = r'/\\:*?"<>|\x00-\x1f\x7f'
_DEVICE = r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|/|$)"
_PART = rf"(?!{_DEVICE})[^{_FORBIDDEN}]*[^{_FORBIDDEN} .]"
_NAME = re.compile(rf"(?:{'|'.join(FOLDERS)})(?:/{_PART})+", re.IGNORECASE)


def check_name(name: str) -> None:
    """Refuse a member's name that could lead out of the folder it is meant for.

    Raises
    ------
    ValueError
        Unless the name is ``hub/...``, ``ir_datasets/...`` or ``statistics/...`` with plain parts.

    Examples
    --------
    >>> check_name("hub/models--a--b/refs/main")
    """
    if not _NAME.fullmatch(name) or name.split("/")[0] not in FOLDERS:
        raise ValueError(
            f"needed a file in {', '.join(FOLDERS)}, got {name!r}: it could be written outside of "
            "the caches, so nothing was written. Make a new bundle: mechir-edu prefetch --bundle"
        )


def write_bundle(path: Path, files: Mapping[str, Path], contents: list[str]) -> dict[str, Any]:
    """Write a bundle, whole or not at all, and give its manifest.

    Parameters
    ----------
    path : the zip file to write.
    files : name in the bundle -> file.
    contents : names of models and collections in it, for people.

    Raises
    ------
    ValueError
        If there is nothing to put into it, or `install` would refuse a name.
    """
    if not files:
        raise ValueError(
            "there is nothing to bundle: what is embedded comes with the package. Name hub ids "
            "with --models or ir_datasets ids with --collections"
        )
    for name in files:
        check_name(name)
    entries = {}
    with whole_file(path) as unfinished, zipfile.ZipFile(unfinished, "x") as archive:
        for name, file in sorted(files.items()):
            # zipfile dates it 1980, so the same files make the same bundle.
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            with file.open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target)
            entries[name] = {"size": info.file_size, "sha256": sha256(file)}
        manifest = {"format": FORMAT, "contents": contents, "files": entries}
        archive.writestr(zipfile.ZipInfo(MANIFEST), json.dumps(manifest, indent=1))
    return manifest


def install(path: Path, folders: Mapping[str, Path]) -> dict[str, Any]:
    """Install a bundle and give its manifest.

    Parameters
    ----------
    path : a file that `write_bundle` made.
    folders : where the parts "hub", "ir_datasets" and "statistics" belong.

    Raises
    ------
    ValueError
        If the file is no bundle, is damaged, or holds what a bundle must not.
    OSError
        If it cannot be read or there is no room. In either case no file was changed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = read_manifest(archive, path.stat().st_size)
            targets = {name: _target(name, folders) for name in manifest["files"]}
            # On the disk of each part's folder, so that files are moved and not copied.
            place_of = {
                part: folders[part].resolve() for part in {n.split("/")[0] for n in targets}
            }
            for part, place in place_of.items():
                place.mkdir(parents=True, exist_ok=True)
                _require_room(place, part, manifest["files"])
            with beside(place_of.values()) as aside:
                moves = []
                for number, (name, entry) in enumerate(manifest["files"].items()):
                    new = aside[place_of[name.split("/")[0]]] / str(number)
                    _extract(archive, name, entry, new)
                    moves.append((new, targets[name]))
                switch(moves, aside)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ValueError(f"{path} is no bundle or is damaged ({error}); copy it again") from error
    return manifest


def read_manifest(archive: zipfile.ZipFile, size: int) -> dict[str, Any]:
    """Read the manifest and hold every member of the zip against it.

    Parameters
    ----------
    archive : the zip, open.
    size : bytes of the zip's file; its members cannot be larger together.

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
    for name, info in members.items():
        if info.is_dir() or stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise ValueError(f"{name!r} is a link or no file; a bundle holds only files")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise ValueError(f"{name!r} is compressed or encrypted; a bundle stores files plainly")
    manifest = _parse(archive, members.pop(MANIFEST))
    stated = {name: entry["size"] for name, entry in manifest["files"].items()}
    if {name: info.file_size for name, info in members.items()} != stated:
        raise ValueError("what the bundle holds is not what its manifest says; copy it again")
    for name in stated:
        check_name(name)
    # Also on file systems that do not tell capitals from small letters.
    files = {name.casefold() for name in stated}
    above = {parent.as_posix() for name in files for parent in PurePosixPath(name).parents}
    if len(files) != len(stated) or files & above:
        raise ValueError("two files of the bundle would be written to one place; refused")
    return manifest


def _parse(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> dict[str, Any]:
    try:
        if info.file_size > LARGEST_MANIFEST:
            raise ValueError(f"it has {info.file_size:,} bytes")
        manifest = json.loads(archive.read(info))
        if manifest["format"] != FORMAT or not isinstance(manifest["contents"], list):
            raise ValueError(f"needed the format {FORMAT!r}")
        if not all({"size", "sha256"} <= entry.keys() for entry in manifest["files"].values()):
            raise ValueError("needed a size and a SHA-256 for each file")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"the bundle's manifest cannot be read: {error}") from error
    return manifest


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


def _require_room(root: Path, part: str, files: Mapping[str, Mapping[str, Any]]) -> None:
    needed = sum(entry["size"] for name, entry in files.items() if name.startswith(f"{part}/"))
    if (free := shutil.disk_usage(root).free) < needed:
        raise OSError(f"needed {needed:,} bytes in {root}, {free:,} are free")


def _extract(archive: zipfile.ZipFile, name: str, entry: Mapping[str, Any], to: Path) -> None:
    with archive.open(name) as source, to.open("xb") as target:
        shutil.copyfileobj(source, target)
    if to.stat().st_size != entry["size"] or sha256(to) != entry["sha256"]:
        raise ValueError(f"{name!r} is damaged: its size or SHA-256 is not the manifest's")
