"""Ask the same of real scores: the queries of our study stand for all queries there are.

A study is then a draw of as many queries, with replacement, and its truth is our study's own value.
Real queries are as unlike each other as they are; but ours are few, and a draw contains some of
them twice, so this is a check on the simulations and no substitute for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from null_studies import Null, count_findings
from scipy.stats import skew
from simulate import Coverage, cover
from study.plan import END, STUDIED, Condition
from study.scores import read_scores

from mechir_edu.rankers.kinds import find_kind
from mechir_edu.stats.clusters import pairs_per_query, query_sums
from mechir_edu.stats.intervals import estimate_mean, estimate_ratio


@dataclass(frozen=True, eq=False)
class Run:
    """The score changes and effects of one ranker under one axiom.

    Attributes
    ----------
    name : axiom and kind of ranker.
    change : donor minus recipient, [pair].
    effect : score after each head's patch minus the recipient's, [head, pair].
    query_ids : the query of each pair.
    """

    name: str
    change: np.ndarray
    effect: np.ndarray
    query_ids: Sequence[str]

    @cached_property
    def sums(self) -> np.ndarray:
        """Sums of the effects per query, [head, query]."""
        return query_sums(self.effect, self.query_ids)


def read_runs(folder: Path) -> list[Run]:
    """Read each ranker and axiom of a study's scores, at the end of the document."""
    runs = []
    for part in read_scores(folder):
        for axiom in STUDIED:
            condition = Condition(axiom, END)
            effect = part.effect(condition)
            runs.append(
                Run(
                    f"{axiom}, {find_kind(part.kind).kind_name}",
                    part.change_with_filler(condition),
                    effect.reshape(-1, effect.shape[-1]),
                    part.query_ids,
                )
            )
    return runs


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


def examine(run: Run, *, n: int, seed: int = 0) -> RealScores:
    """Draw n studies from the queries of a run."""
    rng = np.random.default_rng(seed)
    change, effect = query_sums(run.change, run.query_ids), run.sums
    counts = pairs_per_query(run.query_ids)
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
