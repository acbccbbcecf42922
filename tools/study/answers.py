"""Open the report: the answers to all questions in one paragraph of plain words."""

from collections.abc import Iterator, Sequence

from study.effects import is_up
from study.findings import Findings
from study.limits import open_questions
from study.plan import MAIN, PLACES, STUDIED, Condition
from study.words import (
    at_both_ends,
    listed,
    name_heads,
    say_of_each,
    strongest,
    verdict_on_axioms,
    verdict_on_maps,
    verdict_on_penalty,
    verdict_on_transfer,
)

AXIOMS_IN_SHORT = """\
A query term that is added to a passage should raise its score by more than a neutral word does; the
difference is called the *match*. The axiom TFC1 says so of any query term, TDC of the one that
fewest passages hold."""


def answer_in_short(some: Sequence[Findings]) -> str:
    """Answer every question in one paragraph."""
    sentences = [
        AXIOMS_IN_SHORT,
        say_of_each(some, lambda one: verdict_on_axioms(one.scores)),
        *(_on_heads(one) for one in some),
        say_of_each(some, lambda one: verdict_on_penalty(one.penalty)),
        say_of_each(some, lambda one: at_both_ends(verdict_on_maps, one)),
        say_of_each(some, lambda one: at_both_ends(verdict_on_transfer, one)),
        *_how_alike(some),
        *_cautions(some),
    ]
    return " ".join(sentences)


def _on_heads(one: Findings) -> str:
    some = {axiom: one.heads[Condition(axiom, PLACES[0])] for axiom in STUDIED}
    counts = listed(f"{int(heads.carries.sum())} ({axiom})" for axiom, heads in some.items())
    rows = [strongest(heads, 1)[0] for heads in some.values()]
    names = listed(name_heads([(row["layer"], row["head"])]) for row in rows)
    shares = listed(f"{row['recovery']:.0%}" for row in rows)
    n_heads = one.heads[MAIN[0]].moves.size
    return (
        f"In the {one.part.full_name}, {counts} of {n_heads} heads carry the match; the strongest "
        f"alone (layer.head {names}) recovers {shares} of the change."
    )


def _how_alike(some: Sequence[Findings]) -> Iterator[str]:
    ranks = [found.ranks.value for one in some for found in one.replications.values() if found]
    checks = [is_up(check) for one in some for check in one.checks.values()]
    if ranks:
        yield f"The rank correlations are {min(ranks):.2f} to {max(ranks):.2f}."
    if checks:
        yield (
            f"With another filler or direction, {sum(checks)} of {len(checks)} rankings correlate "
            "with the study's."
        )


def _cautions(some: Sequence[Findings]) -> list[str]:
    n_open = sum(len(list(open_questions(one, place))) for one in some for place in PLACES)
    estimated = name_estimated(some)
    cautions = {
        f"The intervals leave {n_open} questions open (section 6).": n_open > 0,
        "**The study is unfinished** (see the end).": any(map(is_unfinished, some)),
        f"**Effects of heads in {estimated} are estimates by gradient** (see the end).": bool(
            estimated
        ),
    }
    return [text for text, holds in cautions.items() if holds]


def name_estimated(some: Sequence[Findings]) -> str:
    """Name the rankers whose heads' effects are estimates by gradient; empty if there are none."""
    names = [f"the {one.part.name}" for one in some if one.part.main[MAIN[0]].method == "gradient"]
    return listed(names) if names else ""


def is_unfinished(one: Findings) -> bool:
    """Whether pairs that were planned are missing."""
    return one.part.n_pairs < one.part.manifest.n_pairs
