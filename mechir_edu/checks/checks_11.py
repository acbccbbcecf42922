"""Checks of tutorial 11: two protocols told apart, and heads dropped one by one."""

from collections.abc import Callable, Collection, Iterable

import numpy as np

from mechir_edu.checks._report import Mistake, attempt, checker, mistake_in
from mechir_edu.rankers.hook_names import Head

_WEIGHT = {(0, 0): 0.5, (0, 1): 0.3, (1, 0): 0.15, (1, 1): 0.05}
_RECIPIENT, _DONOR = 1.5, 4.0


def _score(run: str, taken: Iterable[Head]) -> float:
    """A ranker in which a few heads restore much, and a few taken away destroy much."""
    share = sum(_WEIGHT[tuple(head)] for head in set(map(tuple, taken)))
    if run == "recipient":
        return _RECIPIENT + share * (_DONOR - _RECIPIENT)
    if run == "donor":
        return _DONOR - share**0.5 * (_DONOR - _RECIPIENT)
    raise Mistake(f'the run is "recipient" or "donor"; you asked for {run!r}.')


@checker("the same heads, two questions: what they bring alone, and what is left without the rest.")
def check_two_protocols(answer: Callable) -> str | None:
    """Check a function ``two_protocols(score, circuit, heads)``: restored and survives, as shares.

    ``score(run, taken)`` is the mean score of the recipient's or the donor's run, with the z of the
    heads ``taken`` from the other run.
    """
    circuit, rest = [(0, 0), (0, 1)], [(1, 0), (1, 1)]
    change = _DONOR - _RECIPIENT

    def share(run: str, taken: Iterable[Head]) -> float:
        return (_score(run, taken) - _RECIPIENT) / change

    restored, survives = share("recipient", circuit), share("donor", rest)
    given = attempt(answer, _score, list(circuit), sorted(_WEIGHT))
    return mistake_in(
        given,
        (restored, survives),
        {
            "the order is restored, survives.": (survives, restored),
            "you took the circuit itself out of the donor's run; survives takes out everything "
            "else.": (restored, share("donor", circuit)),
            "you put the other heads into the recipient's run; restored puts in the circuit.": (
                share("recipient", rest),
                survives,
            ),
            "the two are exchanged: circuit and rest stand in each other's place.": (
                share("recipient", rest),
                share("donor", circuit),
            ),
            "both of yours read the recipient's run; survives starts from the donor's.": (
                restored,
                share("recipient", rest),
            ),
            "the second is what is lost; what survives is measured from the recipient's score "
            "on.": (restored, 1 - survives),
            "the second is measured from the donor's score on; take off the recipient's.": (
                restored,
                survives - 1,
            ),
            "these are scores; make them shares of the score change.": (
                _score("recipient", circuit),
                _score("donor", rest),
            ),
            "these are effects; divide them by the score change, donor minus recipient.": (
                restored * change,
                survives * change,
            ),
            "the sign is reversed; the score change is donor minus recipient.": (
                -restored,
                -survives,
            ),
            "take off the recipient's score before you divide.": (
                _score("recipient", circuit) / change,
                _score("donor", rest) / change,
            ),
            "give two numbers, restored and survives.": lambda given: np.shape(given) != (2,),
        },
    )


# (1, 1) and (1, 2) stand in for each other, and like (1, 0) they read (0, 0); (0, 1), (0, 2) and
# (1, 2) do a little by themselves.
_HEADS = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
_LEFT = {(0, 0), (1, 0), (1, 2)}


def _value(heads: Iterable[Head]) -> float:
    there = set(map(tuple, heads))
    read_out = 0.47 * ((1, 0) in there) + max(0.43 * ((1, 1) in there), 0.42 * ((1, 2) in there))
    alone = max(0.05 * ((0, 1) in there), 0.01 * ((0, 2) in there)) + 0.03 * ((1, 2) in there)
    return ((0, 0) in there) * read_out + alone


@checker(
    "measured again after each head, so two heads that stand in for each other do not both go."
)
def check_drop_one_by_one(answer: Callable) -> str | None:
    """Check a function ``drop_one_by_one(value, heads, n)``: the n heads that are left.

    ``value(heads)`` is the share that survives with these heads. From all heads, the head without
    which most survives is dropped; then all that are left are measured again.
    """
    given = attempt(answer, _value, list(_HEADS), 3)
    if not isinstance(given, Collection) or not all(np.shape(head) == (2,) for head in given):
        raise Mistake("give the (layer, head) of the heads that are left.")
    left = {(int(layer), int(head)) for layer, head in given}
    alone = sorted(_HEADS, key=lambda head: -_value([head]))
    needed = sorted(_HEADS, key=lambda head: _value(set(_HEADS) - {head}))
    return mistake_in(
        left,
        _LEFT,
        {
            "these are the heads that you dropped; give those that are left.": set(_HEADS) - _LEFT,
            "you measured each head alone; here nothing alone survives of a head that others "
            "read.": set(alone[:3]),
            "you measured the loss of each head once, and dropped several: two that stand in for "
            "each other then both go. Measure again after each.": set(needed[:3]),
            "you grew the set from nothing; start with all heads, and drop.": _grown(3),
            "you dropped the head that is missed most; drop the one that is missed least.": (
                _dropped(3, max)
            ),
            "you stopped too early; n heads are left at the end.": lambda given: len(given) > 3,
            "you went on too long; n heads are left at the end.": lambda given: len(given) < 3,
        },
        otherwise=(
            f"what survives with your heads is {_value(left):.2f}, and three can do better; drop "
            "the head without which most survives, and measure again."
        ),
    )


def _grown(n: int) -> set[Head]:
    grown: set[Head] = set()
    while len(grown) < n:
        grown.add(max((h for h in _HEADS if h not in grown), key=lambda h: _value(grown | {h})))
    return grown


def _dropped(n: int, which: Callable) -> set[Head]:
    left = list(_HEADS)
    while len(left) > n:
        left.remove(which(left, key=lambda head: _value(left) - _value(set(left) - {head})))
    return set(left)
