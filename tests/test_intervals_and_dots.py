"""Where an interval leaves out zero and q says "not significant", a sentence says why."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(ROOT.glob("tutorials/*.ipynb")) + sorted(
    ROOT.glob("tutorials/solutions/*.ipynb")
)
STUDY = ROOT / "docs" / "study"
WHY = "an interval is about one cell, a dot allows for the search among"
DECIDES = "Where an interval leaves out zero and q is above 0.05, q decides"
COLUMNS = ("low", "high", "q")
IN_A_LINE = re.compile(r"\[([+-][\d.]+), ([+-][\d.]+)\], q = ([\d.]+)")


def disagree(low, high, q):
    return q >= 0.05 and (low > 0 or high < 0)


def shown(text):
    """Each (low, high, q) that an output shows, in a table or in a line."""
    at = None
    for line in text.splitlines():
        words = line.replace("\\", "").split()
        if set(COLUMNS) <= {*words}:
            at = [words.index(name) - len(words) for name in COLUMNS]
        elif at and len(words) >= -min(at) and re.fullmatch(r"-?[\d.]+|nan", words[at[0]]):
            yield tuple(float(words[i]) for i in at)
        else:
            at = None
    yield from (tuple(map(float, found.groups())) for found in IN_A_LINE.finditer(text))


def unexplained(notebook):
    """Cells that show a disagreement, although no cell up to the next says why there can be one."""
    cells = json.loads(notebook.read_text())["cells"]
    said = [cell["cell_type"] == "markdown" and DECIDES in flat(cell["source"]) for cell in cells]
    said = [
        told or any(WHY in text for text in outputs(cell))
        for told, cell in zip(said, cells, strict=True)
    ]
    return [
        number
        for number, cell in enumerate(cells)
        if any(disagree(*row) for text in outputs(cell) for row in shown(text))
        and not any(said[: number + 2])
    ]


def outputs(cell):
    """What a cell printed or showed, as text."""
    return [
        "".join(output.get("text") or output.get("data", {}).get("text/plain", ""))
        for output in cell.get("outputs", [])
    ]


def flat(source):
    return " ".join("".join(source).split())


def test_tables_and_lines_of_outputs_are_read():
    header = "   layer  head  recovery    low   high      q  n_pairs"
    table = f"{header}\n0      5     5     0.155  0.047  0.302  0.512       16"
    assert [*shown(table)] == [(0.047, 0.302, 0.512)]
    assert [*shown("head (2, 9): +0.305 [+0.258, +0.349], q = 0.214")] == [(0.258, 0.349, 0.214)]
    assert disagree(0.047, 0.302, 0.512)
    assert not disagree(-0.1, 0.2, 0.512)
    assert not disagree(0.1, 0.2, 0.049)


def test_committed_notebooks_show_disagreements_and_say_why():
    rows = [
        row
        for notebook in NOTEBOOKS
        for cell in json.loads(notebook.read_text())["cells"]
        for text in outputs(cell)
        for row in shown(text)
    ]
    assert len(rows) > 30
    assert any(disagree(*row) for row in rows)  # notebook 09
    assert {n.name: cells for n in NOTEBOOKS if (cells := unexplained(n))} == {}


@pytest.mark.parametrize("page", ["report.md", "details.md"])
def test_the_study_says_why_heads_with_intervals_off_zero_may_lack_a_dot(page):
    heads = pd.read_csv(STUDY / "heads.csv").query("axiom in ('TFC1', 'TDC')")
    off_zero = heads[(heads.q >= 0.05) & ((heads.low > 0) | (heads.high < 0))]
    assert len(off_zero) > 0
    text = (STUDY / page).read_text()
    assert "the two may disagree about zero; then q decides" in " ".join(text.split())
    at_end = off_zero[off_zero.place == "end"].groupby(["kind", "axiom"]).size()
    said = re.findall(rf"(\d+) without a dot have an interval that misses zero: {WHY}", text)
    if page == "report.md":  # the figure's text, a map for each ranker and axiom
        assert sorted(map(int, said)) == sorted(at_end)
