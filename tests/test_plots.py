from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from mechir_edu.alignment.aligned import ROLE_NAMES
from mechir_edu.plots import (
    alt_text,
    plot_attention,
    plot_cells,
    plot_figure2,
    plot_heads,
    plot_paths,
    plot_positions,
    plot_ranking,
    plot_roles,
    plot_score_change,
    top_heads,
)
from mechir_edu.stats.recovered import recovery

QUERY_IDS = np.repeat(np.arange(30), 4)
TOKENS = "[CLS] reef colour [SEP] the $ reef $ lost its colour reef [SEP]".split()


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def make_recovery(shape=(6, 12), *, axes=("layer", "head"), scale=0.02, change=0.3):
    rng = np.random.default_rng(0)
    share = scale * rng.standard_normal((*shape, 1))
    share[2, 3] = -0.4
    changes = change + 0.05 * rng.standard_normal(len(QUERY_IDS))
    noise = 0.02 * rng.standard_normal((*shape, len(QUERY_IDS)))
    zero = np.zeros(len(QUERY_IDS))
    return replace(recovery(share * changes + noise, zero, changes, query_ids=QUERY_IDS), axes=axes)


def texts(ax):
    ax.figure.canvas.draw()
    return [text.get_text() for text in ax.texts]


def tick_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def overlaps(artists, figure):
    """Whether any two of the texts that are drawn lie over each other."""
    figure.canvas.draw()
    boxes = [artist.get_window_extent() for artist in artists if artist.get_text()]
    return any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_layer_0_is_at_the_bottom():
    ax = plot_heads(make_recovery())
    bottom, top = ax.get_ylim()
    assert bottom < 0 < top
    assert ax.images[0].get_array()[2, 3] == pytest.approx(-0.4, abs=0.05)


def test_white_is_no_effect_and_the_default_scale_reaches_the_largest_value():
    recovery_map = make_recovery()
    low, high = plot_heads(recovery_map).images[0].get_clim()
    assert -low == high == np.abs(recovery_map.value).max()


def test_one_limit_makes_two_maps_comparable():
    first, second = (plot_heads(make_recovery(scale=s), limit=0.5) for s in (0.01, 0.05))
    assert first.images[0].get_clim() == second.images[0].get_clim() == (-0.5, 0.5)


def test_a_map_without_any_effect_is_white():
    image = plot_heads(np.zeros((6, 12))).images[0]
    assert image.get_clim() == (-1, 1)


def test_the_axes_say_layer_and_head_and_the_colour_bar_unit_and_direction():
    ax = plot_heads(make_recovery())
    assert ax.get_ylabel() == "layer"
    assert ax.get_xlabel().startswith("head")
    bar = ax.figure.axes[1].get_ylabel()
    assert "share of the score change" in bar
    assert "+ as the donor" in bar


@pytest.mark.parametrize(("shape", "n_values"), [((6, 12), 72), ((12, 12), 144), ((24, 16), 0)])
def test_values_are_written_where_the_grid_is_small_enough(shape, n_values):
    assert len(texts(plot_heads(make_recovery(shape)))) == n_values


def test_no_value_of_a_12_by_12_grid_lies_over_another():
    ax = plot_heads(make_recovery((12, 12)))
    assert not overlaps(ax.texts, ax.figure)


def test_significant_heads_have_a_dot_and_bold_figures():
    recovery_map = make_recovery()
    ax = plot_heads(recovery_map)
    n_marked = int(recovery_map.significant().sum())
    assert 0 < n_marked < 72
    assert len(ax.collections[0].get_offsets()) == n_marked
    assert sum(text.get_fontweight() == "bold" for text in ax.texts) == n_marked
    assert f"{n_marked} of 72 significant" in ax.get_xlabel()


def test_cells_at_which_nothing_changes_are_hatched_and_counted():
    recovery_map = make_recovery()
    for array in (recovery_map.value, recovery_map.low, recovery_map.high):
        array[0] = 0
    ax = plot_heads(recovery_map)
    assert [patch.get_hatch() for patch in ax.patches] == ["////"] * 12
    assert {patch.get_y() for patch in ax.patches} == {-0.5}
    assert "hatched: 12 exactly 0 in every pair" in ax.get_xlabel()
    assert "12 are exactly 0 in every pair." in alt_text(recovery_map)
    assert not plot_heads(make_recovery()).patches


def test_a_row_of_cells_has_a_cross_where_nothing_changes():
    row = make_recovery((6, 12))
    arrays = {name: getattr(row, name)[:, 3] for name in ("value", "low", "high", "p", "q")}
    row = replace(row, axes=("layer",), **arrays)
    for array in (row.value, row.low, row.high):
        array[0] = 0
    ax = plot_cells(row)
    assert [len(dots.get_offsets()) for dots in ax.collections[-2:]] == [5, 1]
    assert "crosses: 1 exactly 0 in every pair" in ax.get_xlabel()


def test_a_plain_array_is_drawn_without_marks():
    ax = plot_heads(make_recovery().value)
    assert len(ax.collections[0].get_offsets()) == 0
    assert ax.get_xlabel() == "head"


def test_a_change_that_may_be_zero_is_told_under_the_picture():
    assert "caution" in plot_heads(make_recovery(change=0.001)).get_xlabel()


def test_a_map_of_roles_is_not_drawn_as_one_of_heads():
    by_role = make_recovery((6, 6), axes=("layer", "role"))
    with pytest.raises(ValueError, match=r"needs recovery with the axes \('layer', 'head'\)"):
        plot_heads(by_role)
    with pytest.raises(ValueError, match="choose one entry"):
        plot_heads(make_recovery((6, 12, 6), axes=("layer", "head", "role")))


def test_roles_are_named_and_their_names_do_not_overlap():
    ax = plot_roles(make_recovery((6, len(ROLE_NAMES)), axes=("layer", "role")))
    names = [name.replace("\n", " ") for name in tick_labels(ax.xaxis)]
    assert names == list(ROLE_NAMES)
    assert not overlaps(ax.get_xticklabels(), ax.figure)


def heads_of(n_layers):
    return list(np.ndindex(n_layers, 2))


def test_paths_are_drawn_with_the_names_of_both_heads():
    recovery_map = make_recovery((4, 6), axes=("sender", "receiver"))
    ax = plot_paths(recovery_map, heads_of(2), heads_of(3))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0.0", "0.1", "1.0", "1.1"]
    assert [label.get_text() for label in ax.get_xticklabels()][-1] == "2.1"
    assert ax.get_ylabel() == "sender (layer.head)"


def test_of_many_heads_the_first_of_each_layer_is_named():
    recovery_map = make_recovery((4, 40), axes=("sender", "receiver"))
    ax = plot_paths(recovery_map, heads_of(2), heads_of(20))
    assert [label.get_text() for label in ax.get_xticklabels()][:3] == ["0.0", "1.0", "2.0"]
    np.testing.assert_array_equal(ax.get_xticks(), np.arange(0, 40, 2))


def test_paths_without_a_name_for_each_head_are_refused():
    recovery_map = make_recovery((4, 6), axes=("sender", "receiver"))
    with pytest.raises(ValueError, match="got 4 and 4 for values of shape"):
        plot_paths(recovery_map, heads_of(2), heads_of(2))


def test_figure_2_has_one_scale_for_each_ranker():
    weak, strong = make_recovery(), make_recovery(scale=0.3)
    other = make_recovery((12, 12), scale=0.1)
    panel = {("TFC1", "Dot"): weak, ("TDC", "Dot"): strong, ("TFC1", "Cat"): other}
    figure = plot_figure2(panel)
    limits = [ax.images[0].get_clim()[1] for ax in figure.axes if ax.get_ylabel() == "layer"]
    assert limits == [np.abs(drawn.value).max() for drawn in (strong, other, strong)]


def test_figure_2_names_rankers_and_axioms_and_what_was_not_run():
    figure = plot_figure2({("TFC1", "Dot"): make_recovery(), ("TDC", "Cat"): make_recovery()})
    titles = [ax.get_title() for ax in figure.axes]
    assert {"Dot\nTFC1", "TDC"} <= set(titles)
    written = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert {"TFC1: not run", "TDC: not run"} <= set(written)


def test_figure_2_fits_a_narrow_page_in_one_column():
    panel = {
        (axiom, ranker): make_recovery() for axiom in ("TFC1", "TDC") for ranker in ("Dot", "Cat")
    }
    wide, narrow = plot_figure2(panel), plot_figure2(panel, one_column=True)
    assert narrow.get_figwidth() < 0.6 * wide.get_figwidth()
    maps = [ax for part in narrow.subfigs for ax in part.axes if ax.get_ylabel() == "layer"]
    assert [ax.get_title() for ax in maps] == ["Dot\nTFC1", "TDC", "Cat\nTFC1", "TDC"]


@pytest.mark.parametrize("one_column", [False, True])
def test_numbers_of_figure_2_are_readable_and_do_not_overlap(one_column):
    small = make_recovery(scale=0.001)
    small = replace(small, value=np.full((6, 12), -0.012))
    figure = plot_figure2({("TFC1", "Dot"): small, ("TFC1", "Cat"): small}, one_column=one_column)
    parts = figure.subfigs or [figure]
    maps = [ax for part in parts for ax in part.axes if ax.get_ylabel() == "layer"]
    for ax in maps:
        assert not overlaps(ax.texts, figure)
        assert {text.get_text() for text in ax.texts} == {"−0.01"}
        assert min(text.get_fontsize() for text in ax.texts) >= 7


def test_an_empty_panel_is_an_error():
    with pytest.raises(ValueError, match="empty panel"):
        plot_figure2({})


def test_score_changes_stand_in_the_order_given_with_mean_and_interval():
    noise = 0.1 * np.random.default_rng(0).standard_normal(120)
    noise = noise - noise.mean()
    rows = [("TFC1", 0.2 + noise, QUERY_IDS), ("control", -0.1 + noise, QUERY_IDS)]
    ax = plot_score_change(rows)
    assert tick_labels(ax.yaxis) == ["TFC1", "control"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    first, second = texts(ax)
    assert first.startswith("+0.200 [")
    assert second.startswith("−0.100 [")
    assert "perturbed − baseline" in ax.get_xlabel()


def test_score_changes_can_come_as_a_table():
    table = pd.DataFrame({"label": ["b"] * 120, "score_change": 0.5, "query_id": QUERY_IDS})
    ax = plot_score_change(table)
    assert tick_labels(ax.yaxis) == ["b"]
    assert texts(ax) == ["+0.500 [+0.500, +0.500]"]


def test_an_interval_that_leaves_the_picture_ends_in_arrows():
    ax = plot_score_change([("wide", np.array([0.0, 0.1, 0.2, 0.3]), list("abcd"))])
    assert texts(ax) == ["+0.150 [−0.148, +0.448]"]
    assert {line.get_marker() for line in ax.lines} >= {"<", ">"}
    ax.figure.canvas.draw()
    tip = max(line.get_window_extent().x1 for line in ax.lines if line.get_marker() == ">")
    assert tip <= ax.texts[0].get_window_extent().x0
    narrow = plot_score_change([("narrow", np.arange(40.0), [str(i) for i in range(40)])])
    assert not {line.get_marker() for line in narrow.lines} & {"<", ">"}


def test_rows_of_few_pairs_have_a_point_for_each_and_long_rows_have_none():
    few, many = np.linspace(-1, 1, 15), np.linspace(-1, 1, 300)
    ax = plot_score_change([("few", few, np.arange(15)), ("many", many, np.arange(300))])
    points = [c.get_offsets() for c in ax.collections if len(c.get_offsets()) > 1]
    assert [len(offsets) for offsets in points] == [15]
    np.testing.assert_allclose(np.sort(points[0][:, 0]), few)
    assert "points: single pairs" in ax.get_xlabel()


def test_pairs_outside_the_picture_are_counted_and_explained():
    change = np.r_[np.linspace(0, 1, 400), 50.0]
    label = plot_score_change([("long tail", change, np.arange(401))]).get_xlabel()
    assert "the middle 98 % of each row: 1 pair lies outside" in label
    label = plot_score_change([("no tail", np.linspace(0, 1, 100), np.arange(100))]).get_xlabel()
    assert "outside" not in label


def test_score_changes_of_too_few_queries_have_no_interval_and_say_so():
    ax = plot_score_change([("one", np.array([0.1, 0.2]), ["q", "q"])])
    assert texts(ax) == ["+0.150 (too few queries for an interval)"]


def test_a_row_without_pairs_is_an_error():
    with pytest.raises(ValueError, match="leave out rows without pairs"):
        plot_score_change([("TFC1", np.array([]), [])])


def make_pattern(n):
    return np.random.default_rng(0).dirichlet(np.full(n, 0.3), n)


def test_attention_has_a_label_for_each_token_and_marks_the_edit():
    edited = [token == "reef" and i > 10 for i, token in enumerate(TOKENS)]
    ax = plot_attention(make_pattern(len(TOKENS)), TOKENS, edited=edited)
    assert tick_labels(ax.xaxis) == tick_labels(ax.yaxis) == TOKENS
    red = [label.get_text() for label in ax.get_yticklabels() if label.get_color() != "black"]
    assert red == ["reef"]
    assert ax.get_xlabel().endswith("red: edited")


def test_attention_reads_from_the_top_and_from_rows_to_columns():
    pattern = np.zeros((len(TOKENS), len(TOKENS)))
    pattern[:, 0] = 1
    ax = plot_attention(pattern, TOKENS)
    assert ax.images[0].get_array()[5, 0] == 1
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert ax.get_ylabel().startswith("from")


def test_a_long_text_is_cropped_to_the_edit_and_the_most_attended_and_says_so():
    tokens = [f"t{i}" for i in range(300)]
    pattern = np.full((300, 300), 0.1 / 299)
    pattern[:, 7] = 0.9
    ax = plot_attention(pattern, tokens, edited=[i == 250 for i in range(300)], keep=20)
    labels = tick_labels(ax.xaxis)
    assert len(labels) == 20
    assert {"t7", "t250"} <= set(labels)
    assert "20 of 300 positions, with 91% of their attention" in ax.get_xlabel()


def test_one_limit_makes_two_heads_comparable():
    first = plot_attention(make_pattern(5), list("abcde"), limit=1.0)
    assert first.images[0].get_clim() == (0, 1)


def test_the_tokens_to_show_can_be_chosen():
    ax = plot_attention(make_pattern(len(TOKENS)), TOKENS, keep=[6, 1])
    assert tick_labels(ax.xaxis) == ["reef", "reef"]
    assert len(tick_labels(plot_attention(make_pattern(90), ["a"] * 90, keep=None).xaxis)) == 90


def test_no_label_of_48_tokens_lies_over_its_neighbour():
    ax = plot_attention(make_pattern(48), ["representation"] * 48)
    assert not overlaps(ax.get_yticklabels(), ax.figure)


def test_a_pattern_that_does_not_fit_its_tokens_is_an_error():
    with pytest.raises(ValueError, match=r"got a pattern \(4, 4\), 13 tokens"):
        plot_attention(make_pattern(4), TOKENS)


def test_drawing_uses_the_axes_given_and_changes_no_setting():
    settings = dict(matplotlib.rcParams)
    _, ax = plt.subplots()
    assert plot_heads(make_recovery(), ax=ax) is ax
    assert dict(matplotlib.rcParams) == settings


def test_the_table_under_a_picture_has_the_strongest_heads_first():
    table = top_heads(make_recovery())
    assert table[["layer", "head"]].iloc[0].tolist() == [2, 3]
    assert table["recovery"].abs().is_monotonic_decreasing
    assert len(table) == 3


def test_the_text_for_a_picture_names_cells_intervals_and_how_many_are_significant():
    text = alt_text(make_recovery(), title="TFC1 on MiniLM")
    assert text.startswith("TFC1 on MiniLM, 6 layers by 12 heads, 120 pairs of 30 queries.")
    assert "layer 2 head 3, -0.4" in text
    assert "of 72 cells are significant" in text


def clear_but_unmarked():
    """A cell whose interval misses zero although it is not significant."""
    recovery_map = make_recovery()
    q = np.where(recovery_map.value == recovery_map.value, 0.08, 1)
    return replace(recovery_map, q=q, low=recovery_map.value - 0.01, high=recovery_map.value + 0.01)


def test_an_interval_far_from_zero_without_a_dot_is_explained():
    recovery_map = clear_but_unmarked()
    n_clear = int((abs(recovery_map.value) > 0.01).sum())
    assert f"{n_clear} without a dot have an interval that misses zero" in alt_text(recovery_map)
    row = replace(recovery_map, axes=("cell",), **first_column(recovery_map))
    assert "hollow dots have an" in plot_cells(row).get_xlabel().replace("\n", " ")
    sure = replace(recovery_map, q=np.zeros((6, 12)))
    assert "misses zero" not in alt_text(sure)


def test_one_pair_has_no_interval_no_test_and_no_caution():
    single = replace(make_recovery(change=0.001), n_pairs=1, n_queries=1)
    text = alt_text(single)
    assert "one pair" in text
    assert not [word for word in ("interval", "significant", "Caution") if word in text]
    assert "caution" not in plot_heads(single).get_xlabel()


def test_the_text_for_a_picture_warns_where_the_picture_does():
    text = alt_text(make_recovery(change=0.001))
    assert "no bounded interval" in text
    assert "Caution: the mean score change" in text


@pytest.mark.parametrize("label", ["$$", r"$5 and $\no{", "a\\b %"])
def test_a_label_is_written_as_it_is_given(label):
    table = pd.DataFrame({"label": [label] * 120, "score_change": 0.5, "query_id": QUERY_IDS})
    recovery_map, ones = make_recovery(), np.ones((2, 3))
    cells = replace(recovery_map, axes=("cell",), **first_column(recovery_map))
    pictures = {
        plot_score_change([(label, np.linspace(0, 1, 120), QUERY_IDS)]).yaxis,
        plot_score_change(table).yaxis,
        plot_cells(cells, names=[label] * 6).yaxis,
        plot_attention(make_pattern(3), [label] * 3).xaxis,
        plot_positions(ones, [label] * 3).xaxis,
        plot_positions(ones, list("abc"), names=[label] * 2).yaxis,
    }
    written = [text for axis in pictures for text in axis.get_ticklabels()]
    assert {text.get_text() for text in written} == {label}
    ranking = plot_ranking(np.array([1.0, 2.0]), np.array([2.0, 1.0]), [label, "other"])
    figure = plot_figure2({(label, label): recovery_map, ("TFC1", "Dot"): recovery_map})
    written += ranking.texts + [text for ax in figure.axes for text in (ax.title, *ax.texts)]
    written.append(plot_positions(ones, list("abc"), rows=label).yaxis.label)
    written.append(plot_heads(recovery_map, label=label).images[0].colorbar.ax.yaxis.label)
    own = [text for text in written if label in text.get_text()]
    assert {text.get_text() for text in own} >= {label, f"{label}\n{label}", f"{label}: not run"}
    assert not any(text.get_parse_math() for text in own)


def first_column(recovery_map):
    return {name: getattr(recovery_map, name)[:, 0] for name in ("value", "low", "high", "p", "q")}


def test_a_row_of_a_table_without_a_label_is_not_left_out_in_silence():
    table = pd.DataFrame({"label": ["b", None] * 60, "score_change": 0.5, "query_id": QUERY_IDS})
    with pytest.raises(ValueError, match="needed a label in each row"):
        plot_score_change(table)
