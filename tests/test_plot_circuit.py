"""The picture of a circuit: both curves, what random circuits do, and the same in words."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

import mechir_edu as me
from mechir_edu.plots import circuit_in_words, plot_circuit
from mechir_edu.plots.circuits import LINES


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def result(planted, collection):
    pairs = me.make_pairs(collection, "TFC1", n=6, seed=3)
    sizes = [0, 1, 3, 16]
    order = sorted(planted.planted_heads)
    return me.circuit(planted, pairs, order=order, sizes=sizes, n_random=20, progress=False)


def points(ax, place):
    """Values of the curve with bars that was drawn so many-th."""
    return ax.containers[place].lines[0].get_xydata().T


def test_the_curves_are_those_of_the_result_over_its_numbers_of_heads(result):
    ax = plot_circuit(result)
    for place, curve in enumerate((result.restored(), result.survives())):
        numbers, values = points(ax, place)
        np.testing.assert_array_equal(numbers, result.numbers)
        np.testing.assert_allclose(values, curve.value)


def test_the_bars_are_the_intervals_over_queries(result):
    ax = plot_circuit(result)
    (bars,) = ax.containers[1].lines[2]
    curve = result.survives()
    is_bounded = np.isfinite(curve.low) & np.isfinite(curve.high)
    assert is_bounded.any()
    for segment, bounded, *ends in zip(
        bars.get_segments(), is_bounded, curve.low, curve.high, strict=True
    ):
        assert segment.size == (4 if bounded else 0)
        np.testing.assert_allclose(segment.ravel()[1::2], ends if bounded else [], atol=1e-6)


def test_random_circuits_have_a_band_for_each_curve_or_none(result):
    ax = plot_circuit(result)
    assert len(ax.collections) == 2 + 2  # bars and bands
    alone = replace(result, random_effects=result.random_effects[:0])
    ax = plot_circuit(alone)
    assert len(ax.collections) == 2
    assert "Random" not in circuit_in_words(alone)


def test_the_axes_say_unit_direction_order_and_what_was_measured(result):
    ax = plot_circuit(result)
    assert "0 = none, 1 = as the whole ranker" in ax.get_ylabel()
    for said in ("of 16", "ordered by: list", "6 pairs of 5 queries", "95 % intervals"):
        assert said in ax.get_xlabel()


def test_curves_differ_in_shape_and_dash_and_are_seen_on_light_and_dark_paper():
    assert len({style["marker"] for style in LINES.values()}) == 2
    assert len({style["linestyle"] for style in LINES.values()}) == 2
    for style in LINES.values():
        rgb = np.array(to_rgb(style["color"]))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        luminance = linear @ [0.2126, 0.7152, 0.0722]  # WCAG 2.1, relative luminance
        assert (1.05 / (luminance + 0.05)) > 3
        assert ((luminance + 0.05) / 0.05) > 3


def test_the_text_takes_the_colours_of_the_page(result):
    with plt.style.context("dark_background"):
        ax = plot_circuit(result)
        assert to_rgb(ax.xaxis.label.get_color()) == (1, 1, 1)


def test_a_circuit_in_words_names_every_size_with_its_interval(result):
    words = circuit_in_words(result)
    assert "(0, 1, 3, 16 of 16, ordered by: list)" in words
    assert "16 heads 1.00 (1.00 to 1.00)" in words
    assert words.count("Random heads:") == 2
    assert "Survives without the rest: 0 heads" in words


def test_axes_that_are_given_are_drawn_on(result):
    _, ax = plt.subplots()
    assert plot_circuit(result, ax=ax) is ax


def test_intervals_without_bounds_are_left_out_and_said(planted, collection):
    pairs = me.make_pairs(collection, "TFC1", n=2, seed=3)
    options = {"order": sorted(planted.planted_heads), "sizes": [0, 3], "n_random": 0}
    few = me.circuit(planted, pairs, progress=False, **options)
    ax = plot_circuit(few)
    (bars,) = ax.containers[0].lines[2]
    assert not any(len(segment) for segment in bars.get_segments())
    assert "where they are bounded" in ax.get_xlabel()
    assert "inf" not in circuit_in_words(few)


@pytest.mark.usefixtures("as_users_run")
def test_one_protocol_alone_can_be_drawn_and_others_are_refused(result):
    ax = plot_circuit(result, protocols=["survives"])
    np.testing.assert_allclose(points(ax, 0)[1], result.survives().value)
    with pytest.raises(ValueError, match="did you mean 'restored'"):
        plot_circuit(result, protocols=["restore"])
    with pytest.raises(ValueError, match="at least one"):
        plot_circuit(result, protocols=[])
