"""Compare corrections for the number of heads: false findings, and true ones that are not missed.

    python tools/max_t_studies.py --studies 2000 --flips 999

Studies without any effect are those of `null_studies`. In studies with effects, every sixth head
has an effect of its own on top of them, as large as `EFFECT` times the spread of its sums per query
divided by the square root of the number of queries. Prints two tables in Markdown.
"""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from null_studies import EXCHANGES, N_HEADS, draw_null
from scipy.stats import false_discovery_control
from simulate import Design, read_designs

from mechir_edu.plots.words import markdown_table
from mechir_edu.stats.clusters import p_values
from mechir_edu.stats.sign_flips import stepped_down

METHODS = ("max-T", "BY", "BH")
EFFECT = 4.0  # the expected t of a head that has an effect
EVERY = 6
# What notebooks draw: n pairs, evenly over queries, so hardly more than one of each.
SMALL = (
    Design("24 pairs of 24 queries", np.ones((24, 1), dtype=int)),
    Design("48 pairs of 36 queries", np.repeat([[1], [2]], [24, 12], axis=0)),
    Design("60 pairs of 36 queries", np.repeat([[1], [2]], [12, 24], axis=0)),
)


@dataclass(frozen=True)
class Power:
    """Share of true effects that were found, and of studies with any false finding."""

    detected: float
    any_false: float


def adjusted(sums: np.ndarray, n_flips: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Adjusted p values of each head by each method, from sums per query [head, query]."""
    p = p_values(sums)
    return {
        "max-T": stepped_down(sums, n_flips=n_flips, seed=seed),
        "BY": false_discovery_control(p, method="by"),
        "BH": false_discovery_control(p, method="bh"),
    }


def draw_studies(
    design: Design, shape: str, exchange: str, *, n: int, seed: int = 0, effect: float = 0.0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw n studies: sums per query [head, query], and which heads have an effect."""
    rng = np.random.default_rng(seed)
    has_effect = np.arange(N_HEADS) % EVERY == 0 if effect else np.zeros(N_HEADS, dtype=bool)
    for _ in range(n):
        sums = draw_null(design, rng, shape, exchange)
        size = effect * sums.std(axis=1, ddof=1) / np.sqrt(sums.shape[1])
        yield sums + (has_effect * size)[:, None], has_effect


def count_families(
    studies: Iterable[tuple[np.ndarray, np.ndarray]], n_flips: int, level: float = 0.05
) -> dict[str, Power]:
    """Count true and false findings of each method over studies."""
    counts: dict[str, list[tuple[float, bool]]] = {method: [] for method in METHODS}
    for seed, (sums, has_effect) in enumerate(studies):
        for method, p in adjusted(sums, n_flips, seed).items():
            found = p < level
            detected = found[has_effect].mean() if has_effect.any() else 0.0
            counts[method].append((float(detected), bool(found[~has_effect].any())))
    return {method: Power(*np.mean(rows, axis=0).tolist()) for method, rows in counts.items()}


def measure_family(
    design: Design, shape: str, exchange: str, *, n: int, n_flips: int = 999, seed: int = 0
) -> dict[str, float]:
    """Share of n studies without any effect in which each method finds a head."""
    found = count_families(draw_studies(design, shape, exchange, n=n, seed=seed), n_flips)
    return {method: power.any_false for method, power in found.items()}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--flips", type=int, default=999)
    options = parser.parse_args()
    designs = [*read_designs().values(), *SMALL]
    rows, powers = [], []
    for design in designs:
        for shape in ("normal", "exponential"):
            for exchange in EXCHANGES:
                share = measure_family(
                    design, shape, exchange, n=options.studies, n_flips=options.flips
                )
                shown = [f"{share[method]:.1%}" for method in METHODS]
                rows.append([design.name, f"by {exchange}", shape, *shown])
            drawn = draw_studies(design, shape, "query", n=options.studies // 4, effect=EFFECT)
            found = count_families(drawn, options.flips)
            shown = [f"{p.detected:.0%} ({p.any_false:.1%})" for p in found.values()]
            powers.append([design.name, shape, *shown])
    print(markdown_table(["design", "exchanged", "query effects", *METHODS], rows), "\n")
    print(markdown_table(["design", "query effects", *METHODS], powers))


if __name__ == "__main__":
    main()
