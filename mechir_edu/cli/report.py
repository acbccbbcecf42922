"""Write results as one page, report.html: maps, the pairs behind each cell, and tables that sort.

The page is a single file without anything from another host, and opens from a disk. Its styles and
its script are those of ``assets/report.html``; here its parts are made: one map, in words, as a
grid and as a table, for each result, and the pairs as JSON. Numbers are shown when the pointer or
the keyboard's focus is on a cell; a click or Enter lists the pairs that the cell moved most.
Without a script everything but these lists is there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mechir_edu import stats
from mechir_edu.patching.result import PatchingResult
from mechir_edu.perturb.pair import Pair
from mechir_edu.plots.words import alt_text

LARGEST = 3_000_000  # bytes
_TEMPLATE = Path(__file__).resolve().parents[1] / "assets/report.html"
_MOST_PAIRS = (20, 10, 5, 2)  # of a cell; the first number with which the page is small enough
_AROUND = 90  # letters shown before and after an edit


@dataclass(frozen=True)
class Part:
    """One map of the page.

    Attributes
    ----------
    title : such as "Cat embedded, TFC1".
    result, recovery : what was measured; recovery over all its pairs.
    """

    title: str
    result: PatchingResult
    recovery: stats.Recovery


def report(title: str, summary: str, parts: Sequence[Part]) -> str:
    """Make the page.

    Parameters
    ----------
    title : what was run.
    summary : in words; shown as it is, lines kept.
    parts : the maps, in their order.

    Raises
    ------
    ValueError
        If the page would be larger than `LARGEST` with the fewest pairs listed.
    """
    size = 0
    for most in _MOST_PAIRS:
        page = _page(title, summary, parts, most)
        if (size := len(page.encode())) < LARGEST:
            return page
    raise ValueError(f"needed a report of less than {LARGEST:,} bytes, got {size:,}")


def _page(title: str, summary: str, parts: Sequence[Part], most: int) -> str:
    body = "\n".join(_section(part, i) for i, part in enumerate(parts))
    data = json.dumps([_data(part, most) for part in parts], separators=(",", ":"))
    filled = {
        "title": escape(title),
        "summary": escape(summary),
        "parts": body,
        "data": data.replace("<", "\\u003c"),  # nothing in a text may end the script
    }
    before, *rest = _TEMPLATE.read_text(encoding="utf-8").split("<!--{")
    pieces = [piece.split("}-->", 1) for piece in rest]
    return before + "".join(filled[name] + after for name, after in pieces)


# --- a map ----------------------------------------------------------------------------------------


def _section(part: Part, number: int) -> str:
    table = part.result.heads_table(part.recovery)
    result, direction = part.result, part.result.direction.replace("_to_", " into ")
    made = (
        f"Site {result.site}, {direction}, method {result.method}, filler {result.filler!r}; "
        f"{part.recovery.n_pairs} pairs of {part.recovery.n_queries} queries."
    )
    words = alt_text(part.recovery, title=f"Map of recovery, {part.title}")
    return (
        f'<section data-part="{number}" aria-labelledby="part-{number}">\n'
        f'<h2 id="part-{number}">{escape(part.title)}</h2>\n'
        f"<p>{escape(made)}</p>\n{_grid(part, table)}\n"
        f'<p class="told" aria-hidden="true">&nbsp;</p>\n'
        f"<p>{escape(words)}</p>\n"
        f'<div class="pairs" tabindex="-1" aria-live="polite"></div>\n'
        f"<details><summary>All cells as a table</summary>\n{_table(table)}\n</details>\n"
        "</section>"
    )


def _grid(part: Part, table: pd.DataFrame) -> str:
    """Cells as buttons; layer 0 at the bottom, as in every map."""
    rows, columns = _places(part.result.axes, table)
    names = list(dict.fromkeys(columns))
    limit = float(np.abs(part.recovery.value).max()) or 1.0
    cells = {
        at: _cell(record, i, _name(rows[i], columns[i]), limit)
        for i, (at, record) in enumerate(
            zip(zip(rows, columns, strict=True), table.to_dict("records"), strict=True)
        )
    }
    lines = [
        f'<tr><th scope="row">{escape(row)}</th>'
        + "".join(f"<td>{cells[row, column]}</td>" for column in names)
        + "</tr>"
        for row in reversed(dict.fromkeys(rows))
    ]
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in names)
    caption = "recovery: red as the donor, blue the other way; • significant (q &lt; 0.05)"
    return (
        f'<div class="wide"><table class="map"><caption>{caption}</caption>\n'
        + "\n".join(lines)
        + f"\n<tr><td></td>{heads}</tr></table></div>"
    )


def _places(axes: tuple[str, ...], table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Row and column of each cell: layers below each other, all else side by side."""
    names = list(table.columns[: table.columns.get_loc("recovery")])
    if "layer" not in axes:  # chosen heads, or a set of them
        columns = table[names].astype(str).agg(".".join, axis=1)
        return [axes[0]] * len(table), list(columns)
    others = [name for name in names if name != "layer"]
    if not others:
        return [f"layer {layer}" for layer in table["layer"]], [""] * len(table)
    columns = table[others].astype(str).agg(" ".join, axis=1)
    return [f"layer {layer}" for layer in table["layer"]], [f"{others[0]} {c}" for c in columns]


def _name(row: str, column: str) -> str:
    return f"{row}, {column}" if column else row


def _cell(record: dict[str, Any], number: int, name: str, limit: float) -> str:
    value, share = record["recovery"], round(abs(record["recovery"]) / limit, 2)
    is_marked = bool(record["q"] < 0.05)
    told = f"{name}: recovery {_number(value)}"
    if np.isfinite([record["low"], record["high"]]).all():
        told += f", interval {_number(record['low'])} to {_number(record['high'])}"
    if np.isfinite(record["q"]):
        q = f"{record['q']:.3f}" if record["q"] >= 0.001 else "below 0.001"
        told += f", q {q}{', significant' if is_marked else ''}"
    kind = f"{'plus' if value > 0 else 'minus'}{' strong' if share > 0.61 else ''}"
    shown = f"{_number(value, 2)}{'•' if is_marked else ''}"
    return (
        f'<button type="button" class="{kind}" data-cell="{number}" style="--share:{share:.2f}" '
        f'aria-label="{escape(told)}" title="{escape(told)}" tabindex="{0 if number == 0 else -1}">'
        f"{shown}</button>"
    )


def _number(value: float, digits: int = 3) -> str:
    # Adding zero turns -0.00 into 0.00.
    return f"{round(float(value), digits) + 0.0:.{digits}f}".replace("-", "−")


def _table(table: pd.DataFrame) -> str:
    heads = "".join(
        f'<th scope="col"><button type="button">{escape(name)}</button></th>' for name in table
    )
    lines = [
        "<tr>" + "".join(_entry(value) for value in record) + "</tr>"
        for record in table.itertuples(index=False)
    ]
    body = f"<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<table class="sorts">{body}</table>'


def _entry(value: Any) -> str:
    if isinstance(value, float | np.floating):
        shown = _number(value) if np.isfinite(value) else "–"
        return f'<td data-value="{value:.6g}">{shown}</td>'
    return f"<td>{escape(str(value))}</td>"


# --- the pairs behind it --------------------------------------------------------------------------


def _data(part: Part, most: int) -> dict[str, Any]:
    """What a click shows: for each cell the pairs of largest effect, and these pairs' texts."""
    effect = part.result.effect().reshape(-1, len(part.result.pairs)).astype(np.float64)
    order = np.argsort(-np.abs(effect), axis=1, kind="stable")[:, :most]
    numbers = {int(pair): i for i, pair in enumerate(np.unique(order))}
    change = part.result.score_change()
    return {
        "all": len(part.result.pairs),
        "pairs": [
            _edit(part.result.pairs[at]) | {"change": round(float(change[at]), 4)} for at in numbers
        ],
        "cells": [
            [[numbers[int(pair)], round(float(effect[i, pair]), 4)] for pair in chosen]
            for i, chosen in enumerate(order)
        ],
    }


def _edit(pair: Pair) -> dict[str, Any]:
    """A pair in few words: what stood at the place of the edit, and what stands there now."""
    before, after = pair.baseline, pair.perturbed
    if pair.perturbed_query is not None:
        before, after = pair.query, pair.perturbed_query
    start = _alike(before, after)
    end = _alike(before[start:][::-1], after[start:][::-1])
    left, right = before[:start], before[len(before) - end :]
    return {
        "query": pair.query,
        "grade": pair.relevance,
        "left": ("…" if len(left) > _AROUND else "") + left[-_AROUND:],
        "old": _cut(before[start : len(before) - end]),
        "new": _cut(after[start : len(after) - end]),
        "right": right[:_AROUND] + ("…" if len(right) > _AROUND else ""),
    }


def _alike(first: str, second: str) -> int:
    """How many letters two texts have in common from their beginning."""
    return sum(1 for _ in takewhile(lambda ab: ab[0] == ab[1], zip(first, second, strict=False)))


def _cut(text: str) -> str:
    return text if len(text) <= 2 * _AROUND else f"{text[:_AROUND]} … {text[-_AROUND:]}"
