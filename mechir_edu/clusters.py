"""Draw conclusions from pairs that come in clusters, one cluster per query.

Pairs of one query share its terms and its difficulty, so 1,000 pairs of 90 queries are worth far
fewer than 1,000 independent pairs. Everything here therefore works on *sums per query* and takes
the query as the unit that could have been another one.

Each estimate of :mod:`mechir_edu.stats` has the form ``sum(numerator) / sum(denominator)`` with one
summand per query: a mean divides by the number of pairs, recovery by the score change, a trend by
the spread of the grades. So one interval and one test serve all of them.

Choice of the interval
----------------------
Simulated: 2,000 data sets each with the cluster sizes of TREC DL (43 queries and 300 pairs, 96 and
1,000, 32 and 120), normal and exponential query effects; share of 95 % intervals that hold the
true recovery, lowest and highest of the six settings:

================================================  ===========
percentile bootstrap                              0.920-0.940
bias-corrected and accelerated (BCa) bootstrap    0.909-0.917
bootstrapped t, inverted (used here)              0.943-0.957
================================================  ===========

BCa was run with exponential effects only, where the percentile bootstrap had 0.911-0.927. The mean
score change is harder where a few queries dominate: 0.930-0.936 with exponential effects (the
percentile bootstrap has 0.905-0.931), 0.950-0.959 with normal ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student_t

QueryIds = Sequence[str] | np.ndarray

# With fewer queries, one of them drawn every time is too likely for any bound to hold.
FEWEST_QUERIES = 4

# Below this share of its own square, what is left of the squared denominator is rounding error.
_ROUNDING = 1e-10


@dataclass(frozen=True)
class Ratio:
    """A ratio of sums for each cell, its interval, and how surprising it is if it were zero."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray


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
    ValueError
        If there is no pair, not one query id per pair, or a value is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    ids = np.asarray(query_ids)
    if ids.shape != values.shape[-1:] or not ids.size:
        raise ValueError(
            f"needed one query id per pair and a pair at least, got {ids.size} ids "
            f"for values of shape {values.shape}; pairs are the last axis"
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"needed finite numbers, got {np.count_nonzero(~np.isfinite(values))} that are NaN or "
            "infinite; leave out the pairs they belong to and report them as skipped"
        )
    queries = np.unique(ids) if queries is None else np.asarray(queries)
    return values @ (ids[:, None] == queries).astype(np.float64)


def estimate_ratio(
    numerator: Float[np.ndarray, "*cell query"],
    denominator: Float[np.ndarray, " query"],
    *,
    interval: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Ratio:
    """Estimate ``sum(numerator) / sum(denominator)`` with an interval over other queries.

    The interval holds every ratio that a cluster-robust t statistic does not reject, with the
    critical value taken from `n_boot` resamples of the queries (the same ones for all cells).
    Read as Fieller did for a ratio of normal means, it is honest about a small denominator: the
    closer that comes to zero the wider the interval, and ``(-inf, inf)`` where the denominator
    cannot be told from zero. So it is with fewer than `FEWEST_QUERIES` queries: nothing bounded
    could be said about others.

    Parameters
    ----------
    numerator, denominator : sums per query, as :func:`query_sums` makes them; the
        denominator's total is not zero.
    interval : coverage, between 0 and 1.
    n_boot : number of resamples.
    seed : of the resamples.

    Returns
    -------
    Ratio
        Each field [*cell]. ``p`` is two-sided, for a numerator of mean zero, see :func:`p_values`.

    Raises
    ------
    ValueError
        If `interval` is not a share.
    """
    if not 0 < interval < 1:
        raise ValueError(f"interval needs a share such as 0.95, got {interval}")
    cells = numerator.reshape(-1, numerator.shape[-1])
    value = cells.sum(axis=-1) / denominator.sum()
    residual = cells - value[:, None] * denominator
    critical = _critical_values(residual, interval, n_boot, seed)
    low, high = _invert(residual, denominator, critical)
    shape = numerator.shape[:-1]
    bounds = (value, value + low, value + high, p_values(cells))
    return Ratio(*(field.reshape(shape) for field in bounds))


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
    rng = np.random.default_rng(seed)
    shares = np.full(n_queries, 1 / n_queries)
    return rng.multinomial(n_queries, shares, size=n_boot).astype(np.float64)


def _critical_values(
    residual: Float[np.ndarray, "cell query"], interval: float, n_boot: int, seed: int
) -> Float[np.ndarray, " cell"]:
    """Size of ``|sum| / sqrt(sum of squares)`` that a share `interval` of the resamples keeps."""
    weights = resample_queries(residual.shape[-1], n_boot, seed)
    spread = np.sqrt(weights @ (residual**2).T)
    statistic = np.abs(weights @ residual.T)
    statistic = np.divide(statistic, spread, out=np.zeros_like(spread), where=spread > 0)
    return np.quantile(statistic, interval, axis=0)


def _invert(
    residual: Float[np.ndarray, "cell query"],
    denominator: Float[np.ndarray, " query"],
    critical: Float[np.ndarray, " cell"],
) -> tuple[Float[np.ndarray, " cell"], Float[np.ndarray, " cell"]]:
    """Distance from the estimate to both ends of the interval.

    A shift x of the ratio is kept where ``|sum(r - x d)| <= critical * sqrt(sum((r - x d)**2))``;
    the residuals r sum to zero, so this is a quadratic inequality in x.
    """
    squared, total = critical**2, denominator.sum() ** 2
    a = total - squared * (denominator**2).sum()
    b = squared * (residual @ denominator)
    c = squared * (residual**2).sum(axis=-1)
    is_bounded = (a > _ROUNDING * total) & (len(denominator) >= FEWEST_QUERIES)
    a = np.where(is_bounded, a, 1.0)
    root = np.sqrt(b**2 + a * c)
    low = np.where(is_bounded, (-b - root) / a, -np.inf)
    return low, np.where(is_bounded, (-b + root) / a, np.inf)
