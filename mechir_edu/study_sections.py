"""Write the report's answers about scores and heads; each sentence is chosen by its interval."""

from collections.abc import Sequence

import numpy as np

from mechir_edu.demo_summary import markdown_table
from mechir_edu.study_effects import Heads, ScoreRow, is_down, is_up
from mechir_edu.study_findings import Findings, Penalty
from mechir_edu.study_plan import OF_AXIOMS, PLACES, STUDIED
from mechir_edu.study_words import (
    listed,
    name_heads,
    one_of,
    show,
    show_interval,
    show_share,
    strongest,
    verdict_on_axiom,
)


def on_scores(some: Sequence[Findings]) -> list[str]:
    """Answer whether each ranker obeys each axiom, and by how much more than its control."""
    lines = [
        f"- The {one.part.name} **{verdict_on_axiom(axiom, rows)}**. {_beyond(rows)}"
        for one in some
        for axiom in STUDIED
        for rows in [[row for row in one.scores if row.axiom == axiom]]
    ]
    return ["\n".join(lines), _table_of_scores(some), _table_of_grades(some)]


def _beyond(rows: Sequence[ScoreRow]) -> str:
    said = listed(f"{show(row.beyond)} at the {row.place}" for row in rows)
    return f"Beyond its control, the query term is worth {said}."


def _table_of_scores(some: Sequence[Findings]) -> str:
    header = ["ranker", "edit", "query term", "neutral word", "beyond the control"]
    rows = [
        [one.part.name, f"{row.axiom}, {row.place}", *map(show, (row.raw, row.control, row.beyond))]
        for one in some
        for row in one.scores
    ]
    return markdown_table(header, rows)


def _table_of_grades(some: Sequence[Findings]) -> str:
    grades = sorted({grade for one in some for found in one.grades.values() for grade in found})
    header = ["beyond the control", *(f"grade {grade}" for grade in reversed(grades))]
    rows = [
        [f"{one.part.name}, {axiom}, {place}", *map(show, found.values())]
        for one in some
        for (axiom, place), found in one.grades.items()
        if place == PLACES[0]
    ]
    return markdown_table(header, rows)


def on_heads(some: Sequence[Findings]) -> list[str]:
    """Answer which heads carry the change."""
    lines = [
        _sentence_on_heads(one, one.heads[condition]) for one in some for condition in OF_AXIOMS
    ]
    return ["\n".join(lines), _table_of_heads(some)]


def _sentence_on_heads(one: Findings, heads: Heads) -> str:
    n_heads, n_moving = heads.moves.size, int(heads.moves.sum())
    carries, opposes = (np.argwhere(some).tolist() for some in (heads.carries, heads.opposes))
    text = (
        f"- {one.part.name}, {heads.condition.axiom} at the {heads.condition.place}: "
        f"{n_moving} of {n_heads} heads move the score; {len(carries)} carry what the query term "
        f"does beyond its control{_named(carries)}, {len(opposes)} work against it"
        f"{_named(opposes)}."
    )
    if not (is_up(heads.beyond) or is_down(heads.beyond)):
        text += " Caution: which way that goes could not be shown, so neither could who carries it."
    if heads.recovery.warning:
        text += " Caution: the whole change cannot be told from zero, so recovery is no share."
    return text


def _named(places: Sequence[Sequence[int]], at_most: int = 8) -> str:
    """Name some heads, where they are few enough to be read."""
    return f" ({name_heads(places)})" if 0 < len(places) <= at_most else ""


def _table_of_heads(some: Sequence[Findings]) -> str:
    header = ["ranker", "edit", "layer.head", "recovery", "q", "effect", "effect − control's"]
    rows = [
        [one.part.name, f"{condition.axiom}, {condition.place}", *_cells(one.heads[condition], row)]
        for one in some
        for condition in OF_AXIOMS
        if condition.place == PLACES[0]
        for row in strongest(one.heads[condition])
    ]
    return markdown_table(header, rows)


def _cells(heads: Heads, row: dict) -> list[str]:
    at = (row["layer"], row["head"])
    recovery = show_interval(row["recovery"], row["low"], row["high"], 2)
    values = (heads.effect.value[at], heads.contrast.value[at])
    return [name_heads([at]), recovery, f"{row['q']:.2g}", *(f"{x:+.4f}" for x in values)]


def on_penalty(some: Sequence[Findings]) -> list[str]:
    """Answer whether the price of an appended term is about the match or about its place."""
    return ["\n".join(_sentences_on_penalty(one) for one in some)]


def _sentences_on_penalty(one: Findings) -> str:
    found = one.penalty
    place = one_of(
        found.position,
        "scores higher at the end than at the start",
        "scores lower at the end than at the start",
        "scores at the end as at the start, as far as could be shown",
    )
    match = one_of(
        found.match_by_position,
        "more at the end than at the start",
        "less at the end than at the start",
        "no more and no less at the end than at the start, as far as could be shown",
    )
    return (
        f"- **{one.part.name}.** {conclude_penalty(found)} Appended, the query term changes the "
        f"score by {show(found.raw)} and lowers it for {show_share(found.loses)} of the documents; "
        f"the neutral word changes it by {show(found.control)}. So the match is worth "
        f"{show(found.match)}. The same neutral word {place} ({show(found.position)}), and the "
        f"match is worth {match} ({show(found.match_by_position)}). {_by_grade(found)}"
    )


def _by_grade(found: Penalty) -> str:
    grades = {
        "falls for grade": [g for g, each in found.by_grade.items() if is_down(each)],
        "rises for grade": [g for g, each in found.by_grade.items() if is_up(each)],
    }
    said = [f"{what} {listed(map(str, some))}" for what, some in grades.items() if some]
    values = ", ".join(show(each) for each in found.by_grade.values())
    names = listed(map(str, found.by_grade))
    verdict = listed(said) if said else "can be told from zero for no grade alone"
    return f"With the query term appended, the score {verdict} (grades {names}: {values})."


def conclude_penalty(found: Penalty) -> str:
    """Say what an appended term's penalty is about, if there is one."""
    if is_up(found.raw):
        cost = " What any added word costs is outweighed by the match." * is_down(found.control)
        return f"An appended query term is rewarded on average: there is no penalty.{cost}"
    if not is_down(found.raw):
        return "Whether an appended query term is penalised could not be concluded."
    about_place = one_of(
        found.position,
        "and it is milder at the end, so the last place is not what is penalised",
        "and it is harder at the end: position is part of it",
        "and no part of position could be shown",
    )
    about_match = one_of(
        found.match,
        "is the price of any added word and not of the match, which softens it",
        "falls on the match itself, for a neutral word costs less",
        "is no other than a neutral word's, as far as could be shown",
    )
    return f"There is a penalty; it {about_match}, {about_place}."
