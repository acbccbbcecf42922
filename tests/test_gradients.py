"""Attribution patching: is it the gradient, does it add up, and how far is it from exact?"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from patching_helpers import APPENDED as PAIRS
from patching_helpers import SITES, hook_name, load_small

import mechir_edu as me
from mechir_edu.patching.approximation import approximation_error
from mechir_edu.patching.batches import make_batches
from mechir_edu.patching.engines.gradient import linearise
from mechir_edu.patching.engines.suffix import PostLNStack
from mechir_edu.patching.options import PatchOptions
from mechir_edu.patching.scoring import align_for


def tiny(folder, family, kind, dtype=torch.float32):
    ranker = load_small(family, kind, folder)
    ranker.hf_model.to(dtype)
    return ranker


def first_batch(ranker, pairs=PAIRS[:1], filler="a"):
    return next(make_batches(ranker, align_for(ranker, pairs, filler).aligned, max_tokens=999))


def estimates(model, ranker, batch, site, by=None):
    sweep = PatchOptions(site=site, by=by).sweep(ranker)
    linear = linearise(model, batch.runs("perturbed_to_baseline"), sweep)
    found = {}
    for cells, scores in linear.estimates(batch, sweep):
        found |= dict(zip(cells, scores - linear.recipient, strict=True))
    return found


def activation(ranker, batch, inputs, name):
    kept = []
    with ranker.bridge.hooks(fwd_hooks=[(name, lambda act, hook: kept.append(act.clone()))]):
        batch.score(ranker, inputs)
    return kept[0]


def slope_towards_donor(ranker, batch, site, layer, head, step):
    """Directional derivative by central differences, with the site moved through a hook."""
    name = hook_name(site, layer)
    donor = activation(ranker, batch, batch.perturbed, name)
    where = torch.zeros_like(donor)
    index = {"pattern": (slice(None), head)}.get(site, (slice(None), slice(None), head))
    where[index if head is not None else slice(None)] = 1

    def score(share):
        hook = (name, lambda act, hook: act + share * where * (donor - act))
        with ranker.bridge.hooks(fwd_hooks=[hook]):
            return batch.score(ranker, batch.baseline)

    return (score(step) - score(-step)) / (2 * step)


@pytest.fixture(scope="module", params=[("bert", "cat"), ("mpnet", "dot"), ("modernbert", "cat")])
def double(request, tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("double"), *request.param, dtype=torch.float64)


def patched(ranker, pairs=PAIRS, **options):
    return me.patch(ranker, pairs, progress=False, **options)


@torch.no_grad()
@pytest.mark.parametrize("site", SITES)
def test_the_estimate_is_the_derivative_towards_the_donor(double, site):
    batch = first_batch(double)
    model = PostLNStack(double) if double.is_post_ln else double
    # ModernBERT rotates q and k in float32 whatever the model's type: its steps must be longer.
    step, rtol, atol = (1e-4, 1e-5, 1e-9) if double.is_post_ln else (3e-3, 1e-3, 1e-5)
    for (layer, _, head), estimate in estimates(model, double, batch, site).items():
        expected = slope_towards_donor(double, batch, site, layer, head, step)
        torch.testing.assert_close(estimate, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("family", "filler"),
    [
        pytest.param(
            family, filler, marks=[pytest.mark.long] * (family != "bert" and filler != "a")
        )
        for family in ("bert", "distilbert", "mpnet", "electra-narrow")
        for filler in ("a", "mask", "pad")
    ],
)
def test_the_fast_path_equals_the_hooks(tmp_path, family, filler):
    ranker = tiny(tmp_path, family, "cat", torch.float64)
    batch = first_batch(ranker, filler=filler)
    for site in SITES:
        fast = estimates(PostLNStack(ranker), ranker, batch, site, "role")
        hooked = estimates(ranker, ranker, batch, site, "role")
        assert fast.keys() == hooked.keys()
        torch.testing.assert_close([*fast.values()], [*hooked.values()], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("site", SITES)
def test_positions_and_roles_add_up_to_the_patch_of_all_positions(planted, site):
    whole, by_role, by_pos = (
        patched(planted, site=site, method="gradient", by=by) for by in (None, "role", "pos")
    )
    added = by_role.scores - by_role.recipient
    np.testing.assert_allclose(added.sum(axis=-2), whole.effect(), atol=1e-5)
    for i in range(len(PAIRS)):
        added = by_pos.rows_of(i) - by_pos.recipient[i]
        np.testing.assert_allclose(added.sum(axis=-1), whole.effect()[..., i], atol=1e-5)


@pytest.mark.parametrize("site", SITES)
def test_a_run_patched_with_itself_keeps_exactly_its_score(planted, site):
    aligned = align_for(planted, PAIRS, "a")
    twins = tuple(replace(pair, perturbed_ids=pair.baseline_ids) for pair in aligned.aligned)
    result = patched(planted, replace(aligned, aligned=twins), site=site, method="gradient")
    assert (result.effect() == 0).all()


def test_a_pair_without_a_role_keeps_exactly_its_score(planted):
    by_role = patched(planted, method="gradient", by="role")
    without = [
        me.Role.OCCURRENCE not in pair.roles for pair in align_for(planted, PAIRS, "a").aligned
    ]
    assert any(without)
    assert (by_role.effect()[:, :, me.Role.OCCURRENCE, without] == 0).all()


def test_chosen_heads_get_the_same_estimates_as_among_all(planted):
    heads = [(3, 1), (1, 0)]
    few, all_heads = (patched(planted, method="gradient", heads=h) for h in (heads, None))
    assert few.axes == ("cell", "pair")
    np.testing.assert_allclose(few.scores, all_heads.scores[tuple(np.transpose(heads))], atol=1e-6)


@pytest.mark.parametrize("flip", [False, True])
def test_auto_patches_into_the_lower_side_as_exact_patching_does(planted, flip):
    pairs = [replace(p, baseline=p.perturbed, perturbed=p.baseline) if flip else p for p in PAIRS]
    estimated, exact = (patched(planted, pairs, method=m) for m in ("gradient", "exact"))
    assert estimated.direction == exact.direction
    np.testing.assert_allclose(estimated.recipient, exact.recipient, atol=1e-5)
    assert approximation_error(estimated, exact).pearson > 0.99


def test_into_the_baseline_the_estimate_finds_the_planted_answer(planted):
    estimated, exact = (
        patched(planted, method=m, direction="perturbed_to_baseline") for m in ("gradient", "exact")
    )
    error = approximation_error(estimated, exact, top_k=3)
    assert error.overlap == 1
    assert error.largest < 0.01 * abs(exact.score_change().mean())


def test_a_saturated_softmax_hides_what_the_match_head_does(planted):
    # Without a match the idf head shuts. At the recipient its softmax is flat: no slope says so.
    estimated, exact = (
        patched(planted, method=m, direction="baseline_to_perturbed").recovery(n_boot=10).value
        for m in ("gradient", "exact")
    )
    match = (0, 0)
    assert exact[match] == pytest.approx(1, abs=0.01)
    assert estimated[match] < 0.6
    errors = np.abs(estimated - exact)
    assert np.argmax(errors) == np.ravel_multi_index(match, errors.shape)
    assert np.sort(errors.ravel())[-2] < 0.01


def test_estimates_follow_exact_patching_on_a_real_ranker(dot):
    options = {"direction": "perturbed_to_baseline"}
    estimated, exact = (patched(dot, method=m, **options) for m in ("gradient", "exact"))
    error = approximation_error(estimated, exact)
    assert error.pearson > 0.9
    assert error.spearman > 0.9
    assert error.overlap >= 0.8


def test_no_gradient_is_left_behind(planted):
    with torch.enable_grad():
        patched(planted, method="gradient")
        assert torch.is_grad_enabled()
    with torch.no_grad():
        patched(planted, method="gradient")
        assert not torch.is_grad_enabled()
    assert all(p.grad is None and not p.requires_grad for p in planted.hf_model.parameters())
    hooks = planted.hook_dict.values()
    assert not any(hook.fwd_hooks or hook.bwd_hooks for hook in hooks if not is_permanent(hook))


def is_permanent(hook):
    return any(handle.is_permanent for handle in hook.fwd_hooks)


def test_the_error_of_an_approximation_is_told_in_score_units(planted):
    exact = patched(planted)
    off = exact.scores.copy()
    off[2, 1] += 0.5
    error = approximation_error(replace(exact, scores=off, method="gradient"), exact, top_k=1)
    assert error.largest == pytest.approx(0.5)
    assert error.worst == (2, 1)
    assert error.overlap == 0


def test_results_of_different_sites_are_not_compared(planted):
    with pytest.raises(ValueError, match="same site"):
        approximation_error(patched(planted, method="gradient", site="q"), patched(planted))
