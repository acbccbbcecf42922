"""Tell whether what is read from disk is what was written: seals, and the shapes of arrays.

A *seal* is the SHA-256 of everything that a file holds, kept as the first field of its JSON. Files
that version 0.1.0 wrote have none; of them the zip's own checksums and the shapes have to agree.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

_SEALED = re.compile(rb'\{"sha256": "([0-9a-f]{64})", ')


@contextmanager
def explaining(path: Path, problem: str) -> Iterator[None]:
    """Say which file is damaged, whatever its damage makes zipfile, numpy or json raise.

    Parameters
    ----------
    path : the file.
    problem : what is wrong with it and what to do, with ``{}`` in the place of the error.

    Raises
    ------
    ValueError
        For any error inside.
    """
    try:
        yield
    except Exception as error:
        why = f"{type(error).__name__}: {error}"[:300]
        raise ValueError(f"{path} {problem.format(why)}") from error


def seal(text: bytes, arrays: Mapping[str, np.ndarray] | None = None) -> bytes:
    """Put the seal of a JSON object, and of the arrays beside it, in front of its fields."""
    return b'{"sha256": "%s", ' % _digest(text, arrays or {}) + text.removeprefix(b"{")


def unsealed(text: bytes, arrays: Mapping[str, np.ndarray] | None = None) -> dict[str, Any]:
    """Read a JSON object and hold it against its seal, if it has one.

    Raises
    ------
    ValueError
        If it is not what was sealed, or no JSON object.
    """
    if sealed := _SEALED.match(text):
        text = b"{" + text[sealed.end() :]
        if _digest(text, arrays or {}) != sealed[1]:
            raise ValueError("its SHA-256 is not the one that it states")
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError(f"needed a JSON object, got {type(fields).__name__}")
    return fields


def _digest(text: bytes, arrays: Mapping[str, np.ndarray]) -> bytes:
    digest = hashlib.sha256(text)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest().encode()


def require_fields(fields: Mapping[str, Any], names: set[str]) -> None:
    """Refuse a JSON object that has other fields than these."""
    if odd := fields.keys() ^ names:
        raise ValueError(f"it lacks, or should not have, the fields {sorted(odd)}")


def require_arrays(fields: Mapping[str, Any]) -> None:
    """Refuse a result whose arrays do not fit its pairs and axes.

    Raises
    ------
    ValueError
        With the array, the shape that it needs and what was read.
    """
    n_pairs, scores = len(fields["pairs"]), fields["scores"]
    by_row = fields.get("row_pair") is not None
    n_last = len(fields["row_pair"]) if by_row else n_pairs
    needed = {"scores": ("f", (*scores.shape[:-1], n_last))}
    needed |= {name: ("f", (n_pairs,)) for name in ("recipient", "donor")}
    needed |= {name: ("iu", (n_last,)) for name in ("row_pair", "row_pos", "row_role") if by_row}
    needed |= {"exact": ("b", scores.shape[:-1])} if fields.get("exact") is not None else {}
    arrays = {name: array for name, array in fields.items() if isinstance(array, np.ndarray)}
    require_fields(arrays, set(needed))
    for name, (kinds, shape) in needed.items():
        array = arrays[name]
        if array.dtype.kind not in kinds or array.shape != shape:
            raise ValueError(f"{name} needs shape {shape}, got {array.dtype} of {array.shape}")
    if scores.ndim != len(fields["axes"]):
        raise ValueError(f"scores need the axes {fields['axes']}, got shape {scores.shape}")
    if by_row and not np.isin(arrays["row_pair"], np.arange(n_pairs)).all():
        raise ValueError(f"row_pair needs indices of {n_pairs} pairs")


def require_shards(shards: Any, made_of: Any) -> tuple[tuple[int, ...], ...]:
    """Read which pairs stand in which shard.

    Raises
    ------
    ValueError
        If a pair stands in two shards, or is not one of the run's.
    """
    if not isinstance(made_of, dict):
        raise ValueError(f"needed what the run is made of, got {type(made_of).__name__}")
    read = tuple(tuple(shard) for shard in shards)
    every = [index for shard in read for index in shard]
    known = range(made_of["number of pairs"])
    if not all(read) or len(set(every)) < len(every) or {type(i) for i in every} - {int}:
        raise ValueError("needed each pair in one shard")
    if not all(index in known for index in every):
        raise ValueError(f"needed shards of {len(known)} pairs")
    return read
