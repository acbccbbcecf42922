"""Panel: where a head looks."""

from collections.abc import Sequence
from functools import lru_cache

import ipywidgets
import numpy as np

from mechir_edu import plots
from mechir_edu.patching.one_pair import PairAttention, pair_attention
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker
from mechir_edu.widgets.controls import dropdown, head_sliders, labelled, pair_options
from mechir_edu.widgets.panel import Drawing, Panel

_MOST_TOKENS = 40


def explore_attention(
    ranker: Ranker,
    pairs: Sequence[Pair],
    *,
    layer: int = 0,
    head: int = 0,
    filler: str = "a",
) -> Panel:
    """Choose a pair, a version of it, and a head; see where the head looks.

    Parameters
    ----------
    ranker : of any kind.
    pairs : to choose from.
    layer, head : the head to start with, such as that of the figure above the panel.
    filler : what fills the gaps, as for `mechir_edu.patch`.

    Returns
    -------
    Panel
        Controls ``pair``, ``side``, ``layer``, ``head``. The static twin is `plots.plot_attention`.

    Raises
    ------
    ValueError
        If there is no pair, or no such head.
    """

    @lru_cache(maxsize=512)
    def read(pair: int, side: str, layer: int, head: int) -> PairAttention:
        return pair_attention(ranker, pairs[pair], layer=layer, head=head, side=side, filler=filler)

    def draw(pair: int, side: str, layer: int, head: int) -> Drawing:
        attention = read(pair, side, layer, head)
        ax = plots.plot_attention(
            attention.pattern,
            attention.tokens,
            edited=attention.edited,
            keep=_shown(attention.edited),
            limit=1.0,
        )
        title = f"layer {layer}, head {head}, {side} version"
        ax.set_title(title, fontsize=10)
        return Drawing(ax.figure, f"Attention of {title}. {_in_words(attention)}")

    side = ipywidgets.ToggleButtons(options=["perturbed", "baseline"])
    controls = {
        "pair": dropdown("pair", pair_options(pairs), "query and passage"),
        "side": labelled(side, "version", "the document before or after the edit"),
        **head_sliders(ranker.n_layers, ranker.n_heads, (layer, head)),
    }
    return Panel("explore_attention", controls, draw)


def _shown(edited: np.ndarray) -> list[int]:
    """Positions to show, the same for all heads: the edited ones, and the first of the others."""
    order = np.argsort(~edited, kind="stable")
    return sorted(order[:_MOST_TOKENS].tolist())


def _in_words(attention: PairAttention) -> str:
    """Where the edited tokens look, or, if none is edited, what receives most attention."""
    rows, who = attention.pattern, "tokens look"
    if attention.edited.any():
        rows, who = attention.pattern[attention.edited], "edited tokens look"
    mean = rows.mean(axis=0)
    best = [i for i in mean.argsort()[::-1][:3] if mean[i] >= 0.01]
    targets = [f"{attention.tokens[i]} at position {i} ({mean[i]:.0%})" for i in best]
    return f"On average the {who} most at {', '.join(targets)}."
