"""The glossary can be searched by eye: in alphabetical order, each term once."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs/glossary.md"
ENTRIES = re.findall(r"(?m)^\*\*(.+?)\*\*", PAGE.read_text(encoding="utf-8"))


def test_entries_are_in_alphabetical_order():
    assert sorted(ENTRIES, key=str.casefold) == ENTRIES


def test_no_term_is_explained_twice():
    terms = [term for entry in ENTRIES for term in entry.split(", ")]
    assert len(terms) > 40
    assert len(set(terms)) == len(terms)
