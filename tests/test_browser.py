"""What a reader does: open a notebook in JupyterLab, run it, and use the panels by keyboard.

Screenshots are kept in ``test-artefacts/``, or where ``BROWSER_ARTEFACTS`` says.
"""

import shutil

import browser_lab as lab
import nbformat
import pytest

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        lab.CHROMIUM is None,
        reason="a real browser was NOT TESTED: there is no Chromium here; install the package "
        "chromium, as .ci/run does",
    ),
]

PANELS = {
    "pair": "me.widgets.explore_pair(ranker, pairs, collection=collection)",
    "heads": "me.widgets.explore_heads(results)",
    "attention": "me.widgets.explore_attention(ranker, pairs)",
    "patch": "me.widgets.explore_patch(ranker, pairs)",
    "intervention": "me.widgets.explore_intervention(ranker, collection)",
    "circuit": "me.widgets.explore_circuit(circuits)",
}
SETUP = """\
from dataclasses import replace
import numpy as np
import mechir_edu as me
ranker, collection = me.Cat("planted"), me.load_collection("embedded")
pairs = me.make_pairs(collection, "TFC1", n=8)
others = me.make_pairs(collection, "TDC", n=8, seed=1)
results = {
    "TFC1": me.patch(ranker, pairs, progress=False),
    "TDC": me.patch(ranker, others, progress=False),
}
# As many heads as most rankers have, for the width of a map.
shares = np.random.default_rng(0).normal(0, 0.2, (8, 12, 1))
first = results["TFC1"]
scores = first.recipient + shares * first.score_change()
results = {"8 by 12": replace(first, scores=scores.astype(np.float32))} | results
heads = sorted(ranker.planted_heads)
free = [(0, head) for head in range(4) if (0, head) not in heads]
options = {"sizes": [0, 1, 3, 16], "n_random": 0, "progress": False}
circuits = {
    "planted": me.circuit(ranker, pairs, order=heads, **options),
    "others first": me.circuit(ranker, pairs, order=[*free, *heads], **options),
}"""
TUTORIALS = sorted(lab.ROOT.glob("tutorials/0[04]_*.ipynb"))
# test_notebooks runs their code each time, 00's in a kernel, and all panels are driven above; 04
# takes minutes.
QUICK, LONG = TUTORIALS


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory):
    """A copy of the tutorials, and a notebook that has every panel."""
    folder = tmp_path_factory.mktemp("notebooks")
    for file in TUTORIALS:
        shutil.copyfile(file, folder / file.name)
    cells = [nbformat.v4.new_code_cell(source) for source in (SETUP, *PANELS.values())]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / "panels.ipynb")
    return folder


@pytest.fixture
def address(notebooks, tmp_path):
    # A server for each test, so that no notebook is still open and no kernel keeps its memory.
    with lab.jupyterlab(notebooks, tmp_path) as address:
        yield address


@pytest.fixture
def browser():
    with lab.browser_page() as page_and_complaints:
        yield page_and_complaints


def use_by_keyboard(panel, name):
    """Move every control of a panel; names those that brought no new picture."""
    lab.screenshot(panel.page, panel.element, name)
    dead = []
    for control in filter(panel.is_operable, panel.controls):
        if not panel.move(control):
            dead.append((name, control.get_attribute("class"), panel.message()))
    lab.screenshot(panel.page, panel.element, f"{name}-moved")
    return dead


@pytest.mark.long
def test_every_panel_fits_can_be_read_and_draws_for_every_control_moved_by_keyboard(
    address, browser
):
    page, complaints = browser
    lab.run_all(page, address.format("panels.ipynb"))
    panels = lab.panels(page)
    assert lab.error_outputs(page) == []
    assert len(panels) == len(PANELS)
    for name, panel in zip(PANELS, panels, strict=True):
        assert panel.waits_for_new_picture("", seconds=60)
        assert use_by_keyboard(panel, f"explore_{name}") == []
    of = dict(zip(PANELS, panels, strict=True))
    assert click_on_a_head(of["heads"])
    empty_the_text(of["pair"])  # so that an error is among the texts
    for scheme in ("light", "dark"):
        lab.set_theme(page, scheme)
        lab.screenshot(page, of["pair"].element, f"explore_pair-error-{scheme}")
        assert lab.faint_texts(page) == []
    page.evaluate("document.querySelector('[role=alert]').style.color = '#c96a6a'")
    (faint,) = lab.faint_texts(page)
    assert "the text is empty" in faint
    page.keyboard.press("Control+b")  # the list of files makes room
    for width in (1280, 800, 640):  # 640: a window of 1280 enlarged to 200 %
        assert lab.crowded_parts(page, width) == []
    assert complaints == []


def empty_the_text(panel):
    panel.write(" ", at="Control+A")
    for key in ("Tab", "Enter"):
        panel.page.keyboard.press(key)
    panel.element.locator("[role='alert']").wait_for()


def click_on_a_head(panel):
    """Click on the first cell of the map that is not chosen; says whether a new picture came."""
    old = panel.picture()
    panel.element.locator(".mechir-grid button:not(.mechir-chosen)").first.click()
    return panel.waits_for_new_picture(old)


@pytest.mark.parametrize(
    "tutorial",
    [pytest.param(QUICK, marks=pytest.mark.long), pytest.param(LONG, marks=pytest.mark.slow)],
    ids=lambda file: file.stem,
)
def test_a_tutorial_runs_untouched_and_its_panels_follow_the_keyboard(address, browser, tutorial):
    page, complaints = browser
    lab.run_all(page, address.format(tutorial.name))
    assert lab.error_outputs(page) == []
    panels = lab.panels(page)
    assert panels
    for number, panel in enumerate(panels):
        assert panel.waits_for_new_picture("", seconds=60)
        assert use_by_keyboard(panel, f"{tutorial.stem}-panel-{number}") == []
    lab.screenshot(page, page.locator(".jp-NotebookPanel"), tutorial.stem)
    assert complaints == []
