"""Two results on the same documents that differ in the edit alone: one minus the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from mechir_edu import stats
from mechir_edu.perturb.pair import Pair


@dataclass(frozen=True)
class Contrast:
    """One result minus another on the same documents: axiom minus control, start minus end.

    Attributes
    ----------
    change : difference of the score changes, in score units: the effect of the axiom's edit over
        that of the control's, or of one place over the other.
    effect : difference of the effects, in score units, [*cell].
    recovery : `effect` over `change`, [*cell]: the share of *that* change which a patch brings
        over. Its q values are those of `effect`.
    difference : difference of the two recoveries, each a share of its own score change, [*cell]:
        whether the two edits go through the same heads, however far each of them moves the score.
    """

    change: stats.Estimate
    effect: stats.Estimate
    recovery: stats.Recovery
    difference: stats.Estimate


@dataclass(frozen=True, eq=False)
class Contrasted:
    """What a contrast takes of a result: pairs that both sides have, in the same order.

    Attributes
    ----------
    effect : score after each patch minus the recipient's, [*cell, pair].
    change : perturbed minus baseline score, [pair].
    """

    effect: Float[np.ndarray, "*cell pair"]
    change: Float[np.ndarray, " pair"]


def contrast_sides(
    first: Contrasted,
    second: Contrasted,
    *,
    query_ids: Sequence[str],
    axes: tuple[str, ...],
    direction: str,
    interval: float,
    seed: int,
) -> Contrast:
    """First minus second; ``axes`` name the cells of the effects."""
    effect = np.subtract(first.effect, second.effect, dtype=np.float64)
    change = np.subtract(first.change, second.change, dtype=np.float64)
    options: Any = {"query_ids": query_ids, "interval": interval, "seed": seed}
    # Effects are towards the donor; a score change is always perturbed minus baseline.
    sign = 1 if direction == "perturbed_to_baseline" else -1
    zero = np.zeros(len(change))
    shares = [(side.effect, sign * side.change) for side in (first, second)]
    return Contrast(
        change=stats.mean_change(change, **options),
        effect=stats.mean_change(effect, **options),
        recovery=stats.recovery(effect, zero, sign * change, axes=axes, **options),
        difference=stats.recovery_difference(*shares, **options),
    )


def require_same_patch(here: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    """Refuse to contrast results that differ in more than the edit, such as in the filler.

    Raises
    ------
    ValueError
        Naming what differs.
    """
    for name, value in here.items():
        if value != there[name]:
            raise ValueError(
                f"a contrast needs two results that differ in the edit alone, got {name} "
                f"{value!r} and {there[name]!r}; patch both with the same {name}"
            )


def require_same_edits_elsewhere(first: Sequence[Pair], second: Sequence[Pair]) -> None:
    """Refuse anything but the same edits, at two places of the same documents.

    Raises
    ------
    ValueError
        If a document got another axiom or another term on the other side, or if no document was
        edited at two places.
    """
    both = list(zip(first, second, strict=True))
    for pair, other in both:
        if (pair.axiom, pair.term) != (other.axiom, other.term):
            raise ValueError(
                f"a position contrast needs the same edit on both sides, got {pair.axiom} "
                f"{pair.term!r} and {other.axiom} {other.term!r} for document {pair.doc_id} of "
                f"query {pair.query_id}; make both sets of pairs with one axiom and seed"
            )
    if all(pair.perturbed == other.perturbed for pair, other in both):
        raise ValueError(
            f"a position contrast needs edits at two places, got {len(both)} documents that "
            'are edited alike on both sides; make one set with place="start"'
        )
