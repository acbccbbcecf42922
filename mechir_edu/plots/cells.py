"""Recovery of a row of cells, each with its interval: of layers, of roles, of a layer's heads."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from mechir_edu.alignment.aligned import ROLE_NAMES
from mechir_edu.plots.heatmap import (
    DARK,
    RECOVERY_LABEL,
    are_constant,
    constant_note,
    notes_of,
    unmarked_intervals,
)
from mechir_edu.stats.recovered import Recovery


def plot_cells(
    recovery: Recovery, *, names: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Recovery of each cell as a dot with its interval; the first cell is at the bottom.

    Parameters
    ----------
    recovery : one axis, such as [layer] of a block site, or [role]. A significant cell (q < 0.05)
        is a full dot, the others are hollow; a cell that is exactly 0 in every pair is a cross.
    names : of the cells; their number, or the role's name, when omitted.
    ax : drawn on in place and returned; a new figure is made when omitted.

    Raises
    ------
    ValueError
        If the recovery has more than one axis, or there is not one name for each cell.
    """
    if recovery.value.ndim != 1:
        raise ValueError(
            f"this picture needs recovery with one axis, got {recovery.axes}; choose one entry of "
            "the others, or draw a heat map"
        )
    axis = recovery.axes[0]
    if names is None:
        n = len(recovery.value)
        names = ROLE_NAMES[:n] if axis == "role" else [str(i) for i in range(n)]
    if len(names) != len(recovery.value):
        raise ValueError(f"needed {len(recovery.value)} names, one for each cell, got {len(names)}")
    if ax is None:
        _, ax = plt.subplots(figsize=(6.5, 1.5 + 0.32 * len(names)), layout="constrained")
    marked = recovery.significant()
    places = np.arange(len(names))
    has_intervals = bool(np.isfinite([recovery.low, recovery.high]).all())
    if has_intervals:
        ax.hlines(places, recovery.low, recovery.high, color=DARK, linewidth=2)
    colours = np.where(marked, DARK, "white")
    is_constant = are_constant(recovery)
    style = {"edgecolor": DARK, "s": 34, "zorder": 3}
    ax.scatter(
        recovery.value[~is_constant], places[~is_constant], color=colours[~is_constant], **style
    )
    ax.scatter(recovery.value[is_constant], places[is_constant], marker="x", color=DARK, s=34)
    ax.axvline(0, color=DARK, linewidth=0.8, linestyle=":", zorder=0)
    ax.set_yticks(places, names, parse_math=False)
    ax.set_ylim(-0.6, len(names) - 0.4)
    ax.set_ylabel(axis, parse_math=False)
    ax.set_xlabel(_label(recovery, has_intervals))
    return ax


def _label(recovery: Recovery, has_intervals: bool) -> str:
    lines = [RECOVERY_LABEL.replace("\n", "; ")]
    if has_intervals:
        lines.append(f"bars: {100 * recovery.interval:g} % intervals")
    lines += [note.replace("•", "full dots:") for note in notes_of(recovery)]
    lines += constant_note(recovery, "crosses")
    if has_intervals and (unmarked := unmarked_intervals(recovery)):
        lines.append(textwrap.fill(unmarked.replace("without a dot", "hollow dots"), 70))
    return "\n".join(lines)
