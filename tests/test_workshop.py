"""The workshop kit shows what the committed notebooks hold, and its pages need no other host."""

import ast
import dataclasses
import inspect
import re
from html.parser import HTMLParser
from pathlib import Path

import browser_lab as lab
import pytest
from notebooks.costs import load_costs
from notebooks.sources import contents, read_source
from workshop import kit
from workshop.pages import html_of
from workshop.printing import print_pdf
from workshop.reading import names, prediction, predictions
from workshop.sheets import answer_key, answer_sheet, cheat_sheet, handout
from workshop.slides import DECKS, deck, slides

import mechir_edu as me

ROOT = Path(__file__).resolve().parents[1]
INSTRUCTORS = (ROOT / "docs/instructors.md").read_text(encoding="utf-8")


class Page(HTMLParser):
    """What a page loads, and the text of its pictures."""

    def __init__(self, html):
        super().__init__()
        self.loads, self.alts = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag in ("img", "script", "iframe", "link", "source"):
            self.loads += [attrs[name] for name in ("src", "href") if name in attrs]
        if tag == "img":
            self.alts.append(attrs["alt"])


@pytest.fixture(scope="module")
def pages():
    return {name: make() for name, (_, make, _) in kit.PAGES.items()}


def test_every_page_is_one_file_and_its_pictures_have_texts(pages):
    for name, html in pages.items():
        page = Page(html)
        assert [load[:40] for load in page.loads if not load.startswith("data:")] == [], name
        assert all(len(alt.split()) > 8 for alt in page.alts), name
        assert not re.search(r"@import|url\(|fetch\(|XMLHttp", html), name
        assert len(html) < 3_000_000


def test_the_kit_says_that_it_printed_nothing_where_there_is_no_browser(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(kit, "find_browser", lambda: None)
    monkeypatch.setattr(kit, "PAGES", {"handout": kit.PAGES["handout"]})
    assert {path.name for path in kit.write_kit(tmp_path)} == {"handout.html", "index.html"}
    assert "NO PDF WAS PRINTED" in capsys.readouterr().err
    assert "handout.pdf" not in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_the_instructors_page_points_to_each_page_of_the_kit():
    for name, (_, _, is_paper) in kit.PAGES.items():
        forms = ("html", "pdf") if is_paper else ("html",)
        assert [form for form in forms if f"`workshop/{name}.{form}`" not in INSTRUCTORS] == []


def plan_of(heading):
    return INSTRUCTORS.split(f"## {heading}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(
    ("plan", "minutes"), [("Ninety minutes", 90), ("Half a day", 210), ("A lecture", 45)]
)
def test_the_minutes_of_a_plan_follow_each_other_and_add_up(plan, minutes):
    text = plan_of(plan)
    rows = re.findall(r"(?m)^\| (\d):(\d\d) \| (\d+) \|", text)
    at = 0
    for hours, start, lasts in rows:
        assert 60 * int(hours) + int(start) == at
        at += int(lasts)
    assert at == minutes


def test_the_lectures_plan_takes_its_slides_in_order_and_leaves_none_out():
    rows = re.findall(r"(?m)^\| \d:\d\d .*\| (\d+)(?: to (\d+))? \|$", plan_of("A lecture"))
    planned = [n for first, last in rows for n in range(int(first), int(last or first) + 1)]
    assert planned == list(range(1, deck("lecture").count('<section class="slide"') + 1))


# --- slides -------------------------------------------------------------------------------------


def test_each_deck_has_its_slides_and_every_slide_notes():
    made = slides()
    assert all({name} <= set(DECKS) for decks, _, _ in made for name in decks)
    for name in DECKS:
        html = deck(name)
        count = sum(name in decks for decks, _, _ in made)
        assert 15 <= count == html.count('<section class="slide"') == html.count("<aside")
        assert ("your-turn" in html.split("<body")[1]) == (name != "lecture")


def test_a_vote_shows_the_notebooks_question_and_its_notes_the_answer():
    asked = prediction("04", "In which ranker do single heads carry more")
    html = html_of("<!-- predict 04: In which ranker do single heads carry more -->")
    assert html.count("<li>") == len(asked.letters) == 3
    told = html_of("<!-- answer 04: In which ranker do single heads carry more -->")
    assert told == html_of(asked.answer) != ""


@pytest.mark.parametrize(
    ("directive", "message"),
    [
        ("<!-- predict 04: Who was it -->", "one prediction of 04 that begins 'Who was it', got 0"),
        ("<!-- figure 04: no_such_code -->", "one cell of 04 with a figure and the code"),
        ("<!-- drawing 03: import -->", "one cell of 03 with a drawing"),
        ("<!-- picture 03: import -->", "needed figure, drawing, predict or answer"),
        ("<!-- figure 99: plot -->", "try the number alone"),
    ],
)
def test_a_directive_that_finds_nothing_is_refused(directive, message):
    with pytest.raises(ValueError, match=message):
        html_of(directive)


# --- sheets -------------------------------------------------------------------------------------


def asked_in_sources():
    sources = {name: read_source(name).cells for name in contents() if name in names()}
    return {
        name: sum(cell.source.count("**Predict") for cell in cells if cell.cell_type == "markdown")
        for name, cells in sources.items()
    }


def test_every_prediction_of_the_notebooks_is_on_the_answer_sheet():
    counts = asked_in_sources()
    assert {name: len(predictions(name)) for name in names()} == counts
    assert answer_sheet().count('class="question"') == sum(counts.values()) > 30


def test_the_key_names_the_right_letter_and_the_seconds_of_every_cell():
    key = answer_key()
    swapped = prediction("00", "We swap the roles")
    assert swapped.right == ("a",)
    assert prediction("01", "Where does the passage's word *roads*").right == ("b", "e")
    assert '<span class="right">(a)</span>' in key
    cells = sum(len(cost["seconds"]) for cost in load_costs().values())
    assert key.count("</code></td><td>") == cells
    assert "Dot +0." in key  # what 00's first prediction prints


def test_an_answer_without_a_letter_is_refused():
    from workshop.reading import _prediction

    with pytest.raises(ValueError, match="x-01: the answer's first sentence needs one of"):
        _prediction(
            "x-01",
            "**Predict.** Is it (a) this, or (b) that?",
            "<details><summary>What we see</summary>\n\nNone. It is (a).\n\n</details>",
            [],
        )


# --- cheat sheet --------------------------------------------------------------------------------

KINDS = {
    "ranker": me.Cat,
    "result": me.PatchingResult,
    "recovery": me.stats.Recovery,
}


def named(node):
    """What a dotted name of the cheat sheet stands for; None for a value of the reader's."""
    if isinstance(node, ast.Name):
        return me if node.id == "me" else KINDS.get(node.id)
    if not isinstance(node, ast.Attribute) or (owner := named(node.value)) is None:
        return None
    fields = {f.name for f in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else ()
    if node.attr in fields or node.attr in INSTANCE.get(owner, ()):
        return None
    return getattr(owner, node.attr)  # AttributeError: the sheet names what there is not


# Set when a ranker is loaded.
INSTANCE = {me.Cat: ("tokenizer",)}


def test_every_name_and_argument_of_the_cheat_sheet_exists():
    text = (ROOT / "docs/cheat_sheet.md").read_text(encoding="utf-8")
    checked = set()
    for block in re.findall(r"(?s)```python\n(.*?)```", text):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute):
                named(node)
            if isinstance(node, ast.Call) and (function := named(node.func)) is not None:
                is_method = isinstance(node.func.value, ast.Name) and node.func.value.id in KINDS
                values = [None] * (len(node.args) + (is_method and inspect.isfunction(function)))
                keywords = {word.arg: None for word in node.keywords if word.arg}
                inspect.signature(function).bind(*values, **keywords)
                checked.add(ast.unparse(node.func))
    assert len(checked) > 25
    assert {"me.patch", "me.make_pairs", "ranker.score", "result.recovery"} <= checked


def test_no_line_of_the_cheat_sheet_is_wrapped_in_its_column():
    text = (ROOT / "docs/cheat_sheet.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?s)```\w*\n(.*?)```", text)
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 80


def test_the_cheat_sheet_shows_every_command():
    from mechir_edu.cli.main import parser

    names = set(re.findall(r"mechir-edu (\w+)", cheat_sheet()))
    assert names == set(parser()._subparsers._group_actions[0].choices)


# --- in a browser -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["handout", "cheat_sheet"])
@pytest.mark.browser
@pytest.mark.skipif(lab.CHROMIUM is None, reason="nothing was PRINTED: no Chromium here")
def test_handout_and_cheat_sheet_are_one_page(tmp_path, name):
    make = {"handout": handout, "cheat_sheet": cheat_sheet}[name]
    (path := tmp_path / "sheet.html").write_text(make(), encoding="utf-8")
    pdf = print_pdf(path, lab.CHROMIUM).read_bytes()
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type ?/Page\b", pdf)) == 1


@pytest.mark.browser
@pytest.mark.skipif(lab.CHROMIUM is None, reason="the slides were NOT OPENED: no Chromium here")
def test_slides_go_on_by_keyboard_and_the_speakers_window_follows(tmp_path):
    (path := tmp_path / "ninety.html").write_text(deck("ninety"), encoding="utf-8")
    with lab.browser_page() as (page, complaints):
        page.context.set_offline(True)
        page.goto(path.as_uri())
        page.keyboard.press("ArrowRight")
        shown = page.locator(".slide.on")
        assert shown.count() == 1
        assert shown.locator("img").evaluate("image => image.naturalWidth") > 100
        assert not shown.locator(".notes").is_visible()
        with page.context.expect_page() as opened:
            page.keyboard.press("s")
        speaker = opened.value
        assert speaker.locator(".slide.on .notes").is_visible()
        speaker.keyboard.press("ArrowRight")
        page.wait_for_function("document.querySelector('.slide.on').id === '3'")
        page.keyboard.press("End")
        speaker.wait_for_function("document.querySelector('#next').textContent === 'the end'")
        assert complaints == []


@pytest.mark.browser
@pytest.mark.skipif(lab.CHROMIUM is None, reason="the slides were NOT OPENED: no Chromium here")
def test_every_slide_fits_its_screen_and_its_figure_fills_it(pages, tmp_path):
    measure = """() => slides.map((slide, i) => {
        show(i);
        const inside = e => e.getBoundingClientRect();
        const parts = [...slide.querySelectorAll(".content, .content *")];
        const over = parts.filter(e => inside(e).bottom > innerHeight
            || inside(e).right > innerWidth
            || (e.tagName === "PRE" && e.scrollWidth > e.clientWidth));
        const small = [...slide.querySelectorAll("img")].filter(
            e => inside(e).width < innerWidth / 3 || inside(e).height < innerHeight / 2);
        const isEmpty = slide.querySelector(".content").textContent.trim().length < 20
            && !slide.querySelector("img");
        return over.length || small.length || isEmpty ? slide.id : null;
    }).filter(Boolean)"""
    with lab.browser_page() as (page, complaints):
        for name in ("half_day", "lecture"):  # the shortest class has no slide of its own
            (path := tmp_path / f"{name}.html").write_text(pages[name], encoding="utf-8")
            page.goto(path.as_uri())
            for width, height in ((1024, 768), (1920, 1080)):
                page.set_viewport_size({"width": width, "height": height})
                assert page.evaluate(measure) == [], (name, width)
        assert complaints == []
