"""Patch exactly only the heads that a top k needs, and check that no other can belong to it.

Estimates from one gradient (`mechir_edu.gradients`) rank all heads; the leading ones are patched
exactly until no other can reach the top k by absolute mean effect. ::

    a = |mean estimated effect| of a head        e = |mean exact effect| of a shortlisted head
    growth = largest (e - a) / a on the shortlist, at least LEAST
    margin = SAFETY * growth * (largest a outside the shortlist)
    passed = (k-th largest e) > (largest a outside the shortlist) + margin

First come all heads whose a is at least `FIRST` of the k-th largest; then, in each round, all heads
that the rule does not yet exclude, so that the check holds in the end unless a limit is set.

What it assumes: a head left out is underestimated by a factor that is at most `SAFETY` times as far
from 1 as the worst on the shortlist. The assumption is about heads that nobody patched and cannot
be proved. It fails for a head whose gradient has vanished (a saturated softmax, see
`mechir_edu.gradients`) where no shortlisted head gives warning: its estimate is zero, whatever it
does. Exact patching is the remedy where that matters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

SAFETY = 1.5
# Of a dozen errors all may by chance be in the harmless direction: that does not make a margin 0.
LEAST = 0.2
# Enough for most sets in one round: a further round runs both sides of every pair again.
FIRST = 0.65

Scores = Float[np.ndarray, "cell pair"]
Sizes = Float[np.ndarray, " cell"]


@dataclass(frozen=True, eq=False)
class Screened:
    """Scores of all heads, exact for those on the shortlist.

    Attributes
    ----------
    scores : after each patch, [cell, pair].
    exact : which cells were patched exactly, [cell].
    shortlist : those cells, in the order of their estimates.
    rounds : how often a round of exact patching was needed.
    kth_effect : the k-th largest absolute mean effect on the shortlist, in score units.
    largest_left : the largest absolute mean estimate outside of it, 0 if nothing is left.
    margin : what an estimate outside may be too small by, in score units.
    """

    scores: Scores
    exact: Bool[np.ndarray, " cell"]
    shortlist: tuple[int, ...]
    rounds: int
    kth_effect: float
    largest_left: float
    margin: float

    @property
    def passed(self) -> bool:
        """Whether no head outside the shortlist can belong to the top k, by the rule above."""
        return bool(self.exact.all()) or self.kth_effect > self.largest_left + self.margin

    def report(self, heads: Sequence[tuple[int, int]]) -> dict:
        """Say what was done, in what JSON can hold; ``heads`` is the (layer, head) of each cell."""
        names = ("rounds", "kth_effect", "largest_left", "margin", "passed")
        shortlist = [[int(at) for at in heads[cell]] for cell in self.shortlist]
        return {"shortlist": shortlist} | {name: getattr(self, name) for name in names}


def screen(
    estimates: Scores,
    recipient: Float[np.ndarray, " pair"],
    patch_exactly: Callable[[list[int]], Scores],
    *,
    top_k: int,
    longest: int | None = None,
) -> Screened:
    """Patch cells exactly until the top k is certain by the rule of this module.

    Parameters
    ----------
    estimates : estimated score after each patch, [cell, pair].
    recipient : scores without a patch, [pair].
    patch_exactly : gives the exact scores of some cells, by their indices.
    top_k : how many cells of largest absolute mean effect are wanted; all if there are fewer.
    longest : never patch more cells than this; then the check may fail.

    Raises
    ------
    ValueError
        If ``top_k`` is less than 1, or ``longest`` less than ``top_k``.
    """
    _check_lengths(top_k, longest)
    n_cells = len(estimates)
    top_k, longest = min(top_k, n_cells), n_cells if longest is None else longest
    # Rounding moves a score by some units in its last place; no estimate means less than that.
    sizes = np.maximum(_sizes(estimates, recipient), 8 * np.spacing(np.abs(recipient).max()))
    order = np.argsort(-sizes, kind="stable")
    scores, rounds, done = estimates.copy(), 0, 0
    reach = np.count_nonzero(sizes >= FIRST * sizes[order[top_k - 1]])
    while done < (reach := min(int(reach), longest)):
        scores[order[done:reach]] = patch_exactly(order[done:reach].tolist())
        rounds, done = rounds + 1, reach
        found = _sizes(scores[order[:done]], recipient)
        kth, growth = float(np.sort(found)[-top_k]), _growth(found, sizes[order[:done]])
        reach = done + np.count_nonzero(sizes[order[done:]] * (1 + SAFETY * growth) >= kth)
    left = float(sizes[order[done]]) if done < n_cells else 0.0
    return Screened(
        scores=scores,
        exact=np.isin(np.arange(n_cells), order[:done]),
        shortlist=tuple(order[:done].tolist()),
        rounds=rounds,
        kth_effect=kth,
        largest_left=left,
        margin=SAFETY * growth * left,
    )


def _sizes(scores: Scores, recipient: Float[np.ndarray, " pair"]) -> Sizes:
    return np.abs(np.subtract(scores, recipient, dtype=np.float64).mean(axis=1))


def _growth(found: Sizes, estimated: Sizes) -> float:
    return max(LEAST, float(((found - estimated) / estimated).max()))


def _check_lengths(top_k: int, longest: int | None) -> None:
    if top_k < 1:
        raise ValueError(f"top_k needs at least one head, got {top_k}")
    if longest is not None and longest < top_k:
        raise ValueError(f"needed room for the top {top_k} at least, got longest={longest}")
