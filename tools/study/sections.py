"""Write the answers about scores and heads; each sentence is chosen by its interval.

Every answer has two lengths: short, for report.md, of the edit at the end of the document; and
``full``, for details.md.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from study.effects import Heads, is_down, is_up
from study.findings import Findings
from study.plan import PLACES, STUDIED, Condition
from study.words import (
    listed,
    name_heads,
    one_of,
    say_of_each,
    show,
    show_interval,
    show_share,
    strongest,
    verdict_on_axioms,
    verdict_on_penalty,
)

from mechir_edu.cli.summary import markdown_table


def on_scores(some: Sequence[Findings], *, full: bool) -> list[str]:
    """Answer whether each ranker obeys each axiom, and by how much more than its control."""
    every = sorted({g for one in some for found in one.grades.values() for g in found})[::-1]
    verdict = say_of_each(some, lambda one: f"**{verdict_on_axioms(one.scores)}**")
    return [verdict, _table_of_scores(some, reported_places(full), every if full else [])]


def reported_places(full: bool) -> tuple[str, ...]:
    """Places that are reported: all of them, or the main one."""
    return PLACES if full else PLACES[:1]


def _table_of_scores(some: Sequence[Findings], places: Sequence[str], grades: Sequence[int]) -> str:
    header = ["score change", "query term", "neutral word", "match"]
    header += [f"match, grade {grade}" for grade in grades]
    rows = []
    for one in some:
        for row in (row for row in one.scores if row.place in places):
            by_grade = one.grades[row.axiom, row.place]
            of_grades = (show(by_grade[g]) if g in by_grade else "-" for g in grades)
            three = map(show, (row.raw, row.control, row.beyond))
            rows.append([_edit(one, row.axiom, row.place), *three, *of_grades])
    return markdown_table(header, rows)


def _edit(one: Findings, axiom: str, place: str) -> str:
    return f"{one.part.name}, {axiom}, {place}"


def on_heads(some: Sequence[Findings], *, full: bool) -> list[str]:
    """Answer which heads carry the change."""
    definition = (
        "A head *carries* the match if its patch moves the score the way the match does, by more "
        "than under the control; it *opposes* it if the other way."
    )
    conditions = [Condition(axiom, place) for place in reported_places(full) for axiom in STUDIED]
    cautions = [text for one in some for each in conditions for text in _cautions(one, each)]
    parts = [definition, _table_of_counts(some, conditions), *cautions]
    return [*parts, _table_of_heads(some, conditions)] if full else parts


def _cautions(one: Findings, condition: Condition) -> Iterator[str]:
    heads, edit = one.heads[condition], _edit(one, condition.axiom, condition.place)
    if not (is_up(heads.beyond) or is_down(heads.beyond)):
        yield f"Caution ({edit}): which way the match goes was not shown, nor who carries it."
    if heads.recovery.warning:
        yield f"Caution ({edit}): the change cannot be told from zero, so recovery is no share."


def _table_of_counts(some: Sequence[Findings], conditions: Sequence[Condition]) -> str:
    header = ["heads that", "move the score", "carry the match", "also at the other end"]
    header += ["oppose it", "recover most", "second"]
    rows = [
        [_edit(one, each.axiom, each.place), *_counts(one, each), *_recoveries(one.heads[each])]
        for one in some
        for each in conditions
    ]
    return markdown_table(header, rows)


def _counts(one: Findings, condition: Condition) -> list[str]:
    heads = one.heads[condition]
    (elsewhere,) = set(PLACES) - {condition.place}
    also = heads.carries & one.heads[Condition(condition.axiom, elsewhere)].carries
    moves = f"{int(heads.moves.sum())} of {heads.moves.size}"
    return [moves, _count(heads.carries), f"{int(also.sum())}", _count(heads.opposes)]


def _count(chosen: np.ndarray, at_most: int = 4) -> str:
    """Count heads, and name them where they are few enough to be read."""
    places = np.argwhere(chosen).tolist()
    return f"{len(places)}" + f" ({name_heads(places)})" * (0 < len(places) <= at_most)


def _recoveries(heads: Heads) -> list[str]:
    return [": ".join(_name_and_recovery(row)) for row in strongest(heads, 2)]


def _table_of_heads(some: Sequence[Findings], conditions: Sequence[Condition]) -> str:
    header = [
        "strongest heads",
        "layer.head",
        "recovery",
        "q",
        "effect on the score",
        "minus control's",
    ]
    rows = [
        [
            _edit(one, each.axiom, each.place),
            *_name_and_recovery(row),
            *_effects(one.heads[each], row),
        ]
        for one in some
        for each in conditions
        for row in strongest(one.heads[each])
    ]
    return markdown_table(header, rows)


def _name_and_recovery(row: dict) -> tuple[str, str]:
    recovery = show_interval(row["recovery"], row["low"], row["high"], 2)
    return name_heads([(row["layer"], row["head"])]), recovery


def _effects(heads: Heads, row: dict) -> list[str]:
    at = (row["layer"], row["head"])
    values = (heads.effect.value[at], heads.contrast.value[at])
    return [f"{row['q']:.2g}", *(f"{x:+.4f}" for x in values)]


def on_penalty(some: Sequence[Findings], *, full: bool) -> list[str]:
    """Answer whether the price of an appended term is about the match or about its place."""
    verdict = say_of_each(some, lambda one: f"**{verdict_on_penalty(one.penalty)}**")
    lines = [
        f"- The {one.part.name}: {_take_apart(one)}{f' {_by_grade(one)}' * full}" for one in some
    ]
    return [verdict, "\n".join(lines)]


def _take_apart(one: Findings) -> str:
    found = one.penalty
    place = one_of(
        found.position,
        "higher at the end than at the start",
        "lower at the end than at the start",
        "as high at the end as at the start, as far as could be shown",
    )
    match = one_of(
        found.match_by_position,
        "more at the end",
        "less at the end",
        "no more and no less at the end, as far as could be shown",
    )
    return (
        f"appended, TFC1's term lowers the score of {show_share(found.loses)} of the documents. "
        f"With the same neutral word they score {place} ({show(found.position)}); the match is "
        f"worth {match} ({show(found.match_by_position)})."
    )


def _by_grade(one: Findings) -> str:
    found = one.penalty.by_grade
    grades = {
        "falls for grade": [str(grade) for grade, each in found.items() if is_down(each)],
        "rises for grade": [str(grade) for grade, each in found.items() if is_up(each)],
    }
    said = [f"{what} {listed(some)}" for what, some in grades.items() if some]
    verdict = listed(said) if said else "can be told from zero for no grade alone"
    values = ", ".join(show(each) for each in found.values())
    names = listed(map(str, found))
    return f"With that term appended, the score {verdict} (grades {names}: {values})."
