"""Write the report's answers that compare maps of heads, and what could not be concluded."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mechir_edu.demo_summary import markdown_table
from mechir_edu.profiles import Correlation
from mechir_edu.study_agreement import AxiomComparison, Replication
from mechir_edu.study_effects import is_down, is_up
from mechir_edu.study_findings import Findings
from mechir_edu.study_plan import PLACES, STUDIED, Condition
from mechir_edu.study_words import name_heads, one_of, show

TOO_FEW = "could not be tested, for there are too few queries"


def on_axioms(some: Sequence[Findings]) -> list[str]:
    """Answer whether TDC works through other heads than TFC1."""
    lines = [
        f"- {one.part.name}, at the {place}: {_compare(found)}"
        for one in some
        for place, found in one.axioms.items()
    ]
    return ["\n".join(lines)]


def _compare(found: AxiomComparison | None) -> str:
    if found is None:
        return f"{TOO_FEW}."
    verdict = one_of(
        found.gap,
        "**TDC ranks the heads otherwise than TFC1**",
        "the two axioms rank the heads alike (they agree even better than each with itself)",
        "that TDC ranks the heads otherwise than TFC1 could not be shown",
    )
    return (
        f"{verdict}. Each map agrees with itself across halves of the queries at a rank "
        f"correlation of {found.gap.within:.2f}, with the other at {found.gap.across:.2f}; the "
        f"difference is {show(found.gap)}. {_differing(found)} ({found.n_pairs} of {found.n_all} "
        f"documents, where the two add different words; over these the maps correlate at "
        f"{show(found.ranks, 2)}.)"
    )


def _differing(found: AxiomComparison) -> str:
    places = np.argwhere(found.differs)
    if not len(places):
        return "No head's share of the change differs after correction."
    value = found.difference.value
    order = np.argsort(-np.abs(value[found.differs]), kind="stable")[:3]
    named = [
        f"{name_heads([at])} by {value[tuple(at)]:+.2f} [{found.difference.low[tuple(at)]:+.2f}, "
        f"{found.difference.high[tuple(at)]:+.2f}]"
        for at in places[order].tolist()
    ]
    return (
        f"{len(places)} of {value.size} heads have another share of the change under TDC after "
        f"correction, most of all {'; '.join(named)}."
    )


def on_transfer(some: Sequence[Findings]) -> list[str]:
    """Answer whether the maps hold in the second collection, for other fillers and directions."""
    lines = [
        f"- {one.part.name}, {condition.axiom} at the {condition.place}: {_transfer(found)}"
        for one in some
        for condition, found in one.replications.items()
        if found is not None
    ]
    none = "There were not two collections with enough queries to compare."
    return ["\n".join(lines) or none, *_checks(some)]


def _transfer(found: Replication) -> str:
    verdict = one_of(
        found.ranks,
        "the ranking of the heads carries over",
        "the ranking of the heads is turned round",
        "that the ranking of the heads carries over could not be shown",
    )
    return (
        f"{verdict}, rank correlation {show(found.ranks, 2)}; random halves of all queries agree "
        f"at {found.halves.value:.2f}. Of {found.n_first} heads that stand in the first "
        f"collection, {found.n_again} move the score the same way in the second and "
        f"{found.n_reversed} the other way."
    )


def _checks(some: Sequence[Findings]) -> Iterator[str]:
    rows = [[one.part.name, axiom, *_row(one.checks, axiom)] for one in some for axiom in STUDIED]
    if not any(one.checks for one in some):
        yield "Other fillers and the other direction were not run."
        return
    n_pairs = max(len(result.pairs) for one in some for result in one.part.checks.values())
    found = [check for one in some for check in one.checks.values()]
    n_above = sum(check.low > 0 for check in found)
    yield (
        f"On up to {n_pairs} of the pairs the same was done with other fillers in the baseline, "
        "and in the other direction. Rank correlation with the default's map: "
        f"{n_above} of {len(found)} stand above zero; the lowest is "
        f"{show(min(found, key=lambda check: check.value), 2)}."
    )
    yield markdown_table(["ranker", "axiom", *_COLUMNS], rows)


_COLUMNS = ('filler "mask"', 'filler "pad"', 'filler "neutral"', "other direction")


def _row(checks: Mapping[Condition, Correlation], axiom: str) -> list[str]:
    mine = {
        one.name.removeprefix(f"{axiom}-{one.place}-"): found
        for one, found in checks.items()
        if one.axiom == axiom
    }
    names = ("mask", "pad", "neutral", "baseline_to_perturbed")
    return [show(mine[name], 2) if name in mine else "-" for name in names]


def on_open_questions(some: Sequence[Findings]) -> list[str]:
    """Say what could not be concluded, and how large an effect this study would have found."""
    lines = [f"- {one.part.name}: {text}." for one in some for text in (*_open(one), *_power(one))]
    return ["\n".join(lines)]


def _open(one: Findings) -> Iterator[str]:
    for row in one.scores:
        if not (is_up(row.beyond) or is_down(row.beyond)):
            yield f"whether {row.axiom} at the {row.place} does more than its control"
    for (axiom, place), found in one.grades.items():
        grades = [str(g) for g, each in found.items() if not (is_up(each) or is_down(each))]
        if grades:
            yield f"the same for {axiom} at the {place} within grade {', '.join(grades)} alone"
    for place, found in one.axioms.items():
        if found is None or found.gap.low <= 0 <= found.gap.high:
            yield f"whether TDC at the {place} ranks the heads otherwise than TFC1"
    for condition, found in one.replications.items():
        if found is not None and found.ranks.low <= 0:
            yield f"whether the heads of {condition.axiom} at the {condition.place} carry over"


def _power(one: Findings) -> Iterator[str]:
    for axiom in STUDIED:
        change = abs(one.heads[Condition(axiom, PLACES[0])].recovery.denominator.value)
        smallest, of_head = one.detectable[axiom], one.detectable_head[axiom]
        if np.isfinite([smallest, of_head]).all():
            yield (
                f"with {axiom} at the end, {one.part.n_pairs} pairs show (with a power of 80 %) a "
                f"mean of {smallest:.2g} beyond the control, and at a typical head an effect of "
                f"{of_head:.2g}, which is a recovery of {of_head / change:.2g}; smaller ones may "
                "have been missed"
            )
