"""Hold what patching measured, and give it in subsets, in tables, and with its uncertainty.

A result keeps the score of every pair after every patch; means, ratios and intervals are made from
it on demand (:mod:`mechir_edu.stats`). `mechir_edu.patching.storage` has its form on disk.

Conventions
-----------
Axes stand in the order layer, head, role, pair. Patched position by position, pairs of different
length leave no rectangle, so the last axis is *row* instead: one row for each (pair, position).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from mechir_edu import stats
from mechir_edu.alignment.aligned import ROLE_NAMES
from mechir_edu.collection.given import checked_kind, checked_number
from mechir_edu.collection.judged import Skipped
from mechir_edu.files import write_whole
from mechir_edu.patching import storage
from mechir_edu.patching.contrasts import (
    Contrast,
    Contrasted,
    contrast_sides,
    require_same_edits_elsewhere,
    require_same_patch,
)
from mechir_edu.patching.tables import cell_columns, recovery_table
from mechir_edu.perturb.pair import Pair
from mechir_edu.stats.given import checked_mask


# Compared by identity: arrays have no single answer to ==.
@dataclass(frozen=True, eq=False)
class PatchingResult:
    """The relevance score of every pair after every patch.

    Attributes
    ----------
    scores : [*axes], float32.
    axes : names of the axes of `scores`; the last one is "pair" or "row". "cell" stands for a
        choice of heads, listed in ``provenance["heads"]``.
    recipient, donor : scores of the two runs without a patch.
    direction : "perturbed_to_baseline" put activations of the perturbed run into the baseline run,
        "baseline_to_perturbed" the reverse.
    pairs : what was patched, in the order of the last axis (or of `row_pair`).
    skipped : what could not be, and why.
    site, method, filler : as `mechir_edu.patch` was asked for.
    provenance : ranker, checksums, versions and seeds; only what JSON can hold.
    row_pair, row_pos, row_role : for each row the index of its pair, its position, its role.
    exact : for each cell whether its scores are exact or a gradient's estimates; None where the
        method treats all cells alike.
    """

    scores: Float[np.ndarray, "..."]
    axes: tuple[str, ...]
    recipient: Float[np.ndarray, " pair"]
    donor: Float[np.ndarray, " pair"]
    direction: Literal["perturbed_to_baseline", "baseline_to_perturbed"]
    pairs: tuple[Pair, ...]
    skipped: tuple[Skipped, ...]
    site: str
    method: str
    filler: str
    provenance: dict[str, Any]
    row_pair: Int[np.ndarray, " row"] | None = None
    row_pos: Int[np.ndarray, " row"] | None = None
    row_role: Int[np.ndarray, " row"] | None = None
    exact: Bool[np.ndarray, "*cell"] | None = None

    def __post_init__(self) -> None:
        n_last = len(self.pairs if self.row_pair is None else self.row_pair)
        last = "pair" if self.row_pair is None else "row"
        named = len(self.axes) == self.scores.ndim and self.axes[-1:] == (last,)
        if not named or self.scores.shape[-1] != n_last:
            raise ValueError(
                f"needed a name for each axis of the scores and {n_last} entries on the last one, "
                f"{last!r}, got axes {self.axes} for scores of shape {self.scores.shape}"
            )
        if not len(self.recipient) == len(self.donor) == len(self.pairs):
            raise ValueError(
                f"needed a recipient and a donor score for each of {len(self.pairs)} pairs, "
                f"got {len(self.recipient)} and {len(self.donor)}"
            )
        if self.exact is not None and self.exact.shape != self.scores.shape[:-1]:
            raise ValueError(
                f"`exact` needs one flag per cell, shape {self.scores.shape[:-1]}; got "
                f"{self.exact.shape}"
            )

    @property
    def query_ids(self) -> list[str]:
        """The query of each pair."""
        return [pair.query_id for pair in self.pairs]

    def score_change(self) -> Float[np.ndarray, " pair"]:
        """Perturbed minus baseline score of each pair, whatever the direction of the patch."""
        change = self.donor - self.recipient
        return change if self.direction == "perturbed_to_baseline" else -change

    def effect(self) -> Float[np.ndarray, "*cell pair"]:
        """Score after each patch minus the recipient's, in score units."""
        self._need_pairs()
        return self.scores - self.recipient

    def recovery(
        self, how: stats.How = "ratio_of_means", **options: Unpack[stats.IntervalOptions]
    ) -> stats.Recovery:
        """Share of the score change that each patch brings over, [*cell].

        Parameters
        ----------
        how : "ratio_of_means", or "mean_of_ratios" as in the MechIR paper.
        options : ``interval``, ``n_boot`` and ``seed`` of `mechir_edu.stats.recovery`.

        Raises
        ------
        ValueError
            If the result is by position, or as `mechir_edu.stats.recovery`.
        """
        self._need_pairs()
        return self.recovery_of(self.scores, self.axes[:-1], how=how, **options)

    def recovery_of(
        self,
        scores: Float[np.ndarray, "*cell pair"],
        axes: tuple[str, ...],
        how: stats.How = "ratio_of_means",
        **options: Unpack[stats.IntervalOptions],
    ) -> stats.Recovery:
        """Recovery of other scores of the same pairs, such as a part of `scores`.

        Parameters
        ----------
        scores : after each patch.
        axes : names of the cell's axes.
        how, options : as for `recovery`.
        """
        return stats.recovery(
            scores,
            self.recipient,
            self.donor,
            query_ids=self.query_ids,
            axes=axes,
            how=how,
            **options,
        )

    def contrast(
        self, control: "PatchingResult", *, interval: float = 0.95, seed: int = 0
    ) -> Contrast:
        """Compare with a control on the query-document pairs that both results have.

        Raises
        ------
        TypeError, ValueError
            If the two were patched in another direction or at other sites, or share no pair; if
            the control is no result.
        """
        checked_kind(control, PatchingResult, "control", "a PatchingResult")
        require_same_patch(self._patched_alike(), control._patched_alike())
        here, there = stats.match_pairs(self.pairs, control.pairs)
        first, second = self._at(here), control._at(there)
        return contrast_sides(
            Contrasted(first.effect(), first.score_change()),
            Contrasted(second.effect(), second.score_change()),
            query_ids=first.query_ids,
            axes=self.axes[:-1],
            direction=self.direction,
            interval=interval,
            seed=seed,
        )

    def position_contrast(
        self, end: "PatchingResult", *, interval: float = 0.95, seed: int = 0
    ) -> Contrast:
        """Compare start (this result) with end: the same edits at two places of the same documents.

        What is left is due to the position alone, for the term is the same on both sides.

        Parameters
        ----------
        end : of pairs that were made with the same axiom and seed, and ``place="end"``.
        interval, seed : as in `recovery`.

        Raises
        ------
        ValueError
            If a document got another axiom or another term on the other side, if no document was
            edited at two places, or for the reasons of `contrast`.
        """
        checked_kind(end, PatchingResult, "end", "a PatchingResult")
        here, there = stats.match_pairs(self.pairs, end.pairs)
        require_same_edits_elsewhere([self.pairs[i] for i in here], [end.pairs[i] for i in there])
        return self.contrast(end, interval=interval, seed=seed)

    def select(
        self, mask: Bool[np.ndarray, " pair"] | None = None, *, grade: int | None = None
    ) -> "PatchingResult":
        """Keep the pairs of a mask, or of one relevance grade, or of both.

        Raises
        ------
        TypeError, ValueError
            If the mask is not one True or False for each pair, or no pair is left.
        """
        keep = np.ones(len(self.pairs), bool) if mask is None else checked_mask(mask, self.pairs)
        if grade is not None:
            grade = checked_number(grade, "grade")
            keep = keep & np.array([pair.relevance == grade for pair in self.pairs])
        if not keep.any():
            grades = sorted({p.relevance for p in self.pairs if p.relevance is not None})
            raise ValueError(
                f"needed at least one pair, but none is left with grade={grade}; this result has "
                f"{len(self.pairs)} pairs of the grades {grades}"
            )
        return self._at(np.flatnonzero(keep))

    def rows_of(self, pair: int) -> Float[np.ndarray, "*cell pos"]:
        """Scores of one pair patched position by position, [layer(, head), pos].

        Raises
        ------
        ValueError
            If the result is not by position.
        TypeError, IndexError
            If there is no such pair.
        """
        if self.row_pair is None or self.row_pos is None:
            raise ValueError(
                f"rows belong to results by position, this one has the axes {self.axes}; "
                'patch with by="pos"'
            )
        if not 0 <= (pair := checked_number(pair, "pair")) < len(self.pairs):
            raise IndexError(f"needed a pair from 0 to {len(self.pairs) - 1}, got {pair}")
        rows = np.flatnonzero(self.row_pair == pair)
        return self.scores[..., rows[np.argsort(self.row_pos[rows])]]

    def to_dataframe(self) -> pd.DataFrame:
        """Long form, one row for each score.

        Columns: those of the cell (layer, head, role), ``pos`` where patched by position, then
        query_id, doc_id, relevance, recipient, donor, patched.
        """
        *cell, last = np.indices(self.scores.shape).reshape(self.scores.ndim, -1)
        columns = cell_columns(self.axes[:-1], cell, self.provenance.get("heads"))
        if self.row_pair is not None and self.row_pos is not None and self.row_role is not None:
            columns["pos"] = self.row_pos[last]
            columns["role"] = np.array(ROLE_NAMES)[self.row_role[last]]
            last = self.row_pair[last]
        relevance = pd.array([pair.relevance for pair in self.pairs], dtype="Int64")
        columns["query_id"] = pd.Series(self.query_ids, dtype=str).array[last]
        columns["doc_id"] = pd.Series([pair.doc_id for pair in self.pairs], dtype=str).array[last]
        columns["relevance"] = relevance[last]
        scores = {"recipient": self.recipient[last], "donor": self.donor[last]}
        return pd.DataFrame(columns | scores | {"patched": self.scores.ravel()})

    def heads_table(self, recovery: stats.Recovery | None = None) -> pd.DataFrame:
        """One row for each cell: its recovery with interval and q, and what it rests on."""
        recovery = self.recovery() if recovery is None else recovery
        return recovery_table(
            recovery, self.provenance.get("heads"), dict(self.provenance.get("constants", ()))
        )

    def save(self, path: str | Path) -> None:
        """Write one ``.npz``, whole or not at all.

        Raises
        ------
        ValueError
            If the provenance holds something that JSON cannot give back as it was.
        """
        write_whole(Path(path), self.to_bytes())

    def to_bytes(self) -> bytes:
        """Content of the file that `save` writes."""
        return storage.to_bytes(vars(self))

    @classmethod
    def load(cls, path: str | Path) -> "PatchingResult":
        """Read what `save` wrote, or the folder of a finished long run.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged, is something else, or comes from a newer version; if the run
            is not finished.
        """
        return cls(**storage.read(Path(path)))

    def _need_pairs(self) -> None:
        if self.row_pair is not None:
            raise ValueError(
                "positions of different documents cannot be averaged, and this result is by "
                'position; patch with by="role", or look at one pair with rows_of(i)'
            )

    def _patched_alike(self) -> dict[str, Any]:
        """What two results must share for their difference to be due to the edit."""
        return {
            "site": self.site,
            "axes": self.axes,
            "direction": self.direction,
            "filler": self.filler,
            "heads": self.provenance.get("heads"),
            "checksum": self.provenance.get("checksum"),
            "stack": self.provenance.get("stack"),
        }

    def _at(self, index: Int[np.ndarray, " pair"]) -> "PatchingResult":
        """Keep these pairs, in this order."""
        kept = {
            "recipient": self.recipient[index],
            "donor": self.donor[index],
            "pairs": tuple(self.pairs[i] for i in index),
        }
        if self.row_pair is None or self.row_pos is None or self.row_role is None:
            return replace(self, scores=self.scores[..., index], **kept)
        rows = np.concatenate([np.flatnonzero(self.row_pair == i) for i in index])
        sizes = [np.count_nonzero(self.row_pair == i) for i in index]
        return replace(
            self,
            scores=self.scores[..., rows],
            row_pair=np.repeat(np.arange(len(index)), sizes),
            row_pos=self.row_pos[rows],
            row_role=self.row_role[rows],
            **kept,
        )
