"""Checks of tutorial 06: contrast with a control on the same documents, and build a null."""

from collections.abc import Callable

import numpy as np

from mechir_edu.checks._report import attempt, checker, mistake_in

_DRAWS = 400


@checker("the same documents on both sides, so what a document does to both cancels out.")
def check_matched_contrast(answer: Callable) -> str | None:
    """Check a function ``matched_contrast(axiom, control)``.

    Both are dicts from (query_id, doc_id) to a score change; it gives the mean of axiom minus
    control over the documents that both have.
    """
    axiom = {("q1", "a"): 3.0, ("q1", "b"): 1.0, ("q2", "c"): 2.0, ("q2", "d"): 8.0}
    control = {("q2", "c"): -1.0, ("q1", "a"): 0.5, ("q1", "b"): 2.0, ("q3", "e"): 4.0}
    shared = axiom.keys() & control.keys()
    contrast = np.mean([axiom[key] - control[key] for key in shared])
    in_order = np.mean(np.subtract([*axiom.values()], [*control.values()]))
    filled = np.mean([axiom[key] - control.get(key, 0.0) for key in axiom])
    union = [axiom.get(key, 0.0) - control.get(key, 0.0) for key in axiom.keys() | control.keys()]
    differences = [axiom[key] - control[key] for key in shared]
    by_ratio = np.mean([axiom[key] for key in shared]) / np.mean([control[key] for key in shared])
    return mistake_in(
        attempt(answer, axiom, control),
        contrast,
        {
            "this compares all documents of one side with all of the other; keep those that both "
            "have.": in_order,
            "a document without a control counts as if its control had been zero; leave it out.": (
                filled
            ),
            "the sign is the other way round: axiom minus control.": -contrast,
            "this is the axiom's own mean; take the control's off, document by document.": np.mean(
                [axiom[key] for key in shared]
            ),
            "documents of one side alone count as if the other had been zero; leave them out.": (
                np.mean(union)
            ),
            "this is a median; take the mean.": np.median(differences),
            "this is the mean of absolute differences; keep the signs, so that they can "
            "cancel.": np.mean(np.abs(differences)),
            "this is one number for each document; take their mean.": lambda given: (
                np.shape(given) == (len(shared),)
            ),
            "you divided by all documents of the axiom; divide by those that both have.": sum(
                differences
            )
            / len(axiom),
            "this is a sum; take the mean.": contrast * len(shared),
            "this is a ratio; a control's mean is close to zero, so take the difference.": by_ratio,
        },
        tolerance=1e-6,
    )


@checker("one coin for each query: sizes stay, and the effects of a query keep their relation.")
def check_flip_by_query(answer: Callable) -> str | None:
    """Check a function ``flip_by_query(effect, query_ids, rng)``.

    Effects are [head, pair]; it gives them with the sign of all effects of a query turned, or not,
    by one coin for each query.
    """
    effect = np.random.default_rng(1).normal(size=(5, 12)) + 0.1
    queries = np.repeat(["q1", "q2", "q3", "q4"], 3)[np.random.default_rng(2).permutation(12)]
    kept, given = effect.copy(), []
    # Each seed twice: the same generator has to give the same signs. One repeated seed would not
    # do, because four coins fall alike once in sixteen times.
    for seed in (*range(_DRAWS), *range(_DRAWS)):
        given.append(np.asarray(attempt(answer, effect, queries, np.random.default_rng(seed))))
        if not np.array_equal(effect, kept):
            return "you turned signs in the effects you were given; return a new array."
    if given[0].shape != effect.shape:
        return f"effects of shape {effect.shape} should keep it, yours have {given[0].shape}."
    return _judge_flips(np.stack(given) / effect, queries)


def _judge_flips(signs: np.ndarray, queries: np.ndarray) -> str | None:
    """Name the mistake in the signs [draw, head, pair]; the second half has the first's seeds."""
    if not np.allclose(np.abs(signs), 1):
        return "sizes changed; only signs should."
    if (signs > 0).all():
        return f"no sign was turned in {_DRAWS} draws; each query has an even chance."
    if (signs < 0).all():
        return "all signs are turned, always; each query has an even chance."
    if not (signs == signs[:, :1]).all():
        return "each head has a coin of its own; the heads of a pair belong together."
    if (signs == signs[..., :1]).all():
        return "one coin turned everything; each query has its own."
    first, again = np.split(signs, 2)
    if not np.array_equal(first, again) or (signs == signs[:1]).all():
        return "the coins do not come from rng, the generator that you were given; toss with it."
    by_query = np.stack([first[:, 0, queries == query].T for query in np.unique(queries)])
    if not (by_query == by_query[:, :1]).all():
        return "pairs of one query got different signs; they are not independent, one coin for all."
    return _judge_coins(by_query[:, 0] < 0)


def _judge_coins(is_turned: np.ndarray) -> str | None:
    """Name what is wrong with the coins [query, draw]."""
    share = is_turned.mean()
    # A fair coin is further off than five standard errors once in a million times.
    if abs(share - 0.5) > 5 * 0.5 / np.sqrt(is_turned.size):
        return f"the coin is not fair: {share:.0%} of {is_turned.size} tosses turned a sign."
    if np.ptp(is_turned.sum(axis=0)) == 0:
        return (
            "as many queries are turned in every draw; each has a coin of its own, with no quota."
        )
    return None
