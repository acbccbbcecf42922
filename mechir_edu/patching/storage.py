"""Results of patching on disk: one file, or the folder of a long run.

A result is one ``.npz`` of arrays, with everything else as JSON in the array ``meta``. A long run
(`mechir_edu.patching.long_runs`) is a folder of such files::

    run/
      manifest.json       what the run is made of, and which pairs stand in which shard
      scores/00003.npz    scores of both versions of the pairs in shard 3, without any patch
      patched/00003.npz   the result of the pairs in shard 3
      .lock               held by the process that writes

Every shard carries the fingerprint of its run, so a file of another run is never taken for one of
this. Nothing here can run code when it is read.

Here a result is its *fields*: a dictionary with the names of `mechir_edu.PatchingResult`.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mechir_edu.collection.judged import Skipped
from mechir_edu.patching.intact import (
    explaining,
    require_arrays,
    require_fields,
    require_shards,
    seal,
    unsealed,
)
from mechir_edu.perturb.edits import Edit
from mechir_edu.perturb.pair import Pair

FORMAT, FORMAT_VERSION = "mechir-edu patching result", 1
RUN_FORMAT, RUN_FORMAT_VERSION = "mechir-edu patching run", 1
MANIFEST = "manifest.json"
UNREADABLE = Exception  # a damaged file makes zipfile, numpy and json raise anything
_ARRAYS = ("scores", "recipient", "donor")
_OPTIONAL_ARRAYS = ("row_pair", "row_pos", "row_role", "exact")
_PLAIN_FIELDS = ("direction", "site", "method", "filler", "provenance")
_META_FIELDS = {"format", "version", "axes", "pairs", "skipped", *_PLAIN_FIELDS}
_MANIFEST_FIELDS = {"format", "version", "made_of", "shards", "skipped"}

Fields = dict[str, Any]


def to_bytes(fields: Mapping[str, Any]) -> bytes:
    """Content of a result's file.

    Raises
    ------
    ValueError
        If the provenance holds something that JSON cannot give back as it was.
    """
    arrays = {name: fields[name] for name in _ARRAYS}
    arrays |= {name: fields[name] for name in _OPTIONAL_ARRAYS if fields.get(name) is not None}
    file = io.BytesIO()
    meta = seal(_encode(fields), arrays)
    np.savez_compressed(file, meta=np.frombuffer(meta, dtype=np.uint8), **arrays)
    return file.getvalue()


def read(path: Path) -> Fields:
    """Read the file of a result, or the folder of a finished run.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or no run in the folder.
    ValueError
        If a file is damaged, is something else, or comes from a newer version; if the run is not
        finished.
    """
    return _read_folder(path) if path.is_dir() else read_file(path)


def read_file(path: Path) -> Fields:
    """Read the file of one result; raises as `read`."""
    if not path.is_file():
        raise FileNotFoundError(
            f"needed a file that PatchingResult.save wrote, found none at {path}"
        )
    problem = (
        "is not a whole result of MechIR-Edu ({}); it may be damaged, cut short or from another "
        "program: copy it again, or patch again"
    )
    with explaining(path, problem):
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        meta = unsealed(arrays.pop("meta").tobytes(), arrays)
        form, version = meta["format"], meta["version"]
    if (form, version) != (FORMAT, FORMAT_VERSION):
        raise ValueError(
            f"{path} holds {form!r} in version {version}, this package reads {FORMAT!r} in "
            f"version {FORMAT_VERSION}; update mechir-edu"
        )
    with explaining(path, problem):
        require_fields(meta, _META_FIELDS)
        fields = arrays | _decode(meta)
        require_arrays(fields)
    return fields


def _encode(fields: Mapping[str, Any]) -> bytes:
    """Everything but the arrays, as JSON."""
    meta = {"format": FORMAT, "version": FORMAT_VERSION, "axes": fields["axes"]}
    meta |= {name: fields[name] for name in _PLAIN_FIELDS}
    meta["pairs"] = [asdict(pair) for pair in fields["pairs"]]
    meta["skipped"] = [asdict(skipped) for skipped in fields["skipped"]]
    parts = []
    for name, value in meta.items():
        try:
            parts.append(f"{json.dumps(name)}: {json.dumps(value)}")
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{name} needs what JSON can hold, got {error}") from error
    text = "{" + ", ".join(parts) + "}"
    if json.loads(text)["provenance"] != fields["provenance"]:
        raise ValueError(
            "provenance needs to come back from JSON as it went in: lists for tuples, strings for "
            f"keys, no NaN; got {fields['provenance']}"
        )
    return text.encode()


def _decode(meta: Mapping[str, Any]) -> Fields:
    """Undo `_encode`: the fields of a result that are not arrays."""
    return {
        "axes": tuple(meta["axes"]),
        "pairs": tuple(decode_pair(pair) for pair in meta["pairs"]),
        "skipped": tuple(Skipped(**skipped) for skipped in meta["skipped"]),
        **{name: meta[name] for name in _PLAIN_FIELDS},
    }


def decode_pair(fields: Mapping[str, Any]) -> Pair:
    """Undo `dataclasses.asdict` of a pair that went through JSON."""
    edit = fields["edit"] and Edit(**{side: tuple(at) for side, at in fields["edit"].items()})
    return Pair(**{**fields, "edit": edit})


def fingerprint_of(made_of: Mapping[str, Any]) -> str:
    """SHA-256 of what a run is made of."""
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Manifest:
    """What a run is made of, and how its pairs are cut into shards.

    Attributes
    ----------
    made_of : everything that the scores depend on, by the name that a user knows it by.
    shards : indices of the pairs of each shard, longest pairs first.
    skipped : pairs that are in no shard.
    """

    made_of: Mapping[str, Any]
    shards: tuple[tuple[int, ...], ...]
    skipped: tuple[Skipped, ...]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of `made_of`."""
        return fingerprint_of(self.made_of)

    @property
    def n_pairs(self) -> int:
        """How many pairs all shards hold together."""
        return sum(map(len, self.shards))

    def to_bytes(self) -> bytes:
        """Content of ``manifest.json``."""
        form = {"format": RUN_FORMAT, "version": RUN_FORMAT_VERSION}
        return seal(json.dumps({**form, **asdict(self)}).encode())


def read_manifest(folder: Path) -> Manifest | None:
    """Read what a run is made of; None where no run was begun.

    Raises
    ------
    ValueError
        If the manifest is damaged or comes from a newer version.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    problem = (
        "is damaged or not a patching run's ({}), so its shards cannot be trusted; delete the "
        "folder, or take another"
    )
    with explaining(path, problem):
        stored = unsealed(path.read_bytes())
        require_fields(stored, _MANIFEST_FIELDS)
        form, version = stored["format"], stored["version"]
    if (form, version) != (RUN_FORMAT, RUN_FORMAT_VERSION):
        raise ValueError(
            f"{path} holds {form!r} in version {version}, this package reads {RUN_FORMAT!r} in "
            f"version {RUN_FORMAT_VERSION}; update mechir-edu, or take another folder"
        )
    with explaining(path, problem):
        shards = require_shards(stored["shards"], stored["made_of"])
        skipped = tuple(Skipped(**skip) for skip in stored["skipped"])
        return Manifest(stored["made_of"], shards, skipped)


def shard_file(folder: Path, stage: str, shard: int) -> Path:
    """Where a shard of a stage ("scores" or "patched") is kept."""
    return folder / stage / f"{shard:05}.npz"


def read_shard(folder: Path, manifest: Manifest, shard: int) -> Fields | None:
    """Read the result of one shard; None where it is missing, damaged, or of another run."""
    try:
        fields = read_file(shard_file(folder, "patched", shard))
    except (ValueError, OSError):
        return None
    of_this_run = {"run": manifest.fingerprint, "shard": shard}
    marks = {name: fields["provenance"].get(name) for name in of_this_run}
    is_whole = len(fields["pairs"]) == len(manifest.shards[shard])
    is_whole = is_whole and fields["scores"].dtype == np.float32
    return fields if is_whole and marks == of_this_run else None


def _read_folder(folder: Path) -> Fields:
    """Read a finished run, its pairs in the order in which they were given."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise FileNotFoundError(f"needed the folder of a run, found no {MANIFEST} in {folder}")
    n_shards = len(manifest.shards)
    read = {shard: read_shard(folder, manifest, shard) for shard in range(n_shards)}
    shards = [fields for fields in read.values() if fields is not None]
    if len(shards) < n_shards:
        lost = (shard_file(folder, "patched", k).name for k, fields in read.items() if not fields)
        raise ValueError(
            f"{folder} has {len(shards)} of {n_shards} shards so far; run the same command again "
            f"to resume (missing or damaged in {folder / 'patched'}: {', '.join(lost)})"
        )
    joined = join(shards, np.concatenate([np.array(shard) for shard in manifest.shards]))
    kept = {name: value for name, value in joined["provenance"].items() if name != "shard"}
    provenance = kept | {"made_of": dict(manifest.made_of)}
    return joined | {"skipped": manifest.skipped, "provenance": provenance}


def join(shards: Sequence[Mapping[str, Any]], index: np.ndarray) -> Fields:
    """Put results one after another, then their pairs in the order of ``index``."""
    order = np.argsort(index)
    pairs = [pair for shard in shards for pair in shard["pairs"]]
    rows: dict[str, np.ndarray] = {}
    last = order
    if shards[0].get("row_pair") is not None:
        rows, last = _join_rows(shards, order)

    def joined(name: str) -> np.ndarray:
        return np.concatenate([shard[name] for shard in shards], axis=-1)

    # Processes may have chosen different libraries, which changes results by rounding alone.
    products = sorted({p for shard in shards if (p := shard["provenance"].get("product"))})
    noted = {"product": " and ".join(products)} if products else {}
    return {
        **shards[0],
        "provenance": shards[0]["provenance"] | noted,
        "scores": joined("scores")[..., last],
        "recipient": joined("recipient")[order],
        "donor": joined("donor")[order],
        "pairs": tuple(pairs[i] for i in order),
        **rows,
    }


def _join_rows(
    shards: Sequence[Mapping[str, Any]], order: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns of the rows of all shards, and the order that sorts them by pair."""
    sizes = [len(shard["pairs"]) for shard in shards]
    starts = np.cumsum(sizes) - sizes
    place = np.argsort(order)  # of each pair, in the wanted order
    of_shards = [shard["row_pair"] + at for shard, at in zip(shards, starts, strict=True)]
    row_pair = place[np.concatenate(of_shards)]
    last = np.argsort(row_pair, kind="stable")
    others = {
        name: np.concatenate([shard[name] for shard in shards])[last]
        for name in ("row_pos", "row_role")
    }
    return {"row_pair": row_pair[last], **others}, last
