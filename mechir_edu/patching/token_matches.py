"""Best matches of query tokens in both versions; `mechir_edu.patching.matches_moved` reads them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from mechir_edu.collection.judged import Skipped
from mechir_edu.perturb.pair import Pair
from mechir_edu.stats.estimates import mean_change

REASONS = ("match in the edit", "another match", "same match")


@dataclass(frozen=True, eq=False)
class TokenMatches:
    """Best matches of one pair's query tokens in both versions of the document.

    Attributes
    ----------
    pair : what was read.
    query_tokens : as the tokenizer writes them, marker and added tokens included.
    baseline, perturbed : the largest cosine of each query token.
    baseline_match, perturbed_match : the document token that has it.
    moved : whether another position has it in the perturbed version.
    in_edit : whether the perturbed match stands in the edited span.
    """

    pair: Pair
    query_tokens: tuple[str, ...]
    baseline: Float[np.ndarray, " query_token"]
    perturbed: Float[np.ndarray, " query_token"]
    baseline_match: tuple[str, ...]
    perturbed_match: tuple[str, ...]
    moved: Bool[np.ndarray, " query_token"]
    in_edit: Bool[np.ndarray, " query_token"]

    @property
    def change(self) -> Float[np.ndarray, " query_token"]:
        """Perturbed minus baseline cosine; the sum over query tokens is the score change."""
        return self.perturbed - self.baseline

    @property
    def reasons(self) -> list[str]:
        """Why each query token's part changed, one of `REASONS`."""
        return [
            REASONS[0] if in_edit else REASONS[1] if moved else REASONS[2]
            for in_edit, moved in zip(self.in_edit, self.moved, strict=True)
        ]

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each query token, those that changed most first."""
        table = pd.DataFrame(
            {
                "query_token": self.query_tokens,
                "change": self.change,
                "baseline": self.baseline,
                "perturbed": self.perturbed,
                "baseline_match": self.baseline_match,
                "perturbed_match": self.perturbed_match,
                "reason": self.reasons,
            }
        )
        order = table["change"].abs().sort_values(ascending=False, kind="stable").index
        return table.loc[order].reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class MatchesMoved:
    """Best matches of the query tokens of many pairs.

    Attributes
    ----------
    matches : of each pair.
    skipped : pairs that could not be aligned.
    """

    matches: tuple[TokenMatches, ...]
    skipped: tuple[Skipped, ...] = field(default=(), repr=False)

    def table(self, **options: Any) -> pd.DataFrame:
        """What each reason adds to the score change, mean over pairs with intervals over queries.

        Parameters
        ----------
        options : as for `mechir_edu.stats.mean_change`.

        Returns
        -------
        DataFrame
            reason, mean, low, high, tokens (query tokens of that reason, mean over pairs). The
            means add up to the mean score change.
        """
        parts = np.array([[_part(m, reason) for m in self.matches] for reason in REASONS])
        counts = np.array([[m.reasons.count(reason) for m in self.matches] for reason in REASONS])
        query_ids = [m.pair.query_id for m in self.matches]
        estimate = mean_change(parts, query_ids=query_ids, **options)
        return pd.DataFrame(
            {
                "reason": REASONS,
                "mean": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
                "tokens": counts.mean(axis=1),
            }
        )


def _part(matches: TokenMatches, reason: str) -> float:
    is_of = np.array([of == reason for of in matches.reasons])
    return float(matches.change[is_of].sum())
