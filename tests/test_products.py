"""The library that multiplies matrices is chosen by measuring, and changes rounding alone."""

import pytest
import torch
import torch.nn.functional as F
from patching_helpers import PAIRS, load_small, patched

from mechir_edu.patching.engines import products
from mechir_edu.patching.engines.choice import require_agreement
from mechir_edu.patching.storage import join

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this PyTorch was built without oneDNN"
)


@pytest.fixture
def measured(monkeypatch):
    """Nothing overrides the measurement, and nothing was measured yet."""
    monkeypatch.delenv(products.OVERRIDE, raising=False)
    products._faster.cache_clear()
    yield
    products._faster.cache_clear()


@pytest.fixture
def timed(monkeypatch, measured):
    """Give each library a speed of its own; gives a function that sets them, and a log of turns."""
    clock, turns = [0.0], []

    def at(torch_seconds, onednn_seconds):
        def plain(x, weight, bias=None):
            turns.append("torch")
            clock[0] += torch_seconds

        def through(x, weight):
            turns.append("oneDNN")
            clock[0] += onednn_seconds

        monkeypatch.setattr(products.F, "linear", plain)
        monkeypatch.setattr(products, "_through_onednn", through)
        monkeypatch.setattr(products.time, "perf_counter", lambda: clock[0])
        return turns

    return at


@needs_onednn
@pytest.mark.parametrize(
    ("torch_seconds", "onednn_seconds", "chosen"),
    [(2e-3, 1e-3, "oneDNN"), (1e-3, 2e-3, "torch"), (1e-3, 0.95e-3, "torch")],
)
def test_the_faster_library_is_chosen_and_a_near_tie_leaves_pytorchs(
    timed, torch_seconds, onednn_seconds, chosen
):
    timed(torch_seconds, onednn_seconds)
    assert products.product(384) == chosen


@needs_onednn
def test_each_class_of_shapes_is_measured_once_in_turns(timed):
    turns = timed(1e-3, 2e-3)
    for _ in range(3):
        products.product(384)
    n_once = len(turns)
    assert turns == ["torch", "oneDNN"] * (n_once // 2)
    assert n_once * 1.5e-3 < 0.03 + 3e-3  # what the module promises, at these speeds
    products.product(768)
    assert len(turns) == 2 * n_once


@needs_onednn
def test_measuring_leaves_the_random_numbers_and_gradients_alone(measured):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    products.product(32)
    assert torch.equal(torch.rand(3), expected)
    assert torch.is_grad_enabled()


@needs_onednn
def test_products_of_both_libraries_are_equal_forwards_and_backwards(monkeypatch):
    torch.manual_seed(0)
    weight, bias = torch.randn(24, 16), torch.randn(24)
    gradients = []
    for name in products.NAMES:
        monkeypatch.setenv(products.OVERRIDE, name)
        x = torch.linspace(-1, 1, 5 * 16).view(5, 16).requires_grad_()
        assert products.enter(x).is_mkldnn == (name == "oneDNN")
        out = products.linear(x, weight, bias)
        torch.testing.assert_close(out, F.linear(x, weight, bias))
        gradients += torch.autograd.grad(out.square().sum(), x)
    torch.testing.assert_close(*gradients)


def test_an_unknown_library_is_refused_by_name(monkeypatch):
    monkeypatch.setenv(products.OVERRIDE, "mkl")
    with pytest.raises(ValueError, match="MECHIR_EDU_PRODUCT to be one of torch, oneDNN.*got mkl"):
        products.product(384)


def test_onednn_is_refused_where_pytorch_lacks_it(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setenv(products.OVERRIDE, "oneDNN")
    with pytest.raises(ValueError, match="this PyTorch lacks it"):
        products.product(384)
    monkeypatch.delenv(products.OVERRIDE)
    assert products.product(384) == "torch"


@needs_onednn
@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_exact_equals_naive_with_either_and_the_result_says_which(monkeypatch, tmp_path, family):
    ranker = load_small(family, "dot", tmp_path)
    naive = patched(ranker, PAIRS[:3], method="naive")
    assert "product" not in naive.provenance
    for name in products.NAMES:
        monkeypatch.setenv(products.OVERRIDE, name)
        exact = patched(ranker, PAIRS[:3])
        assert exact.provenance["product"] == name
        torch.testing.assert_close(
            torch.tensor(exact.scores), torch.tensor(naive.scores), atol=1e-5, rtol=1e-5
        )


def test_shards_of_processes_that_chose_differently_say_so(monkeypatch, tmp_path):
    ranker = load_small("bert", "dot", tmp_path)
    shards = [vars(patched(ranker, [pair])) for pair in PAIRS[:2]]
    shards[1] = shards[1] | {"provenance": shards[1]["provenance"] | {"product": "oneDNN"}}
    joined = join(shards, torch.arange(2).numpy())
    assert joined["provenance"]["product"] == "oneDNN and torch"


@pytest.mark.parametrize("library", ["torch", pytest.param("oneDNN", marks=needs_onednn)])
def test_the_embedded_cross_encoder_agrees_with_hooks_by_either_library(cat, library, monkeypatch):
    monkeypatch.setenv(products.OVERRIDE, library)
    monkeypatch.setattr(cat, "engines_agree", False)
    require_agreement(cat)
    assert cat.engines_agree
