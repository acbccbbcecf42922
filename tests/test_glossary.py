"""The glossary is in alphabetical order, has each term once, and notebooks link to it."""

import re
from pathlib import Path

from nbformat.v4 import new_code_cell, new_markdown_cell
from notebooks.glossary import entries, link_terms

PAGE = Path(__file__).resolve().parents[1] / "docs/glossary.md"
ENTRIES = re.findall(r"(?m)^### (.+)$", PAGE.read_text(encoding="utf-8"))


def test_entries_are_in_alphabetical_order():
    assert sorted(ENTRIES, key=str.casefold) == ENTRIES


def test_no_term_is_explained_twice():
    terms = [term for entry in ENTRIES for term in entry.split(", ")]
    assert len(terms) > 40
    assert len(set(terms)) == len(terms)


def test_a_terms_first_appearance_in_bold_becomes_a_link():
    first = new_markdown_cell("**Heads**, **ratio of\nmeans**")
    cells = [first, new_code_cell("**z**"), new_markdown_cell("**head**")]
    link_terms(cells)
    assert [cell.source for cell in cells] == [
        "[**Heads**](../docs/glossary.md#head), "
        "[**ratio of\nmeans**](../docs/glossary.md#ratio-of-means-mean-of-ratios)",
        "**z**",
        "**head**",
    ]


def test_code_and_links_stay_as_they_are():
    cell = new_markdown_cell("`f(**head)`, [a **head**](page.md), **unknown**, **head**")
    link_terms([cell])
    assert cell.source == (
        "`f(**head)`, [a **head**](page.md), **unknown**, [**head**](../docs/glossary.md#head)"
    )


def test_the_committed_notebooks_link_to_entries_that_there_are():
    anchors, linked = set(entries().values()), set()
    for notebook in PAGE.parents[1].glob("tutorials/**/*.ipynb"):
        text = notebook.read_text(encoding="utf-8")
        places = set(re.findall(r"docs/glossary\.md#([\w-]+)", text))
        assert places <= anchors, notebook.name
        linked |= places
    assert len(linked) > 25
