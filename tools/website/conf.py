"""How Sphinx builds the site; `website.pages` lays its pages out first."""

import re
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math import latex2mathml

import mechir_edu  # noqa: F401  (before PyTorch, as for any user)

MATHML = "http://www.w3.org/1998/Math/MathML"
ElementTree.register_namespace("", MATHML)

project = "MechIR-Edu"
author = copyright = "The MechIR-Edu developers"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "MechIR-Edu"
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # a page opened from a folder may not fetch others
default_role = "code"

# Notebooks are shown as they were committed.
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # panels need a kernel; a page shows the figure before them
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
suppress_warnings = [
    "myst.header",  # a page may skip a level under a fold
    "ref.python",  # a word in the line of a parameter may be the name of several attributes
]

autodoc_typehints = "none"  # the sections of a docstring give types, shapes and units
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = napoleon_use_param = False
napoleon_custom_sections = ["Conventions"]


def _math(node: nodes.Element, *, block: bool) -> str:
    """MathML, which browsers draw by themselves: no script, from here or elsewhere."""
    math = ElementTree.fromstring(latex2mathml.tex2mathml(node.astext(), as_block=block))
    for over in math.iter(f"{{{MATHML}}}mover"):
        # \overline is a "_" above, which does not grow with what is below it; a border does.
        if len(over) == 2 and over[1].text == "_":
            over.remove(over[1])
            over.tag = f"{{{MATHML}}}mrow"
            over.attrib = {"style": "border-top: 0.06em solid; padding-top: 0.1em"}
    return ElementTree.tostring(math, encoding="unicode")


def _inline(visitor, node):
    visitor.body.append(_math(node, block=False))
    raise nodes.SkipNode


def _block(visitor, node):
    visitor.body.append(f'<div class="math">{_math(node, block=True)}</div>')
    raise nodes.SkipNode


def _shapes(app, what, name, obj, options, lines):
    """Keep the star of a shape such as [*cell, pair], which would begin an emphasis."""
    lines[:] = [re.sub(r"(`+.*?`+)|\[\*", lambda m: m[1] or r"[\*", line) for line in lines]


def setup(app):
    """Draw equations without a script, and read docstrings as they are meant."""
    app.connect("autodoc-process-docstring", _shapes)
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))


html_math_renderer = "mathml"
