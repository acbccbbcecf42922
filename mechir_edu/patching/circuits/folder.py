"""Keep the parts of a circuit's run in a folder, so that a run that was stopped resumes.

::

    run/
      manifest.json       what the run is made of
      tried.jsonl         sets that a search ("greedy", "pruning", ...) has measured, a line a step
      order.json          the order of the heads, once it is known
      measured/00003.npz  effects of all sets on the pairs of batch 3
      circuit.npz         the result, once all batches are done

Each file is written whole, or added to line by line. Each file or line carries a checksum, and is
read only if it is of this run; what is missing, cut off or damaged is computed again.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mechir_edu.patching.circuits.result import WHOLE, CircuitResult
from mechir_edu.patching.circuits.sets import BothEffects
from mechir_edu.patching.intact import explaining, seal, unsealed
from mechir_edu.patching.long_runs.folder import add, hold, need_same, store
from mechir_edu.patching.storage import MANIFEST, UNREADABLE, fingerprint_of
from mechir_edu.rankers.hook_names import Head

FORMAT, FORMAT_VERSION = "mechir-edu circuit run", 1
TRIED = "tried.jsonl"


@dataclass(frozen=True)
class Kept:
    """Where a run's parts are kept as they come; by default nowhere.

    Attributes
    ----------
    tried : values of the sets that a search has measured.
    keep_tried : keeps further ones.
    order : the order that was found; None where there is none yet.
    keep_order : keeps it.
    effects : of the pairs of a batch, by its number, [set, pair] for each protocol; None where
        there are none yet.
    keep_effects : keeps them.
    keep_result : keeps the whole, once it is done.
    """

    tried: Callable[[], dict[str, float]] = dict
    keep_tried: Callable[[dict[str, float]], object] = lambda values: None
    order: Callable[[], tuple[Head, ...] | None] = lambda: None
    keep_order: Callable[[tuple[Head, ...]], object] = lambda order: None
    effects: Callable[[int], BothEffects | None] = lambda batch: None
    keep_effects: Callable[[int, BothEffects], object] = lambda batch, effects: None
    keep_result: Callable[[CircuitResult], object] = lambda result: None


@contextmanager
def kept_in(folder: Path, made_of: Mapping[str, Any]) -> Iterator[Kept]:
    """Hold a folder for one run, new or resumed, and keep its parts there.

    Parameters
    ----------
    folder : new, empty, or that of the same run.
    made_of : what the run depends on; only what JSON can hold.

    Raises
    ------
    ValueError
        When the folder holds a run that was made of something else.
    OSError
        If the folder is in use, holds other files, or cannot be written.
    """
    made_of = json.loads(json.dumps(made_of))
    with hold(folder):
        path = folder / MANIFEST
        if path.exists():
            need_same(_read_manifest(path), made_of, folder)
        else:
            form = {"format": FORMAT, "version": FORMAT_VERSION, "made_of": made_of}
            store(path, seal(json.dumps(form).encode()))
        yield _kept(folder, fingerprint_of(made_of))


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

    def tried() -> dict[str, float]:
        values: dict[str, float] = {}
        try:
            lines = (folder / TRIED).read_bytes().splitlines()
        except UNREADABLE:
            return values
        for line in lines:
            with suppress(UNREADABLE):
                stored = unsealed(line)
                values |= stored["value"] if stored["run"] == run else {}
        return values

    def keep_tried(values: dict[str, float]) -> None:
        line = seal(json.dumps({"run": run, "value": values}).encode())
        add(folder / TRIED, b"\n" + line)  # behind what a kill may have left of the last line

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
        tried=tried,
        keep_tried=keep_tried,
        order=order,
        keep_order=lambda heads: keep("order.json", heads),
        effects=effects,
        keep_effects=keep_effects,
        keep_result=lambda result: store(folder / WHOLE, result.to_bytes()),
    )
