"""What the notebooks cost: seconds of every cell and memory, as measured when they were executed.

``tutorials/costs.json`` is the record, written by ``--execute`` for the participant's copy; the
instructors' page shows it between its markers. Seconds are of the kernel's processor, which other
work on the machine does not change; a kernel has one thread here.
"""

import json
from pathlib import Path

from mechir_edu.files import write_whole
from notebooks.address import load_address
from notebooks.copies import make_copy
from notebooks.execution import Cost
from notebooks.frame import MOST_BYTES
from notebooks.sources import ROOT, contents, titles
from notebooks.stopwatch import stopwatch_table
from notebooks.table import with_table

START, END = "<!-- seconds -->", "<!-- /seconds -->"
SHORT_S = 1.0  # cells below it share a row
_RECORD, _PAGE = "tutorials/costs.json", "docs/instructors.md"
_RUN = "run: python tools/build_notebooks.py"


def store_cost(name: str, cost: Cost, *, root: Path = ROOT) -> None:
    """Note what a full run cost, and update the page."""
    record = load_costs(root)
    seconds = {cell: round(s, 1) for cell, s in cost.by_cell.items()}
    record[name] = {"megabytes": round(cost.peak / 1e6), "seconds": seconds}
    ordered = {known: record[known] for known in contents(root) if known in record}
    write_whole(root / _RECORD, (json.dumps(ordered, indent=1) + "\n").encode())
    write_seconds(root=root)


def load_costs(root: Path = ROOT) -> dict[str, dict]:
    """Read the record; empty where nothing was executed yet."""
    path = root / _RECORD
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_seconds(*, root: Path = ROOT) -> None:
    """Update the instructors' page."""
    path = root / _PAGE
    before = path.read_text(encoding="utf-8")
    after = with_table(before, seconds_table(root=root), _PAGE, (START, END))
    if after != before:
        write_whole(path, after.encode())


def seconds_table(*, root: Path = ROOT) -> str:
    """Make the tables: the way to 04, then each notebook's cells of a second or more."""
    costs = load_costs(root)
    seconds = {name: sum(cost["seconds"].values()) for name, cost in costs.items()}
    tables = [_table(name, cost, root) for name, cost in costs.items()]
    return "\n\n".join([stopwatch_table(seconds, root=root), *tables])


def outdated_costs(*, root: Path = ROOT) -> list[str]:
    """Tell where record, page and notebooks disagree, and what to run."""
    record, told = load_costs(root), []
    for name in contents(root):
        seconds = record.get(name, {}).get("seconds")
        if seconds is None or list(seconds) != _code_cells(name, root):
            told.append(
                f"{_RECORD}: needs the seconds of each cell of {name}; {_RUN} --execute {name}"
            )
        elif record[name]["megabytes"] * 1e6 > MOST_BYTES:
            told.append(
                f"{_RECORD}: {name} took {record[name]['megabytes']} MB, and its opening promises "
                f"at most {MOST_BYTES / 1e9} GB; free what it holds, or change notebooks/frame.py"
            )
    page = (root / _PAGE).read_text(encoding="utf-8")
    if with_table(page, seconds_table(root=root), _PAGE, (START, END)) != page:
        told.append(f"{_PAGE}: its seconds differ from {_RECORD}; {_RUN} build")
    return told


def _code_cells(name: str, root: Path) -> list[str]:
    """Ids of the participant's code cells."""
    made = make_copy(name, "participant", load_address(root), root=root)
    return [cell.id for cell in made.cells if cell.cell_type == "code"]


def _table(name: str, cost: dict, root: Path) -> str:
    made = make_copy(name, "participant", load_address(root), root=root)
    begins = {cell.id: cell.source.splitlines()[0] for cell in made.cells if cell.source}
    seconds = cost["seconds"]
    long = [cell for cell, s in seconds.items() if s >= SHORT_S]
    rows = [f"| `{begins.get(cell, cell)[:70]}` | {seconds[cell]:.0f} |" for cell in long]
    rest = sum(s for cell, s in seconds.items() if cell not in long)
    head = (
        f"**{titles(root)[name]}**: {sum(seconds.values()):.0f} s, {cost['megabytes']} MB\n\n"
        "| the cell that begins | seconds |\n|---|---|"
    )
    return "\n".join(
        [head, *rows, f"| the {len(seconds) - len(long)} other cells together | {rest:.0f} |"]
    )
