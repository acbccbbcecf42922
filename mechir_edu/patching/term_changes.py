"""What an edit did to the weights of terms; `mechir_edu.patching.terms_moved` reads it."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int8

from mechir_edu.collection.given import checked_number
from mechir_edu.collection.judged import Skipped
from mechir_edu.perturb.pair import Pair
from mechir_edu.stats.estimates import mean_change

Of = Literal["score", "weight"]
PLACES = ("in the edit", "in the other text", "in neither")


@dataclass(frozen=True, eq=False)
class TermsMoved:
    """What an edit did to the weight of each term, and through it to the score.

    Attributes
    ----------
    terms : those whose weight changed in some pair, as the tokenizer writes them.
    weight : perturbed minus baseline weight in the edited text.
    score : what this adds to the score: ``weight`` times the term's weight in the other text. Its
        sum over terms is the score change.
    place : where the term stands, an index of `PLACES`: among the edited tokens of either version,
        else in the text that was not edited (as a rule the query), else in neither of the two.
    pairs : the pairs, in the order of the last axis.
    skipped : pairs that could not be aligned.
    """

    terms: tuple[str, ...]
    weight: Float[np.ndarray, "term pair"]
    score: Float[np.ndarray, "term pair"]
    place: Int8[np.ndarray, "term pair"]
    pairs: tuple[Pair, ...]
    skipped: tuple[Skipped, ...] = field(default=(), repr=False)

    @property
    def query_ids(self) -> list[str]:
        """The query of each pair."""
        return [pair.query_id for pair in self.pairs]

    def of(self, what: str) -> Float[np.ndarray, "term pair"]:
        """Changes of the "score" or of the "weight".

        Raises
        ------
        ValueError
            For another word.
        """
        if what not in ("score", "weight"):
            raise ValueError(f"of must be 'score' or 'weight', got {what!r}")
        return self.score if what == "score" else self.weight

    def of_pair(self, index: int, k: int = 10) -> pd.DataFrame:
        """The k terms that moved most in one pair by score, then by weight: term, score, weight."""
        table = pd.DataFrame(
            {"term": self.terms, "score": self.score[:, index], "weight": self.weight[:, index]}
        )
        sizes = table[["score", "weight"]].abs()
        order = sizes.sort_values(["score", "weight"], ascending=False, kind="stable").index
        return table.loc[order[: checked_number(k, "k", least=1)]].reset_index(drop=True)

    def by_place(self, **options: Any) -> pd.DataFrame:
        """What terms of each place add to the score change, with intervals over queries.

        What comes from terms "in neither" goes by *expansion*: words that the ranker gave to query
        and document both, though neither the edit nor the query has them.

        Parameters
        ----------
        options : as for `mechir_edu.stats.mean_change`.

        Returns
        -------
        DataFrame
            place, mean, low, high. The means add up to the mean score change.
        """
        parts = np.array([(self.score * (self.place == i)).sum(axis=0) for i in range(len(PLACES))])
        estimate = mean_change(parts, query_ids=self.query_ids, **options)
        return pd.DataFrame(
            {"place": PLACES, "mean": estimate.value, "low": estimate.low, "high": estimate.high}
        )

    def table(self, of: Of = "score", k: int = 10, **options: Any) -> pd.DataFrame:
        """The k terms of largest mean change, with intervals over queries.

        Parameters
        ----------
        of : changes of the "score", or of the "weight" in the edited text.
        k : how many terms.
        options : as for `mechir_edu.stats.mean_change`.

        Returns
        -------
        DataFrame
            term, mean, low, high, n_pairs (in which it moved). A mean is over all pairs; the
            intervals are of terms that were chosen for their size, and so are no test of them.
        """
        changes = self.of(of)
        means = changes.mean(axis=1)
        order = np.argsort(-np.abs(means), kind="stable")[: checked_number(k, "k", least=1)]
        estimate = mean_change(changes[order], query_ids=self.query_ids, **options)
        return pd.DataFrame(
            {
                "term": [self.terms[i] for i in order],
                "mean": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
                "n_pairs": (changes[order] != 0).sum(axis=1),
            }
        )
