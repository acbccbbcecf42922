"""Compare two sets of pairs of the same queries and documents.

Axiom minus neutral control separates "a query term was added" from "a term was added"; start minus
end of the document separates position from match. Both are paired: what a document does to both
sides cancels out. Conventions are those of :mod:`mechir_edu.stats`, which offers these functions.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from mechir_edu.stats.clusters import QueryIds, query_sums
from mechir_edu.stats.estimates import Estimate, as_estimate, mean_change
from mechir_edu.stats.given import check_cells, numbers_given
from mechir_edu.stats.intervals import IntervalOptions, estimate_difference

Patched = tuple[Float[np.ndarray, "*cell pair"], Float[np.ndarray, " pair"]]


@runtime_checkable
class HasIds(Protocol):
    """Anything that belongs to one query and one document, such as a Pair."""

    @property
    def query_id(self) -> str:
        """The query that it belongs to."""

    @property
    def doc_id(self) -> str:
        """The document that it belongs to."""


def mean_difference(
    first: Float[np.ndarray, "*cell pair"],
    second: Float[np.ndarray, "*cell other"],
    *,
    first_pairs: Sequence[HasIds],
    second_pairs: Sequence[HasIds],
    interval: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Mean of `first` minus `second` over the query-document pairs that both have.

    Parameters
    ----------
    first, second : score changes, or effects of each cell, in score units.
    first_pairs, second_pairs : what each column belongs to.
    interval, seed : as in :func:`mechir_edu.stats.recovered.recovery`.

    Raises
    ------
    ValueError
        If the two sets share no pair, or one of them has a pair twice.
    """
    first, second = numbers_given(first, "first"), numbers_given(second, "second")
    check_cells(first, second)
    for side, pairs in ((first, first_pairs), (second, second_pairs)):
        if side.shape[-1:] != (len(pairs),):
            raise ValueError(
                f"needed a pair for each column, got {len(pairs)} pairs for shape {side.shape}"
            )
    here, there = match_pairs(first_pairs, second_pairs)
    difference = np.subtract(first[..., here], second[..., there], dtype=np.float64)
    query_ids = [first_pairs[i].query_id for i in here]
    return mean_change(difference, query_ids=query_ids, interval=interval, seed=seed)


def recovery_difference(
    first: Patched,
    second: Patched,
    *,
    query_ids: QueryIds,
    interval: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Recovery of `first` minus recovery of `second`, each a share of its own score change.

    Two edits may move the score by unlike amounts, and yet through the same heads: then effects
    differ and recoveries do not.

    Parameters
    ----------
    first, second : effects of each cell and donor minus recipient scores, of the same pairs in
        the same order, in score units.
    query_ids : the query of each pair.
    interval, n_boot, seed : as in :func:`mechir_edu.stats.recovered.recovery`.

    Returns
    -------
    Estimate
        Unitless, [*cell]. The interval is ``(-inf, inf)`` and p is 1 where either score change
        cannot be told from zero: there is no share of it then.
    """
    options: IntervalOptions = {"interval": interval, "n_boot": n_boot, "seed": seed}
    check_cells(first[0], second[0])
    changes = [mean_change(change, query_ids=query_ids, **options) for _, change in (first, second)]
    first_sums, second_sums = (
        (query_sums(effect, query_ids), query_sums(change, query_ids))
        for effect, change in (first, second)
    )
    difference = estimate_difference(first_sums, second_sums, **options)
    if any(change.low <= 0 <= change.high for change in changes):
        low, high, p = (np.full_like(difference.value, end) for end in (-np.inf, np.inf, 1.0))
        difference = replace(difference, low=low, high=high, p=p)
    return as_estimate(difference, changes[0].n_pairs, changes[0].n_queries, interval)


def match_pairs(first: Sequence[HasIds], second: Sequence[HasIds]) -> tuple[np.ndarray, np.ndarray]:
    """Indices into both sequences of the query-document pairs that they share, in equal order."""
    here, there = _places(first), _places(second)
    shared = [key for key in here if key in there]
    if not shared:
        raise ValueError(
            f"needed pairs of the same queries and documents on both sides, got {len(first)} and "
            f"{len(second)} pairs with none in common; make both from one sample (same seed and n)"
        )
    return np.array([here[key] for key in shared]), np.array([there[key] for key in shared])


def _places(pairs: Sequence[HasIds]) -> dict[tuple[str, str], int]:
    for pair in pairs:
        if not isinstance(pair, HasIds):
            raise TypeError(f"needed pairs, each with query_id and doc_id, got {pair!r}")
    places = {(pair.query_id, pair.doc_id): i for i, pair in enumerate(pairs)}
    if len(places) < len(pairs):
        raise ValueError(
            f"a paired comparison needs each query and document once, got {len(pairs)} pairs of "
            f"{len(places)}; compare one axiom, place and grade at a time"
        )
    return places
