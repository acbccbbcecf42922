"""Write what lies in the caches into one file for a USB stick, and say what such a file may hold.

A bundle is a zip whose members are stored as they are (weights do not shrink), with a manifest
of sizes and checksums. `mechir_edu.cli.offline.unbundle` takes it apart.
"""

import hashlib
import json
import os
import re
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
FORMAT = "mechir-edu bundle 1"
FOLDERS = ("hub", "ir_datasets", "statistics")
CHUNK = 1 << 20  # bytes
# Separators and drive letters of any system, and what Windows cannot write or takes for a device.
_FORBIDDEN = re.compile(r'[\\:*?"<>|\x00-\x1f\x7f]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


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
    first, *parts = name.split("/")
    if first not in FOLDERS or not parts or not all(map(_is_plain, parts)):
        raise ValueError(
            f"needed a file in {', '.join(FOLDERS)}, got {name!r}; it could be written outside of "
            "the caches, so nothing was. Make the bundle anew: mechir-edu prefetch --bundle"
        )


def _is_plain(part: str) -> bool:
    return (
        part not in ("", ".", "..")
        and part[-1] not in " ."
        and not _FORBIDDEN.search(part)
        and not _DEVICE.fullmatch(part)
    )


def write_bundle(path: Path, files: Mapping[str, Path], contents: list[str]) -> dict[str, Any]:
    """Write a bundle, whole or not at all, and give its manifest.

    Parameters
    ----------
    path : the zip file to write.
    files : name in the bundle -> file.
    contents : what it holds, for people: names of models and collections.

    Raises
    ------
    ValueError
        If there is nothing to put into it, or a name would be refused when it is installed.
    """
    if not files:
        raise ValueError(
            "there is nothing to bundle: what is embedded comes with the package. Name hub ids "
            "with --models or ir_datasets ids with --collections"
        )
    for name in files:
        check_name(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with zipfile.ZipFile(unfinished, "x", zipfile.ZIP_STORED) as archive:
            entries = {name: _add(archive, name, file) for name, file in sorted(files.items())}
            manifest = {"format": FORMAT, "contents": contents, "files": entries}
            archive.writestr(zipfile.ZipInfo(MANIFEST), json.dumps(manifest, indent=1))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return manifest


def _add(archive: zipfile.ZipFile, name: str, file: Path) -> dict[str, Any]:
    """Copy a file in and measure what was copied, even if the file grows meanwhile."""
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as source, archive.open(_info(name), "w", force_zip64=True) as target:
        while chunk := source.read(CHUNK):
            target.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return {"size": size, "sha256": digest.hexdigest()}


def _info(name: str) -> zipfile.ZipInfo:
    # With a fixed date, so that the same files make the same bundle; ordinary, not a link.
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o100644 << 16
    return info
