"""The way from the README to the end of notebook 04: minutes of reading, running and doing.

Running is measured (`costs`), exercises are as their headers plan them, and reading is computed
from words and lines of code at a pace that is stated beside the table.
"""

import re
from pathlib import Path

from notebooks.lint import words
from notebooks.sources import ROOT, contents, read_source, tags, titles

LAST = "04"
WORDS_A_MINUTE, LINES_A_MINUTE = 200, 20
_PLANNED = re.compile(r"(?i)difficulty \d/\d, importance \d/\d, (\d+) minutes")
_MARKDOWN = re.compile(r"```.*?```|<[^>]+>|\]\([^)]*\)", re.DOTALL)


def stopwatch_table(seconds: dict[str, float], *, root: Path = ROOT) -> str:
    """Make the table: README, then each notebook up to the last, and their sum.

    Parameters
    ----------
    seconds : what each notebook takes to run, all its cells together.
    """
    readme = (root / "README.md").read_text(encoding="utf-8")
    # In hundreds, so that a sentence more does not change the page.
    n_words = round(len(re.findall(r"\w[\w'.,-]*", _MARKDOWN.sub(" ", readme))), -2)
    rows: dict[str, tuple[float, ...]] = {"README": (n_words, 0, n_words / WORDS_A_MINUTE, 0, 0)}
    for name, entry in contents(root).items():
        if name[:2] <= LAST and name in seconds:
            rows[f"{titles(root)[name]}, planned {entry.minutes} min"] = _notebook(
                name, seconds[name], root
            )
    rows["together"] = tuple(map(sum, zip(*rows.values(), strict=True)))
    told = [_row(what, row) for what, row in rows.items()]
    return "\n".join(
        [
            f"**From the README to the end of {LAST}**: about {_time(rows['together'])} of "
            "reading,\nrunning and doing. Reading is computed, "
            f"{WORDS_A_MINUTE} words and {LINES_A_MINUTE} lines of code a minute,\nwithout hints; "
            "exercises are as planned in their headers; installing is not counted,\n"
            "nor is thinking about predictions.\n",
            "| | words | lines of code | reading, min | running, min | exercises, min | together, "
            "min |\n|---|---|---|---|---|---|---|",
            *told,
        ]
    )


def _notebook(name: str, seconds: float, root: Path) -> tuple[float, ...]:
    cells = [c for c in read_source(name, root=root).cells if "solution" not in tags(c)]
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    n_lines = sum(bool(line.strip()) for line in code.splitlines())
    n_words = words(cells)
    headers = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    planned = sum(map(int, _PLANNED.findall(headers)))
    reading = n_words / WORDS_A_MINUTE + n_lines / LINES_A_MINUTE
    return n_words, n_lines, reading, seconds / 60, planned


def _row(what: str, row: tuple[float, ...]) -> str:
    n_words, n_lines, reading, running, planned = row
    return (
        f"| {what} | {n_words:,} | {n_lines} | {reading:.0f} | {running:.1f} | {planned:.0f} | "
        f"{reading + running + planned:.0f} |"
    )


def _time(row: tuple[float, ...]) -> str:
    minutes = round(sum(row[2:]))
    return f"{minutes // 60} h {minutes % 60} min"
