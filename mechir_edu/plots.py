"""Draw what patching found.

Conventions
-----------
Every function draws on the axes it is given, or on a new figure, and returns them; none shows a
window or changes a global setting. Layer 0 is at the bottom. Recovery is drawn on a scale that is
symmetric about zero, so white is always "no effect": red moves the score as the donor did, blue the
other way. A dot marks what stands after false-discovery control over the whole grid.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from mechir_edu.aligned import ROLE_NAMES
from mechir_edu.results import recovery_table
from mechir_edu.stats import Estimate, Recovery, mean_change

Changes = Sequence[tuple[str, np.ndarray, Sequence[str] | np.ndarray]] | pd.DataFrame

_DIVERGING, _SEQUENTIAL = "RdBu_r", "Blues"
_DARK, _EDITED = "#222222", "#b2182b"
_RECOVERY_LABEL = "recovery (share of the score change)\n+ as the donor, − the other way"
_LARGEST_GRID_WITH_VALUES = 12


def plot_heads(
    recovery: Recovery | Float[np.ndarray, "layer head"],
    *,
    ax: Axes | None = None,
    limit: float | None = None,
) -> Axes:
    """Heat map of recovery per attention head; layer 0 at the bottom.

    Parameters
    ----------
    recovery : [layer, head], unitless; 0 = no effect, 1 = the donor's score. With a `Recovery`,
        heads that stand after false-discovery control are marked.
    ax : drawn on in place and returned; a new figure is made when omitted.
    limit : the colour scale is ``[-limit, limit]``; defaults to the largest absolute value. Pass
        one limit to compare plots.

    Raises
    ------
    ValueError
        If the values are not [layer, head].
    """
    _need_axes(recovery, ("layer", "head"))
    n_heads = _values(recovery).shape[1]
    return _plot_grid(recovery, [str(head) for head in range(n_heads)], "head", ax, limit)


def plot_roles(
    recovery: Recovery | Float[np.ndarray, "layer role"],
    *,
    ax: Axes | None = None,
    limit: float | None = None,
) -> Axes:
    """Heat map of recovery per layer and role of the patched positions; layer 0 at the bottom.

    Parameters
    ----------
    recovery : [layer, role], in the order of `ROLE_NAMES`.
    ax, limit : as in `plot_heads`.

    Raises
    ------
    ValueError
        If the values are not [layer, role].
    """
    _need_axes(recovery, ("layer", "role"))
    names = [name.replace(" ", "\n") for name in ROLE_NAMES]
    return _plot_grid(recovery, names, "role of the patched positions", ax, limit)


def plot_paths(
    recovery: Recovery | Float[np.ndarray, "sender receiver"],
    senders: Sequence[tuple[int, int]],
    receivers: Sequence[tuple[int, int]],
    *,
    ax: Axes | None = None,
    limit: float | None = None,
) -> Axes:
    """Heat map of recovery per path from a sending to a receiving head.

    Parameters
    ----------
    recovery : [sender, receiver], as `mechir_edu.paths.PathResult.matrix` makes it.
    senders, receivers : (layer, head) along both axes, as in the `PathResult`.
    ax, limit : as in `plot_heads`.

    Raises
    ------
    ValueError
        If the values are not [sender, receiver], or heads are missing.
    """
    _need_axes(recovery, ("sender", "receiver"))
    if _values(recovery).shape != (len(senders), len(receivers)):
        raise ValueError(
            f"needed a sender for each row and a receiver for each column, got {len(senders)} and "
            f"{len(receivers)} for values of shape {_values(recovery).shape}"
        )
    if ax is None:
        height, width = (3 + 0.25 * min(len(some), 24) for some in (senders, receivers))
        _, ax = plt.subplots(figsize=(width + 1.3, height), layout="constrained")
    places, names = _name_heads(receivers)
    ax = _plot_grid(recovery, names, "receiver (layer.head)", ax, limit, places)
    ax.set_yticks(*_name_heads(senders), fontsize=9)
    ax.set_ylabel("sender (layer.head)")
    return ax


def plot_figure2(panel: Mapping[tuple[str, str], Recovery]) -> Figure:
    """Axiom by ranker, one map of heads in each place: the paper's Figure 2.

    Parameters
    ----------
    panel : recovery [layer, head] for each (axiom, ranker), both in order of appearance. All
        axioms of a ranker share one colour scale, so that its maps can be compared; rankers have
        their own, for their recoveries are shares of different changes.

    Raises
    ------
    ValueError
        If the panel is empty or a map is not [layer, head].
    """
    if not panel:
        raise ValueError("needed a map for one axiom and ranker at least, got an empty panel")
    axioms, rankers = (list(dict.fromkeys(key[i] for key in panel)) for i in (0, 1))
    columns = [[panel.get((axiom, ranker)) for axiom in axioms] for ranker in rankers]
    heights, widths = _panel_size(columns)
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
        column[0].set_title(f"{ranker}\n{column[0].get_title()}", fontsize=11)
    return figure


def plot_score_change(changes: Changes, *, ax: Axes | None = None, interval: float = 0.95) -> Axes:
    """Distribution of the score change for each axiom or grade, and its mean with an interval.

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
    for place, (_, _, query_ids) in enumerate(rows):
        estimate = mean_change(values[place], query_ids=query_ids, interval=interval)
        _draw_mean(ax, place, estimate)
    ax.axvline(0, color=_DARK, linewidth=0.8, linestyle=":", zorder=0)
    ax.set_xlim(*_middle(values))
    ax.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(
        "score change (perturbed − baseline relevance score), the middle 98 % of each row\n"
        f"dot and bar: mean and its {100 * interval:g} % interval over queries"
    )
    return ax


def plot_attention(
    pattern: Float[np.ndarray, "pos pos"],
    tokens: Sequence[str],
    *,
    ax: Axes | None = None,
    edited: Sequence[bool] | Bool[np.ndarray, " pos"] | None = None,
    keep: int | Sequence[int] | None = 48,
) -> Axes:
    """Attention of one head in one text: each row says where one token looks.

    Parameters
    ----------
    pattern : share of attention, [from, to]; rows sum to 1.
    tokens : one label for each position.
    ax : drawn on in place and returned; a new figure is made when omitted.
    edited : True where baseline and perturbed differ; marked in red.
    keep : positions to show: a list of them, or how many at most (then the edited ones and those
        that receive the most attention), or None for all. The label says what is left out.

    Raises
    ------
    ValueError
        If pattern, tokens and edited do not fit together.
    """
    edited = np.zeros(len(tokens), dtype=bool) if edited is None else np.asarray(edited)
    if pattern.shape != (len(tokens), len(tokens)) or len(edited) != len(tokens):
        raise ValueError(
            f"needed a pattern [pos, pos] and one token and mark for each position, got a pattern "
            f"{pattern.shape}, {len(tokens)} tokens and {len(edited)} marks"
        )
    shown = _choose_positions(pattern, edited, keep)
    if ax is None:
        size = max(3.2, 1.4 + 0.17 * len(shown))
        _, ax = plt.subplots(figsize=(size + 0.9, size), layout="constrained")
    part = pattern[np.ix_(shown, shown)]
    image = ax.imshow(part, cmap=_SEQUENTIAL, vmin=0, vmax=max(part.max(), 1e-9))
    _label_tokens(ax, [tokens[i] for i in shown], edited[shown])
    # A line wherever positions were left out between two that are shown.
    for gap in np.flatnonzero(np.diff(shown) > 1):
        ax.axhline(gap + 0.5, color="0.8", linewidth=0.5)
        ax.axvline(gap + 0.5, color="0.8", linewidth=0.5)
    ax.set_ylabel("from (the token that looks)")
    ax.set_xlabel(_attended_label(pattern, shown, edited))
    ax.figure.colorbar(image, ax=ax, label="attention (share of its row)", shrink=0.8)
    return ax


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
    cells = [_describe(row, recovery.axes) for row in table.to_dict("records")]
    sentences = [
        f"{title}, {size}, {recovery.n_pairs} pairs of {recovery.n_queries} queries.",
        f"Largest: {'; '.join(cells)}.",
        f"{recovery.significant().sum()} of {recovery.value.size} cells stand after "
        "false-discovery control (q < 0.05).",
    ]
    if recovery.warning:
        sentences.append(f"Caution: {recovery.warning}.")
    return " ".join(sentences)


def _values(recovery: Recovery | np.ndarray) -> np.ndarray:
    return recovery.value if isinstance(recovery, Recovery) else recovery


def _need_axes(recovery: Recovery | np.ndarray, axes: tuple[str, str]) -> None:
    shape = _values(recovery).shape
    named = recovery.axes if isinstance(recovery, Recovery) else axes
    fits = len(shape) == 2 and named == axes and (axes[1] != "role" or shape[1] == len(ROLE_NAMES))
    if not fits:
        raise ValueError(
            f"this picture needs recovery with the axes {axes}, got {named} of shape {shape}; "
            "choose one entry of any further axis, or the picture made for these axes"
        )


def _plot_grid(
    recovery: Recovery | np.ndarray,
    names: Sequence[str],
    label: str,
    ax: Axes | None,
    limit: float | None,
    places: Sequence[int] | None = None,
) -> Axes:
    """Draw a grid with its colour bar, its columns named (or those at some places)."""
    if ax is None:
        height, width = _grid_size(recovery)
        _, ax = plt.subplots(figsize=(width + 1.3, height + 0.6), layout="constrained")
    image = _draw_grid(ax, recovery, _limit([recovery]) if limit is None else limit)
    ax.set_xticks(range(len(names)) if places is None else places, names, fontsize=9)
    ax.set_xlabel("\n".join([label, *_notes(recovery)]))
    ax.figure.colorbar(image, ax=ax, label=_RECOVERY_LABEL)
    return ax


def _name_heads(heads: Sequence[tuple[int, int]]) -> tuple[list[int], list[str]]:
    """Places and names of heads; of many, those where a layer begins."""
    is_named = len(heads) <= 2 * _LARGEST_GRID_WITH_VALUES
    places = [
        i for i, (layer, _) in enumerate(heads) if is_named or i == 0 or heads[i - 1][0] != layer
    ]
    return places, [f"{heads[i][0]}.{heads[i][1]}" for i in places]


def _draw_grid(ax: Axes, recovery: Recovery | np.ndarray, limit: float) -> AxesImage:
    values = _values(recovery)
    image = ax.imshow(
        values, cmap=_DIVERGING, vmin=-limit, vmax=limit, origin="lower", aspect="auto"
    )
    ax.set_yticks(range(len(values)))
    ax.set_ylabel("layer")
    is_marked = np.zeros(values.shape, dtype=bool)
    if isinstance(recovery, Recovery):
        is_marked = recovery.significant()
    if max(values.shape) <= _LARGEST_GRID_WITH_VALUES:
        _write_values(ax, values, is_marked, limit)
    layers, columns = np.nonzero(is_marked)
    ax.scatter(columns + 0.36, layers + 0.32, s=9, color=_DARK, edgecolor="white", linewidth=0.4)
    return image


def _write_values(ax: Axes, values: np.ndarray, is_marked: np.ndarray, limit: float) -> None:
    digits = 2 if limit >= 0.1 else 3
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
            color="white" if abs(value) > 0.62 * limit else _DARK,
        )


def _limit(maps: Sequence[Recovery | np.ndarray | None]) -> float:
    """Largest absolute value of some maps; 1 where all of them are zero."""
    largest = max(float(np.abs(_values(some)).max()) for some in maps if some is not None)
    return largest or 1.0


def _notes(recovery: Recovery | np.ndarray) -> list[str]:
    """What a reader has to know besides the colours."""
    if not isinstance(recovery, Recovery):
        return []
    n_marked, n_cells = int(recovery.significant().sum()), recovery.value.size
    notes = [f"• {n_marked} of {n_cells} stand after false-discovery control (q < 0.05)"]
    if recovery.warning:
        notes.append("caution: the mean score change cannot be told from zero")
    return notes


def _grid_size(recovery: Recovery | np.ndarray) -> tuple[float, float]:
    """Height and width in inches that leave room for a number in each cell."""
    n_layers, n_columns = _values(recovery).shape
    return 0.9 + 0.36 * n_layers, 0.8 + max(0.46 * min(n_columns, 16), 5.0)


def _panel_size(columns: Sequence[Sequence[Recovery | None]]) -> tuple[list[float], list[float]]:
    """Height of the tallest map of each column, and each column's width."""
    for some in (some for maps in columns for some in maps if some is not None):
        _need_axes(some, ("layer", "head"))
    sizes = [[_grid_size(some) for some in maps if some is not None] for maps in columns]
    return [max(h for h, _ in some) for some in sizes], [max(w for _, w in some) for some in sizes]


def _draw_column(
    figure: Figure, column: np.ndarray, maps: Sequence[Recovery | None], axioms: Sequence[str]
) -> None:
    """Draw all axioms of one ranker, on one colour scale."""
    limit = _limit(maps)
    for ax, some, axiom in zip(column, maps, axioms, strict=True):
        if some is None:
            ax.set_axis_off()
            ax.text(0.5, 0.5, f"{axiom}: not run", ha="center", transform=ax.transAxes)
            continue
        image = _draw_grid(ax, some, limit)
        ax.set_xticks(range(some.value.shape[1]))
        ax.set_xlabel("\n".join(["head", *_notes(some)]), fontsize=9)
        ax.set_title(axiom, fontsize=11)
    label = f"{_RECOVERY_LABEL}\none scale for this ranker, ±{limit:.3g}"
    figure.colorbar(image, ax=list(column), location="bottom", label=label, shrink=0.8)


def _change_rows(changes: Changes) -> list[tuple[str, np.ndarray, Sequence[str] | np.ndarray]]:
    rows = list(changes)
    if isinstance(changes, pd.DataFrame):
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


def _middle(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Span of the middle 98 % of every row and of zero: a few outliers would hide the rest."""
    ends = [end for change in values for end in np.quantile(change, [0.01, 0.99])]
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _draw_mean(ax: Axes, place: int, estimate: Estimate) -> None:
    text = f"{estimate.value:+.3f}"
    if np.isfinite(estimate.low):
        ax.plot([estimate.low, estimate.high], [place, place], color=_DARK, linewidth=3)
        text += f" [{estimate.low:+.3f}, {estimate.high:+.3f}]"
    else:
        text += " (too few queries for an interval)"
    ax.plot(estimate.value, place, "o", color="white", markeredgecolor=_DARK, markersize=4.5)
    style = {"va": "center", "fontsize": 9, "clip_on": False}
    ax.text(1.01, place, text.replace("-", "−"), transform=ax.get_yaxis_transform(), **style)


def _choose_positions(
    pattern: np.ndarray, edited: np.ndarray, keep: int | Sequence[int] | None
) -> np.ndarray:
    if keep is None:
        return np.arange(len(pattern))
    if not isinstance(keep, int):
        return np.sort(np.asarray(keep))
    # The edited positions come first whatever attention they receive.
    order = np.argsort(-(pattern.sum(axis=0) + len(pattern) * edited), kind="stable")
    return np.sort(order[:keep])


def _attended_label(pattern: np.ndarray, shown: np.ndarray, edited: np.ndarray) -> str:
    lines = ["to (the token that is looked at)"]
    if len(shown) < len(pattern):
        share = pattern[np.ix_(shown, shown)].sum() / pattern[shown].sum()
        lines.append(
            f"{len(shown)} of {len(pattern)} positions, with {share:.0%} of their attention"
        )
    if edited.any():
        lines.append("red: edited")
    return "\n".join(lines)


def _label_tokens(ax: Axes, tokens: Sequence[str], edited: np.ndarray) -> None:
    ax.set_xticks(range(len(tokens)), tokens, rotation=90)
    ax.set_yticks(range(len(tokens)), tokens)
    labels = zip((*ax.get_xticklabels(), *ax.get_yticklabels()), (*edited, *edited), strict=True)
    for label, is_edited in labels:
        label.set(fontsize=8, parse_math=False)
        if is_edited:
            label.set(color=_EDITED, fontweight="bold")
    for place in np.flatnonzero(edited):
        for draw in (ax.axvspan, ax.axhspan):
            draw(place - 0.5, place + 0.5, facecolor="none", edgecolor=_EDITED, linewidth=0.9)


def _describe(row: dict, axes: Sequence[str]) -> str:
    cell = " ".join(f"{axis} {row[axis]}" for axis in axes)
    span = "no bounded interval"
    if np.isfinite(row["low"]):
        span = f"interval {row['low']:.2f} to {row['high']:.2f}"
    return f"{cell}, {row['recovery']:.2f} ({span})"
