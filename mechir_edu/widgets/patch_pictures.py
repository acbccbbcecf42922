"""Which picture suits a result of `explore_patch`: one for each combination of axes."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mechir_edu import plots
from mechir_edu.reading import PairReading, read_pair
from mechir_edu.results import PatchingResult
from mechir_edu.scoring import DIRECTIONS
from mechir_edu.stats import Recovery
from mechir_edu.widgets.panel import Drawing

if TYPE_CHECKING:
    from mechir_edu.rankers import Ranker
    from mechir_edu.widgets.patch import Choice

_MOST_POSITIONS = 28


def picture_of(choice: "Choice", result: PatchingResult, ranker: "Ranker") -> Drawing:
    """Draw what the choice leaves of a result's axes.

    Raises
    ------
    ValueError
        If there is no score change to be a share of.
    """
    title = f"{choice.site}, {choice.where}, {result.direction.replace('_', ' ')}"
    if choice.by == "pos":
        return _draw_positions(choice, result, ranker, title)
    recovery = _slice(result.recovery(), choice)
    if recovery.axes == ("layer", "head"):
        ax = plots.plot_heads(recovery)
    elif recovery.axes[1:] == ("role",):
        ax = plots.plot_roles(recovery)
    else:
        shows_one = recovery.axes == ("layer",) and choice.layer is not None
        ax = plots.plot_cells(recovery, names=[str(choice.layer)] if shows_one else None)
    ax.set_title(title, fontsize=10)
    return Drawing(ax.figure, plots.alt_text(recovery, title=f"Recovery, {title}"))


def _slice(recovery: Recovery, choice: "Choice") -> Recovery:
    """Take one role and one layer, where one was chosen, and name the axes that are left."""
    axes = tuple("head" if axis == "cell" else axis for axis in recovery.axes)
    index: list[int | slice] = [slice(None)] * len(axes)
    if choice.role is not None:
        index[-1] = choice.role
    if choice.layer is not None and not choice.is_head_site:
        # A layer by itself stays a row of one, unless the roles are what is to be seen.
        shows_roles = choice.by == "role" and choice.role is None
        index[0] = choice.layer if shows_roles else slice(choice.layer, choice.layer + 1)
    left = tuple(a for a, at in zip(axes, index, strict=True) if isinstance(at, slice))
    arrays = {name: getattr(recovery, name)[tuple(index)] for name in ("value", "low", "high")}
    arrays |= {name: getattr(recovery, name)[tuple(index)] for name in ("p", "q")}
    return replace(recovery, axes=left, **arrays)


def _draw_positions(
    choice: "Choice", result: PatchingResult, ranker: "Ranker", title: str
) -> Drawing:
    change = result.donor[0] - result.recipient[0]
    if change == 0:
        raise ValueError("both versions of this pair score the same: there is nothing to recover")
    values = (result.rows_of(0) - result.recipient[0]) / change
    rows, names = ("head" if choice.is_head_site else "layer"), None
    if choice.layer is not None and not choice.is_head_site:
        values, names = values[[choice.layer]], [str(choice.layer)]
    reading = read_pair(ranker, result.pairs[0], filler=result.filler)
    into = reading.baseline if result.direction == DIRECTIONS[0] else reading.perturbed
    options = {"edited": reading.edited, "rows": rows, "names": names, "keep": _MOST_POSITIONS}
    ax = plots.plot_positions(values, into, **options)
    ax.set_title(title, fontsize=10)
    return Drawing(ax.figure, f"Recovery, {title}. {_largest(values, into, rows, names, reading)}")


def _largest(
    values: np.ndarray,
    tokens: tuple[str, ...],
    rows: str,
    names: list[str] | None,
    reading: PairReading,
) -> str:
    order = np.argsort(-np.abs(values), axis=None, kind="stable")[:3]
    cells = []
    for row, pos in zip(*np.unravel_index(order, values.shape), strict=True):
        kind = " (edited)" if reading.edited[pos] else ""
        where = f"{rows} {names[row] if names else row}, position {pos}, {tokens[pos]}{kind}"
        cells.append(f"{where}: {values[row, pos]:.2f}")
    return f"Largest: {'; '.join(cells)}."
