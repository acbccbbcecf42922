"""The panels, headless: set a control, look at the picture.

They run with the ipywidgets of this environment; the last test runs the first of them with Colab's.
"""

import functools
import html
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import ipywidgets
import numpy as np
import pytest
from colours import contrast
from few import few
from IPython.core.formatters import format_display_data

import mechir_edu as me

COLAB = "7.7.1"
OVERLAY = Path(sys.prefix) / f"ipywidgets-{COLAB}"
PANELS = ["pair", "heads", "attention", "patch", "intervention", "circuit"]


def png(panel):
    file = io.BytesIO()
    panel.figure().savefig(file, format="png", dpi=50)
    return file.getvalue()


def settings(control):
    """Other values than the one that a control has."""
    if isinstance(control, ipywidgets.Textarea):
        return [f"{control.value} hurricanes everywhere"]
    if isinstance(control, ipywidgets.IntSlider | ipywidgets.FloatSlider):
        return [control.max, control.min + control.step]
    options = [o[1] if isinstance(o, tuple) else o for o in control.options]
    return [option for option in options if option != control.value]


def click(panel, name="run"):
    panel.controls[name].click()


@pytest.fixture(scope="module")
def ranker(planted):
    return planted


@pytest.fixture(scope="module")
def pairs(collection):
    return me.make_pairs(collection, "TFC1", n=4)


@pytest.fixture(scope="module")
def results(ranker, collection, pairs):
    mixed = [*pairs, *me.make_pairs(collection, "TDC", n=4, seed=1)]
    few = me.make_pairs(collection, "TFC1-control", n=4, grades=[3, 0])
    return {
        name: me.patch(ranker, patched, progress=False)
        for name, patched in (("planted", mixed), ("control", few))
    }


@pytest.fixture(scope="module")
def circuits(ranker, pairs):
    options = {"sizes": [0, 1, 3, 16], "n_random": 0, "progress": False}
    heads = sorted(ranker.planted_heads)
    free = [(0, head) for head in range(4) if (0, head) not in heads]
    orders = {"planted": heads, "others first": [*free, *heads]}
    return {
        name: me.circuit(ranker, pairs, order=order, **options) for name, order in orders.items()
    }


@pytest.fixture(scope="module")
def make(ranker, collection, pairs, results, circuits):
    """Makes one of the six panels."""
    makers = {
        "pair": lambda: me.widgets.explore_pair(ranker, pairs, collection=collection),
        "heads": lambda: me.widgets.explore_heads(results),
        "attention": lambda: me.widgets.explore_attention(ranker, pairs),
        "patch": lambda: me.widgets.explore_patch(ranker, pairs),
        "intervention": lambda: me.widgets.explore_intervention(ranker, collection),
        "circuit": lambda: me.widgets.explore_circuit(circuits),
    }
    return lambda name: makers[name]()


@pytest.fixture(scope="module")
def made(make):
    """The panels as they are at first, for tests that leave them so."""
    return functools.cache(make)


# Every panel


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_starts_with_a_picture_and_its_words(made, name):
    panel = made(name)
    assert len(png(panel)) > 5_000
    assert len(panel.words) > 40
    assert "alert" not in panel.message


@pytest.mark.parametrize("name", PANELS)
def test_every_list_shows_what_is_chosen_at_first_and_when_it_is_chosen_again(make, name):
    lists = [c for c in make(name).controls.values() if isinstance(c, ipywidgets.Dropdown)]
    for control in lists:
        assert control.index == 0, control.description
        control.index = len(control.options) - 1
        control.index = 0
        assert control.index == 0, control.description


def answers(panel, control, value, before):
    """Whether a control's value brings another picture, or a message."""
    control.value = value
    return bool(panel.message) or png(panel) != before


@pytest.mark.parametrize("name", PANELS)
def test_every_control_changes_the_picture_or_says_why_not(make, name):
    panel = make(name)
    for control in panel.controls.values():
        if isinstance(control, ipywidgets.Button):
            continue
        before, start = png(panel), control.value
        values = settings(control)[:3]
        assert any(answers(panel, control, v, before) for v in values), control.description
        control.value = start


@pytest.mark.parametrize("name", PANELS)
def test_every_control_has_a_label_and_a_tooltip_and_waits_until_it_rests(made, name):
    for control in made(name).controls.values():
        tooltip = control.tooltip if control.has_trait("tooltip") else control.description_tooltip
        assert control.description
        assert tooltip
        assert not getattr(control, "continuous_update", False)


@pytest.mark.parametrize("name", PANELS)
def test_in_a_notebooks_file_a_panel_is_a_view_and_a_sentence(made, name):
    panel = made(name)
    data, _ = format_display_data(panel)
    assert data["text/plain"].startswith(f"A panel of explore_{name}")
    view = data["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] == panel.widget.model_id


@pytest.mark.parametrize("name", PANELS)
def test_every_picture_has_its_words_as_alt_text_and_none_is_in_an_output_widget(made, name):
    panel = made(name)
    images = re.findall(r'<img alt="([^"]*)"', panel.pictures)
    assert images
    assert all(image in panel.words for image in images)
    assert not any(isinstance(part, ipywidgets.Output) for part in panel.widget.children)


@pytest.mark.parametrize("name", PANELS)
def test_a_list_of_one_entry_is_hidden_until_it_has_more(made, name):
    for control in made(name).controls.values():
        if isinstance(control, ipywidgets.Dropdown):
            is_hidden = control.layout.display == "none"
            assert is_hidden == (len(control.options) == 1), control.description


@pytest.mark.parametrize("name", PANELS)
def test_no_figure_is_left_open(make, name):
    from matplotlib import pyplot as plt

    plt.close("all")
    panel = make(name)
    for control in list(panel.controls.values())[:2]:
        for value in settings(control)[:1]:
            control.value = value
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("name", "computation"),
    [
        ("heads", "patching.result.PatchingResult.recovery"),
        ("attention", "widgets.attention.pair_attention"),
        ("intervention", "rankers.cross_encoder.CrossEncoder.score"),
    ],
)
def test_what_was_computed_once_is_not_computed_again(make, name, computation, monkeypatch):
    panel = make(name)
    head = panel.controls["head"]
    head.value = 1
    monkeypatch.setattr(f"mechir_edu.{computation}", None)
    for value in (0, 1, 0):
        head.value = value
        assert "alert" not in panel.message


def test_an_error_while_drawing_is_said_in_the_panel_and_goes_away_again():
    from matplotlib import pyplot as plt

    def draw(number):
        figure, _ = plt.subplots()
        if number == 1:
            raise ValueError("needed <another> number")
        return me.widgets.panel.Drawing(figure, "words")

    panel = me.widgets.Panel("test", {"number": ipywidgets.IntSlider(0, 0, 2)}, draw)
    panel.controls["number"].value = 1
    assert ">needed &lt;another&gt; number<" in panel.message
    assert (panel.words, panel.pictures) == ("", "")
    assert plt.get_fignums() == []
    panel.controls["number"].value = 0
    assert (panel.message, "words" in panel.words) == ("", True)


def test_an_error_that_is_not_about_the_input_is_told_with_its_kind():
    panel = me.widgets.Panel(
        "test", {"number": ipywidgets.IntSlider(0, 0, 2)}, lambda number: {}[1]
    )
    assert "KeyError: 1" in panel.message


def test_an_error_brings_its_own_background_and_can_be_read_on_it():
    panel = me.widgets.Panel(
        "test", {"number": ipywidgets.IntSlider(0, 0, 2)}, lambda number: {}[1]
    )
    colours = re.findall(r"#[0-9a-f]{6}", panel.message)
    assert contrast(*colours) > 7


def test_a_panel_that_never_drew_says_so_when_asked_for_its_figure():
    def draw(number):
        raise ValueError("nothing there")

    panel = me.widgets.Panel("test", {"number": ipywidgets.IntSlider(0, 0, 2)}, draw)
    with pytest.raises(RuntimeError, match="nothing there"):
        panel.figure()


# One by one


def test_an_axiom_writes_its_edit_into_the_field(make):
    panel = make("pair")
    panel.controls["edit"].value = "TDC"
    assert panel.controls["text"].value != panel.controls["text"].value.rstrip(". ")[:-1]
    assert "score change" in panel.words
    assert "alert" not in panel.message


def test_a_text_of_ones_own_is_no_axioms_edit_any_more(make):
    panel = make("pair")
    panel.controls["text"].value += " ocean"
    assert panel.controls["edit"].value == "own"
    assert "ocean”" in panel.words


def test_an_unchanged_text_is_answered_by_what_to_do(make, pairs):
    panel = make("pair")
    panel.controls["text"].value = pairs[0].baseline
    assert "change something" in panel.message


def test_an_emptied_text_is_bad_input_that_the_panel_reports(make):
    panel = make("pair")
    panel.controls["text"].value = ""
    assert "alert" in panel.message
    assert "the text is empty" in panel.message


def test_another_document_takes_the_edit_along(make, pairs):
    panel = make("pair")
    panel.controls["document"].value = 3
    assert panel.controls["text"].value == pairs[3].perturbed
    assert panel.controls["edit"].value == "as drawn"


def test_behind_the_text_comes_a_button_that_applies_it(make):
    panel = make("pair")
    names = list(panel.controls)
    assert names[names.index("text") + 1] == "apply"
    click(panel, "apply")
    assert panel.message == ""


def two_documents(query="coral reefs"):
    texts = {"trains": "Trains run late.", "reefs": "Coral reefs lose their colour."}
    return [me.Pair("q", n, query, t, f"{t} coral", "TFC1", 1) for n, t in texts.items()]


def test_the_score_to_beat_is_that_of_the_querys_other_document(ranker):
    panel = me.widgets.explore_pair(ranker, two_documents())
    score = float(ranker.score("coral reefs", ["Coral reefs lose their colour."])[0])
    assert f"score to beat is {score:.3f}, of reefs".replace("-", "−") in panel.note


def test_without_another_document_of_the_query_there_is_no_score_to_beat(ranker):
    assert me.widgets.explore_pair(ranker, two_documents()[:1]).note.count("beat") == 0


def test_only_the_axioms_asked_for_are_offered_and_the_chosen_one_says_what_it_does(ranker):
    panel = me.widgets.explore_pair(ranker, two_documents(), axioms=["TFC1", "LNC1"])
    labels = [label for label, _ in panel.controls["edit"].options]
    assert labels == ["as in the pair", "your own", "TFC1", "LNC1"]
    panel.controls["edit"].value = "TFC1"
    assert html.escape(me.AXIOMS["TFC1"].statement) in panel.note
    with pytest.raises(ValueError, match="no axiom is called 'TFC9'"):
        me.widgets.explore_pair(ranker, two_documents(), axioms=["TFC9"])


def test_an_axiom_that_does_not_apply_says_why(ranker, collection):
    pair = me.Pair("q", "d", "coral reefs", "Trains run late.", "Trains run late. coral", "TFC1", 1)
    panel = me.widgets.explore_pair(ranker, [pair], collection=collection)
    panel.controls["edit"].value = "LNC2"
    panel.controls["edit"].value = "TP"
    assert "cannot be applied" in panel.message


def test_without_pairs_the_embedded_collection_supplies_documents(ranker):
    panel = me.widgets.explore_pair(ranker)
    assert len(panel.controls["document"].options) == 8


def test_the_chosen_heads_recovery_is_the_results_own(make, results):
    panel = make("heads")
    panel.controls["axiom"].value = "TFC1"
    panel.controls["layer"].value, panel.controls["head"].value = 0, 0
    is_tfc1 = np.array([pair.axiom == "TFC1" for pair in results["planted"].pairs])
    part = results["planted"].select(is_tfc1)
    assert f"layer 0, head 0: recovery {part.recovery().value[0, 0]:.2f}" in panel.words


def test_only_what_a_result_has_is_offered(make):
    panel = make("heads")
    panel.controls["axiom"].value = "TDC"
    panel.controls["result"].value = "control"
    assert [label for label, _ in panel.controls["axiom"].options] == ["TFC1-control"]
    assert panel.controls["axiom"].layout.display == "none"
    panel.controls["result"].value = "planted"
    assert panel.controls["axiom"].layout.display is None
    panel.controls["result"].value = "control"
    assert [label for label, _ in panel.controls["grade"].options] == ["all", "3", "0"]
    assert "alert" not in panel.message


def grid_of(panel):
    rows = panel.widget.children[3].children[0].children[:-1]
    return [[button for button in row.children[1:]] for row in reversed(rows)]


def test_the_heads_panel_starts_with_the_leading_head_and_has_it_outlined(make, results):
    panel = make("heads")
    size = np.abs(results["planted"].effect().mean(axis=-1))
    head = (panel.controls["layer"].value, panel.controls["head"].value)
    assert head == np.unravel_index(size.argmax(), size.shape)
    outlined = [b for row in grid_of(panel) for b in row if "mechir-chosen" in b._dom_classes]
    assert outlined == [grid_of(panel)[head[0]][head[1]]]


def test_a_click_on_a_cell_of_the_map_chooses_its_head(make):
    panel = make("heads")
    before = png(panel)
    grid_of(panel)[2][3].click()
    assert (panel.controls["layer"].value, panel.controls["head"].value) == (2, 3)
    assert "layer 2, head 3: recovery" in panel.words
    assert png(panel) != before


def test_the_map_has_two_decimals_and_a_dot_where_a_head_is_significant(make, results):
    recovery, grid = results["planted"].recovery(), grid_of(make("heads"))
    for at, value in np.ndenumerate(recovery.value):
        text = grid[at[0]][at[1]].description
        assert float(text.rstrip("•").replace("−", "-")) == pytest.approx(value, abs=0.006)
        assert text.endswith("•") == recovery.significant()[at]


def ink_of(panel, button):
    """Colour of a button's number, by the style that the panel brings along."""
    style = re.search(r"(?s)<style>(.*?)</style>", panel.widget.children[3].children[1].value)[1]
    colours = dict(re.findall(r"([.\w-]+) \{ color: (#\w+|\w+);", style))
    return next(
        (c for name, c in colours.items() if name.partition(".")[2] in button._dom_classes),
        colours["button"],
    )


@pytest.mark.parametrize("name", ["planted", "control"])
def test_every_number_of_the_map_can_be_read_on_its_colour(make, name):
    panel = make("heads")
    panel.controls["result"].value = name
    for row in grid_of(panel):
        for button in row:
            assert contrast(ink_of(panel, button), button.style.button_color) >= 4.5


def test_a_number_can_be_read_on_any_colour_of_a_map():
    for value in np.linspace(-1, 1, 401):
        colour = me.plots.heatmap.colour_of(float(value), 1.0)
        assert contrast(me.plots.heatmap.ink_on(colour), colour) >= 4.5


def test_heads_are_drawn_on_one_scale(make):
    panel = make("heads")
    limits = []
    for head in (0, 1):
        panel.controls["head"].value = head
        limits.append(panel.figure().axes[0].get_ylim())
    assert limits[0] == limits[1]


def test_a_result_of_chosen_heads_is_refused(ranker, pairs):
    result = me.patch(ranker, pairs[:2], heads=[(0, 1)], progress=False)
    with pytest.raises(ValueError, match="without heads="):
        me.widgets.explore_heads({"few": result})


def test_the_planted_match_head_is_seen_to_look_at_the_query(make, ranker, pairs):
    panel = make("attention")
    panel.controls["layer"].value, panel.controls["head"].value = min(ranker.planted_heads)
    assert f"most at {pairs[0].term}" in panel.words


def test_attention_starts_where_the_figure_did(ranker, pairs):
    panel = me.widgets.explore_attention(ranker, pairs, layer=2, head=3)
    assert (panel.controls["layer"].value, panel.controls["head"].value) == (2, 3)
    assert "layer 2, head 3" in panel.words
    with pytest.raises(ValueError, match="head"):
        me.widgets.explore_attention(ranker, pairs, layer=2, head=4)


def tokens_drawn(panel):
    return [label.get_text() for label in panel.figure().axes[0].get_yticklabels()]


def test_all_tokens_of_a_short_text_are_shown_and_of_a_long_one_the_same_for_all_heads(
    ranker, pairs
):
    short = me.Pair(
        "q", "d", "coral reefs", "Trains run late.", "Trains run late. coral", "TFC1", 1
    )
    panel = me.widgets.explore_attention(ranker, [short, pairs[0]])
    assert len(tokens_drawn(panel)) == len(me.read_pair(ranker, short).perturbed)
    panel.controls["pair"].value = 1
    shown = tokens_drawn(panel)
    assert len(shown) == 40
    assert shown[0] == "[CLS]"
    panel.controls["layer"].value = 1
    assert tokens_drawn(panel) == shown


def test_the_button_is_disabled_while_it_works_and_progress_is_told(make, monkeypatch):
    panel, seen = make("patch"), []
    tell = panel.tell

    def spy(*counts):
        tell(*counts)
        seen.append((panel.controls["run"].disabled, "progress" in panel.message))

    monkeypatch.setattr(panel, "tell", spy)
    click(panel)
    assert seen
    assert all(disabled and told for disabled, told in seen)
    assert not panel.controls["run"].disabled


def test_before_the_button_is_pressed_there_is_the_change_to_recover(make):
    panel = make("patch")
    assert "press the button" in panel.message
    before = png(panel)
    click(panel)
    assert panel.message == ""
    assert png(panel) != before


CHOICES = [
    {"site": "head", "layer": 1},
    {"site": "resid_pre"},
    {"site": "mlp_out", "layer": 2},
    {"site": "attn_out", "where": "every role"},
    {"site": "attn_out", "where": "every role", "layer": 3},
    {"site": "head", "where": "edited span"},
    {"site": "head", "where": "every role", "layer": 0},
    {"site": "resid_pre", "where": "query", "layer": 1},
    {"site": "resid_pre", "where": "every position", "pair": 1},
    {"site": "resid_pre", "where": "every position", "pair": 1, "layer": 1},
    {"site": "v", "where": "every position", "pair": 2, "layer": 0},
    {"site": "pattern", "direction": "baseline_to_perturbed", "pair": 0},
]


@pytest.mark.parametrize(
    "choice", few(CHOICES, CHOICES[::3]), ids=lambda choice: "-".join(map(str, choice.values()))
)
def test_every_choice_of_a_patch_gives_a_picture(make, choice):
    panel = make("patch")
    for name, value in choice.items():
        panel.controls[name].value = value
    click(panel)
    assert panel.message == ""
    assert "Recovery" in panel.words
    assert len(png(panel)) > 5_000


@pytest.mark.parametrize("choice", [{}, {"site": "resid_pre"}, {"where": "query"}])
def test_one_pair_has_neither_interval_nor_caution(make, choice):
    panel = make("patch")
    for name, value in {"pair": 1, **choice}.items():
        panel.controls[name].value = value
    click(panel)
    assert "one pair" in panel.words
    assert not {word for word in ("interval", "aution", "significant") if word in panel.words}
    assert "caution" not in panel.figure().axes[0].get_xlabel()


def test_the_edited_position_has_the_name_of_the_added_word(make, pairs):
    panel = make("patch")
    for name, value in {"pair": 0, "site": "resid_pre", "where": "every position"}.items():
        panel.controls[name].value = value
    click(panel)
    labels = panel.figure().axes[0].get_xticklabels()
    assert [t.get_text() for t in labels if t.get_fontweight() == "bold"] == [pairs[0].term]


@pytest.mark.parametrize(
    ("choice", "advice"),
    [
        ({"site": "resid_pre", "where": "every position"}, "choose one pair"),
        ({"site": "head", "where": "every role"}, "choose a layer"),
    ],
)
def test_a_choice_that_fills_no_picture_is_answered_by_what_to_do(make, choice, advice):
    panel = make("patch")
    for name, value in choice.items():
        panel.controls[name].value = value
    click(panel)
    assert advice in panel.message
    assert not panel.controls["run"].disabled


def test_what_was_patched_once_is_not_patched_again(make, monkeypatch):
    panel = make("patch")
    click(panel)
    monkeypatch.setattr("mechir_edu.widgets.patch.patch", None)
    panel.controls["where"].value = "query"
    panel.controls["where"].value = "all positions"
    click(panel)
    assert panel.message == ""


def test_turning_the_planted_aggregator_round_turns_a_ranking_round(make, ranker):
    panel = make("intervention")
    panel.controls["layer"].value, panel.controls["head"].value = max(ranker.planted_heads)
    panel.controls["factor"].value = -1.0
    assert "passages change their rank" in panel.words
    panel.controls["factor"].value = 1.0
    assert "no passage" in panel.words


def test_chosen_heads_can_be_scaled_together(ranker, collection):
    heads = sorted(ranker.planted_heads)
    panel = me.widgets.explore_intervention(ranker, collection, heads)
    labels = [label for label, _ in panel.controls["heads"].options]
    assert labels[-1] == f"all {len(heads)} together"
    panel.controls["heads"].value = tuple(heads)
    assert "alert" not in panel.message


def test_the_chosen_circuit_is_named_with_both_of_its_shares(make, ranker, circuits):
    panel = make("circuit")
    panel.controls["size"].value = 2
    for layer, head in ranker.planted_heads:
        assert f"{layer}.{head}" in panel.words
    assert "restored 1.00" in panel.words
    assert "survives 1.00" in panel.words


def test_a_circuit_panel_offers_the_sizes_of_the_order_that_is_chosen(ranker, pairs, circuits):
    few = me.circuit(ranker, pairs, order=[(0, 0)], sizes=[0, 1], n_random=0, progress=False)
    panel = me.widgets.explore_circuit({"whole": circuits["planted"], "few": few})
    panel.controls["size"].value = 3
    panel.controls["order"].value = "few"
    assert [label for label, _ in panel.controls["size"].options] == ["0 heads", "1 head"]
    assert "At the line, 1 head:" in panel.words


def test_a_circuit_panel_tells_of_the_curves_that_it_shows(make):
    panel = make("circuit")
    assert panel.words.count("without the rest:") == panel.words.count("by them alone:") == 1
    panel.controls["protocol"].value = "restored"
    assert "One curve" in panel.words
    assert "without the rest:" not in panel.words


def test_no_circuits_are_refused():
    with pytest.raises(ValueError, match="at least one result"):
        me.widgets.explore_circuit({})


@pytest.mark.parametrize("name", ["attention", "patch", "pair"])
def test_no_pairs_are_refused(ranker, collection, name):
    explore = getattr(me.widgets, f"explore_{name}")
    with pytest.raises(ValueError, match="needed at least one pair"):
        explore(ranker, [])


# Where it runs


def test_without_ipywidgets_the_error_says_what_to_install():
    code = (
        "import sys; sys.modules['ipywidgets'] = None\n"
        "import mechir_edu as me\n"
        "try: me.widgets.explore_heads\n"
        "except ImportError as error: assert 'mechir-edu[tutorials]' in str(error), error\n"
        "else: raise SystemExit('no error')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# What ipywidgets 7 and 8 do differently: tooltips, lists, buttons, and views in a notebook's file.
WITH_BOTH = [
    test_a_panel_starts_with_a_picture_and_its_words,
    test_every_list_shows_what_is_chosen_at_first_and_when_it_is_chosen_again,
    test_every_control_has_a_label_and_a_tooltip_and_waits_until_it_rests,
    test_in_a_notebooks_file_a_panel_is_a_view_and_a_sentence,
    test_every_picture_has_its_words_as_alt_text_and_none_is_in_an_output_widget,
    test_a_list_of_one_entry_is_hidden_until_it_has_more,
    test_a_click_on_a_cell_of_the_map_chooses_its_head,
    test_the_button_is_disabled_while_it_works_and_progress_is_told,
]


@pytest.mark.long
def test_the_panels_work_with_colabs_ipywidgets_too():
    if not OVERLAY.is_dir():
        pytest.fail(
            f"the panels were NOT TESTED with ipywidgets {COLAB}: there is no {OVERLAY}; set up "
            "with `make test`, which puts it there"
        )
    script = f"import sys, pytest, ipywidgets; assert ipywidgets.__version__ == {COLAB!r}; "
    script += "sys.exit(pytest.main(sys.argv[1:]))"
    # Without doctests and checks of array shapes, which this version does not change.
    options = ["-q", "-x", "-p", "no:cacheprovider", "-o", "addopts="]
    tests = [f"{__file__}::{test.__name__}" for test in WITH_BOTH]
    paths = [str(OVERLAY), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", script, *options, *tests]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
