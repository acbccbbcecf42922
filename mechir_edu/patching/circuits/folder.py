"""Measure a circuit into a folder, so that a run that was stopped resumes.

::

    run/
      manifest.json       what the run is made of
      tried.json          sets that a search ("greedy", "backward") has measured so far
      order.json          the order of the heads, once it is known
      measured/00003.npz  effects of all sets on the pairs of batch 3
      circuit.npz         the result, once all batches are done

Each file is written whole, carries a checksum, and is read only if it is of this run; what is
missing or damaged is computed again.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mechir_edu.patching.circuits.circuit import Kept, circuit_with
from mechir_edu.patching.circuits.measure import BothEffects
from mechir_edu.patching.circuits.options import CircuitOptions
from mechir_edu.patching.circuits.result import WHOLE, CircuitResult
from mechir_edu.patching.intact import explaining, seal, unsealed
from mechir_edu.patching.long_runs.folder import hold, need_same, store
from mechir_edu.patching.options import PatchOptions
from mechir_edu.patching.scoring import provenance_of
from mechir_edu.patching.storage import MANIFEST, UNREADABLE
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker

FORMAT, FORMAT_VERSION = "mechir-edu circuit run", 1


def circuit_into_folder(
    ranker: Ranker,
    pairs: Sequence[Pair],
    folder: str | Path,
    options: CircuitOptions | None = None,
    *,
    asked: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> CircuitResult:
    """Measure a circuit into a folder that `CircuitResult.load` reads; the same call resumes it.

    Parameters
    ----------
    ranker, pairs : as for `mechir_edu.circuit`.
    folder : new, empty, or that of the same run.
    options : what is asked; heads by exact effects when omitted.
    asked : what else the pairs depend on (collection, seed, ...); only what JSON can hold.
    progress : show a bar.

    Raises
    ------
    ValueError
        As `mechir_edu.circuit`; when the folder holds a run that was made of something else.
    OSError
        If the folder is in use, holds other files, or cannot be written.
    """
    folder, options = Path(folder), options or CircuitOptions()
    options.shares_and_numbers(ranker.n_layers, ranker.n_heads)
    made_of = dict(asked or {}) | asdict(options) | dict(ranker.settings)
    made_of |= provenance_of(ranker, PatchOptions().sweep(ranker)) | _describe(pairs)
    made_of = json.loads(json.dumps(made_of))
    with hold(folder):
        path = folder / MANIFEST
        if path.exists():
            need_same(_read_manifest(path), made_of, folder)
        else:
            form = {"format": FORMAT, "version": FORMAT_VERSION, "made_of": made_of}
            store(path, seal(json.dumps(form).encode()))
        run = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
        result = circuit_with(options, ranker, pairs, progress=progress, kept=_kept(folder, run))
        store(folder / WHOLE, result.to_bytes())
    return result


def _describe(pairs: Sequence[Pair]) -> dict[str, Any]:
    text = json.dumps([asdict(pair) for pair in pairs])
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"number of pairs": len(pairs), "digest of the pairs": digest[:16]}


def _read_manifest(path: Path) -> dict[str, Any]:
    problem = "is not a circuit's ({}); take another folder, or delete this one"
    with explaining(path, problem):
        stored = unsealed(path.read_bytes())
        if (stored["format"], stored["version"]) != (FORMAT, FORMAT_VERSION):
            raise ValueError(f"it holds {stored['format']!r} in version {stored['version']}")
        return stored["made_of"]


def _kept(folder: Path, run: str) -> Kept:
    def read(name: str) -> Any:
        try:
            stored = unsealed((folder / name).read_bytes())
        except UNREADABLE:
            return None
        return stored["value"] if stored.get("run") == run else None

    def keep(name: str, value: Any) -> None:
        store(folder / name, seal(json.dumps({"run": run, "value": value}).encode()))

    def order() -> tuple[tuple[int, int], ...] | None:
        heads = read("order.json")
        return heads and tuple((layer, head) for layer, head in heads)

    def file_of(batch: int) -> Path:
        return folder / "measured" / f"{batch:05}.npz"

    def effects(batch: int) -> BothEffects | None:
        try:
            with np.load(file_of(batch), allow_pickle=False) as stored:
                both = stored["effects"]
                unsealed(stored["meta"].tobytes(), {"effects": both})
                of_run = json.loads(stored["meta"].tobytes())["run"]
        except UNREADABLE:
            return None
        return (both[0], both[1]) if of_run == run else None

    def keep_effects(batch: int, of_batch: BothEffects) -> None:
        file, both = io.BytesIO(), np.stack(of_batch)
        meta = seal(json.dumps({"run": run}).encode(), {"effects": both})
        np.savez_compressed(file, effects=both, meta=np.frombuffer(meta, dtype=np.uint8))
        store(file_of(batch), file.getvalue())

    return Kept(
        tried=lambda: read("tried.json") or {},
        keep_tried=lambda values: keep("tried.json", values),
        order=order,
        keep_order=lambda heads: keep("order.json", heads),
        effects=effects,
        keep_effects=keep_effects,
    )
