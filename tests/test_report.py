"""report.html: the same numbers as the tables, on one page that needs no other host."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import browser_lab as lab
import numpy as np
import pytest
from colours import contrast
from matplotlib.colors import to_rgb

import mechir_edu as me
from mechir_edu.cli import report as module
from mechir_edu.cli.main import main
from mechir_edu.cli.patch import write_report
from mechir_edu.cli.report import LARGEST, Part, report
from mechir_edu.patching.result import PatchingResult

TEXT = "Brine keeps a surface wet when it would freeze."


def result(shape=(3, 4), n_pairs=12, axes=("layer", "head"), term="salt", **options):
    """Scores at random; each second pair is of another query."""
    draw = np.random.default_rng(0)
    recipient = draw.normal(size=n_pairs).astype(np.float32)
    donor = recipient + 1 + draw.random(n_pairs).astype(np.float32)
    scores = recipient + draw.normal(0.2, 0.3, (*shape, n_pairs)).astype(np.float32)
    pairs = tuple(
        me.Pair(f"q{i // 2}", f"d{i}", f"why salt {i}", TEXT, f"{TEXT} {term}", "TFC1", 1, i % 4)
        for i in range(n_pairs)
    )
    told = {"site": "head", "method": "exact", "filler": "a", "provenance": {}, "skipped": ()}
    told |= {"direction": "perturbed_to_baseline"} | options
    return PatchingResult(scores, (*axes, "pair"), recipient, donor, pairs=pairs, **told)


def page_of(made, summary="in words"):
    return report("Test", summary, [Part("Cat, TFC1", made, made.recovery(n_boot=100))])


class Page(HTMLParser):
    """Cells of the map, rows of the table, what is loaded, and the data."""

    def __init__(self, html):
        super().__init__()
        self.cells, self.values, self.loads, self.tags = {}, [], [], []
        self.feed(html)
        data = html.split('id="data">')[1].split("</script>")[0]
        (self.data,) = json.loads(data)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.loads += [attrs[name] for name in ("src", "href") if name in attrs]
        if "data-cell" in attrs:
            self.cells[int(attrs["data-cell"])] = attrs["aria-label"]
        if "data-value" in attrs:
            self.values.append(float(attrs["data-value"]))


def test_every_cell_says_its_numbers_and_the_table_has_them_all():
    made = result()
    page, recovery = Page(page_of(made)), made.recovery(n_boot=100)
    assert len(page.cells) == 12
    told = page.cells[5].replace("−", "-")
    assert told.startswith(f"layer 1, head 1: recovery {recovery.value[1, 1]:.3f}, interval ")
    assert ("significant" in told) == bool(recovery.significant()[1, 1])
    table = np.array(page.values).reshape(12, 4)
    expected = [recovery.value, recovery.low, recovery.high, recovery.q]
    np.testing.assert_allclose(table.T, [values.ravel() for values in expected], rtol=1e-4)
    assert page.loads == []


def test_a_cells_list_is_the_pairs_that_it_moved_most():
    made = result(n_pairs=40)
    data = Page(page_of(made)).data
    effect = made.effect()[2, 3]
    listed = data["cells"][11]
    assert len(listed) == 20
    order = np.argsort(-abs(effect))[:20]
    np.testing.assert_allclose([moved for _, moved in listed], effect[order], atol=1e-4)
    queries = [data["pairs"][number]["query"] for number, _ in listed]
    assert queries == [made.pairs[i].query for i in order]
    shown = data["pairs"][listed[0][0]]
    assert (shown["old"], shown["new"], shown["left"]) == ("", " salt", TEXT)


def test_a_text_cannot_become_a_part_of_the_page():
    page = page_of(result(term="</script><script>alert(1)</script>"), summary="<b>bold</b>")
    assert "<script>alert" not in page
    assert "<b>bold" not in page
    assert "</script><script>alert(1)</script>" in Page(page).data["pairs"][0]["new"]


@pytest.mark.parametrize(
    ("axes", "shape", "options", "named"),
    [
        (("layer",), (3,), {"site": "resid_pre"}, "layer 2: recovery"),
        (("layer", "role"), (3, 8), {"site": "resid_pre"}, "layer 2, role query: recovery"),
        (("layer", "head", "role"), (2, 2, 8), {}, "layer 1, head 1 query: recovery"),
        (("cell",), (2,), {"provenance": {"heads": [[1, 2], [0, 3]]}}, "cell, 1.2: recovery"),
        (("set",), (1,), {}, "set, 0: recovery"),
    ],
)
def test_maps_of_other_sites_name_their_cells(axes, shape, options, named):
    page = Page(page_of(result(shape, axes=axes, **options)))
    assert len(page.cells) == np.prod(shape)
    assert any(told.startswith(named) for told in page.cells.values())


def test_every_number_of_a_map_can_be_read_on_its_colour_in_both_themes():
    made = result((10, 20))
    shares = np.linspace(-1, 1, 200, dtype=np.float32).reshape(10, 20, 1)
    page = page_of(replace(made, scores=made.recipient + shares * made.score_change()))
    cells = re.findall(r'class="(plus|minus)( strong)?" [^>]*--share:([\d.]+)', page)
    themes = re.findall(r"(?s):root \{ (--paper.*?) \}", page)
    assert (len(cells), len(themes)) == (200, 2)
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#\w+)", theme))
        for sign, strong, share in cells:
            end, paper = (np.array(to_rgb(colours[name])) for name in (sign, "paper"))
            ground = float(share) * end + (1 - float(share)) * paper
            assert contrast(ground, colours["strong" if strong else "weak"]) >= 4.5


def test_one_pair_has_no_interval_and_says_so():
    page = page_of(result(n_pairs=1))
    assert "interval" not in Page(page).cells[0]
    assert "one pair" in page


def test_many_pairs_of_a_large_ranker_stay_below_three_megabytes():
    made = result((24, 16), n_pairs=3000, term="x " * 400)
    page = report("Large", "", [Part("Large", made, made.recovery(n_boot=100))])
    assert 1_000_000 < len(page.encode()) < LARGEST == 3_000_000
    assert "3000 pairs" in page


def test_what_cannot_be_small_enough_is_refused(monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 1000)
    with pytest.raises(ValueError, match="less than 1,000 bytes, got"):
        page_of(result())


# --- from the command line ------------------------------------------------------------------------

SMALL = ["--pairs", "8", "--axiom", "TFC1"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patch")
    assert main(["patch", "--out", str(folder), "--kind", "cat", "--model", "planted", *SMALL]) == 0
    return folder / "report.html"


def test_the_command_writes_the_page_of_what_its_folder_holds(written):
    made = PatchingResult.load(written.parent)
    page = Page(written.read_text(encoding="utf-8"))
    values = np.array(page.values).reshape(16, -1)[:, 0]
    np.testing.assert_allclose(values, made.recovery().value.ravel(), rtol=1e-4, atol=1e-6)
    assert page.data["all"] == len(made.pairs)


def folder_of(made, path):
    """What `write_report` needs of a run's folder."""
    made.save(path)
    manifest = SimpleNamespace(skipped=(), n_pairs=len(made.pairs))
    return SimpleNamespace(path=path, manifest=manifest, patched=lambda shard: made)


def test_a_run_by_position_has_no_map_and_the_command_says_why(tmp_path):
    positions = {"row_pair": np.arange(12), "row_pos": np.zeros(12, int)}
    made = replace(result(), axes=("layer", "head", "row"), row_role=np.zeros(12, int), **positions)
    told = write_report(folder_of(made, tmp_path / "run.npz"))
    assert told.startswith("No report.html: positions of different documents make no map")


def test_a_run_whose_scores_do_not_move_has_no_map_and_the_command_says_why(tmp_path):
    made = result(provenance={"made_of": {"axiom": "TFC1"}, "ranker": "Cat"})
    told = write_report(folder_of(replace(made, donor=made.recipient), tmp_path / "run.npz"))
    assert told.startswith("No report.html: recovery needs donor and recipient scores that differ")


# --- in a browser ---------------------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.skipif(lab.CHROMIUM is None, reason="the report was NOT OPENED: no Chromium here")
def test_numbers_pairs_and_sorting_work_by_keyboard_from_a_disk(written):
    with lab.browser_page() as (page, complaints):
        page.context.set_offline(True)
        page.goto(written.as_uri())
        page.locator(".map button[tabindex='0']").focus()
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowRight")
        assert page.locator(".told").inner_text().startswith("layer 1, head 1: recovery")
        page.keyboard.press("Enter")
        rows = page.locator(".pairs tbody tr")
        assert rows.count() == 8
        assert page.locator(".pairs ins").first.inner_text().strip()
        page.locator(".pairs th button", has_text="score change").press("Enter")
        changes = page.locator(".pairs tbody tr td:nth-child(2)").all_inner_texts()
        assert changes == sorted(changes, key=lambda c: -float(c.replace("−", "-")))
        colours = []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert colours == ["rgb(255, 255, 255)", "rgb(31, 35, 40)"]
        assert complaints == []
        assert not re.search(r"(?:src|href)=[\"'](?!data:)", page.content())
