"""Interventions: the identities that must hold, sides, means and directions, then bad input."""

import numpy as np
import pytest
import torch
from patching_helpers import EACH_FAMILY, PAIRS, assert_same

import mechir_edu as me
from mechir_edu.collection.judged import Judged
from mechir_edu.interventions.directions import head_direction, residual_direction

HEADS = [(1, 2), (0, 1)]
QUERY, TEXTS = "coral reef bleaching", [pair.perturbed for pair in PAIRS]


@pytest.fixture(params=["dot", "cat"])
def kind(request):
    return request.param


@pytest.fixture(params=EACH_FAMILY)
def ranker(request, small_ranker, kind):
    return small_ranker(request.param, kind)


@pytest.fixture(scope="session")
def small_dot(small_ranker):
    return small_ranker("bert", "dot")


def directions(ranker):
    rng = np.random.default_rng(0)
    return rng.normal(size=(len(HEADS), ranker.hf_model.config.hidden_size // ranker.n_heads))


def scores(ranker, intervention=None):
    scorer = ranker if intervention is None else ranker.under(intervention)
    return scorer.score(QUERY, TEXTS)


def test_scaling_by_one_and_steering_by_nothing_change_no_bit(ranker):
    plain, stream = scores(ranker), np.ones(ranker.hf_model.config.hidden_size)
    assert (scores(ranker, me.Scale(HEADS, 1.0)) == plain).all()
    assert (scores(ranker, me.Steer(HEADS, directions(ranker), 0.0)) == plain).all()
    assert (scores(ranker, me.SteerResidual(1, stream, 0.0)) == plain).all()


def test_a_knockout_is_a_scaling_by_zero_and_the_ablation_of_the_set(ranker):
    side = "both" if ranker.kind == "cat" else "document"
    knocked_out = scores(ranker, me.Knockout(HEADS, side=side))
    assert (knocked_out == scores(ranker, me.Scale(HEADS, 0.0, side=side))).all()
    options = {"how": "zero", "heads": HEADS, "together": True, "progress": False}
    ablated = me.ablate(ranker, PAIRS, **options)
    assert_same(knocked_out, ablated.scores[0])
    assert np.abs(ablated.effect()).max() > 1e-3


def test_hooks_are_gone_after_scoring_and_after_an_error(planted):
    plain, under = scores(planted), planted.under(me.Knockout(planted.planted_heads))
    assert np.abs(scores(planted, under.intervention) - plain).max() > 1e-2
    with pytest.raises(ValueError, match="at least one text"):
        under.score(QUERY, [])
    assert not any(point.fwd_hooks for name, point in planted.hook_dict.items() if "hook_z" in name)
    assert (scores(planted) == plain).all()


def test_hooks_of_others_stay(planted):
    seen = []
    hook = ("blocks.0.attn.hook_z", lambda z, hook: seen.append(z[0, 0, 1, 0].item()))
    with planted.bridge.hooks(fwd_hooks=[hook]):
        scores(planted, me.Knockout([(0, 1)]))
        scores(planted)
    assert len(seen) == 2


def test_every_kind_of_intervention_moves_the_score(ranker):
    plain, stream = scores(ranker), np.arange(ranker.hf_model.config.hidden_size) % 3
    over = [Judged("q", "d", QUERY, text, 1) for text in TEXTS]
    steer, residual = me.Steer(HEADS, directions(ranker)), me.SteerResidual(1, stream)
    interventions = (me.Knockout(HEADS, "mean", over), me.Scale(HEADS, 3.0), steer, residual)
    for intervention in interventions:
        assert np.abs(scores(ranker, intervention) - plain).max() > 1e-3


def test_both_sides_of_a_bi_encoder_are_the_query_side_and_the_document_side(small_dot):
    query, document, both = (
        small_dot.under(me.Knockout(HEADS, side=side)) for side in ("query", "document", "both")
    )
    changed = small_dot.compare(query.encode_query(QUERY), document.encode_documents(TEXTS))
    assert (both.score(QUERY, TEXTS) == changed).all()
    assert (query.encode_documents(TEXTS) == small_dot.encode_documents(TEXTS)).all()
    assert (document.encode_query(QUERY) == small_dot.encode_query(QUERY)).all()
    assert not np.allclose(query.score(QUERY, TEXTS), document.score(QUERY, TEXTS))


def swapped(word, other, i):
    """A pair in which one word stands for another, so that nothing has to be filled."""
    text = f"Warm water and {word} harm every reef."
    return me.Pair(f"q{i}", f"d{i}", QUERY, text, text.replace(word, other), "mine", 0)


def test_knocking_out_to_the_mean_is_mean_ablation_over_the_same_texts(planted):
    pairs = [swapped("fish", "shark", 0), swapped("algae", "coral", 1)]
    over = [Judged(p.query_id, p.doc_id, p.query, p.perturbed, 1) for p in pairs]
    options = {"heads": HEADS, "together": True, "progress": False}
    expected = me.ablate(planted, pairs, how="mean", **options).scores[0]
    under = planted.under(me.Knockout(HEADS, "mean", over))
    assert_same(under.score(QUERY, [pair.perturbed for pair in pairs]), expected)


def test_the_mean_of_one_side_is_over_what_that_side_reads(small_dot):
    over = [Judged("q", "d", QUERY, text, 1) for text in TEXTS[:1]]
    z = small_dot.run_with_cache(QUERY, names_filter="blocks.1.attn.hook_z")[1]["z", 1]
    mean = z[0, :, 2].mean(dim=0).numpy()
    silenced = small_dot.under(me.Knockout([(1, 2)], side="query"))
    put_in = me.Steer([(1, 2)], mean, side="query")
    by_hand = small_dot.run_with_hooks(
        QUERY,
        fwd_hooks=[(n, h) for n, h in silenced.hooks["query"] + put_in.hooks(small_dot, "query")],
    )
    found = small_dot.under(me.Knockout([(1, 2)], "mean", over)).encode_query(QUERY)
    torch.testing.assert_close(found, by_hand, atol=1e-4, rtol=1e-4)


def test_a_direction_is_what_the_edit_adds_to_the_mean(planted):
    pair = swapped("fish", "algae", 0)
    names = ["blocks.1.attn.hook_z", "blocks.2.hook_resid_pre"]
    before, after = (
        planted.run_with_cache(QUERY, [text], names_filter=names)[1]
        for text in (pair.baseline, pair.perturbed)
    )
    by_hand = [(after[name] - before[name])[0].mean(dim=0) for name in names]
    z, resid = (
        head_direction(planted, [pair], [(1, 0), (1, 3)]),
        residual_direction(planted, [pair], 2),
    )
    np.testing.assert_allclose(z, by_hand[0][[0, 3]], atol=1e-5)
    np.testing.assert_allclose(resid, by_hand[1], atol=1e-5)


def test_steering_the_planted_circuit_towards_the_axiom_raises_the_score(planted, collection):
    pairs = me.make_pairs(collection, "TFC1", n=8, seed=0)
    last = [max(planted.planted_heads)]
    direction = head_direction(planted, pairs, last)
    up, down = (
        (scores(planted, me.Steer(last, direction, strength)) - scores(planted)).mean()
        for strength in (1.0, -1.0)
    )
    assert up > 0.001
    assert down < 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: me.Knockout([(9, 0)]), r"layers are 0-"),
        (lambda: me.Knockout([(0, 9)]), r"heads 0-3"),
        (lambda: me.Knockout([]), "different"),
        (lambda: me.Scale([(0, 1), (0, 1)], 2.0), "different"),
        (lambda: me.Knockout([(0, 1)], "median"), "zero"),
        (lambda: me.Knockout([(0, 1)], "mean"), "over="),
        (lambda: me.Scale([(0, 1)], float("nan")), "finite"),
        (lambda: me.Scale([(0, 1)], 1.0, side="left"), "side"),
        (lambda: me.Scale([(0, 1)], 1.0, side="query"), "together"),
        (lambda: me.Steer([(0, 1)], np.ones((2, 48))), "one for each of heads"),
        (lambda: me.Steer([(0, 1)], np.ones(5)), "48 dimensions"),
        (lambda: me.Steer([(0, 1)], np.full(48, np.inf)), "finite"),
        (lambda: me.SteerResidual(9, np.ones(192)), "no layer 9"),
        (lambda: me.SteerResidual(0, np.ones((1, 192))), r"\[d_model\]"),
    ],
)
def test_what_cannot_be_applied_is_named(planted, make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        planted.under(make())


def test_only_an_intervention_can_be_applied(planted):
    with pytest.raises(TypeError, match="Knockout"):
        planted.under("zero")
