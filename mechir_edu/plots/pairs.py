"""One pair as a ranker reads it: two lines of tokens, equal positions above each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from mechir_edu.patching.reading import PairReading
from mechir_edu.plots.heatmap import DARK, EDITED

_LINE = 92  # characters, the names of the two lines included
_MARGIN = 11
_ADVANCE = 0.602  # width of a character of the monospaced font, in font sizes


def plot_pair(reading: PairReading, *, ax: Axes | None = None) -> Axes:
    """Aligned tokens of both versions of a pair, the edit in red, and both scores.

    Parameters
    ----------
    reading : from `mechir_edu.read_pair`.
    ax : drawn on in place and returned; a new figure is made when omitted.
    """
    widths = [
        max(map(len, both)) + 1 for both in zip(reading.baseline, reading.perturbed, strict=True)
    ]
    lines = list(_lines(reading, list(_wrap(widths, _LINE - _MARGIN))))
    height = lines[-1].row + 1.2
    if ax is None:
        figure = plt.figure(figsize=(8.4, 0.5 + 0.17 * height))
        ax = figure.add_axes((0.01, 0, 0.98, 1 - 0.35 / figure.get_figheight()))
    ax.set(xlim=(0, _LINE), ylim=(height, -1))
    ax.set_axis_off()
    size = ax.get_window_extent().width / ax.figure.dpi * 72 / _LINE / _ADVANCE
    for line in lines:
        ax.text(0, line.row, line.name, fontsize=0.85 * size, color="0.4", va="center")
        _write(ax, line, widths, reading.edited, size)
    ax.set_title(describe_scores(reading), fontsize=10.5, loc="left")
    return ax


def describe_scores(reading: PairReading) -> str:
    """Both scores and their difference, in one line."""
    text = (
        f"relevance score: baseline {reading.baseline_score:.3f}, perturbed "
        f"{reading.perturbed_score:.3f}; score change {reading.score_change:+.3f}"
    )
    return text.replace("-", "−")


@dataclass(frozen=True)
class _Line:
    row: float
    name: str
    positions: range
    tokens: Sequence[str]


def _lines(reading: PairReading, blocks: Sequence[range]) -> Iterator[_Line]:
    """Lay out blocks of positions: one line for both versions where nothing was edited."""
    row = 0.0
    for block in blocks:
        versions = {"both": reading.baseline}
        if reading.edited[list(block)].any():
            versions = {"baseline": reading.baseline, "perturbed": reading.perturbed}
        for name, tokens in versions.items():
            yield _Line(row, name, block, tokens)
            row += 1.25
        row += 0.5


def _wrap(widths: Sequence[int], room: int) -> Iterator[range]:
    """Cut positions into lines that fit; a token longer than a line has one to itself."""
    start, used = 0, 0
    for position, width in enumerate(widths):
        if used and used + width > room:
            yield range(start, position)
            start, used = position, 0
        used += width
    yield range(start, len(widths))


def _write(ax: Axes, line: _Line, widths: Sequence[int], edited: np.ndarray, size: float) -> None:
    style = {"fontsize": size, "fontfamily": "monospace", "va": "center", "parse_math": False}
    places = _MARGIN + np.cumsum([0, *(widths[i] for i in line.positions)])
    placed = zip(line.positions, places[:-1], strict=True)
    # Unedited neighbours are one text: drawing a hundred of them takes longer than a redraw may.
    for is_edited, group in groupby(placed, key=lambda item: bool(edited[item[0]])):
        if is_edited:
            box = {"facecolor": "#fde0dd", "edgecolor": EDITED, "linewidth": 0.6, "pad": 1.2}
            marked = style | {"color": EDITED, "fontweight": "bold", "bbox": box}
            for i, place in group:
                ax.text(place, line.row, line.tokens[i], **marked)
        else:
            shared = list(group)
            text = "".join(line.tokens[i].ljust(widths[i]) for i, _ in shared)
            ax.text(shared[0][1], line.row, text.rstrip(), color=DARK, **style)
