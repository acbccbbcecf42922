"""What the study keeps on disk, for one ranker.

::

    DIR/dot/
      manifest.json          what the results are made of, how many pairs are planned
      untouched/00003.npz    scores of the documents of block 3 without any filler
      TFC1-end/00003.npz     a condition's block 3, a `PatchingResult`
      checks/TFC1-end-pad.npz    the first pairs with another filler or in the other direction
      circuits/              each axiom's circuit (`study.circuits`)

Pairs are cut into blocks in the order in which they were drawn. Every file is written whole and
carries the digest of the manifest, so that a file of another study is never taken for one of this.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from mechir_edu.collection.judged import Skipped
from mechir_edu.patching.circuits.result import CircuitResult
from mechir_edu.patching.long_runs.folder import store
from mechir_edu.patching.result import PatchingResult
from mechir_edu.patching.storage import MANIFEST, UNREADABLE, Fields, fingerprint_of, read_file
from study.plan import CHECKS, Condition


@dataclass(frozen=True)
class Folder:
    """One ranker's files.

    Attributes
    ----------
    path : the folder.
    made_of : everything that the results depend on, by the name that a user knows it by.
    n_planned : pairs of all blocks.
    skipped : judged pairs that do not suit all conditions.
    """

    path: Path
    made_of: Mapping[str, Any]
    n_planned: int
    skipped: tuple[Skipped, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `made_of`."""
        return fingerprint_of(self.made_of)

    @property
    def blocks(self) -> list[range]:
        """Indices of the pairs of each block."""
        size = self.made_of["block"]
        starts = range(0, self.n_planned, size)
        return [range(at, min(at + size, self.n_planned)) for at in starts]

    def create(self) -> None:
        """Write the manifest."""
        fields = {name: value for name, value in asdict(self).items() if name != "path"}
        store(self.path / MANIFEST, json.dumps(fields).encode())

    def keep(self, condition: Condition, block: int, result: PatchingResult) -> None:
        """Keep what was patched of a block; raises OSError where it cannot be written."""
        marked = replace(result, provenance=result.provenance | {"study": self.digest})
        store(self._file(condition, block), marked.to_bytes())

    def read(self, condition: Condition, block: int) -> Fields | None:
        """Fields of the result of a block; None where it is missing, damaged, or another's."""
        try:
            fields = read_file(self._file(condition, block))
        except (ValueError, OSError):
            return None
        return fields if fields["provenance"].get("study") == self.digest else None

    def keep_untouched(self, block: int, scores: Float[np.ndarray, " pair"]) -> None:
        """Keep the scores of a block's documents as they were."""
        file = io.BytesIO()
        np.savez(file, scores=scores, study=np.array(self.digest))
        store(self._untouched(block), file.getvalue())

    def untouched(self, block: int) -> Float[np.ndarray, " pair"] | None:
        """Scores of a block's documents as they were; None where there are none."""
        try:
            with np.load(self._untouched(block), allow_pickle=False) as stored:
                return stored["scores"] if str(stored["study"]) == self.digest else None
        except UNREADABLE:
            return None

    def keep_circuit(self, axiom: str, by: str, result: CircuitResult) -> None:
        """Keep a circuit, without texts."""
        marked = replace(result, provenance=result.provenance | {"study": self.digest})
        store(self._circuit(axiom, by), marked.to_bytes())

    def circuit(self, axiom: str, by: str) -> CircuitResult | None:
        """The circuit of an axiom; None where it is missing, damaged, or another study's."""
        try:
            result = CircuitResult.load(self._circuit(axiom, by))
        except (ValueError, OSError):
            return None
        return result if result.provenance.get("study") == self.digest else None

    def keep_ranking(self, axiom: str, n_heads: int, columns: Mapping[str, list]) -> None:
        """Keep what a ranking by a circuit gave for each query."""
        content = {"study": self.digest, "columns": dict(columns)}
        store(self._ranking(axiom, n_heads), json.dumps(content).encode())

    def ranking(self, axiom: str, n_heads: int) -> pd.DataFrame | None:
        """What a ranking by a circuit gave for each query; None where there is none."""
        try:
            content = json.loads(self._ranking(axiom, n_heads).read_bytes())
            return pd.DataFrame(content["columns"]) if content["study"] == self.digest else None
        except UNREADABLE:
            return None

    def _circuit(self, axiom: str, by: str) -> Path:
        return self.path / "circuits" / f"{axiom}-{by}.npz"

    def _ranking(self, axiom: str, n_heads: int) -> Path:
        return self.path / "circuits" / f"ranking-{axiom}-{n_heads}.json"

    def _untouched(self, block: int) -> Path:
        return self.path / "untouched" / f"{block:05}.npz"

    def _file(self, condition: Condition, block: int) -> Path:
        if condition in CHECKS:
            return self.path / "checks" / f"{condition.name}.npz"
        return self.path / condition.name / f"{block:05}.npz"


def open_folder(path: Path) -> Folder | None:
    """Read the manifest of a folder; None where there is none.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    try:
        fields = json.loads((path / MANIFEST).read_bytes())
        skipped = tuple(Skipped(**skip) for skip in fields.pop("skipped"))
        return Folder(path, skipped=skipped, **fields)
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        raise ValueError(
            f"{path / MANIFEST} is damaged or not the study's ({error}); delete the folder, or "
            "take another (--out)"
        ) from error
