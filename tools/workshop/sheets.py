"""What is printed: handout and cheat sheet, the answer sheet, and the key for instructors."""

import re
from html import escape

from nbformat import NotebookNode
from notebooks.costs import load_costs
from notebooks.sources import ROOT, tags

from workshop.pages import HERE, html_of, page
from workshop.reading import Prediction, names, predictions, printed, read, seconds, title

_MOST_LINES = 14
_WORDY = 120  # letters of code by which a cell is recognised


def handout() -> str:
    """The three runs, recovery, and how to read a map."""
    text = (HERE / "handout.md").read_text(encoding="utf-8")
    return page("MechIR-Edu: handout", html_of(text), "sheets.css", kind="handout")


def cheat_sheet() -> str:
    """The public names that a class needs, from docs/cheat_sheet.md."""
    text = (ROOT / "docs/cheat_sheet.md").read_text(encoding="utf-8")
    return page("MechIR-Edu: cheat sheet", html_of(text), "sheets.css", kind="cheat")


def answer_sheet() -> str:
    """Every question of the notebooks, with boxes to tick and a line for the reason."""
    blocks = [
        "<h1>My predictions</h1>",
        "<p>Tick a box <strong>before</strong> you run the cell, and write down why. A wrong "
        "prediction teaches more than a right one. Name: "
        '<span class="line short"></span></p>',
    ]
    for name in names():
        asked = "".join(_asked(p, i) for i, p in enumerate(predictions(name), start=1))
        blocks.append(f"<h2>{escape(title(name))}</h2>\n{asked}")
    return page("MechIR-Edu: answer sheet", "\n".join(blocks), "sheets.css", kind="answers")


def _asked(asked: Prediction, number: int) -> str:
    boxes = "".join(f'<span class="box"></span> {letter} ' for letter in asked.letters)
    return (
        f'<div class="question"><p><b>{number}.</b> {_inline(asked.question)}</p>'
        f'<p class="boxes">{boxes}because <span class="line"></span></p></div>\n'
    )


def answer_key() -> str:
    """Letters, answers, the numbers that will be seen, and the seconds of each cell."""
    blocks = [
        "<h1>Answer key</h1>",
        "<p>For instructors. Made from the committed notebooks: answers are those of the folds, "
        "numbers those that the solutions print. Seconds are of one thread on a server's core, for "
        "the participants' notebook; a laptop may need twice as many. With other rankers or the "
        "fast profile, numbers and letters can differ.</p>",
        _letters(),
    ]
    for name in names():
        blocks.append(f'<h2 id="{name[:2]}">{escape(title(name))}</h2>')
        blocks += [_answered(name, p, i) for i, p in enumerate(predictions(name), start=1)]
        blocks.append(_all_seconds(name))
    return page("MechIR-Edu: answer key", "\n".join(blocks), "sheets.css", kind="key")


def _letters() -> str:
    """All letters on one table: a row for each notebook."""
    rows = []
    for name in names():
        given = [" ".join(p.right) or "–" for p in predictions(name)]
        cost = load_costs().get(name)
        took = f"{sum(cost['seconds'].values()):.0f} s, {cost['megabytes']} MB" if cost else "–"
        letters = ", ".join(f"{i}: <b>{right}</b>" for i, right in enumerate(given, start=1))
        rows.append(
            f'<tr><td><a href="#{name[:2]}">{escape(title(name))}</a></td><td>{letters}</td>'
            f"<td>{took}</td></tr>"
        )
    head = "<tr><th>notebook</th><th>letters, in order</th><th>to run</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _answered(name: str, asked: Prediction, number: int) -> str:
    took = sum(seconds(name).get(cell.id, 0.0) for cell in asked.between)
    right = " and ".join(f"({letter})" for letter in asked.right)
    seen = "".join(f"<pre>{escape(_shortened(text))}</pre>" for text in _seen(asked.between))
    return (
        f'<div class="question"><p><b>{number}.</b> {_inline(asked.question)}</p>'
        f'<p><span class="right">{right}</span> after {took:.1f} s</p>'
        f'<div class="told">{html_of(asked.answer)}</div>'
        f"{'<p>Numbers on the screen:</p>' if seen else ''}{seen}</div>"
    )


def _seen(cells: tuple[NotebookNode, ...]) -> list[str]:
    return [text for cell in cells if (text := printed(cell))]


def _shortened(text: str) -> str:
    lines = text.splitlines()
    rest = [f"... {len(lines) - _MOST_LINES} more lines"] if len(lines) > _MOST_LINES else []
    return "\n".join(lines[:_MOST_LINES] + rest)


def _all_seconds(name: str) -> str:
    """A fold with every code cell of the participants' notebook."""
    begins = {cell.id: cell.source for cell in read(name).cells if "solution" not in tags(cell)}
    rows = "".join(
        f"<tr><td><code>{escape(_begin(begins.get(cell, ''), cell))}</code></td>"
        f"<td>{took:.1f}</td></tr>"
        for cell, took in seconds(name).items()
    )
    return f"<details><summary>Seconds of each cell</summary><table>{rows}</table></details>"


def _begin(source: str, cell: str) -> str:
    first = next((line for line in source.splitlines() if not line.startswith("#")), cell)
    return first[:_WORDY]


def _inline(markdown: str) -> str:
    """One paragraph of Markdown without its paragraph."""
    return re.sub(r"^<p>|</p>$", "", html_of(" ".join(markdown.split())).strip())
