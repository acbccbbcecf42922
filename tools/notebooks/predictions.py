"""Predictions: their folds, and the outputs that would answer them before a reader has.

A **Predict** asks; the fold (``<details>``) that follows it answers, and names the letter that was
right. In the participant's copy no cell between the two shows a stored output: it appears when the
reader runs the cell. The solutions keep all.
"""

import re

from nbformat import NotebookNode

HINT = re.compile(r"<details>\s*<summary>\s*(?:<b>)?Hint.*?</details>", re.DOTALL)
# Folds of an exercise, which answer no prediction.
_EXERCISE = re.compile(
    r"<details>\s*<summary>\s*(?:<b>)?(?:Hint|Solution|Expected).*?</details>", re.DOTALL
)
FOLD = re.compile(r"<details>\s*<summary>.*?</summary>(.*?)</details>", re.DOTALL)
# A question, to the end of its paragraph, or a fold.
_MARK = re.compile(r"\*\*Predict\b.*?(?=\n\s*\n|\Z)|<details>.*?</details>", re.DOTALL)
_LETTER = re.compile(r"\(([a-e])\)")


def leave_out_answers(notebook: NotebookNode) -> None:
    """Remove the outputs between each prediction and its fold, in place."""
    for cell in unanswered(notebook.cells):
        cell.outputs, cell.execution_count = [], None


def unanswered(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Code cells between a prediction and its fold."""
    between, is_open = [], False
    for cell in cells:
        if cell.cell_type == "code":
            between += [cell] if is_open else []
        for mark in marks(cell):
            is_open = mark.startswith("**Predict")
    return between


def without_fold(cells: list[NotebookNode]) -> list[str]:
    """List predictions without a fold, and folds that do not name one of the letters offered."""
    told, asked = [], None
    for cell in cells:
        for mark in marks(cell):
            if mark.startswith("**Predict"):
                told += [_no_fold(asked)] if asked else []
                asked, offered = cell, set(_LETTER.findall(mark))
            elif asked:
                if offered and not offered & set(_LETTER.findall(mark)):
                    told.append(
                        f"{cell.id}: the fold after the prediction in {asked.id} names none of its "
                        f"letters, {', '.join(sorted(offered))}; say which was right, as (a)"
                    )
                asked = None
    return told + ([_no_fold(asked)] if asked else [])


def _no_fold(cell: NotebookNode) -> str:
    return f"{cell.id}: a prediction needs a fold, <details>, that tells the answer"


def marks(cell: NotebookNode) -> list[str]:
    """Give a text's predictions and folds in their order."""
    return _MARK.findall(_EXERCISE.sub("", cell.source)) if cell.cell_type == "markdown" else []
