"""Attention of a real pair, with its tokens."""

import numpy as np
import pytest

import mechir_edu as me
from mechir_edu.patching.one_pair import pair_attention

PAIR = me.Pair(
    "q", "d", "bread dough", "Yeast makes bread rise.", "Yeast makes bread rise. dough", "TFC1", 1
)


@pytest.fixture(scope="module")
def ranker():
    return me.Cat("planted")


def test_rows_are_shares_of_attention_over_the_pairs_tokens(ranker):
    found = pair_attention(ranker, PAIR, layer=1, head=2)
    np.testing.assert_allclose(found.pattern.sum(axis=1), 1, atol=1e-5)
    assert found.pattern.shape == (len(found.tokens),) * 2
    assert [token for token, edited in zip(found.tokens, found.edited, strict=True) if edited] == [
        "dough"
    ]


def test_the_planted_match_head_looks_from_the_added_term_to_the_querys(ranker):
    layer, head = min(ranker.planted_heads)
    found = pair_attention(ranker, PAIR, layer=layer, head=head)
    row = found.pattern[np.flatnonzero(found.edited)[0]]
    assert found.tokens[row.argmax()] == "dough"
    assert row.argmax() < found.tokens.index("[SEP]")


def test_the_baseline_shows_the_filler(ranker):
    found = pair_attention(ranker, PAIR, layer=0, head=0, side="baseline", filler="a")
    assert found.tokens[np.flatnonzero(found.edited)[0]] == "a"


def test_it_can_be_drawn_as_it_is(ranker):
    found = pair_attention(ranker, PAIR, layer=0, head=0)
    ax = me.plots.plot_attention(found.pattern, found.tokens, edited=found.edited)
    assert "dough" in [label.get_text() for label in ax.get_yticklabels()]


def test_a_head_that_is_not_there_is_named(ranker):
    with pytest.raises(ValueError, match="head below 4"):
        pair_attention(ranker, PAIR, layer=0, head=9)
