"""One real pair as a ranker reads it: its tokens, its scores, and where a head looks."""

import numpy as np
import pytest

import mechir_edu as me
from mechir_edu.patching.one_pair import pair_attention, read_pair

PAIR = me.Pair(
    "q", "d", "bread dough", "Yeast makes bread rise.", "Yeast makes bread rise. dough", "TFC1", 1
)


def test_rows_are_shares_of_attention_over_the_pairs_tokens(planted):
    attention = pair_attention(planted, PAIR, layer=1, head=2)
    np.testing.assert_allclose(attention.pattern.sum(axis=1), 1, atol=1e-5)
    assert attention.pattern.shape == (len(attention.tokens),) * 2
    assert list(np.array(attention.tokens)[attention.edited]) == ["dough"]


def test_the_planted_match_head_looks_from_the_added_term_to_the_querys(planted):
    layer, head = min(planted.planted_heads)
    attention = pair_attention(planted, PAIR, layer=layer, head=head)
    row = attention.pattern[np.flatnonzero(attention.edited)[0]]
    assert attention.tokens[row.argmax()] == "dough"
    assert row.argmax() < attention.tokens.index("[SEP]")


def test_the_baseline_shows_the_filler(planted):
    attention = pair_attention(planted, PAIR, layer=0, head=0, side="baseline", filler="a")
    assert attention.tokens[np.flatnonzero(attention.edited)[0]] == "a"


def test_attention_can_be_drawn_as_it_is(planted):
    attention = pair_attention(planted, PAIR, layer=0, head=0)
    ax = me.plots.plot_attention(attention.pattern, attention.tokens, edited=attention.edited)
    assert "dough" in [label.get_text() for label in ax.get_yticklabels()]


def test_a_head_that_is_not_there_is_named(planted):
    with pytest.raises(ValueError, match=r"no head \(layer 0, head 9\).*heads 0-3"):
        pair_attention(planted, PAIR, layer=0, head=9)


def test_a_side_that_is_not_there_is_named(planted):
    with pytest.raises(ValueError, match="did you mean 'perturbed'"):
        pair_attention(planted, PAIR, layer=0, head=0, side="pertubed")


@pytest.mark.parametrize("name", ["planted", "dot"])
def test_a_reading_lines_both_versions_up_and_scores_what_it_shows(request, name):
    ranker = request.getfixturevalue(name)
    reading = read_pair(ranker, PAIR)
    differs = np.array(reading.baseline) != np.array(reading.perturbed)
    np.testing.assert_array_equal(differs, reading.edited)
    # The baseline is scored with its filler.
    baseline, perturbed = ranker.score(PAIR.query, [f"{PAIR.baseline} a", PAIR.perturbed])
    assert reading.score_change == pytest.approx(perturbed - baseline, abs=1e-5)


def test_a_pair_that_cannot_be_aligned_is_refused_with_the_reason(planted):
    with pytest.raises(ValueError, match="empty document"):
        read_pair(planted, me.Pair("q", "d", "bread", "", "bread", "TFC1", 1))
