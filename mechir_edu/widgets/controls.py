"""The controls that all panels use: labelled, with a tooltip, redrawn when they come to rest."""

from collections.abc import Sequence
from typing import Any, TypeVar

import ipywidgets

from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.hook_names import Head, require_heads

Control = TypeVar("Control", bound=ipywidgets.Widget)

# `Panel.values` gives None for it. The option itself cannot be None: ipywidgets takes a list whose
# value is None for one in which nothing is chosen, and shows it empty.
ALL = ("all", object())


def labelled(control: Control, description: str, tooltip: str) -> Control:
    """Give a control its label and its tooltip."""
    control.description = description
    if control.style.has_trait("description_width"):
        control.style.description_width = "initial"
    # ipywidgets 7 has another name for the tooltip of everything but buttons.
    if control.has_trait("tooltip"):
        control.tooltip = tooltip
    else:
        control.description_tooltip = tooltip
    return control


def dropdown(
    description: str, options: Sequence[tuple[str, Any]], tooltip: str, *, width: str = "auto"
) -> ipywidgets.Dropdown:
    """Make a list of (label, value) to choose from; the first one is chosen."""
    layout = ipywidgets.Layout(width=width, max_width="100%")
    return labelled(ipywidgets.Dropdown(options=options, layout=layout), description, tooltip)


def slider(description: str, n: int, tooltip: str, start: int = 0) -> ipywidgets.IntSlider:
    """Make a slider over 0 to n - 1."""
    control = ipywidgets.IntSlider(value=start, min=0, max=n - 1, continuous_update=False)
    return labelled(control, description, tooltip)


def head_sliders(
    n_layers: int, n_heads: int, start: Head = (0, 0)
) -> dict[str, ipywidgets.IntSlider]:
    """Make the two sliders that choose a head.

    Raises
    ------
    ValueError
        If there is no such head to start at.
    """
    require_heads([start], n_layers, n_heads)
    layer, head = start
    return {
        "layer": slider("layer", n_layers, "layer of the head, counted from 0", layer),
        "head": slider("head", n_heads, "head within its layer, counted from 0", head),
    }


def pair_options(pairs: Sequence[Pair]) -> list[tuple[str, int]]:
    """Name each pair by its query and passage; the value is its number.

    Raises
    ------
    ValueError
        If there is no pair.
    """
    if not pairs:
        raise ValueError("needed at least one pair, got none; make some with mechir_edu.make_pairs")
    return [(f"{i}: {name_pair(pair)}", i) for i, pair in enumerate(pairs)]


def name_pair(pair: Pair) -> str:
    """Name a pair in one short line."""
    grade = "" if pair.relevance is None else f" (grade {pair.relevance})"
    query = pair.query if len(pair.query) <= 40 else pair.query[:39].rstrip() + "…"
    return f"{query} / {pair.doc_id}{grade}"
