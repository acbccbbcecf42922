"""Which query token's best match an edit moved, in a picture and in words."""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from mechir_edu.patching.token_matches import REASONS, TokenMatches
from mechir_edu.plots.heatmap import DARK, EDITED

COLOURS = dict(zip(REASONS, (EDITED, "#2166ac", DARK), strict=True))


def plot_matches(matches: TokenMatches, *, k: int | None = None, ax: Axes | None = None) -> Axes:
    """Largest cosine of each query token in both versions of a document, and with which token.

    Parameters
    ----------
    matches : of one pair, an entry of what `mechir_edu.matches_moved` gives.
    k : only so many query tokens, those that changed most; all in their order when omitted.
    ax : drawn on in place and returned; a new figure is made when omitted.
    """
    rows = _rows(matches, k)
    if ax is None:
        _, ax = plt.subplots(figsize=(7, 1.2 + 0.3 * len(rows)), layout="constrained")
    for place, row in enumerate(rows):
        before, after = matches.baseline[row], matches.perturbed[row]
        colour = COLOURS[matches.reasons[row]]
        ax.plot([before, after], [place, place], color=colour, linewidth=2, zorder=1)
        ax.plot(before, place, "o", color="white", markeredgecolor=colour, markersize=6)
        ax.plot(after, place, "o", color=colour, markersize=6)
        words = f"{matches.baseline_match[row]} → {matches.perturbed_match[row]}"
        ax.text(
            1.01,
            place,
            words if matches.moved[row] else matches.perturbed_match[row],
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=9,
            color=colour,
            parse_math=False,
        )
    for reason, colour in COLOURS.items():
        ax.plot([], [], "o-", color=colour, label=reason)
    ax.legend(fontsize=8, loc="best", frameon=False)
    ax.set_yticks(range(len(rows)), [matches.query_tokens[row] for row in rows], parse_math=False)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_ylabel("query token")
    ax.set_xlabel(
        "largest cosine with a document token: baseline (open) and perturbed (full)\n"
        "on the right the document token that has it, baseline → perturbed"
    )
    return ax


def matches_in_words(matches: TokenMatches, *, k: int = 5) -> str:
    """Say in a few sentences what `plot_matches` shows, for those who cannot see it.

    Parameters
    ----------
    matches : of one pair.
    k : how many query tokens are named.
    """
    reasons = matches.reasons
    parts = [
        f"{matches.query_tokens[row]} {matches.change[row]:+.3f} ({_match(matches, row)})"
        for row in _rows(matches, k)
    ]
    counts = ", ".join(f"{reason}: {reasons.count(reason)}" for reason in REASONS)
    return (
        f"{len(reasons)} query tokens; the score changed by {matches.change.sum():+.3f}. Largest "
        f"changes: {'; '.join(parts)}. Query tokens by the reason of their change: {counts}."
    )


def _match(matches: TokenMatches, row: int) -> str:
    before, after = matches.baseline_match[row], matches.perturbed_match[row]
    if not matches.moved[row]:
        return f"still matches {after}"
    return f"matched {before}, now {after}{' in the edit' if matches.in_edit[row] else ''}"


def _rows(matches: TokenMatches, k: int | None) -> list[int]:
    if k is None:
        return list(range(len(matches.query_tokens)))
    return np.argsort(-np.abs(matches.change), kind="stable")[:k].tolist()
