"""Pictures of single pairs, of rows of cells, and of one query's ranking."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot as plt

import mechir_edu as me
from mechir_edu.plots import (
    plot_cells,
    plot_head_pairs,
    plot_pair,
    plot_positions,
    plot_ranking,
    plot_roles,
)

PAIR = me.Pair(
    "q", "d", "bread $dough$", "Yeast makes bread rise.", "Yeast makes bread rise. dough", "TFC1", 1
)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def ranker(planted):
    return planted


@pytest.fixture(scope="module")
def pairs(collection):
    return me.make_pairs(collection, "TFC1", n=6)


@pytest.fixture(scope="module")
def result(ranker, pairs):
    return me.patch(ranker, pairs, progress=False)


def words(ax):
    return [text.get_text() for text in ax.texts]


def test_a_pair_is_read_as_patching_aligns_and_scores_it(ranker, pairs, result):
    reading = me.read_pair(ranker, pairs[0])
    assert [t for t, e in zip(reading.baseline, reading.edited, strict=True) if e] == ["a"]
    assert reading.score_change == pytest.approx(float(result.score_change()[0]), abs=1e-5)


def test_a_pair_that_cannot_be_aligned_says_why(ranker):
    same = me.Pair("q", "d", "bread", "Yeast.", "Yeast.", "TFC1", 1)
    with pytest.raises(ValueError, match="edit changes nothing"):
        me.read_pair(ranker, same)


def test_the_edit_is_red_and_what_both_share_is_written_once(ranker):
    ax = plot_pair(me.read_pair(ranker, PAIR))
    red = [text.get_text() for text in ax.texts if text.get_fontweight() == "bold"]
    assert red == ["a", "dough"]
    assert sum("yeast" in text for text in words(ax)) == 2
    assert "score change +" in ax.get_title(loc="left")


def test_a_long_pair_has_one_line_for_what_both_share(ranker, pairs):
    ax = plot_pair(me.read_pair(ranker, pairs[0]))
    assert words(ax).count("baseline") == words(ax).count("perturbed") == 1
    assert words(ax).count("both") > 3


def test_tokens_of_a_line_do_not_lie_over_each_other(ranker, pairs):
    ax = plot_pair(me.read_pair(ranker, pairs[0]))
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_row_of_layers_has_its_intervals_and_layer_0_at_the_bottom(ranker, pairs):
    recovery = me.patch(ranker, pairs, site="resid_pre", progress=False).recovery()
    ax = plot_cells(recovery)
    assert ax.get_ylabel() == "layer"
    assert ax.get_ylim()[0] < ax.get_ylim()[1]
    assert f"{int(recovery.significant().sum())} of 4 significant" in ax.get_xlabel()


def test_a_grid_is_no_row_of_cells(result):
    with pytest.raises(ValueError, match="one axis"):
        plot_cells(result.recovery())


def test_heads_by_role_are_named_heads(ranker, pairs):
    heads = [(0, head) for head in range(4)]
    recovery = me.patch(ranker, pairs, heads=heads, by="role", progress=False).recovery()
    assert plot_roles(replace(recovery, axes=("head", "role"))).get_ylabel() == "head"


def test_the_slope_of_the_line_is_the_recovery(ranker, result):
    layer, head = min(ranker.planted_heads)
    x, y = plot_head_pairs(result, layer, head).lines[0].get_data()
    assert (y[1] - y[0]) / (x[1] - x[0]) == pytest.approx(
        result.recovery().value[layer, head], rel=1e-5
    )


def test_one_limit_makes_the_effects_of_two_heads_comparable(result):
    first, second = (plot_head_pairs(result, 0, head, limit=0.5) for head in (0, 1))
    assert first.get_ylim() == second.get_ylim() == (-0.5, 0.5)


def test_a_mean_of_ratios_is_drawn_as_a_distribution(result):
    ax = plot_head_pairs(result, 0, 0, recovery=result.recovery("mean_of_ratios"))
    assert ax.get_ylabel() == "pairs"


def test_a_head_that_is_not_there_is_refused(result):
    with pytest.raises(ValueError, match=r"no head \(layer 0, head 4\): .*heads 0-3"):
        plot_head_pairs(result, 0, 4)


def test_positions_left_out_are_counted_and_the_edit_is_kept():
    values, edited = np.zeros((3, 30)), np.arange(30) == 29
    values[:, 3] = 1
    ax = plot_positions(values, [f"t{i}" for i in range(30)], edited=edited, keep=5)
    shown = [label.get_text() for label in ax.get_xticklabels()]
    assert {"t3", "t29"} <= set(shown)
    assert "the 5 of 30 positions" in ax.get_xlabel()


def test_positions_need_a_token_each():
    with pytest.raises(ValueError, match="one token and mark"):
        plot_positions(np.zeros((2, 3)), ["a"])


def test_a_ranking_has_rank_1_on_top_and_says_grades_and_changes():
    ax = plot_ranking(
        np.array([3.0, 2.0]), np.array([1.0, 2.0]), ["first", "second"], relevance=[0, 3]
    )
    assert {"first (0)  1.", "2.  −2.000", "second (3)  2.", "1.  +0.000"} <= set(words(ax))
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_a_ranking_needs_a_label_for_each_passage():
    with pytest.raises(ValueError, match="label for each passage"):
        plot_ranking(np.ones(2), np.ones(2), ["one"])
