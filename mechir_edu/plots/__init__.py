"""Pictures of what patching shows; each can be put into words, too.

Conventions
-----------
Every function draws on the axes it is given, or on a new figure, and returns them; none shows a
window or changes a global setting. Layer 0 is at the bottom. Recovery is drawn on a scale that is
symmetric about zero, so white is always "no effect": red moves the score as the donor did, blue the
other way. A dot marks what is significant (q < 0.05, after false-discovery control over the whole
grid).

In reading order::

    heatmap     colours; cells, scale and notes of a map
    grids       recovery per head, role or path            plot_heads, plot_roles, plot_paths
    figure2     axiom by ranker                            plot_figure2
    changes     score changes, with their mean             plot_score_change
    cells       recovery of layers, with intervals         plot_cells
    positions   recovery of one pair by position           plot_positions
    head_pairs  what one head does to each pair            plot_head_pairs
    pairs       a pair's aligned tokens and scores         plot_pair
    attention   where a head looks                         plot_attention
    rankings    one query's ranking, before and after      plot_ranking
    terms       vocabulary terms that an edit moved        plot_terms, terms_in_words
    matches     query tokens whose best match moved        plot_matches, matches_in_words
    circuits    what a circuit restores, what survives     plot_circuit, circuit_in_words
    words       the same in words and in tables            top_heads, alt_text
    drawings/   how rankers and patches work, in SVG       draw_architectures, draw_three_runs, ...
"""

from mechir_edu.plots.attention import plot_attention
from mechir_edu.plots.cells import plot_cells
from mechir_edu.plots.changes import plot_score_change
from mechir_edu.plots.circuits import circuit_in_words, plot_circuit
from mechir_edu.plots.drawings.circuit import draw_circuit
from mechir_edu.plots.drawings.rankers import draw_architectures, draw_block
from mechir_edu.plots.drawings.runs import draw_three_runs, step_three_runs
from mechir_edu.plots.drawings.versions import draw_alignment
from mechir_edu.plots.figure2 import plot_figure2
from mechir_edu.plots.grids import plot_heads, plot_paths, plot_roles
from mechir_edu.plots.head_pairs import plot_head_pairs
from mechir_edu.plots.matches import matches_in_words, plot_matches
from mechir_edu.plots.pairs import plot_pair
from mechir_edu.plots.positions import plot_positions
from mechir_edu.plots.rankings import plot_ranking
from mechir_edu.plots.terms import plot_terms, terms_in_words
from mechir_edu.plots.words import alt_text, top_heads

__all__ = [
    "alt_text",
    "circuit_in_words",
    "draw_alignment",
    "draw_architectures",
    "draw_block",
    "draw_circuit",
    "draw_three_runs",
    "matches_in_words",
    "plot_attention",
    "plot_cells",
    "plot_circuit",
    "plot_figure2",
    "plot_head_pairs",
    "plot_heads",
    "plot_matches",
    "plot_pair",
    "plot_paths",
    "plot_positions",
    "plot_ranking",
    "plot_roles",
    "plot_score_change",
    "plot_terms",
    "step_three_runs",
    "terms_in_words",
    "top_heads",
]
