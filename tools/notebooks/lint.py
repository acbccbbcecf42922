"""Find what a notebook promises its readers and does not keep.

The docstring of tools/build_notebooks.py has the rules. They are checked on the source, as a
participant sees it: solution cells are not counted.
"""

import dis
import re
import statistics
from itertools import pairwise
from pathlib import Path
from symtable import Symbol, SymbolTable, symtable
from types import CodeType

from nbformat import NotebookNode

from notebooks.glossary import anchor_of
from notebooks.predictions import HINT, without_fold
from notebooks.sources import ROOT, Entry, contents, read_source, tags

WORDS = (1100, 2000)  # the aim is 1200-1800
CODE_CELLS = (16, 28)  # the aim is 20-25
MEDIAN_LINES, MOST_LINES = 6, 15
_OPENING = ("What you will do", "What you will learn", "What you need")
_CLOSING = ("## What you saw", "## On your own", "## Further reading")
_EXERCISE = ("ifficulty", "mportance", "minutes")
_INSIDE = re.compile(r"(?m)^\s*(?:from mechir_edu\b|import mechir_edu\.).*")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)[^)]*\)")


def problems(name: str, *, root: Path = ROOT) -> list[str]:
    """List the broken promises of one notebook; each begins with the cell's id."""
    entry = contents(root)[name]
    cells = read_source(name, root=root).cells
    seen = [cell for cell in cells if "solution" not in tags(cell)]
    found = _frame(entry, seen) + _size(seen) + _rows_of_code(seen) + _figures(cells)
    found += _links(seen, root) + _exercises(entry, cells) + _inside(cells) + _borrowed(cells)
    found += without_fold(seen) + _overwritten(cells) + _reading(seen)
    return [f"{name}: {problem}" for problem in found]


def words(cells: list[NotebookNode]) -> int:
    """Words of prose; hints are not counted, because few readers open them all."""
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return len(re.findall(r"\w[\w'.,-]*", re.sub(r"<[^>]+>|\]\([^)]*\)", " ", HINT.sub("", prose))))


def _code(cells: list[NotebookNode]) -> list[NotebookNode]:
    return [cell for cell in cells if cell.cell_type == "code"]


def _frame(entry: Entry, cells: list[NotebookNode]) -> list[str]:
    """Opening and closing, and the minutes that the README promises."""
    opening, closing = cells[0].source, "\n".join(cell.source for cell in cells[-4:])
    missing = [part for part in _OPENING if part not in opening]
    missing += [part for part in _CLOSING if not re.search(rf"(?m)^{part}$", closing)]
    found = [f"{cells[0].id}: needs {missing}"] if missing else []
    if entry.minutes.isdigit() and f"{entry.minutes} minutes" not in opening:
        found.append(f"{cells[0].id}: needs '{entry.minutes} minutes', as in contents.json")
    return found


def _size(cells: list[NotebookNode]) -> list[str]:
    code = _code(cells)
    lengths = {cell.id: len(cell.source.splitlines()) for cell in code}
    found = [
        f"{cell}: {n} lines, at most {MOST_LINES}" for cell, n in lengths.items() if n > MOST_LINES
    ]
    median = statistics.median(lengths.values())
    if median > MEDIAN_LINES:
        found.append(f"median cell has {median} lines, at most {MEDIAN_LINES}")
    for what, count, (low, high) in (
        ("words", words(cells), WORDS),
        ("code cells", len(code), CODE_CELLS),
    ):
        if not low <= count <= high:
            found.append(f"{count} {what}, needs {low} to {high}")
    return found


def _rows_of_code(cells: list[NotebookNode]) -> list[str]:
    kinds = [cell.cell_type for cell in cells]
    return [
        f"{cells[i].id}: third code cell in a row; put a sentence in between"
        for i in range(2, len(cells))
        if kinds[i - 2 : i + 1] == ["code"] * 3
    ]


def _figures(cells: list[NotebookNode]) -> list[str]:
    code = _code(cells)
    figures = [cell for cell in code if "figure" in tags(cell)]
    found = [] if figures else ["needs at least one figure"]
    found += [
        f"{cell.id}: a figure needs alt='...' that says in a sentence what is drawn"
        for cell in figures
        if len(cell.metadata.get("alt", "").split()) < 5
    ]
    found += [
        f"{cell.id}: expected-NAME needs the tag figure too, and alt='...'"
        for cell in code
        if any(tag.startswith("expected-") for tag in tags(cell)) and "figure" not in tags(cell)
    ]
    return found + [
        f"{cell.id}: a widget needs its static twin, a figure, in the code cell before"
        for before, cell in zip([None, *code], code, strict=False)
        if "widget" in tags(cell) and (before is None or "figure" not in tags(before))
    ]


def _exercises(entry: Entry, cells: list[NotebookNode]) -> list[str]:
    """Two exercises in 01-08, each with its header, solution, check and three hints."""
    stubs = [i for i, cell in enumerate(cells) if "stub" in tags(cell)]
    found = []
    if "01" <= entry.name[:2] <= "08" and len(stubs) < 2:
        found.append(f"needs at least 2 exercises, has {len(stubs)}")
    for start, end in pairwise([*stubs, len(cells)]):
        header, after = cells[start - 1].source, cells[start + 1 : end]
        text = "\n".join(cell.source for cell in after)
        asked = {
            "a header with difficulty, importance and minutes": all(w in header for w in _EXERCISE),
            "a solution cell": any("solution" in tags(cell) for cell in after),
            "a check cell": "check_" in text,
            "three folded hints": len(HINT.findall(text)) >= 3,
        }
        found += [f"{cells[start].id}: needs {what}" for what, there in asked.items() if not there]
    return found


def _inside(cells: list[NotebookNode]) -> list[str]:
    """Find imports from inside the package: a notebook shows the public names alone."""
    return [
        f"{cell.id}: needs a public name, me.something, instead of {line.strip()!r}"
        for cell in _code(cells)
        for line in _INSIDE.findall(cell.source)
    ]


def _borrowed(cells: list[NotebookNode]) -> list[str]:
    """Find cells of both copies that use a name which only stubs and solutions define.

    Such a cell would fail for a learner who skips the exercise, and no rehearsal would show it.
    """
    shared = [cell for cell in _code(cells) if not tags(cell) & {"stub", "solution"}]
    exercises = [cell for cell in _code(cells) if tags(cell) & {"stub", "solution"}]
    own = _defined(exercises) - _defined(shared)
    return [
        f"{cell.id}: uses {name}, which only an exercise defines; use the package instead"
        for cell in shared
        if "check_" not in cell.source
        for name in sorted(_used(symtable(cell.source, cell.id, "exec")) & own)
    ]


def _overwritten(cells: list[NotebookNode]) -> list[str]:
    """Find cells that take a name which a later cell, or they themselves, give to something else.

    Run again at the end, in any order, such a cell would meet something else than the first time.
    """
    code = [cell for cell in _code(cells) if "stub" not in tags(cell)]
    names = [_taken_and_stored(compile(cell.source, cell.id, "exec")) for cell in code]
    return [
        f"{code[i].id}: takes {name}, which {code[j].id} overwrites; use a name of its own there, "
        "so that cells can be run again in any order"
        for i, (taken, _) in enumerate(names)
        for j, (_, stored) in enumerate(names[i:], start=i)
        for name in sorted(taken & stored)
    ]


def _taken_and_stored(code: CodeType) -> tuple[set[str], set[str]]:
    """Names that a cell reads before it gives them a value, and names that it gives one."""
    taken, stored = set(), set()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
            taken |= {step.argval} - stored
        elif step.opname in ("STORE_NAME", "STORE_GLOBAL"):
            stored.add(step.argval)
        elif isinstance(step.argval, CodeType):
            taken |= _taken_and_stored(step.argval)[0] - stored
    return taken, stored


def _reading(cells: list[NotebookNode]) -> list[str]:
    """Further reading can be clicked, and leaves the way on to the builder."""
    text = cells[-1].source.partition("## Further reading")[2]
    found = [
        f"{cells[-1].id}: needs a link, such as a DOI, in {item.strip()[:40]!r}"
        for item in re.split(r"(?m)^- ", text)[1:]
        if "](" not in item
    ]
    if re.search(r"\bNext:", cells[-1].source):
        found.append(f"{cells[-1].id}: leave out 'Next:'; the builder writes it")
    return found


def _defined(cells: list[NotebookNode]) -> set[str]:
    """Names of a notebook's variables, functions and imports that these cells make."""
    symbols = [s for cell in cells for s in symtable(cell.source, cell.id, "exec").get_symbols()]
    return {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}


def _used(table: SymbolTable) -> set[str]:
    """Names of a notebook's own that a cell reads, also inside its functions."""
    is_own = Symbol.is_referenced if table.get_type() == "module" else Symbol.is_global
    names = {symbol.get_name() for symbol in table.get_symbols() if is_own(symbol)}
    return names.union(*map(_used, table.get_children()))


def _links(cells: list[NotebookNode], root: Path) -> list[str]:
    text = [(cell, link) for cell in cells if cell.cell_type != "code" for link in _targets(cell)]
    return [
        f"{cell.id}: the link to {link} leads nowhere"
        for cell, link in text
        if not re.match(r"(https?|mailto|data):", link) and not _resolves(link, cells, root)
    ]


def _targets(cell: NotebookNode) -> list[str]:
    return _LINK.findall(cell.source)


def _resolves(link: str, cells: list[NotebookNode], root: Path) -> bool:
    path, _, anchor = link.partition("#")
    target = (root / "tutorials" / path).resolve()
    if path and not target.exists() and not _will_be_built(target, root):
        return False
    if not anchor or (path and target.suffix != ".md"):
        return True
    text = target.read_text(encoding="utf-8") if path else "\n".join(c.source for c in cells)
    return anchor.lower() in {anchor_of(title) for title in re.findall(r"(?m)^#+ (.+)$", text)}


def _will_be_built(target: Path, root: Path) -> bool:
    """A notebook of the sequence counts as present once its source exists."""
    folders = (root / "tutorials", root / "tutorials/solutions")
    return target.parent in folders and target.stem in contents(root)
