"""Compare corrections for the number of heads: false findings, and true ones that are not missed.

Studies without any effect are those of `null_studies`, and others in which nothing is exchanged:
there each head's effects have mean zero, but need not be symmetric, which turning signs takes for
granted. In studies with effects, every sixth head has an effect of its own on top of those of
`null_studies`, as large as `EFFECT` times the spread of its sums per query divided by the square
root of the number of queries.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from null_studies import EXCHANGES, N_HEADS, draw_null
from real_scores import Run
from scipy.stats import false_discovery_control
from simulate import SHAPES, Design, draw_effects

from mechir_edu.plots.words import markdown_table
from mechir_edu.stats.clusters import p_values, pairs_per_query, query_sums
from mechir_edu.stats.sign_flips import stepped_down

METHODS = ("max-T", "BY", "BH")
NOT_EXCHANGED = "not"
EFFECT = 4.0  # the expected t of a head that has an effect
EVERY = 6
N_FLIPS = 499
# What notebooks draw: n pairs, evenly over queries, so hardly more than one of each.
SMALL = (
    Design("24 pairs of 24 queries", np.ones((24, 1), dtype=int)),
    Design("48 pairs of 36 queries", np.repeat([[1], [2]], [24, 12], axis=0)),
    Design("60 pairs of 36 queries", np.repeat([[1], [2]], [12, 24], axis=0)),
)


@dataclass(frozen=True)
class Power:
    """Means over studies.

    Attributes
    ----------
    detected : share of true effects that were found.
    any_false : share of studies with any false finding.
    false : share of false ones among the findings, 0 without a finding: the false-discovery rate.
    """

    detected: float
    any_false: float
    false: float


def adjusted(sums: np.ndarray, n_flips: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Adjusted p values of each head by each method, from sums per query [head, query]."""
    p = p_values(sums)
    return {
        "max-T": stepped_down(sums, n_flips=n_flips, seed=seed),
        "BY": false_discovery_control(p, method="by"),
        "BH": false_discovery_control(p, method="bh"),
    }


def draw_lopsided(design: Design, rng: np.random.Generator, shape: str) -> np.ndarray:
    """Draw sums per query [head, query] of effects with mean zero that were not exchanged."""
    query, n_queries = design.query, len(design.counts)
    influence = draw_effects(rng, SHAPES[shape], (4, n_queries))[:, query]
    weights = 0.3 * rng.standard_normal((N_HEADS, 4))
    noise = np.sqrt(pairs_per_query(query)) * rng.standard_normal((N_HEADS, n_queries))
    return weights @ query_sums(influence, query) + 0.3 * noise


def draw_real(sums: np.ndarray, rng: np.random.Generator, exchange: str) -> np.ndarray:
    """Draw sums per query [head, query] of as many queries from real ones, without any effect."""
    drawn = rng.integers(sums.shape[1], size=sums.shape[1])
    if exchange == NOT_EXCHANGED:
        return (sums - sums.mean(axis=1, keepdims=True))[:, drawn]
    return sums[:, drawn] * rng.choice([-1.0, 1.0], sums.shape[1])


def draw_studies(
    source: Design | np.ndarray,
    shape: str,
    exchange: str,
    *,
    n: int,
    seed: int = 0,
    effect: float = 0.0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw n studies: sums per query [head, query], and which heads have an effect.

    The source is a design, or real sums per query.
    """
    rng = np.random.default_rng(seed)
    for _ in range(n):
        if isinstance(source, np.ndarray):
            sums = draw_real(source, rng, exchange)
        elif exchange == NOT_EXCHANGED:
            sums = draw_lopsided(source, rng, shape)
        else:
            sums = draw_null(source, rng, shape, exchange)
        has_effect = np.arange(len(sums)) % EVERY == 0 if effect else np.zeros(len(sums), bool)
        size = effect * sums.std(axis=1, ddof=1) / np.sqrt(sums.shape[1])
        yield sums + (has_effect * size)[:, None], has_effect


def count_families(
    studies: Iterable[tuple[np.ndarray, np.ndarray]], n_flips: int, level: float = 0.05
) -> dict[str, Power]:
    """Count true and false findings of each method over studies."""
    counts: dict[str, list[tuple[float, ...]]] = {method: [] for method in METHODS}
    for seed, (sums, has_effect) in enumerate(studies):
        for method, p in adjusted(sums, n_flips, seed).items():
            found = p < level
            detected = found[has_effect].mean() if has_effect.any() else 0.0
            n_false = int(found[~has_effect].sum())
            counts[method].append((float(detected), n_false > 0, n_false / max(1, found.sum())))
    return {method: Power(*np.mean(rows, axis=0).tolist()) for method, rows in counts.items()}


def measure_family(
    source: Design | np.ndarray,
    shape: str,
    exchange: str,
    *,
    n: int,
    n_flips: int = N_FLIPS,
    seed: int = 0,
) -> dict[str, float]:
    """Share of n studies without any effect in which each method finds a head."""
    found = count_families(draw_studies(source, shape, exchange, n=n, seed=seed), n_flips)
    return {method: power.any_false for method, power in found.items()}


def tell_corrections(
    designs: Iterable[Design], runs: Iterable[Run], n: int, seed: int, n_flips: int = N_FLIPS
) -> str:
    """Measure both tables, and say what they show."""
    sources = [(d.name, d, shape) for d in designs for shape in ("normal", "exponential")]
    sources += [(run.name, run.sums, "real") for run in runs]
    nulls, powers = [], []
    shares: list[dict[str, float]] = []
    skewed: list[dict[str, float]] = []
    with_effects: list[dict[str, Power]] = []
    for name, source, shape in sources:
        exchanges = EXCHANGES if isinstance(source, Design) else EXCHANGES[1:]
        for exchange in (*exchanges, NOT_EXCHANGED):
            share = measure_family(source, shape, exchange, n=n, n_flips=n_flips, seed=seed)
            (skewed if exchange == NOT_EXCHANGED else shares).append(share)
            how = exchange if exchange == NOT_EXCHANGED else f"by {exchange}"
            nulls.append([name, how, shape, *(f"{share[m]:.1%}" for m in METHODS)])
        found = count_families(
            draw_studies(source, shape, EXCHANGES[1], n=n // 2, seed=seed, effect=EFFECT), n_flips
        )
        with_effects.append(found)
        powers.append([name, shape, *(f"{p.detected:.0%} ({p.false:.1%})" for p in found.values())])

    def most(of: list[dict[str, float]]) -> str:
        return ", ".join(f"{method} {max(s[method] for s in of):.1%}" for method in METHODS)

    def over(name: str, take: Callable) -> str:
        values = {m: take([getattr(p[m], name) for p in with_effects]) for m in METHODS}
        digits = 0 if name == "detected" else 1
        return ", ".join(f"{method} {value:.{digits}%}" for method, value in values.items())

    found_by = {m: np.mean([power[m].detected for power in with_effects]) for m in METHODS}
    worst = {m: max(share[m] for share in skewed) for m in METHODS}
    is_better = found_by["max-T"] > found_by["BY"] and worst["max-T"] <= worst["BY"]
    return TEXT.format(
        verdict=VERDICTS[bool(is_better)],
        n=n,
        n_flips=n_flips,
        error=2 * np.sqrt(0.05 * 0.95 / n),
        null=most(shares),
        skewed=most(skewed),
        every=EVERY,
        effect=EFFECT,
        n_power=n // 2,
        detected=over("detected", np.mean),
        false=over("false", np.max),
        nulls=markdown_table(["studies like", "exchanged", "query effects", *METHODS], nulls),
        powers=markdown_table(["studies like", "query effects", *METHODS], powers),
    )


VERDICTS = {
    False: (
        "Max-T does not do better than BY both in what it finds and where effects are skewed, so "
        "that *significant* means q < 0.05 by BY everywhere in MechIR-Edu."
    ),
    True: "Max-T does better than BY, in what it finds and where effects are skewed.",
}
TEXT = """\
`mechir_edu.stats.family_wise_p` turns the signs of whole queries and compares each head with the
largest of the heads that are no more extreme (step-down max-T). It keeps the chance that a map
shows *any* head without an effect at 5 %. The corrections of Benjamini and Yekutieli (BY), which
`q` is, and of Benjamini and Hochberg (BH) allow 5 % of the heads that are called significant to be
false. `tools/max_t_studies.py` compares the three. Three designs are as small as those of the
notebooks; the last rows draw queries from the study's own scores, so their heads depend on each
other as real ones do. Signs are turned {n_flips} times in each study.

First, {n:,} studies without any effect for each row, and the share of them in which a head is below
0.05; a share of 5 % is measured to within {error:.1%}. With donor and recipient exchanged, the
largest shares are {null}. Where nothing is exchanged, each head's effects have mean zero but may be
skewed, so that turning signs is no longer exact; there they are {skewed}.

{nulls}

Then {n_power:,} studies for each row, in which every {every}th head has an effect with an expected
t of {effect:g}: the share of these heads that are found, and in brackets the share of false ones
among the heads that are called significant. **Found on average: {detected}. Largest share of false
ones: {false}.** {verdict}

{powers}"""
