"""Which vocabulary terms an edit moved in a learned-sparse ranker, in a picture and in words."""

from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from mechir_edu.patching.term_changes import Of, TermsMoved
from mechir_edu.plots.heatmap import DARK

UNITS = {
    "score": "part of the score change (change of weight × weight in the other text)",
    "weight": "change of the weight in the edited text (perturbed − baseline)",
}


def plot_terms(
    moved: TermsMoved, *, of: Of = "score", k: int = 10, ax: Axes | None = None, **options: Any
) -> Axes:
    """Mean change of the terms that moved most, with intervals; the largest on top.

    Parameters
    ----------
    moved : what `mechir_edu.terms_moved` gives.
    of, k, options : as for `TermsMoved.table`.
    ax : drawn on in place and returned; a new figure is made when omitted.

    Raises
    ------
    ValueError
        If no term moved.
    """
    table = moved.table(of, k, **options)
    if not len(table):
        raise ValueError("no term moved in any pair, so there is nothing to draw")
    if ax is None:
        _, ax = plt.subplots(figsize=(6.5, 1.2 + 0.3 * len(table)), layout="constrained")
    places = np.arange(len(table))
    bounded = np.isfinite(table[["low", "high"]]).all(axis=1)
    ax.hlines(places[bounded], table["low"][bounded], table["high"][bounded], DARK, linewidth=2)
    ax.plot(table["mean"], places, "o", color="white", markeredgecolor=DARK, markersize=5)
    ax.axvline(0, color=DARK, linewidth=0.8, linestyle=":", zorder=0)
    ax.set_yticks(places, table["term"], parse_math=False)
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.set_ylabel("term of the vocabulary")
    bars = "bars: intervals over queries"
    if not bounded.all():
        bars = f"{bars} where enough moved it" if bounded.any() else "too few queries for intervals"
    ax.set_xlabel(f"{UNITS[of]}\nmean over {len(moved.pairs)} pairs; {bars}")
    return ax


def terms_in_words(moved: TermsMoved, *, of: Of = "score", k: int = 5, **options: Any) -> str:
    """Say in a few sentences what `plot_terms` shows, for those who cannot see it.

    Parameters
    ----------
    moved, of, k, options : as for `plot_terms`.
    """
    rows = moved.table(of, k, **options).to_dict("records")
    n_queries = len(set(moved.query_ids))
    parts = [f"{row['term']} {row['mean']:+.3f}{_interval(row)}" for row in rows]
    total = float(moved.score.sum(axis=0).mean()) if moved.pairs else 0.0
    by_place = moved.by_place(**options).to_dict("records")
    places = ", ".join(f"{row['mean']:+.3f} by terms {row['place']}" for row in by_place)
    return (
        f"Terms that moved most by {of}, mean over {len(moved.pairs)} pairs of {n_queries} "
        f"queries: {'; '.join(parts) or 'none'}. {len(moved.terms)} terms changed their weight in "
        f"some pair, and together they changed the score by {total:+.3f} on average: {places}."
    )


def _interval(row: dict) -> str:
    is_bounded = np.isfinite([row["low"], row["high"]]).all()
    return f" (interval {row['low']:.3f} to {row['high']:.3f})" if is_bounded else ""
