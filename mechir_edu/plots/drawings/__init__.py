"""Drawings that explain: how rankers are built, how versions are aligned, how a patch works.

Each function returns a `Drawing`, or `Steps` of several: SVG, with a text for those who cannot see
it, in the colours of a light or a dark page. They need no matplotlib and no kernel to be looked at.

::

    svg         boxes, arrows, text and colours; what a Drawing is
    rankers     both architectures; one block           draw_architectures, draw_block
    versions    a text's two versions, by position      draw_alignment
    runs        a patch's three runs, also in steps     draw_three_runs, step_three_runs
    circuit     heads that are to be enough, the rest   draw_circuit
"""
