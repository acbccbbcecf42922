"""Say before a study how small an effect it could find.

Offered by :mod:`mechir_edu.stats`.
"""

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student_t

from mechir_edu.stats.clusters import QueryIds, pairs_per_query, query_sums
from mechir_edu.stats.given import check_share, checked_whole, pairs_given


def minimum_detectable_effect(
    change: Float[np.ndarray, " pair"],
    *,
    query_ids: QueryIds,
    n_pairs: int,
    n_queries: int,
    power: float = 0.8,
    level: float = 0.05,
) -> float:
    """Smallest true mean, in score units, that a study of this size finds with this power.

    The variance within and between queries is taken from pilot data (one-way random effects, by
    the moments of unequal groups); the study has equally many pairs for each query.

    Parameters
    ----------
    change : score changes, or effects of one cell, of the pilot.
    query_ids : the query of each pilot pair.
    n_pairs, n_queries : size of the study.
    power : probability to find it.
    level : of the two-sided test; divide it by the number of heads where many are tested.

    Raises
    ------
    ValueError
        If no pilot query has two pairs, or the pilot or the study has fewer than two queries.
    """
    check_share(power, "power", 0.8)
    check_share(level, "level", 0.05)
    checked_whole(n_pairs, "n_pairs", least=1)
    checked_whole(n_queries, "n_queries", least=1)
    counts = pairs_per_query(query_ids)
    if min(len(counts), n_queries) < 2 or counts.max() < 2:
        raise ValueError(
            f"needed at least two queries, and two pairs of one, got a pilot of {len(counts)} "
            f"queries with up to {int(counts.max())} pairs, and {n_queries} queries planned"
        )
    within, between = _variances(pairs_given(change, query_ids)[0], query_ids)
    error = np.sqrt(between / n_queries + within / n_pairs)
    quantiles = student_t.ppf([1 - level / 2, power], n_queries - 1)
    return float(quantiles.sum() * error)


def _variances(change: np.ndarray, query_ids: QueryIds) -> tuple[float, float]:
    """Variance within queries and between them, from the two mean squares of unequal groups."""
    counts, sums = pairs_per_query(query_ids), query_sums(change, query_ids)
    n_pairs, n_queries = counts.sum(), len(counts)
    explained = (sums**2 / counts).sum()
    within = ((change**2).sum() - explained) / (n_pairs - n_queries)
    among = (explained - sums.sum() ** 2 / n_pairs) / (n_queries - 1)
    typical_size = (n_pairs - (counts**2).sum() / n_pairs) / (n_queries - 1)
    return float(within), max(0.0, float((among - within) / typical_size))
