"""Link the words that a notebook sets in bold to their entries in the glossary.

A term stands in bold where it is defined. Its first appearance in bold becomes a link, in the built
notebooks alone; sources stay as they are read.
"""

import re
from pathlib import Path

from nbformat import NotebookNode

from notebooks.sources import ROOT

_PAGE = "docs/glossary.md"
# Code, or what a link says, in which nothing is replaced; or words in bold.
_BOLD = re.compile(r"(?s:```.*?```)|`[^`\n]+`|(?s:\[[^\]]*\]\()|\*\*([^*]+?)\*\*")


def entries(root: Path = ROOT) -> dict[str, str]:
    """Terms of the glossary, in small letters, with the anchor of their entry."""
    page = root / _PAGE
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    return {
        term.lower(): anchor_of(title)
        for title in re.findall(r"(?m)^### (.+)$", text)
        for term in title.split(", ")
    }


def anchor_of(title: str) -> str:
    """Anchor that a page gives a title: GitHub's and Sphinx's are alike."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def link_terms(cells: list[NotebookNode], *, root: Path = ROOT) -> None:
    """Link each term's first appearance in bold, in place; also where it is in the plural."""
    left = entries(root)

    def linked(match: re.Match) -> str:
        words = " ".join((match[1] or "").lower().split())
        term = next((term for term in (words, words.removesuffix("s")) if term in left), None)
        if term is None:
            return match[0]
        return f"[{match[0]}](../{_PAGE}#{left.pop(term)})"

    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = _BOLD.sub(linked, cell.source)
