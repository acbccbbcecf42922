"""One head, pair by pair: what a mean over pairs rests on."""

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from mechir_edu.patching.result import PatchingResult
from mechir_edu.plots.changes import middle
from mechir_edu.plots.heatmap import DARK, are_constant
from mechir_edu.rankers.hook_names import require_heads
from mechir_edu.stats.recovered import Recovery

_DOT, _LINE = "#4393c3", "#b2182b"


def plot_head_pairs(
    result: PatchingResult,
    layer: int,
    head: int,
    *,
    recovery: Recovery | None = None,
    ax: Axes | None = None,
    limit: float | None = None,
) -> Axes:
    """What patching one head does to each pair, and the recovery that comes of it.

    For a ratio of means, a dot for each pair: to the right what there was to bring over, upwards
    what the head brought over. The line through zero has the recovery as its slope. For the
    paper's mean of ratios, the distribution of the pairs' own ratios.

    Parameters
    ----------
    result : of a head site, all heads.
    layer, head : which head.
    recovery : from ``result.recovery(...)``; its ``how`` decides what is drawn. A ratio of means
        when omitted.
    ax : drawn on in place and returned; a new figure is made when omitted.
    limit : of the effect, upwards and downwards, for a ratio of means. Pass one limit to compare
        heads; the largest effect of this head when omitted.

    Raises
    ------
    ValueError
        If the result is not [layer, head, pair], or has no such head.
    """
    need_all_heads(result)
    require_heads([(layer, head)], *result.scores.shape[:2])
    recovery = result.recovery() if recovery is None else recovery
    if ax is None:
        _, ax = plt.subplots(figsize=(5.2, 4.2), layout="constrained")
    change, effect = result.donor - result.recipient, result.effect()[layer, head]
    cell = _cell(recovery, layer, head)
    if recovery.how == "ratio_of_means":
        _draw_slope(ax, change, effect, cell)
        if limit is not None:
            ax.set_ylim(-limit, limit)
    else:
        _draw_ratios(ax, effect[change != 0] / change[change != 0], cell)
    # The interval in a line of its own: with two minus signs one line is wider than the figure.
    ax.set_title(describe_head(recovery, layer, head).replace(" (", "\n(", 1), fontsize=10)
    return ax


def describe_head(recovery: Recovery, layer: int, head: int) -> str:
    """A head's recovery and interval in one line."""
    value, low, high = _cell(recovery, layer, head)
    span = f"{100 * recovery.interval:g} % interval {low:.2f} to {high:.2f}"
    if not np.isfinite([low, high]).all():
        span = "no bounded interval"
    # Adding zero turns -0.00 into 0.00.
    text = f"layer {layer}, head {head}: recovery {round(value, 2) + 0.0:.2f} ({span})"
    text += ", exactly 0 in every pair" * bool(are_constant(recovery)[layer, head])
    return text.replace("-", "−")


def need_all_heads(result: PatchingResult) -> None:
    """Check that a result has every head, over all positions."""
    if result.axes != ("layer", "head", "pair"):
        raise ValueError(
            f"this picture needs a result with the axes layer, head and pair, got {result.axes}; "
            "patch a head site without heads= and by="
        )


def _cell(recovery: Recovery, layer: int, head: int) -> tuple[float, float, float]:
    """A head's recovery, and both ends of its interval."""
    arrays = (recovery.value, recovery.low, recovery.high)
    value, low, high = (float(array[layer, head]) for array in arrays)
    return value, low, high


def _draw_slope(ax: Axes, change: np.ndarray, effect: np.ndarray, cell: Sequence[float]) -> None:
    ends = np.array([min(0.0, change.min()), max(0.0, change.max())])
    value, low, high = cell
    if np.isfinite([low, high]).all():
        ax.fill_between(ends, low * ends, high * ends, color=_LINE, alpha=0.15, linewidth=0)
    ax.plot(ends, value * ends, color=_LINE, linewidth=1.6)
    ax.scatter(change, effect, s=22, color=_DOT, edgecolor="white", linewidth=0.5, zorder=3)
    ax.axhline(0, color=DARK, linewidth=0.8, linestyle=":", zorder=0)
    ax.axvline(0, color=DARK, linewidth=0.8, linestyle=":", zorder=0)
    ax.set_xlabel("donor − recipient: the score change to bring over")
    ax.set_ylabel("patched − recipient:\nwhat this head brings over")


def _draw_ratios(ax: Axes, ratios: np.ndarray, cell: Sequence[float]) -> None:
    value, low, high = cell
    span = middle([ratios])
    ax.hist(ratios, bins=30, range=span, color=_DOT)
    if np.isfinite([low, high]).all():
        ax.axvspan(low, high, color=_LINE, alpha=0.15, linewidth=0)
    ax.axvline(value, color=_LINE, linewidth=1.6)
    ax.set_xlim(min(span[0], value), max(span[1], value))
    ax.set_xlabel("recovery of each pair (the middle 98 % of the pairs)\nline: their mean")
    ax.set_ylabel("pairs")
