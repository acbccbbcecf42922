"""Write the answers that compare maps of heads.

Every answer has two lengths: short, for report.md, of the edit at the end of the document; and
``full``, for details.md.
"""

from collections.abc import Sequence

import numpy as np
from study.agreement import AxiomComparison, Replication
from study.effects import is_up
from study.findings import Findings
from study.plan import CHECKS, PLACES, STUDIED, Condition
from study.sections import reported_places
from study.words import (
    at_both_ends,
    listed,
    name_heads,
    say_of_each,
    show,
    verdict_on_maps,
    verdict_on_transfer,
)

from mechir_edu.cli.summary import markdown_table

END = PLACES[0]


def on_axioms(some: Sequence[Findings], *, full: bool) -> list[str]:
    """Answer whether TDC works through other heads than TFC1."""
    verdict = say_of_each(some, lambda one: f"**{at_both_ends(verdict_on_maps, one)}**")
    lines = [
        f"- {one.part.name}, {place}: {_compare(found, 3 if full else 1)}"
        for one in some
        for place in reported_places(full)
        if (found := one.axioms[place]) is not None
    ]
    how = (
        "Rank correlation of the heads between random halves of the queries, over documents to "
        "which the two add different words:"
    )
    return [verdict, how, "\n".join(lines)] if lines else [verdict]


def _compare(found: AxiomComparison, n_named: int) -> str:
    return (
        f"{found.gap.within:.2f} within an axiom, {found.gap.across:.2f} between the two; "
        f"difference {show(found.gap)} ({found.n_pairs} of {found.n_all} documents). "
        f"{_differing(found, n_named)}"
    )


def _differing(found: AxiomComparison, n_named: int) -> str:
    places = np.argwhere(found.differs)
    text = f"Heads with another recovery under TDC: {len(places)} of {found.differs.size}"
    if not len(places):
        return f"{text}."
    value = found.difference.value
    order = np.argsort(-np.abs(value[found.differs]), kind="stable")[:n_named]
    named = [
        f"{name_heads([at])} by {value[tuple(at)]:+.2f} [{found.difference.low[tuple(at)]:+.2f}, "
        f"{found.difference.high[tuple(at)]:+.2f}]"
        for at in places[order].tolist()
    ]
    return f"{text}, most of all {', '.join(named)}."


def on_transfer(some: Sequence[Findings], *, full: bool) -> list[str]:
    """Answer whether the maps hold in the second collection, for other fillers and directions."""
    verdict = say_of_each(some, lambda one: f"**{at_both_ends(verdict_on_transfer, one)}**")
    compared = [one for one in some if None not in one.replications.values()]
    lines = "\n".join(map(_transfers if full else _transfer_at_the_end, compared))
    parts = [verdict, *([lines] if compared else []), on_checks(some)]
    return [*parts, _table_of_checks(some)] if full else parts


def _transfers(one: Findings) -> str:
    return "\n".join(
        f"- {one.part.name}, {condition.axiom}, {condition.place}: {_transfer(found)}"
        for condition, found in one.replications.items()
    )


def _transfer(found: Replication) -> str:
    return (
        f"rank correlation {show(found.ranks, 2)}; random halves of all queries agree at "
        f"{found.halves.value:.2f}. Of {found.n_first} heads that move the score in the first "
        f"collection, {found.n_again} move it the same way in the second and {found.n_reversed} "
        "the other way."
    )


def _transfer_at_the_end(one: Findings) -> str:
    found = {axiom: one.replications[Condition(axiom, END)] for axiom in STUDIED}
    ranks = listed(f"{show(each.ranks, 2)} ({axiom})" for axiom, each in found.items())
    halves = listed(f"{each.halves.value:.2f}" for each in found.values())
    return (
        f"- {one.part.name}, {END}: rank correlation {ranks}; random halves of all queries reach "
        f"{halves}."
    )


def on_checks(some: Sequence[Findings]) -> str:
    """Say in a sentence whether the maps hold for other fillers and the other direction."""
    found = [(each, one, check) for one in some for check, each in one.checks.items()]
    if not found:
        return "Other fillers and the other direction were not run, or on too few queries."
    n_pairs = max(len(one.part.checks[check].pairs) for _, one, check in found)
    lowest, one, check = min(found, key=lambda item: item[0].value)
    n_above = sum(is_up(each) for each, *_ in found)
    return (
        f"Of {len(found)} rankings with another filler or direction (up to {n_pairs} pairs), "
        f"{n_above} correlate with these; the lowest at {show(lowest, 2)} ({one.part.name}, "
        f"{check.axiom}, {describe_check(check)})."
    )


def describe_check(check: Condition) -> str:
    """What a condition of `CHECKS` does otherwise."""
    is_other_filler = check.filler != Condition(check.axiom, check.place).filler
    return f'filler "{check.filler}"' if is_other_filler else "other direction"


def _table_of_checks(some: Sequence[Findings]) -> str:
    header = ["rank correlation", *dict.fromkeys(map(describe_check, CHECKS))]
    rows = [
        [f"{one.part.name}, {axiom}, {END}"]
        + [
            show(one.checks[check], 2) if check in one.checks else "-"
            for check in CHECKS
            if check.axiom == axiom
        ]
        for one in some
        for axiom in STUDIED
    ]
    return markdown_table(header, rows)
