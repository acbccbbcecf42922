"""Patching: the identities that must hold, then the reference, then bad input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_models import FAMILIES, save_model
from transformers import AutoModel

import mechir_edu as me
from mechir_edu.alignment.aligned import Role
from mechir_edu.files import embedded_folder
from mechir_edu.models import patch_batch
from mechir_edu.patching.scoring import align_for, choose_direction, score_pairs
from mechir_edu.rankers.hook_names import BLOCK_SITES, HEAD_SITES

SITES = (*HEAD_SITES, *BLOCK_SITES)
KINDS = {"dot": (me.Dot, "Model"), "cat": (me.Cat, "ForSequenceClassification")}


def a_pair(baseline, term, i=0, query="coral reef bleaching", at="end"):
    perturbed = f"{baseline} {term}" if at == "end" else f"{term} {baseline}"
    return me.Pair(f"q{i}", f"d{i}", query, baseline, perturbed, "mine", 1, term=term)


PAIRS = [
    a_pair("Warm water makes corals lose their algae.", "bleaching", 0),
    a_pair("The reef is a reef of many reef fish and one shark.", "reef", 1, at="start"),
    a_pair("Trains run late.", "coral", 2),
    a_pair("Warm oceans make corals eject their algae.", "bleaching", 3),
]


@pytest.fixture(scope="module")
def ranker():
    return me.Cat("planted")


@pytest.fixture(scope="module")
def minilm():
    return me.Dot("embedded")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    return request.param, tmp_path_factory.mktemp(request.param)


def load_family(family, kind):
    name, folder = family
    cls, suffix = KINDS[kind]
    return cls(str(save_model(name, suffix, folder / kind)))


def patched(ranker, pairs=PAIRS, **options):
    return me.patch(ranker, pairs, progress=False, **options)


def assert_same(scores, reference):
    """Equal to 1e-5 of the scores' own size (a random bi-encoder's are in the tens)."""
    size = max(1.0, float(np.abs(reference).max()))
    np.testing.assert_allclose(scores, reference, atol=1e-5 * size, rtol=0)


def same_run(ranker):
    """Aligned pairs whose donor is the recipient."""
    aligned = align_for(ranker, PAIRS, "a")
    twins = [replace(one, perturbed_ids=one.baseline_ids) for one in aligned.aligned]
    return replace(aligned, aligned=tuple(twins))


@pytest.mark.parametrize("method", ["exact", "naive"])
@pytest.mark.parametrize("site", SITES)
def test_patching_a_run_into_itself_changes_no_score(ranker, site, method):
    result = patched(ranker, same_run(ranker), site=site, method=method)
    np.testing.assert_allclose(result.effect(), 0, atol=1e-5)


@pytest.mark.parametrize("direction", ["perturbed_to_baseline", "baseline_to_perturbed"])
def test_the_whole_stream_into_layer_0_recovers_the_whole_change(ranker, direction):
    result = patched(ranker, site="resid_pre", direction=direction)
    np.testing.assert_allclose(result.scores[0], result.donor, atol=1e-5)


def test_the_stream_at_the_edited_span_alone_recovers_it_in_layer_0(minilm):
    result = patched(minilm, PAIRS[:2], site="resid_pre", by="role")
    np.testing.assert_allclose(result.scores[0, Role.EDIT], result.donor, atol=1e-6)
    np.testing.assert_allclose(result.scores[0, Role.DOCUMENT], result.recipient, atol=1e-6)


def test_a_role_that_a_pair_has_not_changes_nothing(ranker):
    result = patched(ranker, PAIRS[2:3], site="resid_pre", by="role")
    assert (result.scores[:, Role.OCCURRENCE] == result.recipient).all()


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("kind", KINDS)
def test_exact_equals_naive_on_every_family_and_site(family, kind, site):
    ranker = load_family(family, kind)
    fast, slow = (patched(ranker, PAIRS, site=site, method=m) for m in ("exact", "naive"))
    assert np.abs(fast.effect()).max() > 1e-4
    assert_same(fast.scores, slow.scores)


@pytest.mark.parametrize("by", ["pos", "role"])
@pytest.mark.parametrize("site", SITES)
def test_exact_equals_naive_by_position_and_by_role(ranker, site, by):
    options = {"heads": [(1, 2), (0, 0), (3, 1)]} if site in HEAD_SITES else {}
    fast, slow = (
        patched(ranker, PAIRS[1:3], site=site, by=by, method=m, **options)
        for m in ("exact", "naive")
    )
    assert_same(fast.scores, slow.scores)


@pytest.mark.parametrize("filler", ["pad", "mask", "reef"])
def test_exact_equals_naive_with_every_filler(family, filler):
    ranker = load_family(family, "dot")
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

    def score(one, ids):
        return float((embed(one.fixed_ids) * embed(ids)).sum())

    scores = np.zeros((len(projections), n_heads, len(aligned.aligned)))
    for i, one in enumerate(aligned.aligned):
        sides = [one.baseline_ids, one.perturbed_ids]
        recipient, donor = sides if direction == "perturbed_to_baseline" else sides[::-1]
        swap.clear()
        embed(donor)
        given = dict(kept)
        query = embed(one.fixed_ids)
        for layer, head in np.ndindex(*scores.shape[:2]):
            swap.update(layer=layer, head=head, z=given[layer])
            scores[layer, head, i] = float((query * embed(recipient)).sum())
    return scores


@torch.no_grad()
def test_head_patching_equals_plain_hugging_face_hooks_on_dl19(minilm, trec_dl):
    collection = me.load_collection("msmarco-passage/trec-dl-2019/judged")
    pairs = me.make_pairs(collection, "TFC1", n=3, seed=1)
    result = patched(minilm, pairs, direction="perturbed_to_baseline")
    reference = heads_by_plain_hooks(align_for(minilm, pairs, "a"), "perturbed_to_baseline")
    assert np.abs(result.effect()).max() > 1e-4
    np.testing.assert_allclose(result.scores, reference, atol=1e-5)


def test_exact_equals_naive_on_minilm_and_the_embedded_collection(minilm):
    pairs = me.make_pairs(me.load_collection("embedded"), "TDC", n=2, seed=3, place="start")
    fast, slow = (patched(minilm, pairs, method=m) for m in ("exact", "naive"))
    assert_same(fast.scores, slow.scores)


def test_a_pairs_scores_do_not_depend_on_the_other_pairs(ranker):
    together, alone = patched(ranker, PAIRS), patched(ranker, PAIRS[3:])
    np.testing.assert_allclose(together.scores[..., 3:], alone.scores, atol=1e-5)


def test_recipient_and_donor_are_the_rankers_own_scores(minilm):
    pair = me.Pair("q", "d", "coral reef", "Fish live here now.", "Fish live reef now.", "mine", 1)
    result = patched(minilm, [pair], direction="perturbed_to_baseline", site="attn_out")
    expected = minilm.score(pair.query, [pair.baseline, pair.perturbed])
    np.testing.assert_allclose([result.recipient[0], result.donor[0]], expected, atol=1e-6)


def test_auto_patches_into_the_side_with_the_lower_mean_score():
    low, high = np.zeros(3, np.float32), np.ones(3, np.float32)
    assert choose_direction(low, high, "auto") == "perturbed_to_baseline"
    assert choose_direction(high, low, "auto") == "baseline_to_perturbed"


def test_a_perturbed_query_is_patched_in_the_query_encoder(minilm):
    pair = replace(
        PAIRS[0], perturbed=PAIRS[0].baseline, perturbed_query="coral reef bleaching causes"
    )
    result = patched(minilm, [pair], site="resid_pre", direction="perturbed_to_baseline")
    expected = minilm.score(pair.perturbed_query, pair.baseline)
    np.testing.assert_allclose(result.scores[0], expected, atol=1e-5)


def test_planted_heads_stand_above_all_others_for_tfc1_and_tdc(ranker):
    collection = me.load_collection("embedded")
    for axiom in ("TFC1", "TDC"):
        result = patched(ranker, me.make_pairs(collection, axiom, n=60, seed=5))
        recovery = result.recovery()
        planted = np.zeros(recovery.value.shape, dtype=bool)
        planted[tuple(np.array(sorted(ranker.planted_heads)).T)] = True
        assert np.abs(recovery.value[planted]).min() > np.abs(recovery.value[~planted]).max()
        assert recovery.significant()[planted].all()
        assert (recovery.low[~planted] <= 0).all()
        assert (recovery.high[~planted] >= 0).all()


def test_scores_of_pairs_are_those_that_patching_starts_from(ranker):
    scored, result = score_pairs(ranker, PAIRS), patched(ranker, PAIRS, site="attn_out")
    np.testing.assert_allclose(scored.score_change(), result.score_change(), atol=1e-5)


def test_the_result_says_what_was_done(ranker):
    result = patched(ranker, PAIRS, heads=[(0, 1)], filler="pad")
    assert result.axes == ("cell", "pair")
    assert (result.site, result.method, result.filler) == ("head", "exact", "pad")
    assert result.provenance["heads"] == [[0, 1]]
    assert set(result.provenance["versions"]) >= {"torch", "transformers", "transformer-lens"}


def test_grad_mode_and_hooks_are_left_as_they_were(ranker):
    patched(ranker, PAIRS[:1], method="naive")
    assert torch.is_grad_enabled()
    assert not any(block.skipped for block in ranker.bridge.blocks)
    # The bridge itself keeps permanent hooks; ours must be gone.
    assert not ranker.hook_dict["blocks.0.hook_attn_out"].has_hooks(including_permanent=False)


def test_progress_can_be_told_to_a_function(ranker):
    told = []
    patched_pairs = me.patch(ranker, PAIRS, progress=told.append).pairs
    assert sum(told) == len(patched_pairs) == len(PAIRS)


def test_mechirs_patch_types(ranker):
    aligned = align_for(ranker, PAIRS[:2], "a")
    assert patch_batch(ranker, aligned).axes == ("layer", "head", "pair")
    assert set(patch_batch(ranker, aligned, patch_type="block_all")) == set(BLOCK_SITES)
    by_pos = patch_batch(
        ranker, aligned, patch_type="head_by_pos", layer_head_list=[(0, 0), (2, 3)]
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
def test_a_wrong_option_is_named(ranker, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        patched(ranker, PAIRS[:1], **options)


def test_pairs_that_cannot_be_aligned_are_counted_and_none_at_all_is_an_error(ranker):
    empty = a_pair("", "reef", 9)
    result = patched(ranker, [PAIRS[0], empty])
    assert [skip.doc_id for skip in result.skipped] == ["d9"]
    with pytest.raises(ValueError, match="empty document"):
        patched(ranker, [empty])


def test_pairs_aligned_for_the_other_kind_are_refused(ranker, minilm):
    with pytest.raises(ValueError, match="aligned for a dot"):
        patched(ranker, align_for(minilm, PAIRS, "a"))


def test_unknown_patch_type_is_named(ranker):
    with pytest.raises(ValueError, match="head_all, block_all or head_by_pos"):
        patch_batch(ranker, align_for(ranker, PAIRS, "a"), patch_type="heads")
