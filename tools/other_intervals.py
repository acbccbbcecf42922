"""Make intervals for a mean over pairs as others do, to compare with `mechir_edu.stats.intervals`.

Each function takes sums per query [study, query] and the number of pairs of each query, and gives
the distances from the estimate to the lower and upper end.
"""

import numpy as np
from scipy.stats import t as student_t
from simulate import CHUNK, MEAN, SHAPES, Coverage, Design, cover, draw_changes

from mechir_edu.stats.clusters import pairs_per_query, query_sums, resample_queries
from mechir_edu.stats.intervals import Ratio, estimate_mean

N_BOOT = 2000


def residuals(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """What each query's sum leaves of the mean over all pairs."""
    return sums - sums.sum(axis=-1, keepdims=True) / counts.sum() * counts


def pairs_independent(sums: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Student's t as if each pair were a query of its own; a pair has variance 1 here."""
    reach = student_t.ppf(0.975, counts.sum() - 1) / np.sqrt(counts.sum())
    return np.full(len(sums), -reach), np.full(len(sums), reach)


def cluster_robust(sums: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Student's t with the cluster-robust error (CR1)."""
    n = len(counts)
    error = np.sqrt(n / (n - 1) * (residuals(sums, counts) ** 2).sum(axis=-1)) / counts.sum()
    reach = student_t.ppf(0.975, n - 1) * error
    return -reach, reach


def satterthwaite(sums: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """CR2 with Bell and McCaffrey's degrees of freedom (2002), for variances like the counts'."""
    share = counts / counts.sum()
    error = np.sqrt((residuals(sums, counts) ** 2 / (1 - share)).sum(axis=-1)) / counts.sum()
    leave = (np.eye(len(counts)) - share[:, None]) / np.sqrt(1 - share)[:, None]
    spread = leave @ np.diag(counts) @ leave.T
    reach = student_t.ppf(0.975, np.trace(spread) ** 2 / (spread**2).sum()) * error
    return -reach, reach


def jackknife(sums: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Student's t with the jackknife's error (CR3)."""
    left = residuals(sums, counts) / (counts.sum() - counts)
    reach = student_t.ppf(0.975, len(counts) - 1) * np.sqrt((left**2).sum(axis=-1))
    return -reach, reach


def wild(sums: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wild cluster bootstrap-t with random signs (Cameron, Gelbach and Miller 2008)."""
    residual = residuals(sums, counts)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (N_BOOT, len(counts)))
    total = signs @ residual.T
    # In each draw the mean comes out differently, and the residuals with it.
    shift = total / counts.sum()
    squares = (residual**2).sum(axis=-1) + shift**2 * (counts**2).sum()
    squares = squares - 2 * shift * (signs @ (residual * counts).T)
    critical = np.quantile(np.abs(total) / np.sqrt(squares), 0.95, axis=0)
    reach = critical * np.sqrt((residual**2).sum(axis=-1)) / counts.sum()
    return -reach, reach


def percentile(sums: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of the mean over resampled queries."""
    draws = resample_queries(len(counts), N_BOOT, 0)
    shift = draws @ residuals(sums, counts).T / (draws @ counts)[:, None]
    return tuple(np.quantile(shift, [0.025, 0.975], axis=0))


def ours(sums: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The interval that `mechir_edu.stats` gives."""
    mean = estimate_mean(sums, counts, n_boot=N_BOOT)
    return mean.low - mean.value, mean.high - mean.value


METHODS = {
    "Student's t, pairs taken as independent": pairs_independent,
    "percentile bootstrap over queries": percentile,
    "Student's t, cluster-robust error (CR1)": cluster_robust,
    "Student's t, CR2 error, Satterthwaite's degrees of freedom": satterthwaite,
    "Student's t, jackknife error (CR3)": jackknife,
    "wild cluster bootstrap-t": wild,
    "bootstrapped t, both tails, jackknife error": ours,
}


def compare(design: Design, shape: str, *, n: int, seed: int = 0) -> dict[str, Coverage]:
    """Measure every method's coverage on the same n data sets."""
    rng = np.random.default_rng(seed)
    counts = pairs_per_query(design.query)
    bounds: dict[str, list] = {name: [] for name in METHODS}
    for start in range(0, n, CHUNK):
        change = draw_changes(design, rng, min(CHUNK, n - start), SHAPES[shape], MEAN)
        sums = query_sums(change, design.query)
        value = sums.sum(axis=-1) / counts.sum()
        for name, method in METHODS.items():
            bounds[name].append([value + distance for distance in method(sums, counts)])
    ends = {name: np.concatenate(parts, axis=1) for name, parts in bounds.items()}
    return {name: cover(MEAN, Ratio(low, low, high, low)) for name, (low, high) in ends.items()}
