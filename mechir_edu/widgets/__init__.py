"""Panels to play with in a notebook; each has a static twin in `mechir_edu.plots`.

::

    explore_pair            edit a document, see tokens and scores          plots.plot_pair
    explore_heads           a head's map, and what it does to each pair     plots.plot_head_pairs
    explore_attention       where a head looks                              plots.plot_attention
    explore_patch           patch one site, layer or role, step by step     plots.plot_cells, ...
    explore_intervention    turn a head up or down, see a ranking change    plots.plot_ranking

A panel is shown by being the last expression of a cell. It has ``controls``, a dictionary of
ipywidgets controls, and ``figure()``, the picture that it shows; so it can be used without a
browser too. By keyboard: Tab goes from control to control, arrow keys move a slider, and the space
bar opens a list (in JupyterLab the arrow keys alone would go from cell to cell).

All five work with ipywidgets 7.7.1 (Colab) and 8. They need the extra ``tutorials``; the package
does not.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Panel": "panel",
    "explore_attention": "attention",
    "explore_heads": "heads",
    "explore_intervention": "intervention",
    "explore_pair": "pair",
    "explore_patch": "patch",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mechir_edu.widgets' has no attribute {name!r}")
    try:
        home = import_module(f"mechir_edu.widgets.{_HOME[name]}")
    except ModuleNotFoundError as error:
        if error.name != "ipywidgets":
            raise
        raise ImportError(
            "panels need ipywidgets, which is not installed; run "
            'pip install "mechir-edu[tutorials]" and restart the kernel, or draw the static '
            "picture with mechir_edu.plots"
        ) from error
    return getattr(home, name)


def __dir__() -> list[str]:
    return __all__
