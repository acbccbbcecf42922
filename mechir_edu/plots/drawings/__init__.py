"""Drawings that explain: how rankers are built, how versions are aligned, how a patch works.

Each function returns a `Drawing`, or `Steps` of several: SVG, with a text for those who cannot see
it, in the colours of a light or a dark page. They need no matplotlib and no kernel to be looked at.

::

    svg         boxes, arrows, text and colours; what a Drawing is
    rankers     both architectures; one block with its hook points
                                                 draw_architectures, draw_block
    versions    two versions of a text, position by position        draw_alignment
    runs        the three runs of a patch, at once and step by step  draw_three_runs, step_three_runs
    circuit     heads that are claimed to be enough, and the rest    draw_circuit
"""
