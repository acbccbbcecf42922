"""Colours that all pictures share, and the cells, scale and notes of a map of recovery."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from mechir_edu.alignment.aligned import N_ROLES, ROLE_NAMES
from mechir_edu.stats.recovered import Recovery

DIVERGING, SEQUENTIAL = "RdBu_r", "Blues"
DARK, EDITED, HATCH = "#222222", "#b2182b", "#b5b5b5"
RECOVERY_LABEL = "recovery (share of the score change)\n+ as the donor, − the other way"
_LARGEST_GRID_WITH_VALUES = 12


def need_axes(recovery: Recovery | np.ndarray, axes: tuple[str, str]) -> None:
    """Check that the values have these axes."""
    shape = values_of(recovery).shape
    named = recovery.axes if isinstance(recovery, Recovery) else axes
    fits = len(shape) == 2 and named == axes
    fits = fits and (axes[1] != "role" or shape[1] in (N_ROLES, len(ROLE_NAMES)))
    if not fits:
        raise ValueError(
            f"this picture needs recovery with the axes {axes}, got {named} of shape {shape}; "
            "choose one entry of any further axis, or the picture made for these axes"
        )


def draw_grid(ax: Axes, recovery: Recovery | np.ndarray, limit: float) -> AxesImage:
    """Draw the cells with their values; mark the significant ones, and those that are constant."""
    values = values_of(recovery)
    image = ax.imshow(
        values, cmap=DIVERGING, vmin=-limit, vmax=limit, origin="lower", aspect="auto"
    )
    ax.set_yticks(range(len(values)))
    ax.set_ylabel("layer")
    is_marked = np.zeros(values.shape, dtype=bool)
    if isinstance(recovery, Recovery):
        is_marked = recovery.significant()
    if max(values.shape) <= _LARGEST_GRID_WITH_VALUES:
        # A third decimal only for effects in score units, which may be small; shares have two.
        digits = 3 if limit < 0.1 and not isinstance(recovery, Recovery) else 2
        _write_values(ax, values, is_marked, limit, digits)
    for layer, column in np.argwhere(are_constant(recovery)):
        corner = (column - 0.5, layer - 0.5)
        style = {"fill": False, "edgecolor": HATCH, "hatch": "////", "linewidth": 0}
        ax.add_patch(Rectangle(corner, 1, 1, **style))
    layers, columns = np.nonzero(is_marked)
    ax.scatter(columns + 0.36, layers + 0.32, s=9, color=DARK, edgecolor="white", linewidth=0.4)
    return image


def colour_of(value: float, limit: float) -> str:
    """Colour of a cell of a map."""
    return to_hex(colormaps[DIVERGING](0.5 + 0.5 * value / limit))


def ink_on(background: str) -> str:
    """Colour of a text on a background: contrast at least 4.5 : 1 (WCAG 2.2, 1.4.3)."""
    if _contrast(DARK, background) >= 4.5:
        return DARK
    # One of these has at least 4.58 on any background.
    return max(("white", "black"), key=lambda ink: _contrast(ink, background))


def _contrast(*colours: str) -> float:
    """Contrast of two sRGB colours by their relative luminance, 1 none to 21 (WCAG 2.2)."""
    parts = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return float((high + 0.05) / (low + 0.05))


def limit_of(maps: Sequence[Recovery | np.ndarray | None]) -> float:
    """Largest absolute value of several maps; 1 where all of them are zero."""
    largest = max(float(np.abs(values_of(values)).max()) for values in maps if values is not None)
    return largest or 1.0


def notes_of(recovery: Recovery | np.ndarray) -> list[str]:
    """Notes under a map: how many cells are significant, and whether its values can be trusted."""
    if not isinstance(recovery, Recovery):
        return []
    if recovery.n_pairs == 1:
        return ["one pair: neither intervals nor tests"]
    n_marked, n_cells = int(recovery.significant().sum()), recovery.value.size
    notes = [f"• {n_marked} of {n_cells} significant after false-discovery control (q < 0.05)"]
    if said := insignificant_lead(recovery):
        notes.append(said)
    if recovery.warning:
        notes.append("caution: the mean score change cannot be told from zero")
    return notes


def insignificant_lead(recovery: Recovery) -> str | None:
    """Say that the largest cell is not significant; None where it is, or is not tested."""
    lead = np.abs(np.nan_to_num(recovery.value)).argmax()
    q = recovery.q.ravel()[lead]
    if recovery.n_pairs == 1 or q < 0.05 or recovery.value.ravel()[lead] == 0:
        return None
    return f"the largest is not significant (q = {q:.2g})"


def are_constant(recovery: Recovery | np.ndarray) -> np.ndarray:
    """Cells at which no pair's score changed at all, so that they say nothing of the pairs.

    There both runs are the same: a causal ranker before the edit, MonoT5's decoder before it has
    seen the text, a role that no pair has.
    """
    if not isinstance(recovery, Recovery):
        return np.zeros(recovery.shape, dtype=bool)
    ends = np.stack([recovery.low, recovery.high])
    # A single pair has no interval, and a mean change that may be 0 an infinite one.
    return (recovery.value == 0) & ((ends == 0) | ~np.isfinite(ends)).all(axis=0)


def constant_note(recovery: Recovery | np.ndarray, mark: str = "hatched") -> list[str]:
    """Say which cells are constant, where there are any."""
    n_constant = int(are_constant(recovery).sum())
    return [f"{mark}: {n_constant} exactly 0 in every pair"] if n_constant else []


def unmarked_intervals(recovery: Recovery) -> str | None:
    """Say why a cell may have an interval far from zero and no dot, or None where none has."""
    is_clear = (recovery.low > 0) | (recovery.high < 0)
    is_clear &= np.isfinite(recovery.low) & np.isfinite(recovery.high)
    n_clear = int((is_clear & ~recovery.significant()).sum())
    if not n_clear:
        return None
    return (
        f"{n_clear} without a dot have an interval that misses zero: an interval is about one "
        f"cell, a dot allows for the search among {recovery.value.size} and for "
        f"{recovery.n_queries} queries"
    )


def grid_size(recovery: Recovery | np.ndarray) -> tuple[float, float]:
    """Height and width in inches that leave room for a number in each cell."""
    n_layers, n_columns = values_of(recovery).shape
    return 0.9 + 0.36 * n_layers, 0.8 + max(0.46 * min(n_columns, 16), 5.0)


def values_of(recovery: Recovery | np.ndarray) -> np.ndarray:
    """Take the values out of a `Recovery`."""
    return recovery.value if isinstance(recovery, Recovery) else recovery


def _write_values(
    ax: Axes, values: np.ndarray, is_marked: np.ndarray, limit: float, digits: int
) -> None:
    for (layer, column), value in np.ndenumerate(values):
        # Adding zero turns -0.00 into 0.00.
        text = f"{round(float(value), digits) + 0.0:.{digits}f}".replace("-", "−")
        ax.text(
            column,
            layer - 0.04,
            text,
            ha="center",
            va="center",
            fontsize=7.5,
            fontweight="bold" if is_marked[layer, column] else "normal",
            color=ink_on(colour_of(float(value), limit)),
        )
