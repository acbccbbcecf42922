"""Ask the same of real scores: the queries of a finished run stand for all queries there are.

A study is then a draw of as many queries, with replacement, and its truth is the run's own value.
Real queries are as unlike each other as they are; but a run's queries are few, and a draw contains
some of them twice, so this is a check on the simulations and no substitute for them.
"""

from dataclasses import dataclass

import numpy as np
from null_studies import Null, count_findings
from scipy.stats import skew
from simulate import Coverage, cover

from mechir_edu.patching.result import PatchingResult
from mechir_edu.stats.clusters import pairs_per_query, query_sums
from mechir_edu.stats.intervals import estimate_mean, estimate_ratio


@dataclass(frozen=True)
class RealScores:
    """What a run's scores say about intervals and tests.

    ``change_skewness`` and ``effect_skewness`` (median over cells) are those of the queries' means.
    """

    change: Coverage
    recovery: Coverage
    null: Null
    change_skewness: float
    effect_skewness: float


def examine(result: PatchingResult, *, n: int, seed: int = 0) -> RealScores:
    """Draw n studies from the queries of a run."""
    rng = np.random.default_rng(seed)
    change = query_sums(result.donor - result.recipient, result.query_ids)
    effect = query_sums(result.effect(), result.query_ids).reshape(-1, len(change))
    counts = pairs_per_query(result.query_ids)
    signs = rng.choice([-1.0, 1.0], (n, len(change)))
    draws = rng.integers(0, len(change), (n, len(change)))
    means = [
        cover(_ratio(change, counts), _single(change[drawn], counts[drawn])) for drawn in draws
    ]
    ratios = [
        cover(_ratio(effect, change), estimate_ratio(effect[:, drawn], change[drawn]))
        for drawn in draws
    ]
    return RealScores(
        change=_together(means),
        recovery=_together(ratios),
        null=count_findings(effect * sign for sign in signs),
        change_skewness=float(skew(change / counts)),
        effect_skewness=float(np.median(np.abs(skew(effect / counts, axis=-1)))),
    )


def _single(sums: np.ndarray, counts: np.ndarray):
    return estimate_mean(sums[None], counts)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return above.sum(axis=-1) / below.sum()


def _together(parts: list[Coverage]) -> Coverage:
    """Average over studies; cells of one study are not independent, so n counts studies."""
    shares = np.mean([(part.held, part.above, part.below) for part in parts], axis=0)
    return Coverage(*map(float, shares), len(parts))
