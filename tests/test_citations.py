"""Papers are linked by DOI, which says the same as its link, and every axiom's source has one."""

import re
from pathlib import Path

from mechir_edu.perturb.axioms.registry import AXIOMS

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "tutorials/src").glob("*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *SOURCES]
TEXTS = {path: path.read_text(encoding="utf-8") for path in PAGES}
# What has been published on the web alone.
WITHOUT_DOI = ("transformer-circuits.pub", "www.stat.columbia.edu", "www.neelnanda.io")


def test_no_paper_is_linked_but_by_its_doi():
    links = r"https?://(?:arxiv\.org|dl\.acm\.org|link\.springer\.com|aclanthology\.org)\S*"
    assert {path.name: re.findall(links, text) for path, text in TEXTS.items()} == {
        path.name: [] for path in PAGES
    }


def test_what_a_link_says_is_where_it_leads():
    seen = 0
    for path, text in TEXTS.items():
        for words, doi in re.findall(r"\[([^\]]+)\]\(https://doi\.org/([^)\s]+)\)", text):
            assert words in (f"doi:{doi}", doi.replace("10.48550/arXiv.", "arXiv:")), path.name
            seen += 1
    assert seen > 30


def test_every_item_of_further_reading_leads_to_a_doi_or_to_a_page_of_ours():
    for path in SOURCES:
        text = TEXTS[path].split("## Further reading")[1]
        links = re.findall(r"https?://([^/\s]+)", text)
        assert set(links) <= {"doi.org", *WITHOUT_DOI}, path.name


def test_the_source_of_every_axiom_is_listed_with_its_doi():
    page = " ".join(TEXTS[ROOT / "docs/axioms.md"].split())
    for axiom in AXIOMS.values():
        for venue in re.findall(r"(?:SIGIR|CIKM|ECIR|ACM TOIS 29\(2\),) \d{4}", axiom.source):
            assert re.search(rf"{re.escape(venue)}, \[doi:", page), (axiom.name, venue)
