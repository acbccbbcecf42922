"""Read what is there of the study: of each ranker, the blocks that every condition has.

A block counts when all conditions of `MAIN` have it whole, so that every comparison is about the
same documents and grades stay even, whenever the study was stopped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from study.plan import CHECKS, KIND_NAMES, MAIN, Condition, block_folder, check_folder

from mechir_edu.patching.long_runs.folder import RunFolder
from mechir_edu.patching.result import PatchingResult
from mechir_edu.patching.storage import Manifest, join, read_manifest
from mechir_edu.perturb.pair import Pair


@dataclass(frozen=True, eq=False)
class Part:
    """What is complete of one ranker's part.

    Attributes
    ----------
    kind : "dot" or "cat".
    manifest : what it is made of, and all blocks that are planned.
    main : for each condition of `MAIN` its result; all of the same pairs in the same order.
    checks : the conditions of `CHECKS` that are there.
    untouched : score of each document without any filler, [pair].
    """

    kind: str
    manifest: Manifest
    main: Mapping[Condition, PatchingResult]
    checks: Mapping[Condition, PatchingResult]
    untouched: Float[np.ndarray, " pair"]

    @property
    def name(self) -> str:
        """What the report calls it; a study has one ranker of a kind."""
        return KIND_NAMES[self.kind]

    @property
    def full_name(self) -> str:
        """Which ranker it is, for where the report speaks of it first, and of how it was made."""
        return f"{self.name} `{self.manifest.made_of['ranker']}`"

    @property
    def n_pairs(self) -> int:
        """Judged pairs that are complete under all conditions."""
        return len(self.untouched)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs under the first condition, for their queries, documents and grades."""
        return self.main[MAIN[0]].pairs

    @cached_property
    def query_ids(self) -> np.ndarray:
        """The query of each pair."""
        return np.array([pair.query_id for pair in self.pairs])

    @cached_property
    def grades(self) -> np.ndarray:
        """The relevance grade of each pair."""
        return np.array([pair.relevance for pair in self.pairs])

    @property
    def collections(self) -> dict[str, Bool[np.ndarray, " pair"]]:
        """For each collection, which pairs are of its queries."""
        queries = self.manifest.made_of["queries"]
        return {name: np.isin(self.query_ids, ids) for name, ids in queries.items()}

    def change(self, condition: Condition) -> Float[np.ndarray, " pair"]:
        """Perturbed minus baseline score, with the filler in the baseline."""
        return np.asarray(self.main[condition].score_change(), dtype=np.float64)

    def raw_change(self, condition: Condition) -> Float[np.ndarray, " pair"]:
        """Perturbed score minus that of the document as it was: a word longer, not exchanged."""
        result = self.main[condition]
        perturbed = result.recipient + result.score_change()  # the baseline receives
        return np.asarray(perturbed, dtype=np.float64) - self.untouched

    def effect(self, condition: Condition) -> Float[np.ndarray, "layer head pair"]:
        """Score after each head's patch minus the recipient's."""
        return np.asarray(self.main[condition].effect(), dtype=np.float64)


def read_parts(folder: Path) -> list[Part]:
    """Read every ranker's part that has a complete block.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    parts = [part for kind in KIND_NAMES if (part := read_part(folder / kind)) is not None]
    if not parts:
        raise FileNotFoundError(
            f"needed a study with a complete block in {folder}, found none; run the study without "
            "--report-only first, until a round is done"
        )
    return parts


def read_part(folder: Path) -> Part | None:
    """Read a ranker's part; None where no block is complete."""
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    run = RunFolder(folder, manifest)
    blocks = [k for k in range(len(manifest.shards)) if _is_complete(run, k)]
    if not blocks:
        return None
    main = {one: _join([block_folder(folder, one, k) for k in blocks]) for one in MAIN}
    checks = {
        one: PatchingResult.load(check_folder(folder, one))
        for one in CHECKS
        if _is_whole(check_folder(folder, one))
    }
    untouched = np.concatenate([run.scores(k)[0] for k in blocks])
    _need_same_pairs(folder, main, len(untouched))
    return Part(folder.name, manifest, main, checks, untouched)


def _is_complete(run: RunFolder, block: int) -> bool:
    folders = (block_folder(run.path, condition, block) for condition in MAIN)
    return run.scores(block) is not None and all(map(_is_whole, folders))


def _is_whole(folder: Path) -> bool:
    manifest = read_manifest(folder)
    return manifest is not None and not RunFolder(folder, manifest).missing("patched")


def _join(folders: list[Path]) -> PatchingResult:
    results = [PatchingResult.load(folder) for folder in folders]
    return join(results, np.arange(sum(len(result.pairs) for result in results)))


def _need_same_pairs(folder: Path, main: Mapping[Condition, PatchingResult], n: int) -> None:
    ids = {tuple((p.query_id, p.doc_id) for p in result.pairs) for result in main.values()}
    if len(ids) > 1 or len(ids.pop()) != n:
        raise ValueError(
            f"{folder} holds conditions of different judged pairs, which cannot be compared; "
            "delete it and run the study again"
        )
