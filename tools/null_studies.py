"""Count how often studies without any effect show a head.

Each study has 144 heads, the grid of a base model, whose effects depend on each other: every head
carries a share of the score change, three influences of the query reach each of them with a weight
of its own, and each has noise. Then donor and recipient are exchanged at random, which turns the
sign of an effect: a head that the donor's activation moved up moves down. No head has an effect
after that. Exchanged by pair, the queries no longer differ; exchanged by query, they do.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from simulate import SHAPES, Design, draw_effects

from mechir_edu import stats
from mechir_edu.stats.clusters import p_values, pairs_per_query, query_sums

N_HEADS = 144
EXCHANGES = ("pair", "query")


@dataclass(frozen=True)
class Null:
    """Share of n studies with any head below 0.05, after and before correction."""

    corrected: float
    uncorrected: float
    n: int

    @property
    def error(self) -> float:
        """Two standard errors of `corrected`, if 5 % is the truth."""
        return 2 * float(np.sqrt(0.05 * 0.95 / self.n))


def draw_null(design: Design, rng: np.random.Generator, shape: str, exchange: str) -> np.ndarray:
    """Draw sums per query [head, query] of effects that were exchanged at random."""
    query, n_queries = design.query, len(design.counts)
    sign = rng.choice([-1.0, 1.0], len(query) if exchange == "pair" else n_queries)
    sign = sign if exchange == "pair" else sign[query]
    influence = draw_effects(rng, SHAPES[shape], (4, n_queries))[:, query] * sign
    change = query_sums(sign * (1 + rng.standard_normal(len(query))), query)
    weights = 0.3 * rng.standard_normal((N_HEADS, 4))
    # The noise of a query's n pairs adds up to noise of variance n, whatever their signs.
    noise = np.sqrt(pairs_per_query(query)) * rng.standard_normal((N_HEADS, n_queries))
    shares = 0.05 * rng.standard_normal((N_HEADS, 1))
    return shares * change + weights @ query_sums(influence, query) + 0.3 * noise


def count_findings(studies: Iterator[np.ndarray], level: float = 0.05) -> Null:
    """Test each study's sums per query [head, query] and count those with any finding."""
    has_finding = []
    for sums in studies:
        p = p_values(sums)
        has_finding.append((np.any(stats.corrected(p) < level), np.any(p < level)))
    corrected, uncorrected = np.mean(has_finding, axis=0)
    return Null(float(corrected), float(uncorrected), len(has_finding))


def measure_null(design: Design, shape: str, exchange: str, *, n: int, seed: int = 0) -> Null:
    """Count findings in n studies without an effect."""
    rng = np.random.default_rng(seed)
    return count_findings(draw_null(design, rng, shape, exchange) for _ in range(n))
