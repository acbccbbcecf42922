"""One query's ranking before and after something was done to the ranker."""

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from mechir_edu.plots.heatmap import DARK

_GRADES = "Blues"
_LONGEST_LABEL = 44


def plot_ranking(
    before: np.ndarray,
    after: np.ndarray,
    labels: Sequence[str],
    *,
    relevance: Sequence[int] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Ranks of one query's passages before and after; rank 1 on top, a line for each passage.

    Parameters
    ----------
    before, after : relevance score of each passage; larger is more relevant.
    labels : a few words for each passage.
    relevance : grade of each passage: the darker, the more relevant, and written behind the label.
    ax : drawn on in place and returned; a new figure is made when omitted.

    Raises
    ------
    ValueError
        If there is no passage, or scores, labels and grades are not equally many.
    """
    sizes = {len(before), len(after), len(labels), len(labels if relevance is None else relevance)}
    if len(sizes) > 1 or not len(labels):
        raise ValueError(
            f"needed two scores and a label for each passage, got {len(before)} and {len(after)} "
            f"scores, {len(labels)} labels"
        )
    if ax is None:
        _, ax = plt.subplots(figsize=(8.4, 1.0 + 0.3 * len(labels)), layout="constrained")
    first, second = ranks(before).tolist(), ranks(after).tolist()
    for i, colour in enumerate(_colours(relevance, len(labels))):
        grade = "" if relevance is None else f" ({relevance[i]})"
        # Adding zero turns -0.000 into 0.000.
        change = f"{round(float(after[i] - before[i]), 3) + 0.0:+.3f}".replace("-", "−")
        names = (f"{_shorten(labels[i])}{grade}  {first[i]}.", f"{second[i]}.  {change}")
        _draw_passage(ax, (first[i], second[i]), names, colour)
    ax.set(xlim=(-1.6, 1.5), ylim=(len(labels) + 0.6, -0.1))
    ax.set_axis_off()
    first_column = "rank before" if relevance is None else "passage (grade), rank before"
    ax.text(-0.04, 0.25, first_column, ha="right", fontsize=9)
    ax.text(1.04, 0.25, "rank after, change of the score", fontsize=9)
    return ax


def ranks(scores: np.ndarray) -> np.ndarray:
    """Rank of each score, 1 for the largest; of equal scores the first comes first."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    places = np.empty(len(order), dtype=int)
    places[order] = np.arange(1, len(order) + 1)
    return places


def _draw_passage(
    ax: Axes, places: tuple[int, int], names: tuple[str, str], colour: object
) -> None:
    moved = places[0] != places[1]
    ax.plot([0, 1], places, "o-", color=colour, linewidth=3 if moved else 1.5)
    style = {"va": "center", "fontsize": 8.5, "color": DARK, "parse_math": False}
    ax.text(-0.04, places[0], names[0], ha="right", **style)
    ax.text(1.04, places[1], names[1], **style)


def _colours(relevance: Sequence[int] | None, n: int) -> list:
    if relevance is None:
        return ["#4393c3"] * n
    top = max(1, *relevance)
    return [plt.get_cmap(_GRADES)(0.25 + 0.7 * max(grade, 0) / top) for grade in relevance]


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1].rstrip() + "…"
