"""Distributions of score changes, each with its mean and interval."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from mechir_edu.plots.heatmap import DARK
from mechir_edu.stats.estimates import Estimate, mean_change

_FEW = 30  # pairs: a violin of so few shows a shape that they hardly have

Changes = Sequence[tuple[str, np.ndarray, Sequence[str] | np.ndarray]] | pd.DataFrame


def plot_score_change(changes: Changes, *, ax: Axes | None = None, interval: float = 0.95) -> Axes:
    """Distribution of the score change for each axiom or grade, and its mean with an interval.

    Rows of few pairs have a point for each.

    Parameters
    ----------
    changes : (label, score change of each pair, query of each pair) for each row, first on top;
        or a table with the columns label, score_change, query_id.
    ax : drawn on in place and returned; a new figure is made when omitted.
    interval : coverage of the interval of the mean, over queries.

    Raises
    ------
    ValueError
        If there is nothing to draw.
    """
    rows = _change_rows(changes)
    if ax is None:
        _, ax = plt.subplots(figsize=(7.5, 1.1 + 0.5 * len(rows)), layout="constrained")
    values = [np.asarray(change, dtype=np.float64) for _, change, _ in rows]
    shapes = ax.violinplot(
        values, range(len(rows)), orientation="horizontal", widths=0.8, showextrema=False
    )
    for body in shapes["bodies"]:
        body.set(facecolor="#9ecae1", edgecolor="none", alpha=0.8)
    for place, change in enumerate(values):
        if len(change) <= _FEW:
            _draw_points(ax, place, change)
    ax.set_xlim(*middle(values))
    for place, (_, _, query_ids) in enumerate(rows):
        estimate = mean_change(values[place], query_ids=query_ids, interval=interval)
        _draw_mean(ax, place, estimate)
    ax.axvline(0, color=DARK, linewidth=0.8, linestyle=":", zorder=0)
    ax.set_yticks(range(len(rows)), [label for label, _, _ in rows], parse_math=False)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(
        "score change (perturbed − baseline relevance score)\n"
        f"dot and bar: mean and its {100 * interval:g} % interval over queries\n"
        f"{_about(values)}"
    )
    return ax


def _about(values: Sequence[np.ndarray]) -> str:
    """Say what blue is, and that the axis leaves out the outermost pairs."""
    said = "blue: how the pairs are spread"
    if any(len(change) <= _FEW for change in values):
        said += f"; points: single pairs, in rows of up to {_FEW}"
    low, high = middle(values)
    n_outside = sum(int(((change < low) | (change > high)).sum()) for change in values)
    if n_outside:
        outside = "1 pair lies" if n_outside == 1 else f"{n_outside} pairs lie"
        said += f"\nthe axis spans the middle 98 % of each row: {outside} outside"
    return said


def _draw_points(ax: Axes, place: int, change: np.ndarray) -> None:
    """Draw each pair, moved up or down a little so that equal ones can be told apart."""
    shifts = 0.12 * np.sin(2.4 * np.arange(len(change)))  # no two neighbours alike, and no chance
    ax.scatter(change, place + shifts, s=9, color="#2171b5", linewidth=0, alpha=0.8, zorder=1.5)


def _change_rows(changes: Changes) -> list[tuple[str, np.ndarray, Sequence[str] | np.ndarray]]:
    rows = list(changes)
    if isinstance(changes, pd.DataFrame):
        if changes["label"].isna().any():
            raise ValueError(
                f"needed a label in each row, got {changes['label'].isna().sum()} none"
            )
        groups = changes.groupby("label", sort=False)
        rows = [
            (str(label), part["score_change"].to_numpy(), part["query_id"].to_numpy())
            for label, part in groups
        ]
    if not rows or not all(len(change) for _, change, _ in rows):
        raise ValueError(
            f"needed score changes in each row, got {[(row[0], len(row[1])) for row in rows]}; "
            "leave out rows without pairs"
        )
    return rows


def middle(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Span of the middle 98 % of every row and of zero: a few outliers would hide the rest."""
    ends = [end for change in values for end in np.quantile(change, [0.01, 0.99])]
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _draw_mean(ax: Axes, place: int, estimate: Estimate) -> None:
    text = f"{estimate.value:+.3f}"
    if np.isfinite(estimate.low):
        ax.plot([estimate.low, estimate.high], [place, place], color=DARK, linewidth=3)
        text += f" [{estimate.low:+.3f}, {estimate.high:+.3f}]"
        _mark_outside(ax, place, estimate)
    else:
        text += " (too few queries for an interval)"
    ax.plot(estimate.value, place, "o", color="white", markeredgecolor=DARK, markersize=4.5)
    style = {"va": "center", "fontsize": 9, "clip_on": False}
    # Behind the tip of an arrow, which stands at the very edge.
    ax.text(1.03, place, text.replace("-", "−"), transform=ax.get_yaxis_transform(), **style)


def _mark_outside(ax: Axes, place: int, estimate: Estimate) -> None:
    """Put an arrow where an interval continues outside the picture."""
    left, right = ax.get_xlim()
    for value, end, marker in ((estimate.low, left, "<"), (estimate.high, right, ">")):
        if not left <= value <= right:
            ax.plot(end, place, marker, color=DARK, markersize=8, clip_on=False)
