"""Write what could not be concluded, and how large an effect this study would have found."""

from collections.abc import Iterator, Sequence

import numpy as np
from study.comparisons import describe_check
from study.effects import Interval, is_down, is_up
from study.findings import Findings, Penalty
from study.plan import PLACES, STUDIED, Condition
from study.words import listed

END, START = PLACES
_LIMITS = """\
Heads were patched one at a time: what they do only together, or in place of one another, was not
tested. An added word is not how texts come by their terms."""


def on_open_questions(some: Sequence[Findings], *, full: bool) -> list[str]:
    """Say what could not be concluded: all of it where ``full``, else that of the end."""
    lines = [f"- {one.part.name}: {_open(one, full)}.{_power(one)}" for one in some]
    return ["\n".join(lines), _LIMITS]


def _open(one: Findings, full: bool) -> str:
    end, start = (list(open_questions(one, place)) for place in PLACES)
    if full:
        said = [*end, *start, *_open_on_grades(one)]
    else:
        said = [*end, f"{len(start)} such questions of the start"] if start else end
    return "; ".join(said) or "nothing of the above"


def open_questions(one: Findings, place: str) -> Iterator[str]:
    """Name what the intervals leave open of the edits at one place."""
    for row in one.scores:
        if row.place == place and _is_open(row.beyond):
            yield f"whether {row.axiom}'s term is worth more than its control at the {place}"
    if place == END:
        yield from _open_on_penalty(one.penalty)
    if one.axioms[place] is None or _is_open(one.axioms[place].gap):
        yield f"whether TDC ranks the heads otherwise than TFC1 at the {place}"
    found = {axiom: one.replications[Condition(axiom, place)] for axiom in STUDIED}
    if some := [axiom for axiom, each in found.items() if each is None or _is_open(each.ranks)]:
        yield f"whether the ranking of heads carries over at the {place} ({listed(some)})"
    if place == END:
        yield from _open_on_checks(one)


def _open_on_checks(one: Findings) -> Iterator[str]:
    if not one.checks:
        yield "whether it holds with other fillers and in the other direction"
    axioms: dict[str, list[str]] = {}
    for check, found in one.checks.items():
        if _is_open(found):
            axioms.setdefault(describe_check(check), []).append(check.axiom)
    for name, some in axioms.items():
        yield f"whether it holds with the {name} ({listed(some)})"


def _open_on_grades(one: Findings) -> Iterator[str]:
    for (axiom, place), found in one.grades.items():
        grades = [str(grade) for grade, each in found.items() if _is_open(each)]
        if grades:
            yield f"whether there is a match in grade {listed(grades)} alone ({axiom}, {place})"


def _open_on_penalty(found: Penalty) -> Iterator[str]:
    questions = {
        "whether an appended term is penalised or rewarded": found.raw,
        "whether a neutral word's place matters": found.position,
        "whether the match depends on the place": found.match_by_position,
    }
    yield from (question for question, each in questions.items() if _is_open(each))


def _is_open(found: Interval) -> bool:
    return not (is_up(found) or is_down(found))


def _power(one: Findings) -> str:
    """Say what this many pairs may miss: what is detectable is so with a power of 0.8."""
    changes = [one.heads[Condition(a, END)].recovery.denominator.value for a in STUDIED]
    smallest = [one.detectable[axiom] for axiom in STUDIED]
    of_head = [
        one.detectable_head[axiom] / abs(change)
        for axiom, change in zip(STUDIED, changes, strict=True)
    ]
    if not np.isfinite([smallest, of_head]).all() or min(of_head) == 0:
        return ""
    match, recovery = (listed(f"{x:.2g}" for x in values) for values in (smallest, of_head))
    return (
        f" A true match below {match} ({listed(STUDIED)}), or a typical head's recovery below "
        f"{recovery}, is missed by more than one in five studies of {one.part.n_pairs} pairs."
    )
