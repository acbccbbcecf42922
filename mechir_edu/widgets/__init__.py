"""Panels to play with in a notebook; each has a static twin in `mechir_edu.plots`.

::

    explore_pair            edit a document, see tokens and scores          plots.plot_pair
    explore_heads           a head's map, and what it does to each pair     plots.plot_head_pairs
    explore_attention       where a head looks                              plots.plot_attention
    explore_patch           patch one site, layer or role, step by step     plots.plot_cells, ...
    explore_intervention    turn a head up or down, see a ranking change    plots.plot_ranking
    explore_circuit         which heads are enough, size by size            plots.plot_circuit

A head is chosen by two sliders or by a click on its cell in the map of `explore_heads`. What is
typed is read when you press Apply.

The last expression of a cell shows a panel. It has ``controls``, a dictionary of ipywidgets
controls, and ``figure()``, the picture that it shows, so it can be used without a browser too. By
keyboard: Tab moves from control to control, arrow keys move a slider, and the space bar opens a
list (in JupyterLab the arrow keys alone would move from cell to cell).

All six work with ipywidgets 7.7.1 (Colab) and 8. They need the extra ``tutorials``; the package
does not. Each is a module of its own (pair, heads, attention, patch, intervention,
circuit); read controls
and panel first, which all of them use, then head_grid, the map that takes clicks.
"""

from importlib.util import find_spec

import lazy_loader

if find_spec("ipywidgets") is None:
    raise ImportError(
        "panels need ipywidgets, which is not installed; run "
        'pip install "mechir-edu[tutorials]" and restart the kernel, or draw the static '
        "picture with mechir_edu.plots"
    )

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "attention": ["explore_attention"],
        "circuit": ["explore_circuit"],
        "heads": ["explore_heads"],
        "intervention": ["explore_intervention"],
        "pair": ["explore_pair"],
        "panel": ["Panel"],
        "patch": ["explore_patch"],
    },
)
