"""Say how far an estimate would move if other queries had been drawn.

Every interval here is a *bootstrapped t*: the estimate is divided by its standard error, queries
are drawn again with replacement, and the quantiles of that statistic replace those of Student's t.
The choices, each of which the simulations in ``docs/study/validation.md`` call for:

- Both tails have a quantile of their own. Effects are skewed (one query moves a lot, most of them
  a little), and an interval that reaches equally far on both sides then misses on one side only.
- The standard error is the jackknife's, which leaves out one query at a time. The plain one
  trusts the residual of a large query, to which the estimate was fitted most of all.
- What divides decides the form. Numbers of pairs are set by the design (`estimate_mean`). A score
  change was measured on the same queries and may be close to zero (`estimate_ratio`); its interval
  therefore holds every ratio that the statistic does not reject, as Fieller (1954) did for normal
  means: the closer the divisor comes to zero the wider the interval, and ``(-inf, inf)`` where it
  cannot be told from zero.

A few queries say nothing bounded about others: with fewer than `FEWEST_QUERIES`
all intervals are ``(-inf, inf)``.
"""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import t as student_t

from mechir_edu.stats.clusters import p_values, resample_queries
from mechir_edu.stats.given import check_draws, check_share

# With fewer queries, a resample that draws the same query every time is too likely for any bound.
FEWEST_QUERIES = 4

# Below this share of the terms it is the difference of, a variance is rounding error.
ROUNDING = 1e-10


def selective_coverage(selected: Bool[np.ndarray, "*cell"], level: float = 0.05) -> float:
    """Coverage that each interval needs where those of a selection of cells are reported.

    Cells that were selected because their effect is large have intervals that miss more often than
    they promise. With this coverage, and cells selected by q < `level` (Benjamini-Yekutieli), at
    most a share `level` of the selected intervals is expected to miss, however the cells depend on
    each other: ``1 - R level / (m (1 + 1/2 + ... + 1/m))`` for R selected of m cells (Benjamini and
    Yekutieli, False discovery rate-adjusted multiple confidence intervals for selected parameters,
    JASA 100, 2005). An interval may hold zero although q < `level`: its ends are quantiles of a
    bootstrap, while p comes from a t test.

    Parameters
    ----------
    selected : which cells were selected; where none was, the coverage is that for one.
    level : share of the selected intervals that may miss.

    Examples
    --------
    >>> round(selective_coverage(np.array([True, False])), 4)
    0.9833
    """
    check_share(level, "level", 0.05)
    n_selected, n_cells = max(1, int(selected.sum())), selected.size
    return 1 - n_selected * level / (n_cells * float((1 / np.arange(1, n_cells + 1)).sum()))


class IntervalOptions(TypedDict, total=False):
    """How intervals of recovery are made; the names and defaults are those of `recovery`."""

    interval: float
    n_boot: int
    seed: int


@dataclass(frozen=True)
class Ratio:
    """A ratio of sums for each cell, its interval, and how surprising it is if it were zero."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray


def estimate_mean(
    sums: Float[np.ndarray, "*cell query"],
    weights: Float[np.ndarray, " query"],
    *,
    interval: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Ratio:
    """Estimate ``sum(sums) / sum(weights)`` where the weights are set by the design.

    Parameters
    ----------
    sums : per query, as :func:`mechir_edu.stats.clusters.query_sums` makes them.
    weights : what each query counts: its number of pairs, or the spread of its grades.
    interval : coverage, between 0 and 1.
    n_boot, seed : resamples of the queries, the same ones for all cells.

    Returns
    -------
    Ratio
        Each field [*cell]. ``p`` is two-sided, for a mean of zero.

    Raises
    ------
    TypeError, ValueError
        If `interval` is not a share, or `n_boot` too small for any.
    """
    check_draws(interval, n_boot)
    cells = sums.reshape(-1, sums.shape[-1])
    value = cells.sum(axis=-1) / weights.sum()
    if len(weights) < FEWEST_QUERIES:
        return _unbounded(sums.shape[:-1], value, p_values(cells))
    residual = cells - value[:, None] * weights
    draws = resample_queries(len(weights), n_boot, seed)
    total = draws @ residual.T
    # In a resample the mean comes out differently, and the residuals with it.
    shift = total / (draws @ weights)[:, None]
    squares = draws @ (residual**2).T
    shifted = shift**2 * (draws @ weights**2)[:, None]
    variance = squares - 2 * shift * (draws @ (residual * weights).T) + shifted
    variance = _without_rounding(variance, squares)
    low, high = _tails(_divide(total, np.sqrt(variance)), interval)
    error = np.sqrt((_left_out(residual, weights) ** 2).sum(axis=-1)) / abs(weights.sum())
    ends = value - high * error, value - low * error
    return _shaped(sums.shape[:-1], value, *ends, p_values(cells))


def estimate_ratio(
    numerator: Float[np.ndarray, "*cell query"],
    denominator: Float[np.ndarray, "*#cell query"],
    *,
    interval: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Ratio:
    """Estimate ``sum(numerator) / sum(denominator)`` where both were measured.

    Parameters
    ----------
    numerator, denominator : sums per query; the denominator's total is not zero. One denominator
        may serve all cells.
    interval, n_boot, seed : as in :func:`estimate_mean`.

    Returns
    -------
    Ratio
        Each field [*cell]. ``p`` is two-sided, for a numerator of mean zero.

    Raises
    ------
    TypeError, ValueError
        If `interval` is not a share, or `n_boot` too small for any.
    """
    check_draws(interval, n_boot)
    n_queries = numerator.shape[-1]
    value, residual, divisor = _split_ratio(numerator, denominator)
    if n_queries < FEWEST_QUERIES:
        return _unbounded(numerator.shape[:-1], value, p_values(numerator))
    total = divisor.sum(axis=-1)
    draws = resample_queries(n_queries, n_boot, seed)
    statistic = _divide(draws @ residual.T, np.sqrt(draws @ (residual**2).T))
    left_tail, right_tail = _tails(np.sign(total) * statistic, interval)
    reach = [_invert(residual, divisor, critical) for critical in (right_tail, -left_tail)]
    # The jackknife's error over the plain one widens both sides alike.
    plain = (residual**2).sum(axis=-1)
    jackknife = (_left_out(residual, divisor) ** 2).sum(axis=-1)
    widening = np.where(plain > 0, np.sqrt(_divide(jackknife, plain)), 1.0)
    low = np.where(plain > 0, value - reach[0][0] * widening, value)
    high = np.where(plain > 0, value + reach[1][1] * widening, value)
    return _shaped(numerator.shape[:-1], value, low, high, p_values(numerator))


def estimate_difference(
    first: tuple[Float[np.ndarray, "*cell query"], Float[np.ndarray, "*#cell query"]],
    second: tuple[Float[np.ndarray, "*cell query"], Float[np.ndarray, "*#cell query"]],
    *,
    interval: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Ratio:
    """Estimate the first ratio minus the second, both measured on the same queries.

    Parameters
    ----------
    first, second : numerator and denominator, sums per query. Both denominators must stand clear
        of zero, for this interval does not widen where they do not.
    interval, n_boot, seed : as in :func:`estimate_mean`.

    Returns
    -------
    Ratio
        ``value`` is the difference; ``p`` is two-sided, for a difference of zero.

    Raises
    ------
    TypeError, ValueError
        If `interval` is not a share, or `n_boot` too small for any.
    """
    check_draws(interval, n_boot)
    sides = [_influence(*side) for side in (first, second)]
    value, influence, without = (np.subtract(*parts) for parts in zip(*sides, strict=True))
    n_queries = influence.shape[-1]
    error = np.sqrt((without**2).sum(axis=-1))
    p = 2 * student_t.sf(np.abs(_divide(value, error)), max(n_queries - 1, 1))
    if n_queries < FEWEST_QUERIES:
        return _unbounded(first[0].shape[:-1], value, p)
    draws = resample_queries(n_queries, n_boot, seed)
    total, squares = draws @ influence.T, draws @ (influence**2).T
    variance = _without_rounding(squares - total**2 / n_queries, squares)
    low, high = _tails(_divide(total, np.sqrt(variance)), interval)
    ends = value - high * error, value - low * error
    return _shaped(first[0].shape[:-1], value, *ends, p)


def _influence(
    numerator: np.ndarray, denominator: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratio [cell], what each query adds to it, what it takes away when left out [cell, query]."""
    value, residual, divisor = _split_ratio(numerator, denominator)
    total = divisor.sum(axis=-1, keepdims=True)
    return value, residual / total, _left_out(residual, divisor) / total


def _invert(
    residual: Float[np.ndarray, "cell query"],
    denominator: Float[np.ndarray, "cell query"],
    critical: Float[np.ndarray, " cell"],
) -> tuple[Float[np.ndarray, " cell"], Float[np.ndarray, " cell"]]:
    """Distance from the estimate to both ends of the interval, both positive.

    A shift x of the ratio is kept where ``|sum(r - x d)| <= critical * sqrt(sum((r - x d)**2))``;
    the residuals r sum to zero, so this is a quadratic inequality in x.
    """
    squared, total = critical**2, denominator.sum(axis=-1) ** 2
    a = total - squared * (denominator**2).sum(axis=-1)
    b = squared * (residual * denominator).sum(axis=-1)
    c = squared * (residual**2).sum(axis=-1)
    is_bounded = a > ROUNDING * total
    a = np.where(is_bounded, a, 1.0)
    root = np.sqrt(b**2 + a * c)
    below = np.where(is_bounded, (b + root) / a, np.inf)
    return below, np.where(is_bounded, (root - b) / a, np.inf)


def _shaped(shape: tuple[int, ...], *fields: np.ndarray) -> Ratio:
    return Ratio(*(np.asarray(field).reshape(shape) for field in fields))


def _unbounded(shape: tuple[int, ...], value: np.ndarray, p: np.ndarray) -> Ratio:
    """Estimates with the whole line as their interval: there are too few queries."""
    everything = np.full_like(value, np.inf)
    return _shaped(shape, value, -everything, everything, p)


def _split_ratio(
    numerator: np.ndarray, denominator: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratio [cell], what it leaves of the numerator, and the denominator, both [cell, query]."""
    divisor = np.broadcast_to(denominator, numerator.shape)
    cells, divisor = (part.reshape(-1, numerator.shape[-1]) for part in (numerator, divisor))
    value = cells.sum(axis=-1) / divisor.sum(axis=-1)
    return value, cells - value[:, None] * divisor, divisor


def _left_out(residual: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Residual of each query from the estimate that is made without it."""
    share = weights / weights.sum(axis=-1, keepdims=True)
    return _divide(residual, 1 - share)


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide, where 0 / 0 is 0: nothing moved, so there is nothing to scale."""
    with np.errstate(divide="ignore"):
        return np.divide(above, below, out=np.zeros_like(above), where=above != 0)


def _without_rounding(variance: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Variance, or 0 where it is no more than the rounding error of its terms."""
    return np.where(variance > ROUNDING * scale, variance, 0.0)


def _tails(
    statistic: Float[np.ndarray, "boot cell"], interval: float
) -> tuple[Float[np.ndarray, " cell"], Float[np.ndarray, " cell"]]:
    """Quantiles that leave out half of ``1 - interval`` on either side; low <= 0 <= high."""
    tail = (1 - interval) / 2
    # No interpolation: a resample of one query alone has an infinite statistic.
    low, high = np.quantile(statistic, [tail, 1 - tail], axis=0, method="inverted_cdf")
    return np.minimum(low, 0.0), np.maximum(high, 0.0)
