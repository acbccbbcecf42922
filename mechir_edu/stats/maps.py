"""Compare whole maps: whether two sets of pairs rank the cells (heads, layers, roles) alike.

A *map* is the mean effect of each cell, effect being the score after a patch minus the recipient's.
Arrays are ``[*cell, pair]``. Recovery divides a map by one number, so that its ranking is the map's
own where that number is positive.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import norm, rankdata

from mechir_edu.stats.clusters import QueryIds, query_sums, resample_queries
from mechir_edu.stats.given import check_cells, check_draws, check_share, checked_whole, ids_given


@dataclass(frozen=True)
class Agreement:
    """How far two maps over the same cells agree, with an interval.

    Attributes
    ----------
    value, low, high : the estimate and its interval; a subclass says of what.
    n_cells : cells that the maps rank.
    n_queries : different queries behind both maps.
    """

    value: float
    low: float
    high: float
    n_cells: int
    n_queries: int


class Correlation(Agreement):
    """Spearman's rank correlation of two maps, from -1 to 1."""


@dataclass(frozen=True)
class Gap(Agreement):
    """How much less two maps agree with each other than each with itself, see `profile_gap`.

    ``value`` is ``within - across``; 0 where both rank the cells alike.
    """

    within: float
    across: float


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
    """Spearman's correlation of two sets' mean effects: whether they rank the cells alike.

    The interval is normal on Fisher's scale, with the spread over resampled queries; a query that
    both sets have is drawn for both. Noise in either map lowers the correlation: compare it with
    the :func:`split_half_reliability` of each before you call two mechanisms different.

    Parameters
    ----------
    first, second : effects over the same cells, of two axioms, collections, fillers or rankers.
    first_queries, second_queries : the query of each pair.
    interval, n_boot, seed : as in :func:`mechir_edu.stats.recovered.recovery`.

    Raises
    ------
    ValueError
        If a map has fewer than three cells, or the same effect in all of them.
    """
    check_draws(interval, n_boot)
    check_cells(first, second)
    queries = np.union1d(ids_given(first_queries), ids_given(second_queries))
    weights = resample_queries(len(queries), n_boot, seed)
    weights = np.vstack([np.ones(len(queries)), weights])
    maps = [
        weighted_maps(first, first_queries, queries, weights),
        weighted_maps(second, second_queries, queries, weights),
    ]
    low, value, high = on_fishers_scale(_rank_correlation(*maps), interval)
    return Correlation(value, low, high, maps[0].shape[1], len(queries))


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
    check_share(interval)
    queries = np.unique(ids_given(query_ids))
    is_first = _random_halves(len(queries), n_splits, seed)
    halves = [weighted_maps(effect, query_ids, queries, half) for half in (is_first, 1 - is_first)]
    tail = (1 - interval) / 2
    low, value, high = np.quantile(_rank_correlation(*halves), [tail, 0.5, 1 - tail])
    return Correlation(float(value), float(low), float(high), halves[0].shape[1], len(queries))


def profile_gap(
    first: Float[np.ndarray, "*cell pair"],
    second: Float[np.ndarray, "*cell pair"],
    *,
    query_ids: QueryIds,
    interval: float = 0.95,
    n_splits: int = 20,
    n_boot: int = 500,
    seed: int = 0,
) -> Gap:
    """Test whether two edits of the same documents work through different cells.

    Noise alone keeps two maps from agreeing, and documents that both share make them agree. So
    the queries are split in two halves at random: ``across`` is Spearman's correlation of one
    edit's map in one half with the other edit's in the other half, ``within`` that of each edit's
    map with itself (of both, the geometric mean). Were the maps alike, the two would be equal.

    Parameters
    ----------
    first, second : effects over the same cells, of two edits of the same documents.
    query_ids : the query of each pair, for both.
    interval : normal, with the spread over resampled queries; a query's copies stay in one half.
    n_splits : random splits that each estimate is the mean of.
    n_boot, seed : as in :func:`mechir_edu.stats.recovered.recovery`.

    Raises
    ------
    ValueError
        If there are fewer than eight queries, or maps as `profile_correlation` refuses them.
    """
    check_draws(interval, n_boot)
    check_cells(first, second)
    queries = np.unique(ids_given(query_ids))
    if len(queries) < 8:
        raise ValueError(f"needed 8 queries to split them in halves, got {len(queries)}")
    draws = np.vstack([np.ones(len(queries)), resample_queries(len(queries), n_boot, seed)])
    weights = np.repeat(draws, n_splits, axis=0)
    is_first = _random_halves(len(queries), len(weights), seed)
    sides = [
        [
            weighted_maps(effect, query_ids, queries, weights * half)
            for half in (is_first, 1 - is_first)
        ]
        for effect in (first, second)
    ]
    within, across = _agreement(sides, n_splits)
    reach = norm.ppf(0.5 + interval / 2) * np.nanstd((within - across)[1:])
    value = float(within[0] - across[0])
    return Gap(
        value=value,
        low=value - float(reach),
        high=value + float(reach),
        n_cells=sides[0][0].shape[1],
        n_queries=len(queries),
        within=float(within[0]),
        across=float(across[0]),
    )


def _random_halves(n_queries: int, n_splits: int, seed: int) -> np.ndarray:
    """1 where a query is of the first half, [split, query]."""
    n_splits = checked_whole(n_splits, "n_splits", least=1)
    rng = np.random.default_rng(checked_whole(seed, "seed", least=0))
    return rng.permuted(np.tile(np.arange(n_queries) % 2, (n_splits, 1)), axis=1)


def _agreement(sides: list[list[np.ndarray]], n_splits: int) -> tuple[np.ndarray, np.ndarray]:
    """Agreement within and across two edits, [boot], each the mean over its splits."""

    def mean_correlation(half: np.ndarray, other_half: np.ndarray) -> np.ndarray:
        return np.nanmean(_rank_correlation(half, other_half).reshape(-1, n_splits), axis=1)

    (a_1, a_2), (b_1, b_2) = sides  # maps of edits a and b, in the first and the second half
    reliabilities = [mean_correlation(*halves).clip(min=0) for halves in sides]
    across = (mean_correlation(a_1, b_2) + mean_correlation(b_1, a_2)) / 2
    return np.sqrt(reliabilities[0] * reliabilities[1]), across


def on_fishers_scale(r: Float[np.ndarray, " draw"], interval: float) -> tuple[float, ...]:
    """Low end, value and high end of a correlation, normal on Fisher's scale.

    Parameters
    ----------
    r : the correlation, and then that of each resample of the queries.
    interval : share of the normal distribution between the ends.
    """
    # The open ends -1 and 1 have no place on the scale.
    scaled = np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9))
    reach = norm.ppf(0.5 + interval / 2) * np.nanstd(scaled[1:])
    return tuple(np.tanh(scaled[0] + reach * np.array([-1.0, 0.0, 1.0])).tolist())


def weighted_maps(
    effect: np.ndarray, query_ids: QueryIds, queries: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Mean effect of each cell under each weighting of the queries, [weighting, cell]."""
    sums = query_sums(effect, query_ids, queries)
    counts = query_sums(np.ones(len(query_ids)), query_ids, queries)
    if sums.size < 3 * len(queries) or np.ptp(sums.sum(axis=-1)) == 0:
        raise ValueError(
            "a ranking needs at least three cells, and effects that differ, got "
            f"{sums.size // len(queries)} cells; compare whole grids of patched cells"
        )
    # A resample may leave a half of the queries empty: then it has no map.
    with np.errstate(invalid="ignore"):
        return (weights @ sums.reshape(-1, len(queries)).T) / (weights @ counts)[:, None]


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation along the last axis."""
    return correlation(rankdata(first, axis=-1), rankdata(second, axis=-1))


def correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlation along the last axis."""
    first, second = (side - side.mean(axis=-1, keepdims=True) for side in (first, second))
    products = (first * second).sum(axis=-1)
    return products / np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
