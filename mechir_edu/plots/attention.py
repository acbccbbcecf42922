"""Where one head looks in one text."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from mechir_edu.plots.heatmap import EDITED, SEQUENTIAL


def plot_attention(
    pattern: Float[np.ndarray, "pos pos"],
    tokens: Sequence[str],
    *,
    ax: Axes | None = None,
    edited: Sequence[bool] | Bool[np.ndarray, " pos"] | None = None,
    keep: int | Sequence[int] | None = 48,
    limit: float | None = None,
) -> Axes:
    """Attention of one head in one text: each row says where one token looks.

    Parameters
    ----------
    pattern : share of attention, [from, to]; rows sum to 1. `mechir_edu.pair_attention` reads it
        off a ranker, with tokens and marks.
    tokens : one label for each position.
    ax : drawn on in place and returned; a new figure is made when omitted.
    edited : True where baseline and perturbed differ; marked in red.
    keep : positions to show: a list of them, or how many at most (then the edited ones and those
        that receive the most attention), or None for all. The label counts those left out.
    limit : share of attention at the dark end of the scale; the largest one drawn when omitted.
        Pass one limit to compare heads.

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
    top = max(part.max(), 1e-9) if limit is None else limit
    image = ax.imshow(part, cmap=SEQUENTIAL, vmin=0, vmax=top)
    _label_tokens(ax, [tokens[i] for i in shown], edited[shown])
    # A line wherever positions were left out between two that are shown.
    for gap in np.flatnonzero(np.diff(shown) > 1):
        ax.axhline(gap + 0.5, color="0.8", linewidth=0.5)
        ax.axvline(gap + 0.5, color="0.8", linewidth=0.5)
    ax.set_ylabel("from (the token that looks)")
    ax.set_xlabel(_attended_label(pattern, shown, edited))
    ax.figure.colorbar(image, ax=ax, label="attention (share of its row)", shrink=0.8)
    return ax


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
            label.set(color=EDITED, fontweight="bold")
    for place in np.flatnonzero(edited):
        for draw in (ax.axvspan, ax.axhspan):
            draw(place - 0.5, place + 0.5, facecolor="none", edgecolor=EDITED, linewidth=0.9)
