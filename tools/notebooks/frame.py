"""What the builder writes into every notebook: its cost, folded solutions, and the way on."""

from collections.abc import Iterable
from itertools import dropwhile

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from notebooks.predictions import HINT
from notebooks.sources import slug, tags

MOST_BYTES = 1.4e9  # of a kernel at its peak; --check compares with what was measured
MEMORY = (
    "**Time and memory.** The first cell that loads libraries and rankers takes 10 to 20 seconds. "
    "Each open notebook takes 0.8 to 1.4 GB until its kernel is shut down (menu "
    "*Kernel*, *Shut Down Kernel*). A session on Binder has 2 GB: one notebook at a time."
)
_PAPER = (
    "The method: Parry, Chen, Eickhoff and MacAvaney, *MechIR: A Mechanistic Interpretability "
    "Framework for Information Retrieval*, ECIR 2025, "
    "[doi:10.1007/978-3-031-88720-8_16](https://doi.org/10.1007/978-3-031-88720-8_16)."
)


def put_memory(opening: NotebookNode) -> None:
    """Say below the opening what an open notebook costs."""
    opening.source = f"{opening.source.rstrip()}\n\n{MEMORY}"


def put_solutions(source: list[NotebookNode], cells: list[NotebookNode]) -> None:
    """Fold each exercise's solution below its hints, in the participant's cells."""
    shown = {cell.id: cell for cell in cells}
    solution = None
    for cell in source:
        if "solution" in tags(cell) and "figure" not in tags(cell):
            solution = cell.source
        elif solution and cell.id in shown and HINT.search(cell.source):
            last = list(HINT.finditer(shown[cell.id].source))[-1].end()
            text = shown[cell.id].source
            shown[cell.id].source = f"{text[:last]}\n\n{_folded(solution)}{text[last:]}"
            solution = None


def _folded(code: str) -> str:
    return f"<details><summary>Solution</summary>\n\n```python\n{code}\n```\n\n</details>"


def progress(name: str) -> NotebookNode:
    """Make the cell that counts the exercises that are right."""
    code = "# The exercises that you have solved so far, in all notebooks\nme.tutorial.progress()"
    return new_code_cell(code, id=f"{slug(name)}-progress")


def closing(name: str, copy: str, sequence: Iterable[str], titles: dict[str, str]) -> NotebookNode:
    """Make the last cell: the next notebook, the other copy, the paper.

    Parameters
    ----------
    copy : a key of `COPIES`; links are written as seen from ``tutorials/``.
    sequence, titles : the notebooks in their order, and name -> title.
    """
    _, *after = dropwhile(lambda other: other != name, sequence)
    way = (
        f"[{titles[after[0]]}]({after[0]}.ipynb)"
        if after
        else "[all notebooks](../README.md#notebooks)"
    )
    other = {
        "participant": f"**Solutions:** [this notebook, solved](solutions/{name}.ipynb).",
        "solutions": f"**To solve it yourself:** [this notebook, unsolved]({name}.ipynb).",
    }
    text = f"**Next:** {way}. {other[copy]}\n\n{_PAPER}"
    return new_markdown_cell(text, id=f"{slug(name)}-next")
