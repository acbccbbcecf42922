"""Drawings in SVG: well formed, with a text for those who cannot see, readable in both themes."""

import re
from functools import cache
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from colours import contrast
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

import mechir_edu as me
from mechir_edu.patching.result import PatchingResult
from mechir_edu.plots.drawings.svg import DARK, LIGHT, Drawing, Steps, drawing

SVG = "{http://www.w3.org/2000/svg}"
# Wider than the fonts that most pages have, so what fits here fits there.
FONTS = {True: "DejaVu Sans Mono", False: "DejaVu Sans"}
EDITS = {
    "end": ("salt melts ice", "salt melts ice road", None),
    "start": ("salt melts ice", "road salt melts ice", None),
    "long": ("salt melts ice " * 30, "salt melts ice " * 30 + "road", None),
    "query": ("salt melts ice", "salt melts ice", "why does salt melt ice on road"),
}


def result(patched=0.1, recipient=-0.2, donor=0.3, shape=(4, 4, 1), **options):
    """Result of one pair in which head 1.0 alone restores something."""
    scores = np.full(shape, recipient, dtype=np.float32)
    scores[1, 0] = patched
    n_pairs = shape[-1]
    pair = me.Pair("q", "d", "melt ice", "salt", "salt ice", "mine", 1)
    told = {"site": "head", "direction": "perturbed_to_baseline", "method": "exact", "filler": "a"}
    return PatchingResult(
        scores=scores,
        axes=("layer", "head", "pair"),
        recipient=np.full(n_pairs, recipient, dtype=np.float32),
        donor=np.full(n_pairs, donor, dtype=np.float32),
        pairs=(pair,) * n_pairs,
        skipped=(),
        provenance={},
        **told | options,
    )


def aligned_of(tokenizer, kind, edit):
    baseline, perturbed, query = EDITS[edit]
    pair = me.Pair("q", "d", "why melt ice on a road", baseline, perturbed, "mine", 1)
    if query is not None:
        pair = me.Pair(
            "q",
            "d",
            "why does salt melt ice",
            baseline,
            perturbed,
            "mine",
            1,
            perturbed_query=query,
        )
    (aligned,) = me.align([pair], tokenizer, kind=kind).aligned
    return aligned


@pytest.fixture(scope="module")
def planted():
    return me.Cat("planted", verify=False)


@pytest.fixture(scope="module")
def drawings(planted):
    plots = me.plots
    alignments = {
        f"alignment {kind} {edit}": plots.draw_alignment(
            aligned_of(planted.tokenizer, kind, edit), planted.tokenizer
        )
        for kind in ("cat", "dot")
        for edit in EDITS
    }
    steps = plots.step_three_runs(result(), (1, 0)).drawings
    return alignments | {
        "architectures": plots.draw_architectures(),
        "block": plots.draw_block(),
        "runs": plots.draw_three_runs(result(), (1, 0)),
        "runs of a larger ranker": plots.draw_three_runs(result(shape=(12, 12, 1)), (1, 0)),
        "runs that go too far": plots.draw_three_runs(result(patched=9.0), (1, 0)),
        "runs that go back": plots.draw_three_runs(result(patched=-9.0), (1, 0)),
        "circuit": plots.draw_circuit([(0, 0), (3, 1)], n_layers=4, n_heads=4),
        "circuit of a larger ranker": plots.draw_circuit([(0, 11)], n_layers=12, n_heads=12),
        **{f"step {i}": step for i, step in enumerate(steps, start=1)},
    }


@cache
def width_of(words, is_mono, is_bold):
    """Width in font sizes."""
    font = FontProperties(family=FONTS[is_mono], weight="bold" if is_bold else "normal")
    return TextPath((0, 0), words, size=100, prop=font).get_extents().width / 100


def texts(picture):
    """Each text with its box: words, left, right, top, bottom."""
    for node in ElementTree.fromstring(picture.svg).iter(f"{SVG}text"):
        size, x, y = (float(node.get(name)) for name in ("font-size", "x", "y"))
        is_mono = "mono" in node.get("font-family", "")
        width = size * width_of(node.text, is_mono, bool(node.get("font-weight")))
        left = x - width * {"start": 0, "middle": 0.5, "end": 1}[node.get("text-anchor")]
        yield node.text, left, left + width, y - size / 2, y + size / 2


def boxes(picture):
    for node in ElementTree.fromstring(picture.svg).iter(f"{SVG}rect"):
        if "x" in node.keys():  # not the paper
            x, y, width, height = (float(node.get(k)) for k in ("x", "y", "width", "height"))
            yield x, x + width, y, y + height


def test_every_drawing_is_well_formed_and_says_what_it_shows(drawings):
    for picture in drawings.values():
        root = ElementTree.fromstring(picture.svg)
        assert root.find(f"{SVG}title").text == root.get("aria-label") == picture.alt
        assert len(picture.alt.split()) > 12
        assert repr(picture) == picture.alt
        assert f'alt="{picture.alt}"' in picture._repr_html_().replace("&#x27;", "'")


def test_no_text_is_cut_and_none_runs_into_another(drawings):
    for name, picture in drawings.items():
        placed = sorted(texts(picture), key=lambda t: (t[3], t[1]))
        for words, left, right, top, bottom in placed:
            assert left >= 0, (name, words)
            assert right <= picture.width, (name, words)
            assert 0 <= top < bottom <= picture.height, (name, words)
        for (words, _, right, top, _), (after, left, _, other_top, _) in pairwise(placed):
            assert top != other_top or right <= left, (name, words, after)


def test_a_text_in_a_box_fits_into_it(drawings):
    for name, picture in drawings.items():
        frames = list(boxes(picture))
        for words, left, right, top, bottom in texts(picture):
            for x, to_x, y, to_y in frames:
                if x < (left + right) / 2 < to_x and y < (top + bottom) / 2 < to_y:
                    assert x <= left, (name, words)
                    assert right <= to_x, (name, words)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_texts_and_lines_stand_out_from_what_they_are_drawn_on(theme):
    paper, _, _ = theme["paper"]
    for fill, line, text in theme.values():
        assert contrast(text, fill) >= 4.5
        assert contrast(line, paper) >= 3
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_colours_follow_the_page(drawings):
    picture = drawings["block"]
    for chosen in ("prefers-color-scheme: dark", '[data-jp-theme-light="false"]'):
        assert chosen in picture.svg
    assert '[data-jp-theme-light="false"] .me-drawing img' in picture._repr_html_()
    used = set(re.findall(r'class="(\w+?)(?:-\w+)?"', picture.svg.split("</style>")[1]))
    assert used <= set(LIGHT) == set(DARK)


def test_the_alignment_says_at_how_many_positions_the_tokens_agree(drawings):
    # [CLS] road salt ... against [CLS] salt melts ...: nothing but [CLS] is in its place.
    assert "1 of 5 positions hold the same token" in drawings["alignment dot start"].alt
    assert "4 of 5 positions hold the same token" in drawings["alignment dot end"].alt
    assert "(a over road)" in drawings["alignment dot end"].alt


def test_a_long_text_is_cut_away_from_its_edit(drawings):
    words = [words for words, *_ in texts(drawings["alignment dot long"])]
    assert {"road", "[CLS]", "[SEP]", "…"} <= set(words)
    assert words.count("ice") < 40


def test_three_runs_show_the_numbers_of_the_result():
    picture = me.plots.draw_three_runs(result(), (1, 0))
    words = [words for words, *_ in texts(picture)]
    assert [w for w in words if w.startswith("score")] == [
        "score −0.200",
        "score +0.300",
        "score +0.100",
    ]
    assert "recovery +0.300 / +0.500 = 0.60" in words
    back = me.plots.draw_three_runs(result(direction="baseline_to_perturbed"), (1, 0))
    assert "recipient run reads the perturbed tokens" in back.alt


def test_runs_of_the_planted_ranker_are_those_that_patching_gives(planted):
    text = "Brine keeps a surface wet when it would freeze."
    pair = me.Pair("t", "t", "why does salt melt ice", text, f"{text} salt", "TFC1", 1)
    patched = me.patch(planted, [pair], direction="perturbed_to_baseline", progress=False)
    share = float(patched.scores[0, 0, 0] - patched.recipient[0]) / patched.score_change()[0]
    assert f"recovery is {share:.2f}." in me.plots.draw_three_runs(patched, (0, 0)).alt


def test_steps_add_one_run_at_a_time_and_the_patch_moves_in_the_third():
    steps = me.plots.step_three_runs(result(), (1, 0))
    shown = [len([w for w, *_ in texts(step) if w.startswith("score")]) for step in steps.drawings]
    assert shown == [1, 2, 3, 3]
    html = steps._repr_html_()
    assert html.count('type="radio"') == html.count("<img ") == 4
    assert html.count('class="move"') == 1
    before = html[: html.index('class="move"')]
    assert re.findall(r'class="frame" data-step="(\d)"', before) == ["1", "2", "3"]
    assert "prefers-reduced-motion" in html
    assert html.count(" checked/>") == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"site": "attn_out"}, "result of one pair"),
        ({"shape": (4, 4, 2)}, "result of one pair"),
        ({"donor": -0.2}, "same score"),
    ],
)
def test_runs_that_cannot_be_drawn_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        me.plots.draw_three_runs(result(**wrong), (1, 0))


@pytest.mark.parametrize("head", [(4, 0), (0, 4), (-1, 0)])
def test_a_head_that_a_ranker_has_not_is_refused(head):
    with pytest.raises(ValueError, match="head"):
        me.plots.draw_three_runs(result(), head)
    with pytest.raises(ValueError, match="head"):
        me.plots.draw_circuit([head], n_layers=4, n_heads=4)


@pytest.mark.parametrize("heads", [[], [(0, 0), (0, 1)]])
def test_a_circuit_needs_heads_and_a_complement(heads):
    with pytest.raises(ValueError, match="needed a circuit of 1 to 1 heads"):
        me.plots.draw_circuit(heads, n_layers=1, n_heads=2)


def test_steps_need_a_label_each():
    step = drawing(10, 10, "nothing", [])
    assert isinstance(step, Drawing)
    with pytest.raises(ValueError, match="1 drawings and 2 labels"):
        Steps((step,), ("first", "second"), {})
