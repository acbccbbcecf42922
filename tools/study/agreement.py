"""Compare maps of heads: of two axioms, two collections, other fillers, the other direction."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from study.effects import LEVEL, N_BOOT, coverage, stands
from study.plan import CHECKS, PLACES, STUDIED, Condition
from study.results import Part

from mechir_edu.stats.comparisons import match_pairs, recovery_difference
from mechir_edu.stats.estimates import Estimate, mean_change
from mechir_edu.stats.maps import (
    Correlation,
    Gap,
    profile_correlation,
    profile_gap,
    split_half_reliability,
)
from mechir_edu.stats.recovered import corrected

FEWEST_QUERIES = 8  # on either side of a comparison of maps


@dataclass(frozen=True, eq=False)
class AxiomComparison:
    """Whether TDC works through other heads than TFC1, on documents where their words differ.

    Attributes
    ----------
    n_pairs, n_all : documents where the two add different words, and all.
    ranks : rank correlation of the two maps, over the same documents.
    gap : the same across halves of the queries, against the agreement of each map with itself.
    difference : TDC's recovery minus TFC1's, [layer, head], intervals corrected for the choice.
    differs : heads whose difference stands after correction.
    """

    n_pairs: int
    n_all: int
    ranks: Correlation
    gap: Gap
    difference: Estimate
    differs: Bool[np.ndarray, "layer head"]


def compare_axioms(part: Part, place: str) -> AxiomComparison | None:
    """Compare the maps of both axioms; None where too few queries have two words to choose from."""
    first, second = (Condition(axiom, place) for axiom in STUDIED)
    words = [[pair.term for pair in part.main[one].pairs] for one in (first, second)]
    keep = np.flatnonzero([one != other for one, other in zip(*words, strict=True)])
    query_ids = part.query_ids[keep]
    if len(set(query_ids)) < FEWEST_QUERIES:
        return None
    effects = [part.effect(one)[..., keep] for one in (first, second)]
    ranks = profile_correlation(*effects, first_queries=query_ids, second_queries=query_ids)
    gap = profile_gap(*effects, query_ids=query_ids, interval=1 - LEVEL / len(PLACES))
    sides = [
        (effect, part.change(one)[keep])
        for effect, one in zip(effects, (first, second), strict=True)
    ]
    difference, differs = _differences(*reversed(sides), query_ids)
    return AxiomComparison(len(keep), part.n_pairs, ranks, gap, difference, differs)


def _differences(first, second, query_ids) -> tuple[Estimate, Bool[np.ndarray, "layer head"]]:
    options = {"query_ids": query_ids, "n_boot": N_BOOT}
    chosen = corrected(recovery_difference(first, second, **options).p) < LEVEL
    found = recovery_difference(first, second, interval=coverage(chosen), **options)
    return found, stands(found)


@dataclass(frozen=True)
class Replication:
    """Whether the second collection shows what the first one does.

    Attributes
    ----------
    ranks : rank correlation of the two maps.
    halves : that of random halves of all queries: what can be expected of one mechanism.
    n_first, n_again, n_reversed : heads that stand in the first; of these, those that move the
        score in the second the same way, and the other way (each tested at 0.05 / n_first).
    """

    ranks: Correlation
    halves: Correlation
    n_first: int
    n_again: int
    n_reversed: int


def replicate(part: Part, condition: Condition, n_statements: int) -> Replication | None:
    """Compare the first collection with the second; None where there are not two of enough size."""
    masks = [np.flatnonzero(mask) for mask in part.collections.values()]
    ids = [part.query_ids[keep] for keep in masks]
    if len(masks) != 2 or min(len(set(some)) for some in ids) < FEWEST_QUERIES:
        return None
    effect = part.effect(condition)
    sides = [effect[..., keep] for keep in masks]
    interval = 1 - LEVEL / n_statements
    ranks = profile_correlation(
        *sides, first_queries=ids[0], second_queries=ids[1], interval=interval
    )
    halves = split_half_reliability(effect, query_ids=part.query_ids)
    first, second = (
        mean_change(side, query_ids=some) for side, some in zip(sides, ids, strict=True)
    )
    is_first = corrected(first.p) < LEVEL
    n_first = int(is_first.sum())
    again = is_first & (second.p * max(n_first, 1) < LEVEL)
    is_same = np.sign(first.value) == np.sign(second.value)
    return Replication(
        ranks, halves, n_first, int((again & is_same).sum()), int((again & ~is_same).sum())
    )


def compare_checks(part: Part) -> dict[Condition, Correlation]:
    """Rank correlation of each check's map with the default's, over the same documents."""
    found = {}
    for condition in CHECKS:
        if condition not in part.checks:
            continue
        result, default = part.checks[condition], Condition(condition.axiom, condition.place)
        here, there = match_pairs(result.pairs, part.pairs)
        # The other direction takes away what the default brings in.
        sign = 1 if condition.direction == default.direction else -1
        query_ids = part.query_ids[there]
        if len(set(query_ids)) < FEWEST_QUERIES:
            continue
        found[condition] = profile_correlation(
            sign * np.asarray(result.effect()[..., here], dtype=np.float64),
            part.effect(default)[..., there],
            first_queries=query_ids,
            second_queries=query_ids,
            interval=1 - LEVEL / len(CHECKS),
        )
    return found
