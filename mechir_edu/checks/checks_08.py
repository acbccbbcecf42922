"""Checks of tutorial 08: draw heads to compare with, and choose without peeking."""

from collections import Counter
from collections.abc import Callable

import numpy as np

from mechir_edu.checks._report import attempt, checker, mistake_in
from mechir_edu.rankers.hook_names import Head

_DRAWS = 100


@checker(
    "as many heads in each layer, none of them chosen: they differ only in which heads they are."
)
def check_random_heads(answer: Callable) -> str | None:
    """Check a function ``random_heads(heads, n_heads, rng)``.

    It draws as many other heads as ``heads`` has, each in the same layer, none twice.
    """
    heads = [(0, 1), (2, 3), (2, 0), (5, 5)]
    draws = []
    # The first seed once more at the end: the same generator has to give the same heads.
    for seed in (*range(_DRAWS), 0):
        drawn = attempt(answer, list(heads), 6, np.random.default_rng(seed))
        draws.append([(int(layer), int(head)) for layer, head in drawn])
        mistake = _judge_drawn(draws[-1], heads)
        if mistake:
            return mistake
    if sorted(draws[0]) != sorted(draws[-1]):
        return "the heads do not come from rng, the generator that you were given; draw with it."
    seen = {head for drawn in draws for head in drawn}
    if len(seen) == len(heads):
        return "nothing is drawn: these are the same heads for every rng; draw with it."
    free = {(layer, head) for layer in {0, 2, 5} for head in range(6)} - set(heads)
    if seen != free:
        layer, head = min(free - seen)
        return (
            f"layer {layer}, head {head} was not drawn once in {_DRAWS} draws; every other head of "
            "a layer has an even chance."
        )
    return None


def _judge_drawn(drawn: list[Head], heads: list[Head]) -> str | None:
    if len(drawn) != len(heads):
        return f"{len(heads)} heads need {len(heads)} to compare with, you drew {len(drawn)}."
    if len(set(drawn)) < len(drawn):
        return "a head was drawn twice; draw without putting back."
    if set(drawn) & set(heads):
        return "a chosen head is among the drawn ones; a control must do without them."
    if any(head >= 6 for _, head in drawn):
        return "there is no such head; a layer has heads 0 to n_heads - 1."
    if Counter(layer for layer, _ in drawn) != Counter(layer for layer, _ in heads):
        return (
            "the drawn heads are in other layers; late layers matter more than early ones, so "
            "keep each layer's number."
        )
    return None


@checker("chosen on some queries, reported on the others.")
def check_choose_factor(answer: Callable) -> str | None:
    """Check a function ``choose_factor(change, factors, is_chosen_on)``.

    Changes of nDCG@10 are [factor, query]; it gives the factor with the best mean on the queries
    of the mask, and its mean change on the other queries.
    """
    factors = [-1.0, 0.0, 0.25, 0.5, 2.0, 3.0, 4.0, 8.0]
    # Chosen so that mean, maximum, minimum and median, over the mask's queries, the others or all,
    # each prefer another factor.
    change = np.array(
        [
            [0.21, 0.13, -0.30, 0.10, -0.35, 0.23, 0.40],
            [-0.03, 0.08, 0.18, 0.02, 0.01, 0.32, -0.19],
            [-0.34, 0.17, 0.11, 0.18, 0.24, -0.36, -0.09],
            [0.18, 0.03, 0.23, -0.10, -0.10, 0.14, 0.39],
            [0.33, -0.10, -0.09, -0.30, -0.38, 0.06, 0.21],
            [0.27, 0.08, 0.18, -0.06, -0.15, 0.02, 0.16],
            [0.04, -0.32, -0.08, -0.37, -0.35, 0.00, -0.36],
            [-0.23, -0.32, -0.19, 0.15, 0.23, 0.35, 0.38],
        ]
    )
    mask = np.arange(7) < 4
    mine, others = change[:, mask].mean(axis=1), change[:, ~mask].mean(axis=1)
    best = int(mine.argmax())

    def chosen(by: np.ndarray) -> tuple[float, float]:
        place = int(by.argmax())
        return factors[place], others[place]

    return mistake_in(
        attempt(answer, change, factors, mask),
        chosen(mine),
        {
            "you report the queries you chose on; it flatters, because the factor was chosen to be "
            "the best there. Report the others.": (factors[best], mine[best]),
            "you report all queries, those included on which you chose; report the others.": (
                factors[best],
                change[best].mean(),
            ),
            "you chose on all queries, so the others had a say too; choose on the mask's "
            "alone.": chosen(change.mean(axis=1)),
            "you chose on the queries that you report; that is the mask the other way "
            "round.": chosen(others),
            "you chose by the best single query; a factor is judged by its mean.": chosen(
                change[:, mask].max(axis=1)
            ),
            "you chose by the worst single query; a factor is judged by its mean.": chosen(
                change[:, mask].min(axis=1)
            ),
            "you chose by the median; a factor is judged by its mean.": chosen(
                np.median(change[:, mask], axis=1)
            ),
            "you report the best of the other queries; report their mean.": (
                factors[best],
                change[best, ~mask].max(),
            ),
            "you report the median of the other queries; report their mean.": (
                factors[best],
                np.median(change[best, ~mask]),
            ),
            "you report a sum over the other queries; report their mean.": (
                factors[best],
                change[best, ~mask].sum(),
            ),
            "the order is factor, then its change.": (others[best], factors[best]),
            "give the factor and its change on the other queries, two numbers.": lambda given: (
                np.shape(given) != (2,)
            ),
            "this is the place of the factor; look it up in factors.": (best, others[best]),
            "this is the best query's place, not the best factor's; a factor's mean is over the "
            "queries, axis 1.": chosen(change[:, mask].mean(axis=0)),
            "you chose the worst, or the largest whatever its sign; a loss is no gain.": chosen(
                -mine
            ),
        },
    )
