"""Average what pairs show: mean score change, agreement with the axiom, trend over grades.

Conventions are those of :mod:`mechir_edu.stats`, which offers these functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import t as student_t

from mechir_edu.stats.clusters import QueryIds, pairs_per_query, query_sums
from mechir_edu.stats.given import check_share, checked_sign, pairs_given
from mechir_edu.stats.intervals import FEWEST_QUERIES, Ratio, estimate_mean


@dataclass(frozen=True)
class Estimate:
    """A mean over pairs (or a trend), for one number or for each cell.

    ``value``, ``low`` and ``high`` are in the unit of what was averaged; ``p`` is two-sided, for a
    true value of zero, not corrected for the number of cells. ``sign_agreement`` is the share of
    pairs that moved as the axiom expects, None where it expects nothing; :func:`sign_agreement`
    gives it with an interval.
    """

    value: float | np.ndarray
    low: float | np.ndarray
    high: float | np.ndarray
    p: float | np.ndarray
    n_pairs: int
    n_queries: int
    interval: float = 0.95
    sign_agreement: float | None = None


def mean_change(
    change: Float[np.ndarray, "*cell pair"],
    *,
    query_ids: QueryIds,
    expected_sign: int | None = None,
    interval: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Mean score change (or mean effect of each cell) over pairs, in score units.

    Parameters
    ----------
    change : score change of each pair.
    query_ids : the query of each pair.
    expected_sign : 1 or -1, the direction that the axiom predicts; 0 or None for a control.
    interval, n_boot, seed : as in :func:`mechir_edu.stats.recovered.recovery`; the interval is
        ``(-inf, inf)`` with fewer than four queries.
    """
    expected_sign = checked_sign(expected_sign)
    sums, counts = query_sums(change, query_ids), pairs_per_query(query_ids)
    ratio = estimate_mean(sums, counts, interval=interval, n_boot=n_boot, seed=seed)
    agreement = float((np.sign(change) == expected_sign).mean()) if expected_sign else None
    return as_estimate(ratio, len(query_ids), len(counts), interval, agreement)


def sign_agreement(
    change: Float[np.ndarray, " pair"],
    expected_sign: int,
    *,
    query_ids: QueryIds,
    interval: float = 0.95,
) -> Estimate:
    """Share of pairs that moved as the axiom expects; 0.5 is what chance gives.

    The interval is Wilson's (1927), which stays between 0 and 1 also where all pairs agree, for as
    many independent pairs as would have this share's jackknife error over queries. ``p`` is for a
    share of one half. A score that did not move agrees with no axiom.

    Parameters
    ----------
    change : score change of each pair.
    expected_sign : 1 or -1.
    query_ids : the query of each pair.
    interval : coverage; the interval is ``(0, 1)`` with fewer than four queries.

    Raises
    ------
    TypeError, ValueError
        If the axiom expects nothing, so that nothing can agree with it, or a change is no number.

    Examples
    --------
    >>> agreement = sign_agreement(np.array([0.2, 0.1, -0.1, 0.3]), 1, query_ids=list("abcd"))
    >>> agreement.value
    0.75
    """
    if checked_sign(expected_sign) not in (1, -1):
        raise ValueError(
            f"agreement needs an expected sign of 1 or -1, got {expected_sign}; "
            "a control predicts nothing, look at its mean_change"
        )
    check_share(interval)
    change, _ = pairs_given(change, query_ids)
    if change.ndim != 1:
        raise ValueError(f"agreement needs one change for each pair, got shape {change.shape}")
    agrees = np.where(np.sign(change) == expected_sign, 1.0, 0.0)
    counts = pairs_per_query(query_ids)
    n_pairs, n_queries = len(agrees), len(counts)
    share = agrees.mean()
    error = _jackknife_error(query_sums(agrees, query_ids) - share * counts, counts)
    # Where all pairs agree, nothing shows how alike those of one query are: count queries then.
    n_alone = min(share * (1 - share) / error**2, n_pairs) if error > 0 else n_queries
    degrees = max(n_queries - 1, 1)
    low, high = _wilson(share, float(n_alone), student_t.ppf((1 + interval) / 2, degrees))
    if n_queries < FEWEST_QUERIES:
        low, high = 0.0, 1.0
    p = 2 * student_t.sf(abs(share - 0.5) * 2 * np.sqrt(n_alone), degrees)
    value = float(share)
    return Estimate(value, float(low), float(high), float(p), n_pairs, n_queries, interval, value)


def grade_trend(
    change: Float[np.ndarray, "*cell pair"],
    relevance: Sequence[int] | Int[np.ndarray, " pair"],
    *,
    query_ids: QueryIds,
    interval: float = 0.95,
) -> Estimate:
    """Slope of the score change over the relevance grade, in score units per grade.

    Least squares over pairs. The error is the jackknife's, from the slopes without one query each;
    the interval is Student's, for the bootstrapped one of :func:`mean_change` is too short for a
    slope (see ``docs/study/validation.md``).

    Parameters
    ----------
    change : score change of each pair.
    relevance : its grade.
    query_ids : its query.
    interval : coverage; the interval is ``(-inf, inf)`` with fewer than four queries, or where the
        slope hangs on one query.

    Raises
    ------
    ValueError
        If all pairs have the same grade.
    """
    check_share(interval)
    change, _ = pairs_given(change, query_ids)
    grade, _ = pairs_given(relevance, query_ids)
    grade = grade - grade.mean()
    if not grade.any():
        raise ValueError(
            "a trend needs pairs of at least two grades, got one; sample with grades=None"
        )
    centred = change - change.mean(axis=-1, keepdims=True, dtype=np.float64)
    values = (np.ones(len(grade)), grade, grade**2, centred, centred * grade)
    sums = [query_sums(part, query_ids) for part in values]
    totals = [part.sum(axis=-1, keepdims=True) for part in sums]
    slope = _slope(*totals)
    without = _slope(*(total - part for total, part in zip(totals, sums, strict=True)))
    n_queries = without.shape[-1]
    with np.errstate(invalid="ignore"):
        error = np.sqrt(((without - slope) ** 2).sum(axis=-1))
    is_known = np.isfinite(error) & (n_queries >= FEWEST_QUERIES)
    error = np.where(is_known, error, np.inf)
    ratio = _student(slope[..., 0], error, interval, max(n_queries - 1, 1))
    return as_estimate(ratio, len(grade), n_queries, interval)


def as_estimate(
    ratio: Ratio, n_pairs: int, n_queries: int, interval: float, agreement: float | None = None
) -> Estimate:
    """Say what an interval rests on; a single cell becomes plain numbers."""

    def plain(field: np.ndarray) -> float | np.ndarray:
        return float(field) if field.ndim == 0 else field

    return Estimate(
        value=plain(ratio.value),
        low=plain(ratio.low),
        high=plain(ratio.high),
        p=plain(ratio.p),
        n_pairs=n_pairs,
        n_queries=n_queries,
        interval=interval,
        sign_agreement=agreement,
    )


def _slope(
    n: np.ndarray, grade: np.ndarray, squares: np.ndarray, change: np.ndarray, products: np.ndarray
) -> np.ndarray:
    """Slope from sums over pairs; not a number where all of them have one grade."""
    spread = squares - grade**2 / np.maximum(n, 1)
    spread = np.where(spread > 1e-9 * squares, spread, np.nan)
    return (products - grade * change / np.maximum(n, 1)) / spread


def _student(value: np.ndarray, error: np.ndarray, interval: float, degrees: int) -> Ratio:
    """Student's interval, and his p for a true value of zero."""
    reach = student_t.ppf((1 + interval) / 2, degrees) * error
    # Without an error, a slope that is not zero is beyond doubt, and one that is zero is none.
    with np.errstate(divide="ignore"):
        size = np.divide(np.abs(value), error, out=np.zeros_like(value), where=value != 0)
    fields = (value, value - reach, value + reach, 2 * student_t.sf(size, degrees))
    return Ratio(*map(np.asarray, fields))


def _jackknife_error(residual: np.ndarray, counts: np.ndarray) -> float:
    """Standard error of a mean over pairs, leaving out one query at a time."""
    n_pairs = counts.sum()
    left = np.where(counts < n_pairs, n_pairs - counts, np.inf)
    return float(np.sqrt(((residual / left) ** 2).sum()))


def _wilson(share: float, n: float, critical: float) -> tuple[float, float]:
    """True shares that differ from the observed one by at most `critical` of their errors."""
    squared = critical**2 / n
    middle = (share + squared / 2) / (1 + squared)
    reach = np.sqrt(squared * (share * (1 - share) + squared / 4)) / (1 + squared)
    return max(0.0, middle - reach), min(1.0, middle + reach)
