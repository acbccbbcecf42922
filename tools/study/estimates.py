"""Estimate everything that the report says besides single heads: the table ``estimates.csv``.

One row for each estimate: kind of ranker, quantity, axiom, place, detail (a grade, a head, a
check), value, and the interval's ends, where there is an interval.

Corrections
-----------
The intervals of one family of statements about a ranker hold all together with 95 %: each has a
coverage of ``1 - 0.05 / number of statements`` (Bonferroni). Where a comparison has too few
queries, its rows are missing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from mechir_edu.patching.circuits.result import PROTOCOLS
from mechir_edu.stats.comparisons import recovery_difference
from mechir_edu.stats.estimates import Estimate, mean_change, sign_agreement
from mechir_edu.stats.intervals import selective_coverage
from mechir_edu.stats.maps import (
    Correlation,
    Gap,
    profile_correlation,
    profile_gap,
    split_half_reliability,
)
from mechir_edu.stats.power import minimum_detectable_effect
from mechir_edu.stats.recovered import corrected
from study.heads import LEVEL, N_BOOT
from study.part import Part
from study.plan import (
    BY,
    CHECKS,
    CONTROL_OF,
    END,
    FEWEST_QUERIES,
    MAIN,
    OF_AXIOMS,
    PLACES,
    STUDIED,
    Condition,
)

MARGIN = 0.1  # of the effect over the control; a smaller change counts as none


class Row(NamedTuple):
    """One estimate."""

    quantity: str
    axiom: str
    place: str
    detail: str
    value: float
    low: float = float("nan")
    high: float = float("nan")


def estimates_table(part: Part) -> pd.DataFrame:
    """Make all estimates about a ranker: one row each."""
    makers = (
        _sizes,
        _score_changes,
        _by_grade,
        _penalty,
        _uncorrected_changes,
        _axioms_compared,
        _collections_compared,
        _checks_compared,
        _detectable,
        _circuits,
        _rankings,
    )
    return as_table(part, (row for make in makers for row in make(part)))


def as_table(part: Part, rows: Iterable[Row]) -> pd.DataFrame:
    """Lay rows about a ranker out as a table."""
    table = pd.DataFrame(rows, columns=Row._fields)
    table.insert(0, "kind", part.kind)
    return table


def _row(
    quantity: str,
    axiom: str,
    place: str,
    estimate: Estimate | Correlation | Gap,
    detail: object = "",
) -> Row:
    return Row(quantity, axiom, place, str(detail), estimate.value, estimate.low, estimate.high)


def _sizes(part: Part) -> Iterator[Row]:
    sizes = {
        "pairs": len(part.pairs),
        "planned pairs": part.n_planned,
        "queries": len(set(part.query_ids)),
        "pairs of circuits": max((len(c.pairs) for c in part.circuits.values()), default=0),
        "check pairs": max((len(scores.pair) for scores in part.checks.values()), default=0),
    }
    yield from (Row(name, "", "", "", n) for name, n in sizes.items())
    for grade, n in sorted(Counter(part.grades.tolist()).items(), reverse=True):
        yield Row("pairs of grade", "", "", str(grade), n)
    for reason, n in Counter(skip.reason for skip in part.skipped).most_common():
        yield Row("skipped", "", "", reason, n)


def _mean_of(part: Part, values: np.ndarray, n_statements: int, keep=slice(None)) -> Estimate:
    options = {"interval": 1 - LEVEL / n_statements, "n_boot": N_BOOT}
    return mean_change(values[..., keep], query_ids=part.query_ids[keep], **options)


def _score_changes(part: Part) -> Iterator[Row]:
    """What each edit and its control do to the score of the document as it was."""
    n = 3 * len(STUDIED) * len(PLACES)
    for axiom, place in ((axiom, place) for axiom in STUDIED for place in PLACES):
        values = {
            "change": part.change(Condition(axiom, place)),
            "control change": part.change(Condition(CONTROL_OF[axiom], place)),
            "over control": part.over_control(axiom, place),
        }
        for name, of_pairs in values.items():
            yield _row(name, axiom, place, _mean_of(part, of_pairs, n))


def _by_grade(part: Part) -> Iterator[Row]:
    """Effect over the control in each grade, highest first."""
    grades = sorted(set(part.grades.tolist()), reverse=True)
    n = len(grades) * len(STUDIED) * len(PLACES)
    for axiom, place in ((axiom, place) for axiom in STUDIED for place in PLACES):
        values = part.over_control(axiom, place)
        for grade in grades:
            estimate = _mean_of(part, values, n, np.flatnonzero(part.grades == grade))
            yield _row("over control in grade", axiom, place, estimate, grade)


def _penalty(part: Part) -> Iterator[Row]:
    """What an appended query term costs or gains (TFC1), taken apart."""
    term, control = Condition("TFC1", END), CONTROL_OF["TFC1"]
    grades = sorted(set(part.grades.tolist()), reverse=True)
    # With the three of the edit's score row, whose own correction is at least as strict.
    n = 6 + len(grades)
    change = part.change(term)
    loses = sign_agreement(change, -1, query_ids=part.query_ids, interval=1 - LEVEL / n)
    yield _row("share lowered", "TFC1", END, loses)
    by_place = {
        "control, end minus start": [part.change(Condition(control, place)) for place in PLACES],
        "over control, end minus start": [part.over_control("TFC1", place) for place in PLACES],
    }
    for name, (at_end, at_start) in by_place.items():
        yield _row(name, "TFC1", END, _mean_of(part, at_end - at_start, n))
    for grade in grades:
        estimate = _mean_of(part, change, n, np.flatnonzero(part.grades == grade))
        yield _row("change in grade", "TFC1", END, estimate, grade)
    yield from _within_margin(part)


def _within_margin(part: Part) -> Iterator[Row]:
    """Whether an appended neutral word changes the score by less than `MARGIN`: equivalence.

    Two one-sided tests (Schuirmann 1987) of 5 % each, so intervals of 90 %. The change plus the
    margin has to lie above zero, and the change minus the margin below. The margin is a share of
    the query term's effect over the control in the same pairs, so its uncertainty counts too.
    """
    change = part.change(Condition(CONTROL_OF["TFC1"], END))
    margin = MARGIN * part.over_control("TFC1", END)
    for side, values in (("above", change + margin), ("below", change - margin)):
        options = {"query_ids": part.query_ids, "interval": 1 - 2 * LEVEL, "n_boot": N_BOOT}
        estimate = mean_change(values, **options)
        yield _row("control change within margin", "TFC1", END, estimate, side)


def _uncorrected_changes(part: Part) -> Iterator[Row]:
    """Means with intervals of 95 % each, as the figure of score changes has them."""
    for condition in MAIN:
        estimate = mean_change(part.change(condition), query_ids=part.query_ids)
        yield _row("change, 95 %", condition.axiom, condition.place, estimate)


def _axioms_compared(part: Part) -> Iterator[Row]:
    """TDC's map of heads against TFC1's, on the documents to which they add different words."""
    for place in PLACES:
        conditions = [Condition(axiom, place) for axiom in STUDIED]
        first, second = (part.pairs[condition.name].to_numpy(str) for condition in conditions)
        keep = np.flatnonzero(first != second)
        ids = part.query_ids[keep]
        if len(set(ids)) < FEWEST_QUERIES:
            continue
        effects = [part.effect(condition)[..., keep] for condition in conditions]
        gap = profile_gap(*effects, query_ids=ids, interval=1 - LEVEL / len(PLACES))
        yield Row("documents with two words", "", place, "", len(keep))
        yield Row("agreement within an axiom", "", place, "", gap.within)
        yield Row("agreement between axioms", "", place, "", gap.across)
        yield _row("agreement, within minus between", "", place, gap)
        changes = [part.change_with_filler(condition)[keep] for condition in conditions]
        yield from _heads_that_differ(*zip(effects, changes, strict=True), ids, place)


def _heads_that_differ(first, second, query_ids: np.ndarray, place: str) -> Iterator[Row]:
    """Heads whose recovery differs significantly (q < 0.05) under TDC; the largest first."""
    options = {"query_ids": query_ids, "n_boot": N_BOOT}
    differs = corrected(recovery_difference(second, first, **options).p) < LEVEL
    interval = selective_coverage(differs, LEVEL)
    estimate = recovery_difference(second, first, interval=interval, **options)
    yield Row("heads that differ", "", place, "", int(differs.sum()))
    order = np.argsort(-np.abs(estimate.value[differs]), kind="stable")
    for at in map(tuple, np.argwhere(differs)[order].tolist()):
        ends = (estimate.value[at], estimate.low[at], estimate.high[at])
        yield Row("recovery, TDC minus TFC1", "", place, "{}.{}".format(*at), *ends)


def _collections_compared(part: Part) -> Iterator[Row]:
    """Whether the second collection shows what the first one does."""
    masks = [np.flatnonzero(mask) for mask in part.collections.values()]
    ids = [part.query_ids[mask] for mask in masks]
    if len(masks) != 2 or min(len(set(of_one)) for of_one in ids) < FEWEST_QUERIES:
        return
    for condition in OF_AXIOMS:
        where = (condition.axiom, condition.place)
        effect = part.effect(condition)
        sides = [effect[..., mask] for mask in masks]
        yield _row(
            "correlation of collections",
            *where,
            profile_correlation(
                *sides,
                first_queries=ids[0],
                second_queries=ids[1],
                interval=1 - LEVEL / len(OF_AXIOMS),
            ),
        )
        halves = split_half_reliability(effect, query_ids=part.query_ids)
        yield Row("correlation of halves", *where, "", halves.value)
        first, second = (
            mean_change(side, query_ids=of_side) for side, of_side in zip(sides, ids, strict=True)
        )
        in_first = corrected(first.p) < LEVEL
        # Tested for these heads alone, so corrected for their number alone.
        in_second = in_first & (second.p * max(in_first.sum(), 1) < LEVEL)
        is_same = np.sign(first.value) == np.sign(second.value)
        counts = {"first": in_first, "same way": in_second & is_same}
        counts["other way"] = in_second & ~is_same
        for name, heads in counts.items():
            yield Row("significant heads", *where, name, int(heads.sum()))


def _checks_compared(part: Part) -> Iterator[Row]:
    """Rank correlation of each check's map with the study's, over the same documents."""
    for condition, scores in part.checks.items():
        usual = Condition(condition.axiom, condition.place)
        query_ids = part.query_ids[scores.pair]
        if len(set(query_ids)) < FEWEST_QUERIES:
            continue
        # The other direction takes away what the study's brings in.
        sign = 1 if condition.direction == usual.direction else -1
        estimate = profile_correlation(
            sign * scores.effect(),
            part.effect(usual)[..., scores.pair],
            first_queries=query_ids,
            second_queries=query_ids,
            interval=1 - LEVEL / len(CHECKS),
        )
        where = (condition.axiom, condition.place)
        yield _row("correlation of check", *where, estimate, condition.difference)


def _detectable(part: Part) -> Iterator[Row]:
    """Smallest true values that this many pairs would show with a power of 0.8.

    Of the effect over the control at the end, and of the median head's recovery after a Bonferroni
    correction over the map. No rows where no query has two pairs.
    """
    n_queries = len(set(part.query_ids))
    if n_queries in (1, len(part.pairs)):
        return
    size = {"n_pairs": len(part.pairs), "n_queries": n_queries, "query_ids": part.query_ids}
    for axiom in STUDIED:
        level = LEVEL / (len(STUDIED) * len(PLACES))
        smallest = minimum_detectable_effect(part.over_control(axiom, END), level=level, **size)
        yield Row("detectable over control", axiom, END, "", smallest)
        condition = Condition(axiom, END)
        heads = part.effect(condition).reshape(-1, len(part.pairs))
        level = LEVEL / len(heads)
        smallest = np.median([minimum_detectable_effect(x, level=level, **size) for x in heads])
        change = abs(part.change_with_filler(condition).mean())
        yield Row("detectable recovery", axiom, END, "", float(smallest / change))


def _circuits(part: Part) -> Iterator[Row]:
    """What circuits restore and what survives with them, by their number of heads; areas."""
    # At each size, and the area: for each axiom and protocol.
    n = sum(
        2 * (len({*circuit.numbers.tolist()}) + 1 if by == BY[0] else 1)
        for (_, by), circuit in part.circuits.items()
    )
    options = {"interval": 1 - LEVEL / max(n, 1), "n_boot": N_BOOT}
    for (axiom, by), circuit in part.circuits.items():
        for protocol in PROTOCOLS:
            if by == BY[1]:
                yield _of_cell("CMD", axiom, protocol, circuit.cmd(protocol, **options))
                continue
            yield _of_cell("CPR", axiom, protocol, circuit.cpr(protocol, **options))
            curve, band = getattr(circuit, protocol)(**options), circuit.random(protocol)
            for i in np.unique(circuit.numbers, return_index=True)[1].tolist():
                number = str(circuit.numbers[i])
                yield _of_cell(protocol, axiom, number, curve, i)
                yield _of_cell(f"{protocol} at random", axiom, number, band, i)


def _of_cell(quantity: str, axiom: str, detail: str, of, cell: object = ()) -> Row:
    ends = (float(getattr(of, name)[cell]) for name in ("value", "low", "high"))
    return Row(quantity, axiom, END, detail, *ends)


def _rankings(part: Part) -> Iterator[Row]:
    """How alike circuits and the whole ranker rank, and what quality is lost, by size."""
    options = {"interval": 1 - LEVEL / max(2 * len(part.rankings), 1), "n_boot": N_BOOT}
    for (axiom, number), table in part.rankings.items():
        values = {"tau": table.tau, "nDCG@10, circuit minus whole": table.circuit - table.full}
        for name, of_queries in values.items():
            estimate = mean_change(
                of_queries.to_numpy(), query_ids=table.query_id.to_numpy(str), **options
            )
            yield _row(name, axiom, END, estimate, number)
        yield Row("nDCG@10 of the whole", axiom, END, str(number), table.full.mean())
