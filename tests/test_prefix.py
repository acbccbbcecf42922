"""Decoders, by weights and through hooks: as one forward pass a cell, exactly 0 before an edit."""

import numpy as np
import pytest
import torch
from few import few
from patching_helpers import HEAD_SITES, PAIRS, SITES, a_pair, assert_same, patched
from small_models import save_model, save_yes_no
from torch import nn
from transformers import DynamicCache

from mechir_edu import Cat, Dot, Knockout, ablate
from mechir_edu.patching.batches import make_batches
from mechir_edu.patching.budget import bytes_per_token
from mechir_edu.patching.circuits.measure import Measure, set_job
from mechir_edu.patching.engines import pre_ln
from mechir_edu.patching.engines.choice import choose_engine, require_agreement
from mechir_edu.patching.scoring import align_for
from mechir_edu.rankers.agreement import VerificationError
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.unchanged import Made

# Two of one length, edited at different places; one that is edited at its start.
MIXED = [
    PAIRS[0],
    a_pair("Warm water makes corals lose their algae, fish.", "bleaching", 5),
    PAIRS[1],
]
SHORT = [a_pair("Warm sea.", "reef"), a_pair("The sea is.", "fish", 1)]
METHODS = ("exact", "naive")
# Layers with windows: all of mistral, some of both gemmas; gemma2 caps; qwen2 is Llama with biases.
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3")
FAST, GENERIC = "causal suffix", "suffix through hooks behind a shared prefix"


def load(family, folder):
    save_model(family, "ForSequenceClassification", folder, num_labels=1)
    return Cat(str(folder), verify=False)


@pytest.fixture(scope="module", params=few(FAMILIES, ("llama", "gemma3")))
def ranker(request, tmp_path_factory):
    return load(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    return load("gemma2", tmp_path_factory.mktemp("gemma2"))


@pytest.fixture
def through_hooks(monkeypatch):
    monkeypatch.setattr(Ranker, "engine", None)


def both(ranker, pairs=MIXED, engine=FAST, **options):
    exact, naive = (patched(ranker, pairs, method=m, **options) for m in METHODS)
    assert exact.provenance["engine"].split(":")[0] == engine
    assert_same(exact.scores, naive.scores)
    return exact


@pytest.mark.parametrize("site", SITES)
def test_every_site_equals_one_forward_pass_a_cell(ranker, site):
    heads = [(0, 1), (1, 0)] if site in HEAD_SITES else None
    result = both(ranker, MIXED[:2], site=site, heads=heads, direction="baseline_to_perturbed")
    assert np.abs(result.effect()).max() > 1e-3


@pytest.mark.parametrize(("site", "by"), [("head", "role"), ("k", "pos"), ("resid_pre", "role")])
def test_by_role_and_position_too(ranker, site, by):
    heads = [(0, 1)] if site in HEAD_SITES else None
    both(ranker, SHORT if by == "pos" else MIXED, site=site, by=by, heads=heads)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.usefixtures("through_hooks")
def test_every_site_through_hooks_behind_a_prefix(gemma, site):
    heads = [(0, 1), (1, 0)] if site in HEAD_SITES else None
    both(gemma, MIXED[:2], GENERIC, site=site, heads=heads)


@pytest.mark.usefixtures("through_hooks")
def test_through_hooks_by_role_and_position(gemma):
    both(gemma, MIXED, GENERIC, site="resid_pre", by="role")
    both(gemma, SHORT, GENERIC, site="k", by="pos", heads=[(0, 1)])


def test_all_heads_in_batches_of_several_pairs_and_passes(gemma):
    """Little memory makes passes of few cells; pairs of one length stand in one batch."""
    result = both(gemma, [*MIXED, *MIXED[:2]])
    few = patched(gemma, [*MIXED, *MIXED[:2]], memory=10_000_000)
    assert_same(few.scores, result.scores)


def test_a_budget_counts_the_keys_and_values_of_a_prefix(gemma, monkeypatch):
    cache, ids = DynamicCache(), torch.arange(1, 8).unsqueeze(0)
    gemma.hf_model.base_model(ids, past_key_values=cache, use_cache=True)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    needed = bytes_per_token(gemma)
    monkeypatch.setattr(gemma.family, "is_causal", lambda config: False)
    assert 7 * (needed - bytes_per_token(gemma)) == held


def test_pairs_that_are_edited_elsewhere_stand_in_another_batch(gemma, small_ranker):
    text = "Warm water makes corals lose their algae."
    pairs = [
        a_pair(text, "reef"),
        a_pair(text[:-1], "reef", 1, at="start"),
        a_pair(text, "fish", 2),
    ]
    aligned = align_for(gemma, pairs, "a").aligned
    assert len({len(pair.roles) for pair in aligned}) == 1
    batches = [batch.index.tolist() for batch in make_batches(gemma, aligned, max_tokens=999)]
    assert batches == [[1], [0, 2]]
    both(gemma, pairs, site="attn_out")
    encoder = small_ranker("bert", "cat")
    ends = [a_pair(text, "reef", at=at) for at in ("start", "end")]
    aligned = align_for(encoder, ends, "a").aligned
    assert len(list(make_batches(encoder, aligned, max_tokens=999))) == 1


@pytest.mark.parametrize("engine", [FAST, GENERIC])
def test_nothing_before_the_edit_has_any_effect(gemma, engine, monkeypatch):
    if engine == GENERIC:
        monkeypatch.setattr(Ranker, "engine", None)
    result = patched(gemma, MIXED, site="resid_pre", by="pos")
    assert result.provenance["engine"].startswith(engine)
    effect = result.scores - result.recipient[result.row_pair]
    for pair in range(len(MIXED)):
        rows = result.row_pair == pair
        role, pos = result.row_role[rows], result.row_pos[rows]
        start = pos[role == 4].min()
        assert (effect[:, rows][:, pos < start] == 0).all()
        assert (effect[0, rows][pos >= start] != 0).any()


def test_under_an_intervention_hooks_patch_and_share_nothing(gemma):
    under = gemma.under(Knockout([(0, 1)]))
    exact, naive = (patched(under, PAIRS[:1], heads=[(1, 0)], method=m) for m in METHODS)
    assert "prefix" not in exact.provenance["engine"]
    assert "through hooks" in exact.provenance["engine"]
    assert_same(exact.scores, naive.scores)


@pytest.mark.parametrize("how", ["zero", "mean", "resample"])
def test_of_an_ablation_every_position_takes_part(gemma, how):
    exact, naive = (
        ablate(gemma, MIXED, heads=[(0, 1), (1, 0)], how=how, method=m, progress=False)
        for m in METHODS
    )
    assert exact.provenance["engine"] == FAST
    assert_same(exact.scores, naive.scores)


@pytest.mark.parametrize("pooling", ["mean", "lasttoken"])
def test_an_embedding_of_all_positions_has_those_of_the_prefix(tmp_path, pooling):
    save_model("mistral", "Model", tmp_path)
    dot = Dot(str(tmp_path), pooling=pooling, similarity="dot")
    both(dot, MIXED[:1], site="mlp_out", by="role")


def test_a_reranker_that_answers(tmp_path):
    save_yes_no(tmp_path)
    both(Cat(str(tmp_path / "saved")), MIXED[:1], heads=[(0, 3), (1, 1)])


@pytest.mark.parametrize("engine", [FAST, GENERIC])
def test_a_masked_filler_is_an_edit(gemma, engine, monkeypatch):
    if engine == GENERIC:
        monkeypatch.setattr(Ranker, "engine", None)
    result = both(gemma, MIXED[:2], engine, filler="pad", site="mlp_out")
    assert np.ptp(result.scores) > 0


def test_what_no_engine_does_goes_through_hooks_and_says_why(gemma):
    heads = [(0, 1), (1, 0)]
    for options in ({"together": True, "heads": heads}, {"method": "gradient", "heads": heads}):
        engine = patched(gemma, MIXED[:1], **options).provenance["engine"]
        assert engine == "suffix through hooks: gemma2 is pre-LN"
    measure = Measure(
        set_job(gemma, align_for(gemma, MIXED[:1], "a"), None), "perturbed_to_baseline"
    )
    assert (
        measure.job.choice.engine_name("exact", is_fast=measure.is_fast)
        == "suffix through hooks: gemma2 is pre-LN"
    )


class Doubled(nn.Linear):
    """A linear layer that does more than its weights say."""

    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize("path", ["self_attn.v_proj", "mlp.up_proj"])
def test_a_layer_that_is_no_plain_one_is_left_to_hooks(tmp_path, path, monkeypatch):
    ranker = load("llama", tmp_path)
    part = ranker.hf_model.base_model.layers[1].get_submodule(path)
    part.original_component.__class__ = Doubled
    monkeypatch.setattr(Made, "change", lambda self: None)  # as if it had been so at load
    require_agreement(ranker)  # has nothing to compare
    choice = choose_engine(ranker)
    assert not choice.is_fast
    assert "of layer 1 is" in choice.reason
    assert "Doubled" in choice.reason
    both(ranker, MIXED[:1], GENERIC, site="attn_out")


def test_attention_with_a_module_of_its_own_is_left_to_hooks(tmp_path, monkeypatch):
    ranker = load("llama", tmp_path)
    ranker.bridge.blocks[0].attn.original_component.sinks = nn.Linear(1, 1)
    monkeypatch.setattr(Made, "change", lambda self: None)
    assert choose_engine(ranker).reason == "the attention of layer 0 has a module sinks"


def test_an_engine_that_computes_something_else_is_noticed(tmp_path, monkeypatch):
    ranker = load("llama", tmp_path)
    exact = pre_ln.PreLNLayer.attn_out
    monkeypatch.setattr(pre_ln.PreLNLayer, "attn_out", lambda self, out: 1.01 * exact(self, out))
    with pytest.raises(VerificationError, match="a fast patch differs from a patch through hooks"):
        patched(ranker, MIXED[:1])
    ranker.engines_agree = True
    with pytest.raises(VerificationError, match="differs from the wrapped model's by"):
        patched(ranker, MIXED[:1])


def test_threads_give_the_same(gemma):
    one = patched(gemma, MIXED, heads=[(0, 1)])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        two = patched(gemma, MIXED, heads=[(0, 1)])
    finally:
        torch.set_num_threads(before)
    assert_same(two.scores, one.scores)
