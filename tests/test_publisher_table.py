"""The page that compares scores with the publisher's library says what a run of it finds."""

import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("sentence_transformers")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import publisher_table as table  # noqa: E402

# Every family in today's form, with all poolings; every form of one family.
NOW = (table.BARE, table.NOW)
PART = [row for row in table.rows() if (row.kind, row.form) == NOW or row.family == "roberta"]


def test_the_page_has_exactly_these_rows_and_all_differences_are_small():
    lines = re.findall(r"^\| (.*) \| ([-\d.e+]+) \|$", table.PAGE.read_text(), flags=re.M)
    assert [row for row, _ in lines] == [" | ".join(row) for row in table.rows()]
    assert all(float(value) < table.BOUND for _, value in lines)


def test_the_rows_hold_every_family_pooling_and_kind():
    assert {row.family for row in table.rows()} == set(table.FAMILIES)
    assert {row.pooling for row in table.rows() if row.kind == table.BARE} == set(table.POOLING)
    assert len(set(table.rows())) == len(table.rows())


def test_scores_equal_the_publishers_library():
    differences = table.run(PART)
    assert list(differences) == PART
    assert {row: value for row, value in differences.items() if not value < table.BOUND} == {}
