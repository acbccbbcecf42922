"""Ablation and sets of heads: the same engine, other activations put in."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from patching_helpers import EACH_FAMILY, PAIRS, assert_same, hook_name, load_small, patched

import mechir_edu as me
from mechir_edu.alignment.aligned import Role
from mechir_edu.patching.elsewhere import draw_among, draw_others
from mechir_edu.patching.engines.hooks import activations
from mechir_edu.patching.scoring import align_for

HOWS = ("zero", "mean", "resample")


@pytest.fixture(params=EACH_FAMILY)
def family(request):
    return request.param


def ablated(ranker, pairs=PAIRS, **options):
    return me.ablate(ranker, pairs, progress=False, **options)


@pytest.mark.parametrize("how", HOWS)
def test_exact_ablation_equals_naive_on_every_family(small_ranker, family, how):
    ranker = small_ranker(family, "cat")
    fast, slow = (ablated(ranker, how=how, method=m) for m in ("exact", "naive"))
    assert np.abs(fast.effect()).max() > 1e-4
    assert_same(fast.scores, slow.scores)


def test_a_head_ablated_to_zero_is_a_head_without_output_weights(family, tmp_path):
    ranker = load_small(family, "dot", tmp_path)  # its own, because its weights are changed
    effect = ablated(ranker, how="zero", on="baseline", heads=[(1, 2)])
    pair = align_for(ranker, PAIRS, "a").aligned[0]
    fixed = ranker.forward(torch.from_numpy(pair.fixed_ids)[None])
    weight = ranker.bridge.blocks[1].attn.o.weight
    weight.view(len(weight), ranker.n_heads, -1)[:, 2] = 0
    inputs = ranker.model_inputs(torch.from_numpy(pair.baseline_ids)[None])
    without = ranker.relevance(ranker.hidden(inputs), inputs["attention_mask"], fixed)
    assert_same(effect.scores[0, :1], without.numpy())


def test_ablating_the_baseline_starts_from_its_score(planted):
    result = ablated(planted, how="zero", on="baseline")
    change = result.donor - result.recipient
    np.testing.assert_allclose(change, patched(planted).score_change(), atol=1e-5)


def test_mean_ablation_puts_in_the_mean_over_all_tokens(planted):
    batch = align_for(planted, PAIRS[:1], "a")
    ids, types = batch.aligned[0].baseline_ids, batch.aligned[0].token_type_ids
    inputs = planted.model_inputs(torch.from_numpy(ids)[None], None, torch.from_numpy(types)[None])
    name = hook_name("head", 3)
    z = activations(planted, inputs, [name])[name]
    expected = planted.run_with_hooks(
        input_ids=inputs["input_ids"],
        token_type_ids=inputs["token_type_ids"],
        fwd_hooks=[(name, lambda act, hook: z.mean(dim=1, keepdim=True).expand_as(z))],
    )
    heads = [(3, head) for head in range(planted.n_heads)]
    options = {"how": "mean", "on": "baseline", "heads": heads, "together": True}
    result = ablated(planted, PAIRS[:1], **options)
    np.testing.assert_allclose(result.scores[0], expected.numpy(), atol=1e-5)


def test_resampling_draws_another_pair_for_each_and_the_same_for_a_seed():
    others = draw_others(50, seed=3)
    assert (others != np.arange(50)).all()
    assert sorted(others) == list(range(50))
    assert (others == draw_others(50, seed=3)).all()


def test_knocking_out_the_planted_circuit_takes_the_axioms_change_away(planted, collection):
    pairs = me.make_pairs(collection, "TFC1", n=24, seed=5)
    heads = sorted(planted.planted_heads)
    result = ablated(planted, pairs, how="zero", heads=heads, together=True)
    intact = result.recipient - result.donor
    assert intact.mean() > 0.01
    assert np.abs(ranker_change(planted, pairs, heads)).max() < 1e-4


def ranker_change(ranker, pairs, heads):
    """Score change that is left when both versions are ablated."""
    sides = [
        ablated(ranker, pairs, how="zero", on=on, heads=heads, together=True).scores[0]
        for on in ("perturbed", "baseline")
    ]
    return sides[0] - sides[1]


def test_a_set_of_one_head_is_that_head(small_ranker, family):
    ranker = small_ranker(family, "cat")
    alone, as_set = (patched(ranker, heads=[(0, 3)], together=t) for t in (False, True))
    assert as_set.axes == ("set", "pair")
    assert_same(as_set.scores, alone.scores)


def test_all_heads_of_a_layer_together_are_its_attention_output(small_ranker, family):
    ranker = small_ranker(family, "dot")
    heads = [(1, head) for head in range(ranker.n_heads)]
    whole = patched(ranker, site="attn_out").scores[1:2]
    assert_same(patched(ranker, heads=heads, together=True).scores, whole)


def test_sets_over_several_layers_are_exact(small_ranker, family):
    ranker = small_ranker(family, "cat")
    options = {"heads": [(1, 0), (0, 2), (1, 3)], "together": True}
    for site in ("head", "pattern", "v"):
        fast, slow = (patched(ranker, site=site, method=m, **options) for m in ("exact", "naive"))
        assert_same(fast.scores, slow.scores)


def test_a_set_can_be_patched_by_role(planted):
    options = {"heads": sorted(planted.planted_heads), "together": True, "by": "role"}
    result = patched(planted, PAIRS[:2], **options)
    assert result.axes == ("set", "role", "pair")
    assert np.abs(result.effect()[0, Role.CLS]).max() > 1e-3
    assert "set" in result.to_dataframe().columns


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"how": "resampel"}, "how must be one of .*'resample', got 'resampel'; did you mean"),
        ({"on": "both"}, "on must be one of 'baseline', 'perturbed', got 'both'"),
        ({"method": "gradient"}, "method must be one of 'exact', 'naive', got 'gradient'"),
        ({"how": "resample"}, "two pairs"),
        ({"together": True}, "needs heads"),
    ],
)
def test_a_wrong_option_is_named(planted, options, message):
    with pytest.raises(ValueError, match=message):
        ablated(planted, PAIRS[:1], **options)


def test_resampling_among_pairs_that_agree_draws_only_those():
    pairs = [*PAIRS, *PAIRS[:2]]
    others = draw_among(pairs, lambda pair: pair.query_id in ("q0", "q1"), seed=1)
    agrees = np.array([pair.query_id in ("q0", "q1") for pair in pairs])
    assert (others != np.arange(6)).all()
    assert (agrees[others] == agrees).all()
    assert sorted(others) == list(range(6))
    assert (others == draw_among(pairs, lambda pair: pair.query_id in ("q0", "q1"), 1)).all()


def test_a_property_that_all_pairs_share_draws_as_without_it(planted):
    plain, among = (ablated(planted, how="resample", among=f) for f in (None, lambda pair: "all"))
    assert (plain.scores == among.scores).all()


def test_what_is_drawn_from_a_copy_of_the_pair_is_kept_whole(planted):
    options = {"how": "resample", "heads": sorted(planted.planted_heads), "together": True}
    pairs = [replace(p, doc_id=f"{p.doc_id}{copy}") for p in PAIRS for copy in "ab"]
    any_pair = ablated(planted, pairs, **options)
    copies = ablated(planted, pairs, among=lambda pair: pair.perturbed, **options)
    kept = me.scrubbed(copies, any_pair)
    assert kept.value == pytest.approx([1.0], abs=1e-4)
    assert me.scrubbed(any_pair, any_pair).value == pytest.approx([0.0])
    assert kept.n_queries == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"how": "mean", "among": lambda pair: 1}, 'needs how="resample"'),
        ({"how": "resample", "among": lambda pair: pair.doc_id}, "pairs that agree, got 1"),
    ],
)
def test_a_group_of_one_and_among_without_resampling_are_refused(planted, options, message):
    with pytest.raises(ValueError, match=message):
        ablated(planted, **options)


def test_only_resampled_sets_of_the_same_pairs_can_be_scrubbed(planted):
    heads = {"heads": [(0, 1)], "together": True}
    resampled = ablated(planted, how="resample", **heads)
    for other, message in (
        (ablated(planted, how="zero", **heads), "how='zero'"),
        (ablated(planted, PAIRS[:3], how="resample", **heads), "same pairs"),
        (ablated(planted, how="resample", heads=[(0, 2)], together=True), "same heads"),
    ):
        with pytest.raises(ValueError, match=message):
            me.scrubbed(other, resampled)
