"""On a GPU everything gives the CPU's numbers, and exact patching equals the naive loop."""

import numpy as np
import pytest
import torch
from patching_helpers import KINDS, PAIRS, SITES, assert_same, patched
from small_models import save_model

import mechir_edu as me

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="NOT TESTED: there is no GPU"),
]


# Of each kind of architecture one: plain, with relative positions, pre-LN with local attention.
RANKERS = [("bert", "dot"), ("mpnet", "dot"), ("bert", "cat"), ("modernbert", "cat")]


@pytest.fixture(scope="module", params=RANKERS, ids="-".join)
def both(request, tmp_path_factory):
    """A random ranker on the GPU, and the same on the CPU."""
    family, kind = request.param
    load, suffix = KINDS[kind]
    folder = save_model(family, suffix, tmp_path_factory.mktemp("model"))
    return load(folder, device="cuda"), load(folder, device="cpu")


def test_exact_equals_naive_and_the_cpu_at_every_site(both):
    gpu, cpu = both
    for site in SITES:
        fast, slow = (patched(gpu, site=site, method=method) for method in ("exact", "naive"))
        assert np.abs(fast.effect()).max() > 1e-4
        assert_same(fast.scores, slow.scores)
        assert_same(fast.scores, patched(cpu, site=site).scores)


def test_a_batch_of_all_cells_equals_a_batch_of_few(both):
    gpu, _ = both
    least = {"memory": 20_000_000}
    assert_same(patched(gpu).scores, patched(gpu, **least).scores)


def test_gradients_equal_the_cpus(both):
    gpu, cpu = both
    assert_same(patched(gpu, method="gradient").scores, patched(cpu, method="gradient").scores)


def test_screening_ablation_and_paths_run_and_equal_the_cpus(both):
    gpu, cpu = both
    screened = [patched(ranker, method="screened", top_k=2) for ranker in both]
    np.testing.assert_array_equal(screened[0].exact, screened[1].exact)
    ablated = [me.ablate(ranker, PAIRS, progress=False) for ranker in both]
    assert_same(ablated[0].scores, ablated[1].scores)
    if gpu.is_post_ln:
        options = {"senders": [(0, 1)], "progress": False}
        paths = [me.path_patch(ranker, PAIRS, **options) for ranker in both]
        assert_same(paths[0].scores, paths[1].scores)


def test_a_result_says_where_it_was_computed(both, tmp_path):
    result = patched(both[0])
    result.save(tmp_path / "result.npz")
    assert me.PatchingResult.load(tmp_path / "result.npz").provenance["device"] == "cuda"


def test_the_planted_ranker_scores_as_on_the_cpu():
    pairs = me.make_pairs(me.load_collection("embedded"), "TFC1", n=8)
    gpu, cpu = (me.score_pairs(me.Cat("planted", device=d), pairs) for d in ("cuda", "cpu"))
    # Its weights are large: the CPU's own float32 scores are 1.9e-5 away from float64's.
    np.testing.assert_allclose(gpu.perturbed, cpu.perturbed, atol=6e-5)
