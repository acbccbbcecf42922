"""Batches that are worked on side by side give what they give one after another."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from patching_helpers import PAIRS

from mechir_edu import Knockout, Scale, ablate, align, make_pairs, patch
from mechir_edu.patching.budget import bytes_of_weights, bytes_per_token
from mechir_edu.patching.engines.threads import side_by_side
from mechir_edu.patching.scoring import MAX_TOKENS, passes_at_once

ROUNDING = 2e-7  # unpatched scores still come from products that are spread over the cores


@pytest.fixture(scope="module")
def pairs(collection):
    return make_pairs(collection, "TFC1", n=5, seed=3)  # enough for three threads


@pytest.fixture
def cores():
    """Let PyTorch have so many cores, until the test is over."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def on_one_and_three_cores(cores, task):
    results = []
    for n in (1, 3):
        cores(n)
        results.append(task().scores)
    return results


@pytest.mark.parametrize(
    "options", [{}, {"site": "pattern", "by": "role"}, {"site": "mlp_out", "by": "pos"}]
)
def test_patching_on_several_cores_gives_the_scores_of_one(planted, pairs, cores, options):
    one, three = on_one_and_three_cores(
        cores, lambda: patch(planted, pairs, progress=False, **options)
    )
    np.testing.assert_allclose(one, three, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("how", ["zero", "mean", "resample"])
def test_ablation_on_several_cores_gives_the_scores_of_one(planted, pairs, cores, how):
    one, three = on_one_and_three_cores(
        cores, lambda: ablate(planted, pairs, how=how, progress=False)
    )
    np.testing.assert_allclose(one, three, rtol=0, atol=ROUNDING)


def test_every_pair_is_told_once(planted, pairs, cores):
    cores(3)
    told = []
    patch(planted, pairs, progress=told.append)
    assert sum(told) == len(pairs)


def test_a_stopped_patch_gives_the_cores_back(planted, pairs, cores):
    cores(3)

    def stop(n):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        patch(planted, pairs, progress=stop)
    assert torch.get_num_threads() == 3
    assert not [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]


def test_a_small_budget_of_memory_lets_fewer_passes_run_at_once(planted, cores):
    cores(3)
    of_a_pass = MAX_TOKENS["cpu"] * bytes_per_token(planted)
    least = bytes_of_weights(planted) + 512 * bytes_per_token(planted)
    assert passes_at_once(planted) == 3
    assert passes_at_once(planted, bytes_of_weights(planted) + 2 * of_a_pass) == 2
    assert passes_at_once(planted, least) == 1


def test_work_overlaps_and_comes_in_order(cores):
    meet = threading.Barrier(3, timeout=60)  # passed by three at once, or never

    def work(item):
        meet.wait()
        return item * item

    assert list(side_by_side(work, range(6), 3)) == [0, 1, 4, 9, 16, 25]


def test_endless_work_gives_its_results_as_they_come(cores):
    results = side_by_side(lambda item: -item, itertools.count(), 2)
    assert [next(results) for _ in range(9)] == [0, -1, -2, -3, -4, -5, -6, -7, -8]
    results.close()


@pytest.mark.parametrize("has_grad", [True, False])
def test_gradients_are_on_or_off_as_where_they_are_asked_for(cores, has_grad):
    with torch.set_grad_enabled(has_grad):
        seen = list(side_by_side(lambda _: torch.is_grad_enabled(), range(3), 2))
    assert seen == [has_grad] * 3


@pytest.mark.parametrize(("n_cores", "n_threads", "share"), [(4, 2, 2), (3, 2, 1), (2, 3, 1)])
def test_each_thread_has_its_share_of_the_cores(cores, n_cores, n_threads, share):
    cores(n_cores)
    shares = list(side_by_side(lambda _: torch.get_num_threads(), range(6), n_threads))
    assert shares == [share] * 6
    assert torch.get_num_threads() == n_cores


def test_an_error_in_a_thread_reaches_the_caller(cores):
    cores(2)
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda item: 1 // item, [1, 0, 1], 2))
    assert torch.get_num_threads() == 2


JOBS = {
    "score": lambda ranker: ranker.score("coral", ["a coral reef", "trains"]),
    "knocked out": lambda ranker: ranker.under(Knockout([(0, 0)])).score("coral", ["a reef"]),
    "naive": lambda ranker: patch(ranker, PAIRS[:1], method="naive", progress=False).scores,
    "under": lambda ranker: patch(ranker.under(Scale([(1, 1)], 2)), PAIRS, progress=False).scores,
    "align": lambda ranker: (
        align(PAIRS, ranker.tokenizer, kind=ranker.kind).aligned[0].perturbed_ids
    ),
}


@pytest.mark.parametrize("kind", ["dot", "cat"])
def test_calls_of_one_ranker_in_two_threads_give_the_numbers_of_calls_alone(small_ranker, kind):
    ranker = small_ranker("bert", kind)
    alone = {name: job(ranker) for name, job in JOBS.items()}

    def run(name):
        for _ in range(3):
            np.testing.assert_array_equal(JOBS[name](ranker), alone[name])

    with ThreadPoolExecutor(len(JOBS)) as pool:
        for done in [pool.submit(run, name) for name in JOBS]:
            done.result(timeout=300)


def test_a_call_keeps_its_turn_while_it_calls_others(small_ranker):
    ranker = small_ranker("bert", "dot")
    inside = threading.Event()

    def wait():
        with ranker.alone():
            inside.set()

    with ranker.alone(), ranker.alone():
        waiting = threading.Thread(target=wait)
        waiting.start()
        ranker.score("coral", ["reef"])
        assert not inside.wait(0.05)
    assert inside.wait(60)
    waiting.join()


def test_two_rankers_leave_the_default_dtype_as_it_was(small_ranker):
    def scores_of(ranker):
        return [ranker.score("coral", ["reef"]) for _ in range(9)]

    rankers = [small_ranker("bert", kind) for kind in ("dot", "cat")]
    expected = [ranker.score("coral", ["reef"]) for ranker in rankers]
    torch.set_default_dtype(torch.float64)
    try:
        with ThreadPoolExecutor(2) as pool:
            scores = list(
                pool.map(lambda r: [r.score("coral", ["reef"]) for _ in range(9)], rankers)
            )
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    for of_ranker, needed in zip(scores, expected, strict=True):
        np.testing.assert_array_equal(np.stack(of_ranker), np.stack([needed] * 9))
