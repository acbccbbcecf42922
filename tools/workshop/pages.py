"""Make pages of HTML from Markdown in which a directive stands for something of a notebook.

A directive stands on a line of its own; what is behind the colon finds the cell or the question::

    <!-- figure 04: me.plots.plot_figure2(panel) -->     the figure of the cell with this code
    <!-- drawing 03: me.plots.step_three_runs, 2 -->     its drawing; of several steps, the second
    <!-- predict 04: Which raises scores more -->        the question that begins so
    <!-- answer 04: Which raises scores more -->         its answer
"""

import re
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt

from workshop.reading import drawing, figure, prediction

HERE = Path(__file__).parent
_DIRECTIVE = re.compile(r"(?m)^<!-- (\w+) (\d\d): (.+?)(?:, (\d))? -->$")
_OPTION = re.compile(r",?;?\s*(?:\b(?:or|and)\s+)?\(([a-e])\)\s*")
_MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")
# A relative link leads to another page of the repository, which a single page does not have.
_AWAY = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:)[^)]*\)")


def html_of(markdown: str) -> str:
    """A fragment of HTML; directives are followed.

    Raises
    ------
    ValueError
        If a directive is unknown, or finds nothing or several.
    """
    return _MARKDOWN.render(_AWAY.sub(r"\1", _DIRECTIVE.sub(_follow, markdown)))


def _follow(match: re.Match) -> str:
    kind, notebook, what, step = match.groups()
    if kind == "figure":
        return f"<p>{figure(notebook, what)}</p>"
    if kind == "drawing":
        return f"<p>{drawing(notebook, what, int(step or 1))}</p>"
    if kind == "predict":
        return as_list(prediction(notebook, what).question)
    if kind == "answer":
        return prediction(notebook, what).answer
    raise ValueError(f"needed figure, drawing, predict or answer, got {match[0]!r}")


def as_list(question: str) -> str:
    """Lay a question's options out below each other.

    Examples
    --------
    >>> print(as_list("Is it (a) this, or (b) another? And why?"))
    Is it ...
    <BLANKLINE>
    - **(a)** this
    - **(b)** another
    <BLANKLINE>
    And why?
    """
    asked, *parts = _OPTION.split(" ".join(question.split()))
    asked = asked.strip().rstrip(":,")
    lines = [asked if asked[-1:] in ("?", ".") else f"{asked} ..."]
    for letter, text in zip(parts[::2], parts[1::2], strict=True):
        option, _, rest = text.partition("? ") if "? " in text else text.partition(". ")
        lines += ["" if lines[-1][:1] != "-" else None, f"- **({letter})** {option.strip(' .,;?')}"]
        lines += ["", rest.strip()] if rest.strip() else []
    return "\n".join(line for line in lines if line is not None)


def page(title: str, body: str, *styles: str, script: str | None = None, kind: str = "") -> str:
    """A whole page, with the styles and the script of this folder written into it.

    Parameters
    ----------
    title : of the window.
    body : HTML.
    styles, script : names of files.
    kind : class of the body.
    """
    style = "\n".join((HERE / name).read_text(encoding="utf-8") for name in styles)
    code = f"<script>\n{(HERE / script).read_text(encoding='utf-8')}</script>\n" if script else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f'<body class="{kind}">\n{body}\n{code}</body>\n</html>\n'
    )
