"""Recovery of one pair, position by position."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from mechir_edu.plots.heatmap import DIVERGING, EDITED, RECOVERY_LABEL, limit_of


def plot_positions(
    recovery: Float[np.ndarray, "row pos"],
    tokens: Sequence[str],
    *,
    edited: Sequence[bool] | Bool[np.ndarray, " pos"] | None = None,
    rows: str = "layer",
    names: Sequence[str] | None = None,
    keep: int | None = 40,
    ax: Axes | None = None,
    limit: float | None = None,
) -> Axes:
    """Heat map of recovery where each position of one pair is patched alone; row 0 at the bottom.

    Parameters
    ----------
    recovery : [layer or head, pos], such as ``(result.rows_of(0) - recipient) / (donor -
        recipient)``.
    tokens : one label for each position, of the version that the activations are put into.
    edited : True where baseline and perturbed differ; marked in red.
    rows : what the rows are.
    names : of the rows; their numbers when omitted.
    keep : positions to show at most, those of the largest absolute recovery and the edited ones;
        None for all. The label counts those left out.
    ax, limit : as in `plots.plot_heads`.

    Raises
    ------
    ValueError
        If values, tokens and marks do not fit together.
    """
    marks = np.zeros(len(tokens), dtype=bool) if edited is None else np.asarray(edited)
    if recovery.ndim != 2 or not recovery.shape[1] == len(tokens) == len(marks):
        raise ValueError(
            f"needed values [row, pos] and one token and mark for each position, got values of "
            f"shape {recovery.shape}, {len(tokens)} tokens and {len(marks)} marks"
        )
    shown = _choose(recovery, marks, keep)
    if ax is None:
        size = (max(5.5, 2 + 0.19 * len(shown)), 1.9 + 0.3 * len(recovery))
        _, ax = plt.subplots(figsize=size, layout="constrained")
    limit = limit_of([recovery]) if limit is None else limit
    style = {"cmap": DIVERGING, "vmin": -limit, "vmax": limit, "origin": "lower", "aspect": "auto"}
    image = ax.imshow(recovery[:, shown], **style)
    names = [str(row) for row in range(len(recovery))] if names is None else names
    ax.set_yticks(range(len(recovery)), names, parse_math=False)
    ax.set_ylabel(rows, parse_math=False)
    _label(ax, [tokens[i] for i in shown], marks[shown])
    for gap in np.flatnonzero(np.diff(shown) > 1):
        ax.axvline(gap + 0.5, color="0.6", linewidth=0.5)
    ax.set_xlabel(_about(len(shown), len(tokens), bool(marks.any())))
    ax.figure.colorbar(image, ax=ax, label=RECOVERY_LABEL)
    return ax


def _choose(recovery: np.ndarray, marks: np.ndarray, keep: int | None) -> np.ndarray:
    largest = np.abs(recovery).max(axis=0) + np.where(marks, np.inf, 0)
    return np.sort(np.argsort(-largest, kind="stable")[:keep])


def _label(ax: Axes, tokens: Sequence[str], marks: np.ndarray) -> None:
    ax.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=8, parse_math=False)
    for label, is_edited in zip(ax.get_xticklabels(), marks, strict=True):
        if is_edited:
            label.set(color=EDITED, fontweight="bold")


def _about(n_shown: int, n_all: int, has_edit: bool) -> str:
    lines = ["patched position (its token)"]
    if n_shown < n_all:
        lines.append(f"the {n_shown} of {n_all} positions that matter most")
    return "\n".join([*lines, "red: edited"] if has_edit else lines)
