"""The paper's Figure 2: axiom by ranker, one map of heads in each place."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from mechir_edu.plots.heatmap import (
    RECOVERY_LABEL,
    constant_note,
    draw_grid,
    grid_size,
    limit_of,
    need_axes,
    notes_of,
)
from mechir_edu.stats.recovered import Recovery


def plot_figure2(panel: Mapping[tuple[str, str], Recovery], *, one_column: bool = False) -> Figure:
    """Axiom by ranker, one map of heads in each place: the paper's Figure 2.

    Parameters
    ----------
    panel : recovery [layer, head] for each (axiom, ranker), both in order of appearance. All
        axioms of a ranker share one colour scale, so that its maps can be compared; each ranker has
        its own, because recoveries of two rankers are shares of different changes.
    one_column : draw the maps below each other, a ranker after the other, for a narrow page or one
        that is to be enlarged.

    Raises
    ------
    ValueError
        If the panel is empty or a map is not [layer, head].
    """
    if not panel:
        raise ValueError("needed a map for at least one axiom and ranker, got an empty panel")
    axioms, rankers = (list(dict.fromkeys(key[i] for key in panel)) for i in (0, 1))
    columns = [[panel.get((axiom, ranker)) for axiom in axioms] for ranker in rankers]
    heights, widths = _panel_size(columns)
    if one_column:
        return _draw_in_one_column(rankers, columns, axioms, heights, max(widths))
    figure, axes = plt.subplots(
        len(axioms),
        len(rankers),
        figsize=(sum(widths), len(axioms) * max(heights) + 1.1),
        width_ratios=widths,
        squeeze=False,
        layout="constrained",
    )
    for ranker, maps, column in zip(rankers, columns, axes.T, strict=True):
        _draw_column(figure, column, maps, axioms)
        _name_ranker(column[0], ranker)
    return figure


def _draw_in_one_column(
    rankers: Sequence[str],
    columns: Sequence[Sequence[Recovery | None]],
    axioms: Sequence[str],
    heights: Sequence[float],
    width: float,
) -> Figure:
    rows = [height * len(axioms) + 1.1 for height in heights]
    figure = plt.figure(figsize=(width, sum(rows)), layout="constrained")
    parts = figure.subfigures(len(rankers), 1, height_ratios=rows, squeeze=False).ravel()
    for part, ranker, maps in zip(parts, rankers, columns, strict=True):
        column = part.subplots(len(axioms), 1, squeeze=False).ravel()
        _draw_column(part, column, maps, axioms)
        _name_ranker(column[0], ranker)
    return figure


def _name_ranker(ax: Axes, ranker: str) -> None:
    ax.set_title(f"{ranker}\n{ax.get_title()}", fontsize=11, parse_math=False)


def _panel_size(columns: Sequence[Sequence[Recovery | None]]) -> tuple[list[float], list[float]]:
    """Height of the tallest map of each column, and each column's width."""
    heights, widths = [], []
    for maps in columns:
        drawn = [recovery for recovery in maps if recovery is not None]
        for recovery in drawn:
            need_axes(recovery, ("layer", "head"))
        sizes = [grid_size(recovery) for recovery in drawn]
        heights.append(max(height for height, _ in sizes))
        widths.append(max(width for _, width in sizes))
    return heights, widths


def _draw_column(
    figure: Figure | SubFigure,
    column: np.ndarray,
    maps: Sequence[Recovery | None],
    axioms: Sequence[str],
) -> None:
    """Draw all axioms of one ranker, on one colour scale."""
    limit = limit_of(maps)
    for ax, recovery, axiom in zip(column, maps, axioms, strict=True):
        if recovery is None:
            ax.set_axis_off()
            style = {"ha": "center", "transform": ax.transAxes, "parse_math": False}
            ax.text(0.5, 0.5, f"{axiom}: not run", **style)
            continue
        image = draw_grid(ax, recovery, limit)
        ax.set_xticks(range(recovery.value.shape[1]))
        notes = [*notes_of(recovery), *constant_note(recovery)]
        ax.set_xlabel("\n".join(["head", *notes]), fontsize=9)
        ax.set_title(axiom, fontsize=11, parse_math=False)
    label = f"{RECOVERY_LABEL}\none scale for this ranker, ±{limit:.3g}"
    figure.colorbar(image, ax=list(column), location="bottom", label=label, shrink=0.8)
