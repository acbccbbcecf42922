"""Draw what patching found.

Conventions
-----------
Every function draws on the axes it is given, or on a new figure, and returns them; none shows a
window or changes a global setting. Layer 0 is at the bottom. Recovery is drawn on a scale that is
symmetric about zero, so white is always "no effect": red moves the score as the donor did, blue the
other way. A dot marks what stands after false-discovery control over the whole grid.

::

    heatmap     what the first two are made of
    grids       recovery per head, role or path            plot_heads, plot_roles, plot_paths
    figure2     axiom by ranker                            plot_figure2
    changes     score changes, with their mean             plot_score_change
    attention   where a head looks                         plot_attention
    words       the same for those who cannot see it       top_heads, alt_text
"""

from mechir_edu.plots.attention import plot_attention
from mechir_edu.plots.changes import plot_score_change
from mechir_edu.plots.figure2 import plot_figure2
from mechir_edu.plots.grids import plot_heads, plot_paths, plot_roles
from mechir_edu.plots.words import alt_text, top_heads

__all__ = [
    "alt_text",
    "plot_attention",
    "plot_figure2",
    "plot_heads",
    "plot_paths",
    "plot_roles",
    "plot_score_change",
    "top_heads",
]
