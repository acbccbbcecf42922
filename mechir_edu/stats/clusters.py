"""Treat pairs as what they are: clusters, one for each query.

Pairs of one query share its terms and its difficulty, so 1,000 pairs of 90 queries are worth far
fewer than 1,000 independent pairs. All statistics therefore work on *sums per query*, and treat
the query as the unit that was sampled. Each estimate has the form ``sum(numerator) /
sum(denominator)`` with one summand per query: a mean divides by the number of pairs, recovery by
the score change, a trend by the spread of the grades. Their intervals are in
:mod:`mechir_edu.stats.intervals`.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student_t

from mechir_edu.stats.given import checked_whole, ids_given, pairs_given

QueryIds = Sequence[str] | np.ndarray


def query_sums(
    values: Float[np.ndarray, "*cell pair"],
    query_ids: QueryIds,
    queries: QueryIds | None = None,
) -> Float[np.ndarray, "*cell query"]:
    """Add up the pairs of each query, in double precision.

    Parameters
    ----------
    values : one number per pair, for any number of cells.
    query_ids : the query of each pair.
    queries : order of the result; the ids in sorted order by default. A query without a pair
        has the sum 0.

    Raises
    ------
    TypeError, ValueError
        If there is no pair, not one query id per pair, or a value is no finite number.
    """
    values, ids = pairs_given(values, query_ids)
    queries = np.unique(ids) if queries is None else ids_given(queries)
    return values @ (ids[:, None] == queries).astype(np.float64)


def pairs_per_query(query_ids: QueryIds) -> Float[np.ndarray, " query"]:
    """Count the pairs of each query, in the order of `query_sums`."""
    return query_sums(np.ones(len(query_ids)), query_ids)


def p_values(sums: Float[np.ndarray, "*cell query"]) -> Float[np.ndarray, "*cell"]:
    """Two-sided p of a t test that the sums per query have mean zero; 1 for a single query.

    Large and small queries have unlike variances, which makes the test a little cautious, not
    false. In simulations under the null with the cluster sizes of TREC DL and skewed effects,
    0.04-0.10 % of p values lay below 0.001. A permutation test by random signs had 0.08-0.19 %
    there, and its smallest p is bounded by the number of permutations, which a correction over
    144 heads uses up.
    """
    n_queries = sums.shape[-1]
    mean = np.abs(np.asarray(sums.mean(axis=-1)))
    if n_queries == 1:
        return np.ones_like(mean)
    error = sums.std(axis=-1, ddof=1) / np.sqrt(n_queries)
    # No effect in any query (a head that was not patched) is no evidence; the same effect in all
    # of them has no error at all, and divides to infinity and p = 0.
    with np.errstate(divide="ignore"):
        statistic = np.divide(mean, error, out=np.zeros_like(mean), where=mean > 0)
    return np.asarray(2 * student_t.sf(statistic, n_queries - 1))


def resample_queries(n_queries: int, n_boot: int, seed: int) -> Float[np.ndarray, "boot query"]:
    """How often each query is drawn when as many are drawn with replacement, `n_boot` times."""
    rng = np.random.default_rng(checked_whole(seed, "seed", least=0))
    shares = np.full(n_queries, 1 / n_queries)
    return rng.multinomial(n_queries, shares, size=n_boot).astype(np.float64)
