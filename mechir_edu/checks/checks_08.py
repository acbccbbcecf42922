"""Checks of tutorial 08: draw heads to compare with, and choose without peeking."""

from collections import Counter
from collections.abc import Callable

import numpy as np

from mechir_edu.checks._report import attempt, checker, mistake_in
from mechir_edu.rankers.hook_names import Head


@checker(
    "as many heads in each layer, none of them chosen: they differ only in which heads they are."
)
def check_random_heads(answer: Callable) -> str | None:
    """Check a function ``random_heads(heads, n_heads, rng)``.

    It draws as many other heads as ``heads`` has, each in the same layer, none twice.
    """
    heads = [(0, 1), (2, 3), (2, 0), (5, 5)]
    for seed in range(20):
        drawn = attempt(answer, list(heads), 6, np.random.default_rng(seed))
        mistake = _judge_drawn([tuple(map(int, head)) for head in drawn], heads)
        if mistake:
            return mistake
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
    factors = [0.0, 0.5, 2.0, 4.0, 8.0]
    on_mask = [[0.2, 0.1], [0.4, 0.1], [-0.2, -0.1], [-0.4, -0.3], [0.1, 0.1]]
    on_others = [[0.1, 0.1], [-0.1, -0.2], [0.5, 0.4], [0.0, 0.1], [0.3, 0.3]]
    change = np.hstack([on_mask, on_others])
    mask = np.array([True, True, False, False])
    mine, others = change[:, mask].mean(axis=1), change[:, ~mask].mean(axis=1)
    best, leaked = int(mine.argmax()), int(change.mean(axis=1).argmax())
    by_query = int(change[:, mask].mean(axis=0).argmax())
    return mistake_in(
        attempt(answer, change, factors, mask),
        (factors[best], others[best]),
        {
            "you report the queries you chose on; it flatters, because the factor was chosen to be "
            "the best there. Report the others.": (factors[best], mine[best]),
            "you chose on all queries, so the others had a say too; choose on the mask's alone.": (
                factors[leaked],
                others[leaked],
            ),
            "you chose on the queries that you report; that is the mask the other way round.": (
                factors[int(others.argmax())],
                others.max(),
            ),
            "this is the place of the factor; look it up in factors.": (best, others[best]),
            "this is the best query's place, not the best factor's; a factor's mean is over the "
            "queries, axis 1.": (factors[by_query], others[by_query]),
            "you chose the worst; the larger the change, the better.": (
                factors[int(mine.argmin())],
                others[int(mine.argmin())],
            ),
        },
    )
