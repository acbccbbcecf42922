"""Compare whole maps: whether two sets of pairs rank the cells (heads, layers, roles) alike.

A *map* is the mean effect of each cell, effect being the score after a patch minus the recipient's.
Arrays are ``[*cell, pair]``. Recovery divides a map by one number, so that its ranking is the map's
own where that number is positive.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import norm, rankdata

from mechir_edu.clusters import QueryIds, query_sums, resample_queries


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of two maps over `n_cells` cells, with an interval."""

    value: float
    low: float
    high: float
    n_cells: int
    n_queries: int


def profile_correlation(
    first: Float[np.ndarray, "*cell pair"],
    second: Float[np.ndarray, "*cell other"],
    *,
    first_queries: QueryIds,
    second_queries: QueryIds,
    interval: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Correlation:
    """Do two sets of pairs rank the cells alike? Spearman's correlation of the mean effects.

    The interval is normal on Fisher's scale, with the spread over resampled queries; a query that
    both sets have is drawn for both. Noise in either map lowers the correlation: compare it with
    the :func:`split_half_reliability` of each before you call two mechanisms different.

    Parameters
    ----------
    first, second : effects over the same cells, of two axioms, collections, fillers or rankers.
    first_queries, second_queries : the query of each pair.
    interval, n_boot, seed : as in :func:`mechir_edu.stats.recovery`.

    Raises
    ------
    ValueError
        If a map has fewer than three cells, or the same effect in all of them.
    """
    queries = np.union1d(first_queries, second_queries)
    weights = resample_queries(len(queries), n_boot, seed)
    weights = np.vstack([np.ones(len(queries)), weights])
    maps = [
        _maps(first, first_queries, queries, weights),
        _maps(second, second_queries, queries, weights),
    ]
    # The open ends -1 and 1 have no place on Fisher's scale.
    scaled = np.arctanh(np.clip(_rank_correlation(*maps), -1 + 1e-9, 1 - 1e-9))
    reach = norm.ppf(0.5 + interval / 2) * np.nanstd(scaled[1:])
    low, value, high = np.tanh(scaled[0] + reach * np.array([-1.0, 0.0, 1.0]))
    return Correlation(float(value), float(low), float(high), maps[0].shape[1], len(queries))


def split_half_reliability(
    effect: Float[np.ndarray, "*cell pair"],
    *,
    query_ids: QueryIds,
    interval: float = 0.95,
    n_splits: int = 200,
    seed: int = 0,
) -> Correlation:
    """How far two random halves of the queries agree on the ranking of the cells.

    The value is the median over `n_splits` splits, low and high the span that a share `interval`
    of the splits keeps. Each half has half the queries: the whole map is more reliable than this.
    """
    queries = np.unique(query_ids)
    rng = np.random.default_rng(seed)
    is_first = rng.permuted(np.tile(np.arange(len(queries)) % 2, (n_splits, 1)), axis=1)
    halves = [_maps(effect, query_ids, queries, half) for half in (is_first, 1 - is_first)]
    tail = (1 - interval) / 2
    low, value, high = np.quantile(_rank_correlation(*halves), [tail, 0.5, 1 - tail])
    return Correlation(float(value), float(low), float(high), halves[0].shape[1], len(queries))


def _maps(
    effect: np.ndarray, query_ids: QueryIds, queries: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Mean effect of each cell under each weighting of the queries, [weighting, cell]."""
    sums = query_sums(effect, query_ids, queries)
    counts = query_sums(np.ones(len(query_ids)), query_ids, queries)
    if sums.size < 3 * len(queries) or np.ptp(sums.sum(axis=-1)) == 0:
        raise ValueError(
            "a ranking needs three cells at least, and effects that differ, got "
            f"{sums.size // len(queries)} cells; compare whole grids of patched cells"
        )
    return (weights @ sums.reshape(-1, len(queries)).T) / (weights @ counts)[:, None]


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation along the last axis."""
    ranks = [rankdata(values, axis=-1) for values in (first, second)]
    first, second = (rank - rank.mean(axis=-1, keepdims=True) for rank in ranks)
    products = (first * second).sum(axis=-1)
    return products / np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
