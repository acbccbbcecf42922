"""One ranker's complete blocks, joined in memory.

A block counts when all conditions of `MAIN` have it, so that every comparison is about the same
documents and grades stay even, whenever the study was stopped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from mechir_edu.patching.result import PatchingResult
from mechir_edu.patching.storage import join
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.kinds import KINDS
from study.folder import Folder, open_folder
from study.plan import CHECKS, CONTROL_OF, MAIN, Condition


@dataclass(frozen=True, eq=False)
class Part:
    """What is complete of one ranker's part.

    Attributes
    ----------
    folder : where it comes from, and what is planned.
    main : for each condition of `MAIN` its result; all of the same pairs in the same order.
    checks : the conditions of `CHECKS` that are there.
    untouched : score of each document without any filler, [pair].
    """

    folder: Folder
    main: Mapping[Condition, PatchingResult]
    checks: Mapping[Condition, PatchingResult]
    untouched: Float[np.ndarray, " pair"]

    @property
    def kind(self) -> str:
        """Kind of the ranker, such as "dot"."""
        return self.folder.made_of["kind"]

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
        queries = self.folder.made_of["queries"]
        return {name: np.isin(self.query_ids, ids) for name, ids in queries.items()}

    def change(self, condition: Condition) -> Float[np.ndarray, " pair"]:
        """Score with the added word minus that of the document as it was."""
        result = self.main[condition]
        perturbed = result.recipient + result.score_change()  # the baseline receives
        return np.asarray(perturbed, dtype=np.float64) - self.untouched

    def over_control(self, axiom: str, place: str) -> Float[np.ndarray, " pair"]:
        """Score change of an axiom's edit minus that of its control."""
        control = Condition(CONTROL_OF[axiom], place)
        return self.change(Condition(axiom, place)) - self.change(control)

    def change_with_filler(self, condition: Condition) -> Float[np.ndarray, " pair"]:
        """Score with the added word minus that with the filler in its place."""
        return np.asarray(self.main[condition].score_change(), dtype=np.float64)

    def effect(self, condition: Condition) -> Float[np.ndarray, "layer head pair"]:
        """Score after each head's patch minus the recipient's."""
        return np.asarray(self.main[condition].effect(), dtype=np.float64)


def read_parts(folder: Path) -> list[Part]:
    """Read the part of every ranker that has a complete block.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    folders = [opened for kind in KINDS if (opened := open_folder(folder / kind)) is not None]
    parts = [part for opened in folders if (part := read_part(opened)) is not None]
    if not parts:
        raise FileNotFoundError(
            f"needed a study with at least one complete block, got {folder}; run the study without "
            "--report-only first, until a round is done"
        )
    return parts


def read_part(folder: Folder) -> Part | None:
    """Read a ranker's part; None where no block is complete."""
    blocks = [fields for block in range(len(folder.blocks)) if (fields := _read(folder, block))]
    if not blocks:
        return None
    main = {
        condition: PatchingResult(**_join([fields[condition] for fields, _ in blocks]))
        for condition in MAIN
    }
    checks = {
        condition: PatchingResult(**fields)
        for condition in CHECKS
        if (fields := folder.read(condition, 0)) is not None
    }
    untouched = np.concatenate([scores for _, scores in blocks])
    return Part(folder, main, checks, untouched)


def _read(folder: Folder, block: int) -> tuple[dict, np.ndarray] | None:
    """Fields of each condition, and scores of the untouched documents; None if any is missing."""
    scores = folder.untouched(block)
    fields = {}
    for condition in MAIN:
        fields[condition] = folder.read(condition, block)
        if scores is None or fields[condition] is None:
            return None
    return fields, scores


def _join(blocks: list[dict]) -> dict:
    return join(blocks, np.arange(sum(len(fields["pairs"]) for fields in blocks)))
