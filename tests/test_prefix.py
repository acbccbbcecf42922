"""Decoders behind a shared prefix: equal to a forward pass a cell, exactly 0 before an edit."""

import numpy as np
import pytest
from patching_helpers import HEAD_SITES, PAIRS, SITES, a_pair, assert_same, patched
from small_models import save_model

from mechir_edu import Cat, Dot, Knockout, ablate

# Two of one length, edited at different places; one that is edited at its start.
MIXED = [
    PAIRS[0],
    a_pair("Warm water makes corals lose their algae, fish.", "bleaching", 5),
    PAIRS[1],
]
SHORT = [a_pair("Warm sea.", "reef"), a_pair("The sea is.", "fish", 1)]
METHODS = ("exact", "naive")
# Plain, and with windows and caps; the others, one plain and one with windows, in make long.
FAMILIES = ["llama", "gemma2"]
FAMILIES += [pytest.param(family, marks=pytest.mark.long) for family in ("qwen3", "gemma3")]


@pytest.fixture(scope="module", params=FAMILIES)
def ranker(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    save_model(request.param, "ForSequenceClassification", folder, num_labels=1)
    return Cat(str(folder), verify=False)


def both(ranker, pairs=MIXED, **options):
    exact, naive = (patched(ranker, pairs, method=m, **options) for m in METHODS)
    assert "behind a shared prefix" in exact.provenance["engine"]
    assert_same(exact.scores, naive.scores)
    return exact


@pytest.mark.parametrize("site", SITES)
def test_every_site_equals_one_forward_pass_a_cell(ranker, site):
    heads = [(0, 1), (1, 0)] if site in HEAD_SITES else None
    both(ranker, MIXED[:2], site=site, heads=heads)


@pytest.mark.parametrize(("site", "by"), [("head", "role"), ("k", "pos"), ("resid_pre", "role")])
def test_by_role_and_position_too(ranker, site, by):
    heads = [(0, 1)] if site in HEAD_SITES else None
    both(ranker, SHORT if by == "pos" else MIXED, site=site, by=by, heads=heads)


def test_nothing_before_the_edit_has_any_effect(ranker):
    result = patched(ranker, MIXED, site="resid_pre", by="pos")
    effect = result.scores - result.recipient[result.row_pair]
    for pair in range(len(MIXED)):
        rows = result.row_pair == pair
        role, pos = result.row_role[rows], result.row_pos[rows]
        start = pos[role == 4].min()
        assert (effect[:, rows][:, pos < start] == 0).all()
        assert (effect[0, rows][pos >= start] != 0).any()


def test_a_prefix_is_not_shared_under_an_intervention_or_an_ablation(ranker):
    under = ranker.under(Knockout([(0, 1)]))
    exact, naive = (patched(under, PAIRS[:1], heads=[(1, 0)], method=m) for m in METHODS)
    assert "prefix" not in exact.provenance["engine"]
    assert_same(exact.scores, naive.scores)
    exact, naive = (
        ablate(ranker, PAIRS[:2], heads=[(0, 1)], method=m, progress=False).scores for m in METHODS
    )
    assert_same(exact, naive)


def test_an_embedding_of_all_positions_has_those_of_the_prefix(tmp_path):
    save_model("mistral", "Model", tmp_path)
    both(Dot(str(tmp_path), pooling="mean", similarity="dot"), MIXED[:1], site="mlp_out", by="role")


def test_a_masked_filler_is_an_edit(ranker):
    result = both(ranker, MIXED[:2], filler="pad", site="mlp_out")
    assert np.ptp(result.scores) > 0
