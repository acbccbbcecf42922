"""Draw data sets that are shaped like studies on TREC DL and whose truth is known.

A *design* says how many pairs of each relevance grade each query has. Score changes are drawn for
it as ``mean + slope * grade + query effect + pair noise``. Query effects have a *shape*: normal,
exponential (skewness 2: one query moves far, most a little) or log-normal (skewness 4.7). A pair's
own noise is normal. Units are standard deviations of a single pair.

Each *question* draws `n` data sets and asks one function of :mod:`mechir_edu.stats` about each; the
answer is an interval for a truth that is known by construction.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import expon, lognorm, norm

from mechir_edu import stats
from mechir_edu.collection.judged import Judged
from mechir_edu.stats.clusters import query_sums
from mechir_edu.stats.intervals import Ratio, estimate_difference, estimate_ratio

SHAPES = {"normal": norm(), "exponential": expon(), "log-normal": lognorm(0.9)}
BETWEEN = 0.5  # share of the variance that lies between queries
CHUNK = 500  # data sets at a time: the resampled statistics of more do not fit into a cache
SIZES = Path(__file__).with_name("cluster_sizes.json")

MEAN, SLOPE, SHARE, OTHER_SHARE = 1.0, 0.1, 0.1, 0.15
WEAK_MEAN = 0.4
Question = Callable[["Design", np.random.Generator, int, Any], tuple[float, Ratio | stats.Estimate]]


@dataclass(frozen=True)
class Design:
    """How many pairs each query has, [query, grade]."""

    name: str
    counts: np.ndarray

    @property
    def query(self) -> np.ndarray:
        """The query of each pair."""
        return np.repeat(np.arange(len(self.counts)), self.counts.sum(axis=1))

    @property
    def grade(self) -> np.ndarray:
        """The relevance grade of each pair."""
        grades = np.tile(np.arange(self.counts.shape[1]), len(self.counts))
        return np.repeat(grades, self.counts.ravel())

    def only(self, grade: int) -> "Design":
        """Keep the pairs of one grade."""
        counts = self.counts[self.counts[:, grade] > 0, grade : grade + 1]
        return Design(f"{self.name}, grade {grade}", counts)


def count_pairs(judged: Sequence[Judged]) -> list[list[int]]:
    """Count the pairs of each grade for each query, queries in order of their number of pairs."""
    counts: dict[str, Counter] = {}
    for pair in judged:
        counts.setdefault(pair.query_id, Counter())[pair.relevance] += 1
    grades = range(max(pair.relevance for pair in judged) + 1)
    return sorted(([row[g] for g in grades] for row in counts.values()), key=lambda r: (sum(r), r))


def read_designs(path: Path = SIZES) -> dict[str, Design]:
    """Read what ``validate_statistics.py sizes`` wrote."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return {name: Design(name, np.array(counts)) for name, counts in stored.items()}


def draw_effects(rng: np.random.Generator, shape: Any, size: tuple[int, ...]) -> np.ndarray:
    """Draw query effects with mean 0 and variance 1."""
    return (shape.rvs(size, random_state=rng) - shape.mean()) / shape.std()


def draw_changes(
    design: Design, rng: np.random.Generator, n: int, shape: Any, mean: float = 0.0
) -> np.ndarray:
    """Draw score changes [n, pair] with this mean."""
    by_query = draw_effects(rng, shape, (n, len(design.counts)))[:, design.query]
    noise = rng.standard_normal(by_query.shape)
    return mean + np.sqrt(BETWEEN) * by_query + np.sqrt(1 - BETWEEN) * noise


def ask_mean(design: Design, rng: np.random.Generator, n: int, shape: Any) -> tuple:
    """Mean score change; a contrast is the mean of a difference, so this stands for both."""
    change = draw_changes(design, rng, n, shape, MEAN)
    return MEAN, stats.mean_change(change, query_ids=design.query)


def ask_trend(design: Design, rng: np.random.Generator, n: int, shape: Any) -> tuple:
    """Slope of the score change over the grades; queries differ in slope as well."""
    slopes = SLOPE + 0.1 * draw_effects(rng, shape, (n, len(design.counts)))
    change = draw_changes(design, rng, n, shape) + slopes[:, design.query] * design.grade
    return SLOPE, stats.grade_trend(change, design.grade, query_ids=design.query)


def ask_agreement(design: Design, rng: np.random.Generator, n: int, shape: Any) -> tuple:
    """Share of pairs whose score rose."""
    estimates = [
        stats.sign_agreement(change, 1, query_ids=design.query)
        for change in draw_changes(design, rng, n, shape, MEAN)
    ]
    effects = (shape.ppf((np.arange(10**5) + 0.5) / 10**5) - shape.mean()) / shape.std()
    truth = norm.cdf((MEAN + np.sqrt(BETWEEN) * effects) / np.sqrt(1 - BETWEEN)).mean()
    value, low, high, p = np.array([(e.value, e.low, e.high, e.p) for e in estimates]).T
    return truth, Ratio(value, low, high, p)


def draw_patched(
    design: Design, rng: np.random.Generator, n: int, shape: Any, mean: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums per query [n, query] of effects through two heads, and of score changes."""
    change = draw_changes(design, rng, n, shape, mean)
    effects = (
        share * change + 0.3 * draw_changes(design, rng, n, shape) for share in (SHARE, OTHER_SHARE)
    )
    return tuple(query_sums(part, design.query) for part in (*effects, change))


def ask_recovery(
    design: Design, rng: np.random.Generator, n: int, shape: Any, mean: float = MEAN
) -> tuple:
    """Recovery of a head that carries a tenth of the change, with noise of its own."""
    effect, _, change = draw_patched(design, rng, n, shape, mean)
    return SHARE, estimate_ratio(effect, change)


def ask_weak_recovery(design: Design, rng: np.random.Generator, n: int, shape: Any) -> tuple:
    """Recovery of a change that is itself only some standard errors from zero."""
    return ask_recovery(design, rng, n, shape, WEAK_MEAN)


def ask_difference(design: Design, rng: np.random.Generator, n: int, shape: Any) -> tuple:
    """Recovery under one edit minus recovery under another, of the same documents."""
    effect, other_effect, change = draw_patched(design, rng, n, shape, MEAN)
    other = change / 2 + query_sums(draw_changes(design, rng, n, shape, MEAN), design.query)
    # The second edit moves the score one and a half times as far; its head carries its share of it.
    other_effect = other_effect - OTHER_SHARE * (change - other)
    return SHARE - OTHER_SHARE, estimate_difference((effect, change), (other_effect, other))


QUESTIONS: dict[str, Question] = {
    "mean score change": ask_mean,
    "sign agreement": ask_agreement,
    "grade trend": ask_trend,
    "recovery": ask_recovery,
    "recovery of a weak change": ask_weak_recovery,
    "difference of recoveries": ask_difference,
}


@dataclass(frozen=True)
class Coverage:
    """Share of n intervals that held the truth, and that lay wholly above or below it."""

    held: float
    above: float
    below: float
    n: int

    @property
    def error(self) -> float:
        """Two standard errors of `held`, if 95 % is the truth."""
        return 2 * float(np.sqrt(0.95 * 0.05 / self.n))

    def is_within(self, low: float = 0.94, high: float = 0.96) -> bool:
        """Whether coverage is in this range, as far as n data sets can tell."""
        return low - self.error <= self.held <= high + self.error


def cover(truth: float, intervals: Ratio | stats.Estimate) -> Coverage:
    """Compare intervals with the truth."""
    above, below = np.mean(intervals.low > truth), np.mean(intervals.high < truth)
    return Coverage(float(1 - above - below), float(above), float(below), len(intervals.low))


def measure_coverage(
    ask: Question, design: Design, shape: str, *, n: int, seed: int = 0
) -> Coverage:
    """Ask one question of n data sets."""
    rng = np.random.default_rng(seed)
    sizes = [min(CHUNK, n - start) for start in range(0, n, CHUNK)]
    parts = [cover(*ask(design, rng, size, SHAPES[shape])) for size in sizes]
    above = sum(part.above * part.n for part in parts) / n
    below = sum(part.below * part.n for part in parts) / n
    return Coverage(1 - above - below, above, below, n)
