"""Patching: the identities that must hold, then the reference, then bad input."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from few import few
from patching_helpers import (
    EACH_FAMILY,
    KINDS,
    LIKE_OTHERS,
    PAIRS,
    SITES,
    a_pair,
    assert_same,
    patched,
)
from small_models import FAMILIES
from transformers import AutoModel

import mechir_edu as me
from mechir_edu.alignment.aligned import Role
from mechir_edu.files import embedded_folder
from mechir_edu.models import patch_batch
from mechir_edu.patching.scoring import align_for, choose_direction, score_pairs
from mechir_edu.rankers.hook_names import BLOCK_SITES, HEAD_SITES


@pytest.fixture(params=EACH_FAMILY)
def family(request):
    return request.param


def same_run(ranker):
    """Aligned pairs whose donor is the recipient."""
    aligned = align_for(ranker, PAIRS, "a")
    twins = [replace(pair, perturbed_ids=pair.baseline_ids) for pair in aligned.aligned]
    return replace(aligned, aligned=tuple(twins))


@pytest.mark.parametrize("method", ["exact", "naive"])
@pytest.mark.parametrize("site", SITES)
def test_patching_a_run_into_itself_changes_no_score(small_ranker, site, method):
    ranker = small_ranker("bert", "cat")
    result = patched(ranker, same_run(ranker), site=site, method=method)
    np.testing.assert_allclose(result.effect(), 0, atol=1e-5)


@pytest.mark.parametrize("direction", ["perturbed_to_baseline", "baseline_to_perturbed"])
def test_the_whole_stream_into_layer_0_recovers_the_whole_change(planted, direction):
    result = patched(planted, site="resid_pre", direction=direction)
    np.testing.assert_allclose(result.scores[0], result.donor, atol=1e-5)


def test_the_stream_at_the_edited_span_alone_recovers_it_in_layer_0(dot):
    result = patched(dot, PAIRS[:2], site="resid_pre", by="role")
    np.testing.assert_allclose(result.scores[0, Role.EDIT], result.donor, atol=1e-6)
    np.testing.assert_allclose(result.scores[0, Role.DOCUMENT], result.recipient, atol=1e-6)


def test_a_role_that_a_pair_has_not_changes_nothing(planted):
    result = patched(planted, PAIRS[2:3], site="resid_pre", by="role")
    assert (result.scores[:, Role.OCCURRENCE] == result.recipient).all()


# Every site of every family, both in turn with either kind; all other combinations in make long.
IN_TURN = {
    (family, list(KINDS)[(i + k) % 2], site)
    for i, family in enumerate(FAMILIES)
    for k, site in enumerate(SITES)
    if family not in LIKE_OTHERS
}
COMBINED = [
    pytest.param(*cell, marks=[pytest.mark.long] * (cell not in IN_TURN))
    for cell in product(FAMILIES, KINDS, SITES)
]


@pytest.mark.parametrize(("family", "kind", "site"), COMBINED)
def test_exact_equals_naive_on_every_family_and_site(small_ranker, family, kind, site):
    ranker = small_ranker(family, kind)
    fast, slow = (patched(ranker, PAIRS[:2], site=site, method=m) for m in ("exact", "naive"))
    assert np.abs(fast.effect()).max() > 1e-4
    assert_same(fast.scores, slow.scores)


SITES_BY_EACH = list(product(SITES, ("pos", "role")))


@pytest.mark.parametrize(
    ("site", "by"),
    few(SITES_BY_EACH, SITES_BY_EACH[::4] + SITES_BY_EACH[3::4]),
)
def test_exact_equals_naive_by_position_and_by_role(small_ranker, site, by):
    options = {"heads": [(1, 2), (0, 0), (1, 1)]} if site in HEAD_SITES else {}
    fast, slow = (
        patched(small_ranker("bert", "cat"), PAIRS[1:3], site=site, by=by, method=m, **options)
        for m in ("exact", "naive")
    )
    assert_same(fast.scores, slow.scores)


@pytest.mark.parametrize("filler", ["pad", "mask", "reef"])
def test_exact_equals_naive_with_every_filler(small_ranker, family, filler):
    ranker = small_ranker(family, "dot")
    pairs = [a_pair("Warm water makes corals lose algae.", "bleaching")]
    fast, slow = (patched(ranker, pairs, filler=filler, method=m) for m in ("exact", "naive"))
    assert_same(fast.scores, slow.scores)


def heads_by_plain_hooks(aligned, direction):
    """Head patching of a plain Hugging Face model: pre-hooks on W_O, no TransformerLens."""
    model = AutoModel.from_pretrained(embedded_folder()).eval()
    n_heads, kept, swap = model.config.num_attention_heads, {}, {}
    projections = [layer.attention.output.dense for layer in model.encoder.layer]

    def hook(layer):
        def keep_or_swap(module, args):
            kept[layer] = args[0].clone()
            if swap.get("layer") != layer:
                return None
            z = args[0].unflatten(-1, (n_heads, -1)).clone()
            z[:, :, swap["head"]] = swap["z"].unflatten(-1, (n_heads, -1))[:, :, swap["head"]]
            return (z.flatten(-2),)

        return keep_or_swap

    for layer, projection in enumerate(projections):
        projection.register_forward_pre_hook(hook(layer))

    def embed(ids):
        hidden = model(input_ids=torch.from_numpy(ids)[None]).last_hidden_state
        return torch.nn.functional.normalize(hidden.mean(dim=1), dim=-1)

    scores = np.zeros((len(projections), n_heads, len(aligned.aligned)))
    for i, pair in enumerate(aligned.aligned):
        sides = [pair.baseline_ids, pair.perturbed_ids]
        recipient, donor = sides if direction == "perturbed_to_baseline" else sides[::-1]
        swap.clear()
        embed(donor)
        given = dict(kept)
        query = embed(pair.fixed_ids)
        for layer, head in np.ndindex(*scores.shape[:2]):
            swap.update(layer=layer, head=head, z=given[layer])
            scores[layer, head, i] = float((query * embed(recipient)).sum())
    return scores


@torch.no_grad()
def test_head_patching_equals_plain_hugging_face_hooks_on_dl19(dot, trec_dl):
    collection = me.load_collection("msmarco-passage/trec-dl-2019/judged")
    pairs = me.make_pairs(collection, "TFC1", n=2, seed=1)
    result = patched(dot, pairs, direction="perturbed_to_baseline")
    reference = heads_by_plain_hooks(align_for(dot, pairs, "a"), "perturbed_to_baseline")
    assert np.abs(result.effect()).max() > 1e-4
    np.testing.assert_allclose(result.scores, reference, atol=1e-5)


def test_exact_equals_naive_on_minilm_and_the_embedded_collection(dot, collection):
    pairs = me.make_pairs(collection, "TDC", n=1, seed=3, place="start")
    fast, slow = (patched(dot, pairs, method=m) for m in ("exact", "naive"))
    assert_same(fast.scores, slow.scores)


def test_a_pairs_scores_do_not_depend_on_the_other_pairs(planted):
    together, alone = patched(planted, PAIRS), patched(planted, PAIRS[3:])
    np.testing.assert_allclose(together.scores[..., 3:], alone.scores, atol=1e-5)


def test_recipient_and_donor_are_the_rankers_own_scores(dot):
    pair = me.Pair("q", "d", "coral reef", "Fish live here now.", "Fish live reef now.", "mine", 1)
    result = patched(dot, [pair], direction="perturbed_to_baseline", site="attn_out")
    expected = dot.score(pair.query, [pair.baseline, pair.perturbed])
    np.testing.assert_allclose([result.recipient[0], result.donor[0]], expected, atol=1e-6)


def test_auto_patches_into_the_side_with_the_lower_mean_score():
    low, high = np.zeros(3, np.float32), np.ones(3, np.float32)
    assert choose_direction(low, high, "auto") == "perturbed_to_baseline"
    assert choose_direction(high, low, "auto") == "baseline_to_perturbed"


def test_a_perturbed_query_is_patched_in_the_query_encoder(dot):
    pair = replace(
        PAIRS[0], perturbed=PAIRS[0].baseline, perturbed_query="coral reef bleaching causes"
    )
    result = patched(dot, [pair], site="resid_pre", direction="perturbed_to_baseline")
    expected = dot.score(pair.perturbed_query, pair.baseline)
    np.testing.assert_allclose(result.scores[0], expected, atol=1e-5)


def test_planted_heads_stand_above_all_others_for_tfc1_and_tdc(planted, collection):
    for axiom in ("TFC1", "TDC"):
        result = patched(planted, me.make_pairs(collection, axiom, n=32, seed=5))
        recovery = result.recovery()
        is_planted = np.zeros(recovery.value.shape, dtype=bool)
        is_planted[tuple(np.array(sorted(planted.planted_heads)).T)] = True
        assert np.abs(recovery.value[is_planted]).min() > np.abs(recovery.value[~is_planted]).max()
        assert recovery.significant()[is_planted].all()
        assert (recovery.low[~is_planted] <= 0).all()
        assert (recovery.high[~is_planted] >= 0).all()


def test_scores_of_pairs_are_those_that_patching_starts_from(planted):
    scored, result = score_pairs(planted, PAIRS), patched(planted, PAIRS, site="attn_out")
    np.testing.assert_allclose(scored.score_change(), result.score_change(), atol=1e-5)


def test_the_result_says_what_was_done(planted):
    result = patched(planted, PAIRS, heads=[(0, 1)], filler="pad")
    assert result.axes == ("cell", "pair")
    assert (result.site, result.method, result.filler) == ("head", "exact", "pad")
    assert result.provenance["heads"] == [[0, 1]]
    assert set(result.provenance["versions"]) >= {"torch", "transformers", "transformer-lens"}


def test_grad_mode_and_hooks_are_left_as_they_were(planted):
    patched(planted, PAIRS[:1], method="naive")
    assert torch.is_grad_enabled()
    assert not any(block.skipped for block in planted.bridge.blocks)
    # The bridge itself keeps permanent hooks; ours must be gone.
    assert not planted.hook_dict["blocks.0.hook_attn_out"].has_hooks(including_permanent=False)


def test_progress_can_be_told_to_a_function(planted):
    told = []
    patched_pairs = me.patch(planted, PAIRS, progress=told.append).pairs
    assert sum(told) == len(patched_pairs) == len(PAIRS)


def test_mechirs_patch_types(planted):
    aligned = align_for(planted, PAIRS[:2], "a")
    assert patch_batch(planted, aligned).axes == ("layer", "head", "pair")
    assert set(patch_batch(planted, aligned, patch_type="block_all")) == set(BLOCK_SITES)
    by_pos = patch_batch(
        planted, aligned, patch_type="head_by_pos", layer_head_list=[(0, 0), (2, 3)]
    )
    assert by_pos["head"].axes == by_pos["pattern"].axes == ("cell", "row")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"site": "mlp"}, "site must be one of"),
        ({"by": "token"}, "by"),
        ({"method": "fast"}, "method must be one of"),
        ({"direction": "forward"}, "direction"),
        ({"heads": [(9, 0)]}, r"no head \(layer 9"),
        ({"heads": []}, "different"),
        ({"heads": [(0, 0), (0, 0)]}, "different"),
        ({"heads": [(0, 0)], "site": "mlp_out"}, "head site"),
    ],
)
def test_a_wrong_option_is_named(planted, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        patched(planted, PAIRS[:1], **options)


def test_pairs_that_cannot_be_aligned_are_counted_and_none_at_all_is_an_error(planted):
    empty = a_pair("", "reef", 9)
    result = patched(planted, [PAIRS[0], empty])
    assert [skip.doc_id for skip in result.skipped] == ["d9"]
    with pytest.raises(ValueError, match="empty document"):
        patched(planted, [empty])


def test_pairs_aligned_for_the_other_kind_are_refused(planted, dot):
    with pytest.raises(ValueError, match="aligned for a dot"):
        patched(planted, align_for(dot, PAIRS, "a"))


def test_unknown_patch_type_is_named(planted):
    with pytest.raises(ValueError, match="head_all, block_all or head_by_pos"):
        patch_batch(planted, align_for(planted, PAIRS, "a"), patch_type="heads")
