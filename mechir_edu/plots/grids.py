"""Heat maps of recovery: by head, by role of the positions, by path."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from mechir_edu.alignment.aligned import ROLE_NAMES
from mechir_edu.plots.heatmap import (
    RECOVERY_LABEL,
    constant_note,
    draw_grid,
    grid_size,
    limit_of,
    need_axes,
    notes_of,
    values_of,
)
from mechir_edu.rankers.hook_names import Head
from mechir_edu.stats.recovered import Recovery

_MOST_NAMES = 24


def plot_heads(
    recovery: Recovery | Float[np.ndarray, "layer head"],
    *,
    ax: Axes | None = None,
    limit: float | None = None,
    label: str = RECOVERY_LABEL,
) -> Axes:
    """Heat map of recovery per attention head; layer 0 at the bottom.

    Parameters
    ----------
    recovery : [layer, head], unitless; 0 = no effect, 1 = the donor's score. With a `Recovery`,
        heads that are significant (q < 0.05) are marked, and cells that are exactly 0 in every
        pair are hatched.
    ax : drawn on in place and returned; a new figure is made when omitted.
    limit : the colour scale is ``[-limit, limit]``; defaults to the largest absolute value. Pass
        one limit to compare plots.
    label : of the colour bar, where the values are not recoveries but, say, effects in score units.

    Raises
    ------
    ValueError
        If the values are not [layer, head].
    """
    need_axes(recovery, ("layer", "head"))
    names = [str(head) for head in range(values_of(recovery).shape[1])]
    ax = _plot_grid(recovery, names, "head", ax, limit)
    ax.images[0].colorbar.set_label(label, parse_math=False)
    return ax


def plot_roles(
    recovery: Recovery | Float[np.ndarray, "layer role"],
    *,
    ax: Axes | None = None,
    limit: float | None = None,
) -> Axes:
    """Heat map of recovery per layer and role of the patched positions; layer 0 at the bottom.

    Parameters
    ----------
    recovery : [layer, role], in the order of `mechir_edu.Role`; or [head, role], a layer's heads.
    ax, limit : as in `plot_heads`.

    Raises
    ------
    ValueError
        If the values are neither.
    """
    is_of_heads = isinstance(recovery, Recovery) and recovery.axes[:1] == ("head",)
    rows = "head" if is_of_heads else "layer"
    need_axes(recovery, (rows, "role"))
    n_roles = values_of(recovery).shape[1]
    names = [name.replace(" ", "\n") for name in ROLE_NAMES[:n_roles]]
    ax = _plot_grid(recovery, names, "role of the patched positions", ax, limit)
    ax.set_ylabel(rows)
    return ax


def plot_paths(
    recovery: Recovery | Float[np.ndarray, "sender receiver"],
    senders: Sequence[Head],
    receivers: Sequence[Head],
    *,
    ax: Axes | None = None,
    limit: float | None = None,
) -> Axes:
    """Heat map of recovery per path from a sending to a receiving head.

    Parameters
    ----------
    recovery : [sender, receiver], as `mechir_edu.PathResult.matrix` makes it.
    senders, receivers : (layer, head) along both axes, as in the `PathResult`.
    ax, limit : as in `plot_heads`.

    Raises
    ------
    ValueError
        If the values are not [sender, receiver], or heads are missing.
    """
    need_axes(recovery, ("sender", "receiver"))
    if values_of(recovery).shape != (len(senders), len(receivers)):
        raise ValueError(
            f"needed a sender for each row and a receiver for each column, got {len(senders)} and "
            f"{len(receivers)} for values of shape {values_of(recovery).shape}"
        )
    if ax is None:
        height, width = (3 + 0.25 * min(len(ends), _MOST_NAMES) for ends in (senders, receivers))
        _, ax = plt.subplots(figsize=(width + 1.3, height), layout="constrained")
    places, names = _name_heads(receivers)
    ax = _plot_grid(recovery, names, "receiver (layer.head)", ax, limit, places)
    ax.set_yticks(*_name_heads(senders), fontsize=9)
    ax.set_ylabel("sender (layer.head)")
    return ax


def _plot_grid(
    recovery: Recovery | np.ndarray,
    names: Sequence[str],
    label: str,
    ax: Axes | None,
    limit: float | None,
    places: Sequence[int] | None = None,
) -> Axes:
    """Draw a grid with its colour bar, its columns named (or those at some places)."""
    if ax is None:
        height, width = grid_size(recovery)
        _, ax = plt.subplots(figsize=(width + 1.3, height + 0.6), layout="constrained")
    image = draw_grid(ax, recovery, limit_of([recovery]) if limit is None else limit)
    ax.set_xticks(range(len(names)) if places is None else places, names, fontsize=9)
    ax.set_xlabel("\n".join([label, *notes_of(recovery), *constant_note(recovery)]))
    ax.figure.colorbar(image, ax=ax, label=RECOVERY_LABEL)
    return ax


def _name_heads(heads: Sequence[Head]) -> tuple[list[int], list[str]]:
    """Places and names of heads; of many, those where a layer begins."""
    is_named = len(heads) <= _MOST_NAMES
    places = [
        i for i, (layer, _) in enumerate(heads) if is_named or i == 0 or heads[i - 1][0] != layer
    ]
    return places, [f"{heads[i][0]}.{heads[i][1]}" for i in places]
