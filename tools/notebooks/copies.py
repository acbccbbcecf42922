"""Make the two notebooks of a source: the participant's, with stubs, and the solutions.

A third, the rehearsal, is never written: tests run it in place of both. Each exercise appears twice
in it, first untouched and then solved.
"""

import base64
import hashlib
import re
import textwrap
from collections import defaultdict
from copy import deepcopy
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from mechir_edu.files import write_whole
from notebooks.address import Address
from notebooks.frame import closing, progress, put_memory, put_solutions
from notebooks.glossary import link_terms
from notebooks.outputs import png_of
from notebooks.predictions import leave_out_answers
from notebooks.sources import (
    COPIES,
    ROOT,
    check_of,
    contents,
    notebook_path,
    read_source,
    slug,
    tags,
    titles,
)

_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
_EXPECTED = re.compile(r"<!-- expected: ([\w-]+) -->")
_FAST_SIZE = re.compile(r"(tutorial\.pick\(\s*[^,()]+),[^,()]+\)")
_RELATIVE_LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)]+\))")
# Names with underscores, so that a notebook that forgot an import of its own still fails.
_UNTOUCHED = """\
import contextlib as _contextlib, io as _io, os as _os
_os.environ["MECHIR_EDU_STRICT"] = "0"
with _contextlib.redirect_stdout(_io.StringIO()) as _said:
{check}
_os.environ["MECHIR_EDU_STRICT"] = "1"
assert _said.getvalue().splitlines()[-1].startswith("Not attempted yet"), _said.getvalue()"""


def make_copy(name: str, copy: str, address: Address, *, root: Path = ROOT) -> NotebookNode:
    """Generate one notebook, without outputs; ``copy`` is a key of `COPIES`."""
    source = read_source(name, root=root)
    cells = [deepcopy(cell) for cell in source.cells if COPIES[copy] not in tags(cell)]
    put_memory(cells[0])
    link_terms(cells, root=root)
    if copy == "participant" and any("stub" in tags(cell) for cell in cells):
        cells.append(progress(name))
    cells.append(closing(name, copy, contents(root), titles(root)))
    badges = address.badges(name)
    if badges:
        title, _, rest = cells[0].source.partition("\n")
        cells[0].source = f"{title}\n\n{badges}\n{rest}"
    if copy == "participant":
        put_solutions(source.cells, cells)
        _put_expected(source, cells, notebook_path(name, "solutions", root=root))
    else:
        _deepen_links(cells)
    return _with_setup(name, cells, address)


def make_rehearsal(name: str, address: Address, *, root: Path = ROOT) -> NotebookNode:
    """Generate the notebook that tests both copies in one run, to be run with strict checks.

    Each stub is followed by its check, which has to say "not attempted yet" and let the run go on;
    then come the solution and the check as they are.
    """
    source, cells = read_source(name, root=root).cells, []
    for place, cell in enumerate(source, start=1):
        cells.append(cell)
        if "stub" in tags(cell):
            check = check_of(cell, source[place:])
            code = _UNTOUCHED.format(check=textwrap.indent(check.source, "    "))
            cells.append(new_code_cell(code, id=f"{cell.id}-untouched"))
    return _with_setup(name, cells, address)


def then_backwards(notebook: NotebookNode) -> NotebookNode:
    """Let all code cells run once more after the last, from the last to the first."""
    again = [
        new_code_cell(cell.source, id=f"{cell.id}-again")
        for cell in reversed(notebook.cells)
        if cell.cell_type == "code"
    ]
    return new_notebook(cells=[*notebook.cells, *again], metadata=notebook.metadata)


def _with_setup(name: str, cells: list[NotebookNode], address: Address) -> NotebookNode:
    # Folded: a form on Colab, a bar elsewhere; readers of the text need not see how it installs.
    folded = {"cellView": "form", "jupyter": {"source_hidden": True}}
    setup = new_code_cell(address.setup(), id=f"{slug(name)}-setup", metadata=folded)
    metadata = {"kernelspec": _KERNEL, "language_info": {"name": "python"}}
    return new_notebook(cells=[cells[0], setup, *cells[1:]], metadata=metadata)


def build(name: str, address: Address, *, root: Path = ROOT) -> None:
    """Write both notebooks of a source; a cell that did not change keeps its outputs."""
    for copy in COPIES:
        path = notebook_path(name, copy, root=root)
        notebook = make_copy(name, copy, address, root=root)
        if path.is_file():
            _keep_outputs(notebook, nbformat.read(path, as_version=4))
        if copy == "participant":
            leave_out_answers(notebook)
        write(notebook, path)


def share_outputs(name: str, address: Address, *, root: Path = ROOT) -> bool:
    """Give the participant's copy the solutions' outputs, where both have the same code.

    Returns
    -------
    bool
        Whether they have: without exercises nothing differs, and one run is enough.
    """
    notebook = make_copy(name, "participant", address, root=root)
    executed = nbformat.read(notebook_path(name, "solutions", root=root), as_version=4)
    if fingerprint(notebook) != fingerprint(executed):
        return False
    _keep_outputs(notebook, executed)
    leave_out_answers(notebook)
    write(notebook, notebook_path(name, "participant", root=root))
    return True


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook, valid and always in the same form."""
    nbformat.validate(notebook)
    write_whole(path, (nbformat.writes(notebook, indent=1).rstrip("\n") + "\n").encode())


def in_full(code: str) -> str:
    """Code without its sizes in the fast profile, which its outputs do not depend on."""
    return _FAST_SIZE.sub(r"\1)", code)


def fingerprint(notebook: NotebookNode) -> str:
    """Tell one state of a notebook's code from another; prose and fast sizes do not count."""
    code = [in_full(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()[:16]


def _keep_outputs(notebook: NotebookNode, before: NotebookNode) -> None:
    kept = defaultdict(list)
    for cell in before.cells:
        if cell.cell_type == "code":
            kept[in_full(cell.source)].append(cell)
    for cell in notebook.cells:
        if cell.cell_type == "code" and kept[in_full(cell.source)]:
            old = kept[in_full(cell.source)].pop(0)
            cell.outputs, cell.execution_count = old.outputs, old.execution_count
    if "executed" in before.metadata:
        notebook.metadata.executed = before.metadata.executed


def _put_expected(source: NotebookNode, cells: list[NotebookNode], solutions: Path) -> None:
    """Put the solutions' figures, folded, where the participant's text asks for them."""
    alts = {tag: cell.metadata.get("alt", "") for cell in source.cells for tag in tags(cell)}
    drawn = {}
    if solutions.is_file():
        executed = nbformat.read(solutions, as_version=4)
        drawn = {tag: png_of(cell) for cell in executed.cells for tag in tags(cell)}
    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = _EXPECTED.sub(lambda at: _folded(at[1], alts, drawn), cell.source)


def _folded(name: str, alts: dict[str, str], drawn: dict[str, bytes | None]) -> str:
    tag = f"expected-{name}"
    if tag not in alts:
        raise ValueError(f"<!-- expected: {name} --> needs a cell tagged {tag}, found none")
    png = drawn.get(tag)
    # In the text itself, because Colab shows no attachments of markdown cells.
    picture = "*(drawn when the solutions are executed)*"
    if png:
        picture = f"![{alts[tag]}](data:image/png;base64,{base64.b64encode(png).decode()})"
    return f"<details><summary>Expected figure</summary>\n\n{picture}\n\n</details>"


def _deepen_links(cells: list[NotebookNode]) -> None:
    """Links are written as seen from tutorials/; the solutions lie one folder deeper."""
    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = _RELATIVE_LINK.sub(r"\1../\2", cell.source)
