"""One ranker's scores, joined in memory: what every table and figure is made from.

A block counts when all conditions of `MAIN` have it, so that every comparison is about the same
documents and grades stay even, whenever the study was stopped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from mechir_edu.collection.judged import Skipped
from mechir_edu.patching.circuits.result import CircuitResult
from mechir_edu.patching.storage import Fields
from mechir_edu.rankers.kinds import KINDS
from study.folder import Folder, open_folder
from study.plan import BY, CHECKS, CONTROL_OF, MAIN, RANKED_BY, STUDIED, Condition


@dataclass(frozen=True, eq=False)
class Scores:
    """What one condition's runs scored, in float32.

    Attributes
    ----------
    recipient, donor : scores of the two runs without a patch, [pair].
    patched : score after each head's patch, [layer, head, pair].
    pair : for each of these pairs its row in `Part.pairs`.
    """

    recipient: Float[np.ndarray, " pair"]
    donor: Float[np.ndarray, " pair"]
    patched: Float[np.ndarray, "layer head pair"]
    pair: Int[np.ndarray, " pair"]

    def effect(self) -> Float[np.ndarray, "layer head pair"]:
        """Score after each head's patch minus the recipient's."""
        return self.patched.astype(np.float64) - self.recipient


@dataclass(frozen=True, eq=False)
class Part:
    """What is complete of one ranker's part.

    Attributes
    ----------
    made_of : everything that the scores depend on, by the name that a user knows it by.
    n_planned : pairs that were planned.
    skipped : judged pairs that do not suit all conditions.
    pairs : a row for each pair: ``query_id``, ``doc_id``, ``grade``, and for each condition of
        `MAIN`, by its name, the word that it adds.
    untouched : score of each document without any filler, [pair].
    main : the scores of each condition of `MAIN`, all of every pair.
    checks : the scores of those conditions of `CHECKS` that are there.
    circuits : the circuit of each axiom by each order (`study.circuits`), as far as measured.
    rankings : how circuits alone rank, by axiom and number of heads: a row for each query with
        Kendall's tau and nDCG@10 of the full ranker and of the circuit.
    """

    made_of: Mapping[str, Any]
    n_planned: int
    skipped: tuple[Skipped, ...]
    pairs: pd.DataFrame
    untouched: Float[np.ndarray, " pair"]
    main: Mapping[Condition, Scores]
    checks: Mapping[Condition, Scores]
    circuits: Mapping[tuple[str, str], CircuitResult] = field(default_factory=dict)
    rankings: Mapping[tuple[str, int], pd.DataFrame] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Kind of the ranker, such as "dot"."""
        return self.made_of["kind"]

    @cached_property
    def query_ids(self) -> np.ndarray:
        """The query of each pair."""
        return self.pairs["query_id"].to_numpy(str)

    @cached_property
    def grades(self) -> np.ndarray:
        """The relevance grade of each pair."""
        return self.pairs["grade"].to_numpy(int)

    @property
    def collections(self) -> dict[str, Bool[np.ndarray, " pair"]]:
        """For each collection, which pairs are of its queries."""
        queries = self.made_of["queries"]
        return {name: np.isin(self.query_ids, ids) for name, ids in queries.items()}

    def change(self, condition: Condition) -> Float[np.ndarray, " pair"]:
        """Score with the added word minus that of the document as it was."""
        # The donor of a condition of `MAIN` is the document with the added word.
        return self.main[condition].donor.astype(np.float64) - self.untouched

    def over_control(self, axiom: str, place: str) -> Float[np.ndarray, " pair"]:
        """Score change of an axiom's edit minus that of its control."""
        control = Condition(CONTROL_OF[axiom], place)
        return self.change(Condition(axiom, place)) - self.change(control)

    def change_with_filler(self, condition: Condition) -> Float[np.ndarray, " pair"]:
        """Score with the added word minus that with the filler in its place."""
        scores = self.main[condition]
        return scores.donor.astype(np.float64) - scores.recipient

    def effect(self, condition: Condition) -> Float[np.ndarray, "layer head pair"]:
        """Score after each head's patch minus the recipient's."""
        return self.main[condition].effect()


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
    blocks = {
        block: fields
        for block in range(len(folder.blocks))
        if (fields := _read(folder, block)) is not None
    }
    if not blocks:
        return None
    planned = np.concatenate([folder.blocks[block] for block in blocks])
    main = {condition: [fields[condition] for fields, _ in blocks.values()] for condition in MAIN}
    checks = {
        condition: _check(fields, planned)
        for condition in CHECKS
        if (fields := folder.read(condition, 0)) is not None
    }
    return Part(
        made_of=folder.made_of,
        n_planned=folder.n_planned,
        skipped=folder.skipped,
        pairs=_identities(main),
        untouched=np.concatenate([scores for _, scores in blocks.values()]),
        main={condition: _join(of_blocks) for condition, of_blocks in main.items()},
        checks={condition: scores for condition, scores in checks.items() if len(scores.pair)},
        circuits=_circuits(folder),
        rankings=_rankings(folder),
    )


def _circuits(folder: Folder) -> dict[tuple[str, str], CircuitResult]:
    found = {(axiom, by): folder.circuit(axiom, by) for axiom in STUDIED for by in BY}
    return {key: result for key, result in found.items() if result is not None}


def _rankings(folder: Folder) -> dict[tuple[str, int], pd.DataFrame]:
    found = {}
    for axiom in STUDIED:
        if (result := folder.circuit(axiom, BY[1])) is not None:
            for number in (int(share * len(result.order)) for share in RANKED_BY):
                found[axiom, number] = folder.ranking(axiom, number)
    return {key: table for key, table in found.items() if table is not None}


def _read(folder: Folder, block: int) -> tuple[dict[Condition, Fields], np.ndarray] | None:
    """Fields of each condition, and scores of the untouched documents; None if any is missing."""
    scores = folder.untouched(block)
    fields = {}
    for condition in MAIN:
        fields[condition] = folder.read(condition, block)
        if scores is None or fields[condition] is None:
            return None
    return fields, scores


def _identities(main: Mapping[Condition, list[Fields]]) -> pd.DataFrame:
    """Which pairs they are, without their texts."""
    pairs = {
        c: [pair for fields in blocks for pair in fields["pairs"]] for c, blocks in main.items()
    }
    columns = {
        "query_id": [pair.query_id for pair in pairs[MAIN[0]]],
        "doc_id": [pair.doc_id for pair in pairs[MAIN[0]]],
        "grade": [pair.relevance for pair in pairs[MAIN[0]]],
    }
    words = {condition.name: [pair.term for pair in of_one] for condition, of_one in pairs.items()}
    return pd.DataFrame(columns | words)


def _join(blocks: list[Fields]) -> Scores:
    recipient, donor, patched = (
        np.concatenate([fields[name] for fields in blocks], axis=-1)
        for name in ("recipient", "donor", "scores")
    )
    return Scores(recipient, donor, patched, np.arange(len(recipient)))


def _check(fields: Fields, planned: np.ndarray) -> Scores:
    """A check's scores of the planned pairs that are there; it is of the first of the plan."""
    scores = _join([fields])
    _, here, there = np.intersect1d(scores.pair, planned, return_indices=True)
    patched = scores.patched[..., here]
    return Scores(scores.recipient[here], scores.donor[here], patched, there)
