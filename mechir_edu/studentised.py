"""Parts of a bootstrapped t: residuals, what one query weighs, quantiles of resamples."""

import numpy as np
from jaxtyping import Float

# With fewer queries, one of them drawn every time is too likely for any bound to hold.
FEWEST_QUERIES = 4

# Below this share of the terms it is the difference of, a variance is rounding error.
ROUNDING = 1e-10


def split_ratio(
    numerator: np.ndarray, denominator: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratio [cell], what it leaves of the numerator, and the denominator, both [cell, query]."""
    divisor = np.broadcast_to(denominator, numerator.shape)
    cells, divisor = (part.reshape(-1, numerator.shape[-1]) for part in (numerator, divisor))
    value = cells.sum(axis=-1) / divisor.sum(axis=-1)
    return value, cells - value[:, None] * divisor, divisor


def left_out(residual: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Residual of each query from the estimate that is made without it."""
    share = weights / weights.sum(axis=-1, keepdims=True)
    return divide(residual, 1 - share)


def divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide, where 0 / 0 is 0: nothing moved, so there is nothing to scale."""
    with np.errstate(divide="ignore"):
        return np.divide(above, below, out=np.zeros_like(above), where=above != 0)


def without_rounding(variance: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Variance, or 0 where it is no more than the rounding error of its terms."""
    return np.where(variance > ROUNDING * scale, variance, 0.0)


def tails(
    statistic: Float[np.ndarray, "boot cell"], interval: float
) -> tuple[Float[np.ndarray, " cell"], Float[np.ndarray, " cell"]]:
    """Quantiles that leave out half of ``1 - interval`` on either side; low <= 0 <= high."""
    if not 0 < interval < 1:
        raise ValueError(f"interval needs a share such as 0.95, got {interval}")
    tail = (1 - interval) / 2
    # No interpolation: a resample of one query alone has an infinite statistic.
    low, high = np.quantile(statistic, [tail, 1 - tail], axis=0, method="inverted_cdf")
    return np.minimum(low, 0.0), np.maximum(high, 0.0)


def bounded(low: np.ndarray, high: np.ndarray, n_queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Both ends where there are queries enough, and the whole line where there are not."""
    if n_queries >= FEWEST_QUERIES:
        return low, high
    return np.full_like(low, -np.inf), np.full_like(high, np.inf)
