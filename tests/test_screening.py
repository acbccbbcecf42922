"""Screening: an exact top k for the price of a shortlist, and a check that can fail."""

from dataclasses import replace

import numpy as np
import pytest
from few import few
from patching_helpers import APPENDED as PAIRS

import mechir_edu as me
from mechir_edu.patching import activation
from mechir_edu.patching.activation import estimate, make_job, patch_leading_heads
from mechir_edu.patching.engines.branch import KEPT
from mechir_edu.patching.engines.screening import LEAST, SAFETY, screen
from mechir_edu.patching.options import DIRECTIONS, PatchOptions
from mechir_edu.patching.scoring import align_for

TOP_K = {"planted": 3, "dot": 10}  # heads wanted of each ranker
METHODS = ("exact", "gradient", "screened")


@pytest.fixture(scope="module", params=TOP_K)
def measured(request):
    """Results of the three methods, and how many heads are wanted."""
    ranker, top_k = request.getfixturevalue(request.param), TOP_K[request.param]
    options = {"direction": "perturbed_to_baseline", "progress": False, "top_k": top_k}
    return *(me.patch(ranker, PAIRS, method=m, **options) for m in METHODS), top_k


def leading(result, top_k):
    return np.argsort(-np.abs(result.effect().mean(axis=-1)).ravel(), kind="stable")[:top_k]


def test_the_screened_top_is_the_exact_top(measured):
    exact, _, screened, top_k = measured
    np.testing.assert_array_equal(leading(screened, top_k), leading(exact, top_k))
    assert screened.provenance["screening"]["passed"]


def test_shortlisted_heads_have_exact_scores_and_the_others_estimates(measured):
    exact, gradient, screened, top_k = measured
    assert top_k <= screened.exact.sum() < screened.exact.size
    is_exact = screened.exact
    np.testing.assert_allclose(screened.scores[is_exact], exact.scores[is_exact], atol=1e-5)
    np.testing.assert_array_equal(screened.scores[~is_exact], gradient.scores[~is_exact])


def test_the_report_lists_the_heads_that_are_exact(measured):
    screened = measured[2]
    shortlist = screened.provenance["screening"]["shortlist"]
    assert sorted(map(tuple, shortlist)) == [tuple(at) for at in np.argwhere(screened.exact)]


def test_a_file_keeps_which_heads_are_exact(measured, tmp_path):
    measured[2].save(tmp_path / "run.npz")
    loaded = me.PatchingResult.load(tmp_path / "run.npz")
    np.testing.assert_array_equal(loaded.exact, measured[2].exact)
    assert loaded.provenance == measured[2].provenance
    assert loaded.select(np.arange(4) < 2).exact.shape == measured[2].exact.shape


def test_screening_works_on_a_choice_of_heads(planted):
    options = {"heads": [(0, 1), (3, 1), (1, 0), (0, 0)], "progress": False}
    screened = me.patch(planted, PAIRS, method="screened", top_k=2, **options)
    exact = me.patch(planted, PAIRS, **options)
    assert screened.exact.shape == (4,)
    assert list(leading(screened, 2)) == list(leading(exact, 2))


@pytest.mark.parametrize("options", [{"by": "role"}, {"by": "pos"}, {"site": "mlp_out"}])
def test_screening_other_cells_than_heads_is_refused(planted, options):
    with pytest.raises(ValueError, match="screened ranks heads"):
        me.patch(planted, PAIRS, method="screened", **options)


KINDS = few(
    [(family, kind) for family in ("bert", "mpnet") for kind in ("dot", "cat")],
    [("bert", "cat"), ("mpnet", "dot")],
)


@pytest.mark.parametrize(("family", "kind"), KINDS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_runs_that_the_gradient_kept_are_patched_as_the_naive_loop_patches(
    small_ranker, family, kind, direction
):
    ranker = small_ranker(family, kind)
    options = {"direction": direction, "filler": "mask", "progress": False}
    naive = me.patch(ranker, PAIRS, method="naive", **options)
    screened = me.patch(ranker, PAIRS, method="screened", top_k=naive.effect().size, **options)
    assert screened.exact.all()
    np.testing.assert_allclose(screened.scores, naive.scores, atol=1e-5)


@pytest.mark.parametrize("direction", ["auto", "perturbed_to_baseline"])
def test_exact_patches_run_no_text_again(planted, direction, monkeypatch):
    job = make_job(PatchOptions(method="screened", top_k=3), planted, PAIRS, False)
    estimated = estimate(job, direction)
    assert len(job.fast.kept) == 2 * len(job.batches)
    monkeypatch.setattr(type(job.fast), "embed", None)
    patch_leading_heads(job, estimated)


def test_where_there_is_no_room_texts_run_again_and_scores_are_the_same(planted, monkeypatch):
    options = PatchOptions(method="screened", top_k=3)
    kept = me.patch(planted, PAIRS, method="screened", top_k=3, progress=False)
    for room, memory in ((0, None), (1000, None), (KEPT, 10**9)):
        monkeypatch.setattr(activation, "KEPT", room)
        job = make_job(replace(options, memory=memory), planted, PAIRS, False)
        again = patch_leading_heads(job, estimate(job, kept.direction))
        assert not job.fast.kept
        np.testing.assert_allclose(again.scores, kept.scores, atol=1e-6)


def test_a_pair_that_changes_nothing_keeps_exactly_its_score(planted):
    aligned = align_for(planted, PAIRS, "a")
    twins = tuple(replace(pair, perturbed_ids=pair.baseline_ids) for pair in aligned.aligned)
    aligned = replace(aligned, aligned=twins)
    result = me.patch(planted, aligned, method="screened", top_k=99, progress=False)
    assert result.exact.all()
    assert (result.effect() == 0).all()


# From here on without a ranker: cells with one pair, and what exact patching would say of each.
def screen_effects(estimated, exact, **options):
    exact, recipient = np.array(exact)[:, None] + 1.0, np.ones(1)
    estimated = np.array(estimated)[:, None] + 1.0
    return screen(estimated, recipient, lambda cells: exact[cells], **options)


def test_perfect_estimates_need_no_more_than_the_first_round():
    effects = [8.0, -7.0, 6.0, 3.0, 2.0, 1.0]
    found = screen_effects(effects, effects, top_k=3)
    assert found.passed
    assert found.shortlist == (0, 1, 2)
    assert found.rounds == 1
    assert found.margin == pytest.approx(SAFETY * LEAST * 3.0)
    assert found.bound == pytest.approx(3.0 + found.margin)
    assert found.kth_effect == 6.0


def test_errors_on_the_shortlist_lengthen_it():
    estimated, exact = [8.0, 7.0, 6.0, 3.5, 2.0, 0.1], [8.0, 12.0, 6.0, 4.0, 1.0, 0.1]
    found = screen_effects(estimated, exact, top_k=3)
    assert found.passed
    assert set(found.shortlist) == {0, 1, 2, 3}
    growth = (12.0 - 7.0) / 7.0
    assert found.margin == pytest.approx(SAFETY * growth * 2.0)


def test_a_head_whose_pairs_cancel_is_bounded_by_what_they_would_be_worth():
    estimated = np.array([[8.0, 8.0], [5.0, 5.0], [1.0, 1.0], [-20.0, 20.2]])
    exact = np.array([[8.0, 8.0], [7.0, 7.0], [1.0, 1.0], [-20.0, 36.0]])
    found = screen(estimated, np.zeros(2), exact.__getitem__, top_k=2)
    assert found.passed
    assert found.shortlist == (0, 1, 3)
    np.testing.assert_array_equal(found.exact, [True, True, False, True])


def test_a_shortlist_cut_short_fails_its_check():
    estimated, exact = [5.0, 4.9, 4.8, 4.7, 0.1], [5.0, 4.9, 4.0, 5.5, 0.1]
    assert not screen_effects(estimated, exact, top_k=2, longest=3).passed
    whole = screen_effects(estimated, exact, top_k=2)
    assert whole.passed
    assert list(np.argsort(-whole.scores[:, 0])[:2]) == [3, 0]


@pytest.mark.parametrize("measured", ["dot"], indirect=True)
def test_a_shortlist_of_only_the_wanted_heads_fails_on_a_real_ranker(measured):
    exact, gradient, _, top_k = measured
    scores, exact_scores = (result.scores.reshape(-1, len(PAIRS)) for result in (gradient, exact))
    run_exactly = exact_scores.__getitem__
    found = screen(scores, exact.recipient, run_exactly, top_k=top_k, longest=top_k)
    assert found.exact.sum() == top_k
    assert not found.passed


def test_all_cells_exact_is_a_pass_whatever_the_errors():
    found = screen_effects([2.0, 1.0], [1.0, 2.0], top_k=5)
    assert found.exact.all()
    assert found.passed
    assert found.bound == found.margin == 0


def test_a_vanished_gradient_gives_no_warning():
    """The assumption that the module states, and what happens where it does not hold."""
    found = screen_effects([8.0, 7.0, 6.0, 0.0], [8.0, 7.0, 6.0, 9.0], top_k=3)
    assert found.passed
    assert 3 not in found.shortlist


@pytest.mark.parametrize("options", [{"top_k": 0}, {"top_k": 3, "longest": 2}])
def test_lengths_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=r"needs at least one head|needed room"):
        screen_effects([2.0, 1.0, 0.5], [2.0, 1.0, 0.5], **options)
