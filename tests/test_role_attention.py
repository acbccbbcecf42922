"""Attention mass between roles: against patterns read by hand, then rankings and bad input."""

import numpy as np
import pytest
from patching_helpers import PAIRS
from small_models import FAMILIES

import mechir_edu as me

QUERY, TEXTS = "coral reef bleaching", [pair.perturbed for pair in PAIRS]


@pytest.fixture(params=FAMILIES)
def ranker(request, small_ranker):
    return small_ranker(request.param, "cat")


def by_hand(ranker, text):
    """Pattern of layer 1, and which positions are query and document, of one text alone."""
    inputs = ranker.tokenizer(QUERY, text)
    _, cache = ranker.run_with_cache(QUERY, text, names_filter="blocks.1.attn.hook_pattern")
    sides = np.array([-1 if s is None else s for s in inputs.sequence_ids(0)])
    return cache["pattern", 1][0].numpy(), sides == 0, sides == 1


def test_mass_is_the_patterns_sum_whatever_stands_beside_it_in_the_batch(ranker):
    there = me.term_attention(ranker, QUERY, TEXTS)
    back = me.term_attention(ranker, QUERY, TEXTS, way="document_to_query")
    for i, text in enumerate(TEXTS):
        pattern, is_query, is_document = by_hand(ranker, text)
        expected = pattern[:, is_query][..., is_document].sum(axis=-1)
        np.testing.assert_allclose(there.mass[1, :, :, i], expected, atol=1e-5)
        expected = pattern[:, is_document][..., is_query].sum(axis=1)
        np.testing.assert_allclose(back.mass[1, :, :, i], expected, atol=1e-4)
    assert len(there.tokens) == there.mass.shape[2] == is_query.sum()


def test_from_each_role_the_masses_to_all_roles_sum_to_one(ranker):
    attention = me.role_attention(ranker, PAIRS)
    sums = attention.mass.sum(axis=3)
    has_role = ~np.isnan(sums)
    np.testing.assert_allclose(sums[has_role], 1, atol=1e-5)
    assert has_role[0, 0, [0, 1, 2, 4]].all()
    assert not has_role[0, 0, me.Role.OCCURRENCE].all()


def test_role_attention_of_one_pair_is_its_pattern_summed(planted):
    pair = me.pair_attention(planted, PAIRS[0], layer=1, head=2)
    place = list(pair.tokens).index("[SEP]")
    to_edit = pair.pattern[1:place][:, pair.edited].sum(axis=1).mean()
    read = me.role_attention(planted, PAIRS).between("query", "edited span")
    np.testing.assert_allclose(read[1, 2, 0], to_edit, atol=1e-6)


def test_under_a_cut_nothing_passes(planted):
    under = planted.under(me.Cut("query", "document", [2]))
    mass = me.term_attention(under, QUERY, TEXTS).mass
    assert (mass[2] == 0).all()
    assert (mass[[0, 1, 3]] > 0).any()


def test_the_planted_match_heads_mass_ranks_by_matches(planted):
    (match,) = [at for at, does in planted_parts().items() if does.startswith("match")]
    texts = ["reef", "reef coral", "reef coral bleaching"]
    filled = [f"{text} {'limestone ' * (3 - len(text.split()))}".strip() for text in texts]
    scores = me.attention_rankers(planted, way="document_to_query")[match].score(QUERY, filled)
    assert (np.diff(scores) > 0.1).all()


def planted_parts():
    from mechir_edu.rankers import planted

    return planted.load().planted_heads


def test_a_heads_ranking_can_be_measured_and_every_text_is_read_once(planted, collection):
    rankers, n_read = me.attention_rankers(planted), []
    hook = ("blocks.0.attn.hook_pattern", lambda p, hook: n_read.append(len(p)))
    with planted.bridge.hooks(fwd_hooks=[hook]):
        for head in [(0, 0), (3, 1)]:
            evaluation = me.evaluate(
                rankers[head], collection, query_ids=["q01", "q02"], progress=False
            )
    assert sum(n_read) == sum(len(docs) for docs in evaluation.run.values())
    assert len(rankers) == planted.n_layers * planted.n_heads
    assert "head (3, 1)" in evaluation.what


def test_a_ranker_that_reads_apart_and_other_bad_input_are_refused(small_ranker, planted):
    with pytest.raises(ValueError, match="reads query and document apart"):
        me.term_attention(small_ranker("bert", "dot"), QUERY, TEXTS)
    with pytest.raises(ValueError, match="way must be one of"):
        me.attention_rankers(planted, way="both")
    with pytest.raises(ValueError, match="no head"):
        me.attention_rankers(planted, heads=[(9, 0)])
    with pytest.raises(ValueError, match="at least one text"):
        me.term_attention(planted, QUERY, [])
    with pytest.raises(ValueError, match="to_role must be one of"):
        me.role_attention(planted, PAIRS[:1]).between("query", "document")
