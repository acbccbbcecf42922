"""The site is whole, needs no other host, and its recipes are true."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import browser_lab as lab
import matplotlib.pyplot as plt
import pytest
from website.pages import API, contents, places, reference, relinked

import mechir_edu as me

ROOT = Path(__file__).resolve().parents[1]


def test_every_recipe_runs_after_those_above_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    names, figures = {}, plt.get_fignums()
    for number, block in enumerate(re.findall(r"(?s)```python\n(.*?)```", text)):
        exec(compile(block, f"recipe {number}", "exec"), names)
    assert capsys.readouterr().out == "[1.] [1.]\n"
    assert (tmp_path / "heads.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "heads.tex").read_text().count(r" \\") == 5
    assert (names["again"].scores == names["result"].scores).all()
    assert plt.get_fignums() == figures


def test_links_follow_pages_to_their_place_on_the_site():
    placed = places()
    notebook = "tutorials/solutions/03_patch_by_hand.ipynb"
    links = {
        "[a](../../docs/axioms.md)": "[a](../axioms.md)",
        "[a](../04_tfc1_versus_tdc.ipynb)": "[a](04_tfc1_versus_tdc.ipynb)",
        "[a](../../README.md#notebooks)": "[a](../index.md)",
        "![a](../../docs/figure2.png)": "![a](../figure2.png)",
        "[code](../../mechir_edu/models.py)": "code",
        "`[a](nowhere.md)`": "`[a](nowhere.md)`",
    }
    assert {text: relinked(text, notebook, placed) for text in links} == links


def test_a_link_to_nothing_is_refused():
    with pytest.raises(ValueError, match=r"docs/axioms.md links to nowhere.md, and there is no"):
        relinked("[a](nowhere.md)", "docs/axioms.md", places())


def test_every_page_and_every_notebook_is_on_the_front_page_once():
    listed = re.findall(r"(?m)^[\w./]+$", contents(places()))
    pages = {name.rsplit(".", 1)[0] for name in places().values() if re.search(r"md$|nb$", name)}
    assert sorted(listed) == sorted(pages - {"index"} | {f"api/{module}" for module in API})


def test_the_reference_names_all_that_is_public():
    for module in (me, me.plots, me.stats, me.widgets, me.checks):
        text = reference(module.__name__)
        missing = {name for name in module.__all__ if f".{name}\n" not in text}
        assert missing <= {"checks", "plots", "stats", "tutorial", "widgets"}


class Page(HTMLParser):
    """What a page loads, where it links to, and its anchors."""

    def __init__(self, path):
        super().__init__()
        self.loads, self.links, self.anchors = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Sort what a tag refers to."""
        attrs = dict(attrs)
        self.anchors |= {attrs["id"]} if attrs.get("id") else set()
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
        elif tag in ("script", "img", "iframe", "source") and attrs.get("src"):
            self.loads.append(attrs["src"])
        elif tag == "link" and "canonical" not in attrs.get("rel", ""):
            self.loads.append(attrs["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site and its pages, parsed."""
    folder = tmp_path_factory.mktemp("site")
    run = [sys.executable, "-m", "website", folder]
    done = subprocess.run(run, cwd=ROOT / "tools", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, {path: Page(path) for path in folder.rglob("*.html")}


@pytest.mark.slow
def test_the_site_loads_nothing_from_another_host(site):
    folder, pages = site
    loads = {load for page in pages.values() for load in page.loads}
    assert [load for load in loads if re.match(r"(?!data:)[a-z]+:|//", load)] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\s]*", styles) == []


@pytest.mark.slow
def test_every_link_and_anchor_of_the_site_leads_somewhere(site):
    _, pages = site
    broken = []
    for path, page in pages.items():
        for link in page.links + page.loads:
            if re.match(r"[a-z]+:", link):
                continue
            file, _, anchor = link.partition("#")
            target = (path.parent / unquote(file.partition("?")[0])).resolve() if file else path
            known = pages[target].anchors if target in pages else {anchor}
            if not target.is_file() or (anchor and unquote(anchor) not in known):
                broken.append(f"{path.name}: {link}")
    assert broken == []


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(lab.CHROMIUM is None, reason="the site was NOT OPENED: no Chromium here")
def test_the_site_opens_from_a_folder_and_search_finds_recovery(site):
    folder, _ = site
    with lab.browser_page() as (page, complaints):
        page.context.set_offline(True)
        page.goto((folder / "search.html").as_uri() + "?q=recovery")
        page.wait_for_selector("#search-results li a")
        assert page.locator("#search-results li").count() > 5
        page.goto((folder / "notebooks/03_patch_by_hand.html").as_uri())
        assert page.locator("math").first.bounding_box()["height"] > 20
        assert page.locator("img").first.evaluate("image => image.naturalWidth") > 100
        hint = page.locator("article details").first
        hint.locator("summary").click()
        assert hint.evaluate("element => element.open")
        assert complaints == []
