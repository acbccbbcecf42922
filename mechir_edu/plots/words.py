"""A heat map in words and in a table, for those who cannot see it; tables in Markdown."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from mechir_edu.patching.tables import recovery_table
from mechir_edu.plots.heatmap import are_constant, insignificant_lead, unmarked_intervals
from mechir_edu.stats.recovered import Recovery


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[object]], *, aligned: bool = False
) -> str:
    """Lay out a table in Markdown; ``aligned`` pads the cells, for a table read as plain text.

    Examples
    --------
    >>> print(markdown_table(["head", "recovery"], [["3.5", 0.25]]))
    | head | recovery |
    | --- | --- |
    | 3.5 | 0.25 |
    """
    lines = [[str(cell) for cell in line] for line in (header, ["---"] * len(header), *rows)]
    if aligned:
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines[1] = ["-" * width for width in widths]
        lines = [list(map(str.ljust, line, widths)) for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def with_interval(value: float, low: float, high: float, digits: int = 3, sign: str = "+") -> str:
    """Write a value with its interval; without a plus before positive numbers if ``sign`` is "".

    Examples
    --------
    >>> with_interval(0.25, 0.1, 0.4)
    '+0.250 [+0.100, +0.400]'
    """
    return f"{value:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def top_heads(recovery: Recovery, k: int = 3) -> pd.DataFrame:
    """Pick the k cells of largest absolute recovery, with interval and q: a picture in words."""
    table = recovery_table(recovery)
    order = table["recovery"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order[:k]].reset_index(drop=True)


def alt_text(recovery: Recovery, *, title: str = "Heat map of recovery", k: int = 3) -> str:
    """Say in a few sentences what a heat map shows, for those who cannot see it.

    Parameters
    ----------
    recovery : what was drawn.
    title : how the text begins.
    k : how many cells it names.
    """
    size = " by ".join(
        f"{n} {axis}s" for n, axis in zip(recovery.value.shape, recovery.axes, strict=True)
    )
    table = top_heads(recovery, k)
    is_one_pair = recovery.n_pairs == 1
    cells = [_describe(row, recovery.axes, is_one_pair) for row in table.to_dict("records")]
    pairs = (
        "one pair" if is_one_pair else f"{recovery.n_pairs} pairs of {recovery.n_queries} queries"
    )
    sentences = [f"{title}, {size}, {pairs}.", f"Largest: {'; '.join(cells)}."]
    if is_one_pair:
        return " ".join(sentences)
    sentences.append(
        f"{recovery.significant().sum()} of {recovery.value.size} cells are significant "
        "after false-discovery control (q < 0.05)."
    )
    if said := lead_in_words(recovery):
        sentences.append(f"{said.capitalize()}.")
    if n_constant := int(are_constant(recovery).sum()):
        sentences.append(f"{n_constant} are exactly 0 in every pair.")
    if unmarked := unmarked_intervals(recovery):
        sentences.append(f"{unmarked}.")
    if recovery.warning:
        sentences.append(f"Caution: {recovery.warning}.")
    return " ".join(sentences)


def lead_in_words(recovery: Recovery) -> str | None:
    """Say that the largest cell is not significant, and why; None where it is."""
    if not (said := insignificant_lead(recovery)):
        return None
    return (
        f"{said}: among {recovery.value.size} cells and with {recovery.n_queries} queries, chance "
        "alone may give it"
    )


def _describe(row: dict, axes: Sequence[str], is_one_pair: bool) -> str:
    cell = " ".join(f"{axis} {row[axis]}" for axis in axes)
    if is_one_pair:
        return f"{cell}, {row['recovery']:.2f}"
    span = "no bounded interval"
    if np.isfinite([row["low"], row["high"]]).all():
        span = f"interval {row['low']:.2f} to {row['high']:.2f}"
    return f"{cell}, {row['recovery']:.2f} ({span})"
