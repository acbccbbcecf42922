"""Put estimates into words: numbers with their interval, verdicts that the interval decides.

A verdict is what is said of a ranker: it follows its name ("The bi-encoder ... obeys TFC1").
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from study.effects import Heads, Interval, ScoreRow, is_down, is_up
from study.findings import Findings, Penalty
from study.plan import PLACES, STUDIED, Condition

from mechir_edu.cli.summary import with_interval
from mechir_edu.plots.words import top_heads
from mechir_edu.stats.estimates import Estimate


def show(found: Interval, digits: int = 3) -> str:
    """Write an estimate with its interval.

    Examples
    --------
    >>> show(Estimate(0.1234, 0.1, 0.15, 0.001, 10, 5))
    '+0.123 [+0.100, +0.150]'
    """
    return show_interval(found.value, found.low, found.high, digits)


def show_interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """Write a number with its interval, where that has bounds."""
    if not np.isfinite([low, high]).all():
        return f"{value:+.{digits}f} (no bounded interval)"
    return with_interval(value, low, high, digits)


def show_share(found: Estimate) -> str:
    """Write a share of documents with its interval."""
    return f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}]"


def one_of(found: Interval, up: str, down: str, neither: str) -> str:
    """Choose the words that the interval allows: above zero, below zero, or neither."""
    return up if is_up(found) else down if is_down(found) else neither


def listed(items: Iterable[str]) -> str:
    """Join as one writes.

    Examples
    --------
    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last


def name_heads(places: Iterable[Iterable[int]]) -> str:
    """Name heads as layer.head."""
    return ", ".join(f"{layer}.{head}" for layer, head in places)


def strongest(heads: Heads, k: int = 3) -> list[dict]:
    """Rows of the k heads of largest recovery, in size."""
    return top_heads(heads.recovery, k).to_dict("records")


def say_of_each(some: Sequence[Findings], verdict: Callable[[Findings], str]) -> str:
    """Say a verdict of each ranker, and once where it is the same of all."""
    said = [verdict(one) for one in some]
    if len(said) > 1 and len(set(said)) == 1:
        return f"Each ranker {said[0]}."
    each = [f"the {one.part.name} {text}" for one, text in zip(some, said, strict=True)]
    return f"T{'; '.join(each)[1:]}."


def verdict_on_axioms(rows: Sequence[ScoreRow]) -> str:
    """Say which axioms a ranker obeys; those of one outcome together."""
    outcomes: dict[tuple[str, ...], dict[str, list[ScoreRow]]] = {}
    for axiom in STUDIED:
        mine = [row for row in rows if row.axiom == axiom]
        outcome = tuple(one_of(row.beyond, "up", "down", "neither") for row in mine)
        outcomes.setdefault(outcome, {})[axiom] = mine
    return ", and ".join(
        verdict_on_axiom(listed(alike), next(iter(alike.values()))) for alike in outcomes.values()
    )


def verdict_on_axiom(axiom: str, rows: Sequence[ScoreRow]) -> str:
    """Say whether a ranker obeys an axiom, from what it does beyond the control at each place."""
    ups = [row.place for row in rows if is_up(row.beyond)]
    downs = [row.place for row in rows if is_down(row.beyond)]
    if len(ups) == len(rows):
        return f"obeys {axiom} at both ends of a document"
    if ups:
        other = "goes against it" if downs else "could not be shown to do so"
        (place,) = {row.place for row in rows} - set(ups)
        return f"obeys {axiom} at the {ups[0]} of a document (at the {place} it {other})"
    if downs:
        return f"goes against {axiom} at the {listed(downs)} of a document"
    return f"could not be shown to obey {axiom}, nor to go against it"


def verdict_on_penalty(found: Penalty) -> str:
    """Say what an appended term's penalty is about, if there is one."""
    if is_up(found.raw):
        cost = ": the match outweighs what any added word costs" * is_down(found.control)
        return f"rewards an appended query term on average, so there is no penalty{cost}"
    if not is_down(found.raw):
        return "could not be shown to penalise an appended query term, nor to reward it"
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
    return f"penalises an appended query term; the penalty {about_match}, {about_place}"


def verdict_on_maps(one: Findings, place: str) -> str:
    """Say whether TDC ranks the heads otherwise than TFC1."""
    found = one.axioms[place]
    if found is None:
        return "could not be tested for other heads under TDC, for there are too few queries"
    return one_of(
        found.gap,
        "ranks its heads otherwise under TDC than under TFC1, by more than chance",
        "ranks its heads alike under both axioms (they agree better than each with itself)",
        "could not be shown to rank its heads otherwise under TDC than under TFC1",
    )


def at_both_ends(verdict: Callable[[Findings, str], str], one: Findings) -> str:
    """Say a verdict of the end of a document, and whether it is the same of the start."""
    end, start = (verdict(one, place) for place in PLACES)
    if end == start:
        return f"{end}, at both ends"
    return f"{end} at the end; at the start it {start}"


def verdict_on_transfer(one: Findings, place: str) -> str:
    """Say whether the second collection ranks the heads as the first does, under both axioms."""
    found = {axiom: one.replications[Condition(axiom, place)] for axiom in STUDIED}
    if None in found.values():
        return "could not be compared between two collections with enough queries in each"
    said = {
        axiom: one_of(
            each.ranks,
            "ranks its heads alike in both collections, by more than chance",
            "ranks its heads in the second collection in the reverse order of the first",
            "could not be shown to rank its heads in both collections alike",
        )
        for axiom, each in found.items()
    }
    if len(set(said.values())) == 1:
        return said[STUDIED[0]]
    return ", and ".join(f"for {axiom} {verdict}" for axiom, verdict in said.items())
