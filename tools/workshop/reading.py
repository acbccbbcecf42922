"""Read what the committed solutions hold: predictions with their answers, figures and drawings."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import nbformat
from nbformat import NotebookNode
from notebooks.costs import load_costs
from notebooks.outputs import png_of
from notebooks.predictions import FOLD, marks
from notebooks.sources import contents, notebook_path, select, tags, titles

_LETTER = re.compile(r"\(([a-e])\)")
_DRAWN = re.compile(r'alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]+)"')


@dataclass(frozen=True)
class Prediction:
    """A question that participants answer before they run a cell.

    Attributes
    ----------
    cell : id of the cell that asks.
    question, answer : Markdown; the answer is the fold's text.
    letters, right : options offered, and those that were right; empty where there are none.
    between : the code cells between question and answer, executed.
    """

    cell: str
    question: str
    answer: str
    letters: tuple[str, ...]
    right: tuple[str, ...]
    between: tuple[NotebookNode, ...]


def names() -> list[str]:
    """Notebooks that have been executed, in their order."""
    return [name for name in contents() if notebook_path(name, "solutions").is_file()]


@cache
def read(name: str) -> NotebookNode:
    """An executed solution, by its name or number."""
    return nbformat.read(notebook_path(select([name])[0], "solutions"), as_version=4)


@cache
def predictions(name: str) -> tuple[Prediction, ...]:
    """Every prediction of a notebook.

    Raises
    ------
    ValueError
        If an answer's first sentence names none of the letters that its question offers.
    """
    return tuple(_predictions(read(name).cells))


def _predictions(cells: list[NotebookNode]) -> Iterator[Prediction]:
    asked: tuple[str, str] | None = None
    between: list[NotebookNode] = []
    for cell in cells:
        between += [cell] if asked and cell.cell_type == "code" else []
        for mark in marks(cell):
            if not mark.startswith("<details>"):
                asked, between = (cell.id, mark), []
            elif asked:
                yield _prediction(*asked, mark, between)
                asked = None


def _prediction(cell: str, asked: str, fold: str, between: list[NotebookNode]) -> Prediction:
    question = re.sub(r"^\*\*Predict[^*]*\*\*\s*", "", asked)
    answer = FOLD.sub(r"\1", fold).strip()
    letters = tuple(dict.fromkeys(_LETTER.findall(question)))
    # Later sentences may speak of other rankers, or of what was wrong with another letter.
    first = re.split(r"(?<=[.:])\s", answer, maxsplit=1)[0]
    right = tuple(letter for letter in letters if f"({letter})" in first)
    if letters and not right:
        raise ValueError(
            f"{cell}: the answer's first sentence needs one of the letters "
            f"{', '.join(letters)}, got {first!r}"
        )
    return Prediction(cell, question, answer, letters, right, tuple(between))


def prediction(name: str, begins: str) -> Prediction:
    """The prediction whose question begins so.

    Raises
    ------
    ValueError
        If there is not exactly one.
    """
    there = [p for p in predictions(name) if " ".join(p.question.split()).startswith(begins)]
    if len(there) != 1:
        raise ValueError(
            f"needed one prediction of {name} that begins {begins!r}, got {len(there)} of "
            f"{[' '.join(p.question.split())[:50] for p in predictions(name)]}"
        )
    return there[0]


def figure(name: str, code: str) -> str:
    """The picture of the one cell that draws a figure and has this code, as an HTML image."""
    drawn = [cell for cell in read(name).cells if _has(cell, code) and png_of(cell)]
    cell = _only(drawn, name, code, "figure")
    data = base64.b64encode(png_of(cell) or b"").decode()
    alt = cell.metadata.get("alt", "").replace('"', "&quot;")
    return f'<img alt="{alt}" src="data:image/png;base64,{data}">'


def drawing(name: str, code: str, step: int = 1) -> str:
    """A drawing of the one cell that shows some and has this code; of several steps, one."""
    drawn = [cell for cell in read(name).cells if _has(cell, code) and _drawings(cell)]
    alt, data = _drawings(_only(drawn, name, code, "drawing"))[step - 1]
    return f'<img class="drawing" alt="{alt}" src="data:image/svg+xml;base64,{data}">'


def _has(cell: NotebookNode, code: str) -> bool:
    return cell.cell_type == "code" and code in cell.source


def _drawings(cell: NotebookNode) -> list[tuple[str, str]]:
    shown = (output.get("data", {}).get("text/html", "") for output in cell.outputs)
    return [drawn for html in shown for drawn in _DRAWN.findall(html)]


def _only(cells: list[NotebookNode], name: str, code: str, what: str) -> NotebookNode:
    if len(cells) != 1:
        raise ValueError(
            f"needed one cell of {name} with a {what} and the code {code!r}, got {len(cells)}"
        )
    return cells[0]


def printed(cell: NotebookNode) -> str:
    """What a cell prints, or shows as a table; nothing of its pictures."""
    texts = [output.get("text", "") for output in cell.outputs]
    texts += [
        output.data.get("text/plain", "")
        for output in cell.outputs
        if "data" in output
        and "image/png" not in output.data
        and not _DRAWN.search(output.data.get("text/html", ""))
        and "widget" not in tags(cell)
    ]
    return "\n".join(text.strip("\n") for text in texts if text.strip())


def seconds(name: str) -> dict[str, float]:
    """Seconds of each code cell of the participant's notebook, by its id."""
    return load_costs().get(name, {}).get("seconds", {})


def title(name: str) -> str:
    """Number and title of a notebook."""
    return titles()[name]
