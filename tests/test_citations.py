"""Papers are linked by DOI, all stand on one page, and what a docstring cites is there."""

import re
from pathlib import Path

from mechir_edu.perturb.axioms.registry import AXIOMS

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "tutorials/src").glob("*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *SOURCES]
TEXTS = {path: path.read_text(encoding="utf-8") for path in PAGES}
MODULES = sorted((ROOT / "mechir_edu").rglob("*.py"))
CODE = {path: path.read_text(encoding="utf-8") for path in MODULES}
PAPERS = TEXTS[ROOT / "docs/papers.md"]
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


# --- one list of papers ---------------------------------------------------------------------------


def cited(text):
    """DOIs that a text names, in links, as ``doi:...`` or as ``arXiv:...``."""
    arxiv = {f"10.48550/arXiv.{number}" for number in re.findall(r"arXiv:(\d{4}\.\d{5})\b", text)}
    dois = re.findall(r"\b(10\.\d{4,9}/[^\s\]\)\"'<>`|,;]+)", text)
    return arxiv | {doi.rstrip(".") for doi in dois}


def test_every_doi_of_pages_notebooks_and_docstrings_is_on_the_page_of_papers():
    listed = cited(PAPERS)
    for path, text in (TEXTS | CODE).items():
        assert cited(text) <= listed, path.name
    assert len(set().union(*map(cited, CODE.values()))) > 10


def test_a_docstring_gives_arxivs_numbers_in_their_one_form():
    odd = r"(?i)arxiv(?!:\d{4}\.\d{5}\b)[ :./]*\d{4}|doi(?:\.org)?[ :/]+(?!10\.\d{4,9}/)\d|https?://(?:dx\.)?doi"
    assert {path.name: re.findall(odd, text) for path, text in CODE.items()} == {
        path.name: [] for path in MODULES
    }


def test_every_author_that_a_docstring_names_with_a_year_is_on_the_page_of_papers():
    found = set()
    for text in CODE.values():
        words = " ".join(text.split())
        found |= set(re.findall(r"([A-Z][\w-]+) et al\.", words))
        found |= set(re.findall(r"([A-Z][\w-]+)(?:'s)? \((?:19|20)\d\d\)", words))
    assert found >= {"Wang", "Fieller", "Wilson", "Yekutieli"}
    assert {name for name in found if not re.search(rf"\b{name}\b", PAPERS)} == set()


def test_every_paper_of_the_page_is_cited_somewhere():
    elsewhere = " ".join(text for path, text in (TEXTS | CODE).items() if path.name != "papers.md")
    named = cited(elsewhere)
    rows = re.findall(r"(?m)^\| (?!authors|---)([^|]+) \| \*([^|]+)\* \| [^|]+ \| (.+) \|$", PAPERS)
    assert len(rows) > 40
    for authors, title, link in rows:
        first = re.match(r"[\w-]+", authors)[0]
        assert cited(link) & named or re.search(rf"\b{first}\b", elsewhere), title
