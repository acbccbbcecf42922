import numpy as np
import pytest

from mechir_edu.checks import checks_03
from mechir_edu.checks.checks_03 import check_patch_every_head, check_recovery, check_three_runs
from mechir_edu.models import Cat


@pytest.fixture(scope="module")
def planted():
    return Cat("planted", verify=False, device="cpu")


@pytest.fixture(autouse=True)
def one_ranker(monkeypatch, planted):
    monkeypatch.setattr(checks_03, "Cat", lambda *args, **options: planted)


def put_head(z, given, head):
    z[:, :, head] = given[:, :, head]


def put_layer(z, given, head):
    z.copy_(given)


def put_position(z, given, head):
    z[:, head] = given[:, head]


def put_at_edit(z, given, head):
    z[:, -2, head] = given[:, -2, head]


def patched(ranker, recipient, donor, layer, head, *, put=put_head, hands_back=True):
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = ranker.run_with_cache(**donor, names_filter=name)

    def hook(z, hook):
        z = z.clone()
        put(z, cache[name], head)
        return z if hands_back else None

    return ranker.run_with_hooks(**recipient, fwd_hooks=[(name, hook)]).item()


def three_runs(ranker, recipient, donor, layer, head, *, swap=lambda r, d: (r, d), **options):
    scores = [ranker(**tokens).item() for tokens in (recipient, donor)]
    return *scores, patched(ranker, *swap(recipient, donor), layer, head, **options)


def three_runs_with(**options):
    return lambda *arguments: three_runs(*arguments, **options)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (three_runs_with(swap=lambda r, d: (d, d)), "the perturbed run into itself"),
        (three_runs_with(hands_back=False), "equals the first"),
        (three_runs_with(swap=lambda r, d: (r, r)), "equals the first"),
        (three_runs_with(swap=lambda r, d: (d, r)), "are exchanged"),
        (three_runs_with(put=put_layer), "all heads of the layer"),
        (three_runs_with(put=put_position), "a position, not a head"),
        (three_runs_with(put=put_at_edit), "the edited position only"),
        (lambda *a: [three_runs(*a)[i] for i in (1, 0, 2)], "the order is"),
        (lambda *a: None, "Not attempted yet"),
    ],
)
def test_each_mistake_about_the_three_runs_is_named(capsys, wrong, sentence):
    check_three_runs(wrong)
    assert sentence in capsys.readouterr().out


def test_three_runs_that_differ_in_one_head_are_right():
    check_three_runs(three_runs, strict=True)


def recovery(patched, recipient, donor):
    return (patched - recipient).mean(axis=-1) / (donor - recipient).mean()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda p, r, d: ((p - r) / (d - r)).mean(-1), "mean of each pair's ratio"),
        (lambda p, r, d: recovery(p, r, 2 * r - d), "sign is turned round"),
        (lambda p, r, d: p.mean(-1) / (d - r).mean(), "from the patched one"),
        (lambda p, r, d: (p - r).mean(-1) / d.mean(), "below the line"),
        (lambda p, r, d: (d - p).mean(-1) / (d - r).mean(), "1 minus recovery"),
        (lambda p, r, d: (p - r).mean() / (d - r).mean(), "one number for each cell"),
        (lambda p, r, d: (p - r).mean(-1) / abs(d - r).mean(), "keep the sign"),
        (lambda p, r, d: (p - r).mean(0) / (d - r).mean(), "mean over cells"),
        (lambda p, r, d: None, "Not attempted yet"),
    ],
)
def test_each_mistake_about_recovery_is_named(capsys, wrong, sentence):
    check_recovery(wrong)
    assert sentence in capsys.readouterr().out


def test_a_ratio_of_means_is_right():
    check_recovery(recovery, strict=True)


def every_head(score):
    def patch_every_head(ranker, recipient, donor):
        grid = (ranker.n_layers, ranker.n_heads)
        scores = [score(ranker, recipient, donor, layer, head) for layer, head in np.ndindex(grid)]
        return np.reshape(scores, grid)

    return patch_every_head


patch_every_head = every_head(patched)


def as_effects(ranker, recipient, donor):
    return patch_every_head(ranker, recipient, donor) - ranker(**recipient).item()


def as_recovery(ranker, recipient, donor):
    change = ranker(**donor).item() - ranker(**recipient).item()
    return as_effects(ranker, recipient, donor) / change


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (every_head(lambda ranker, r, d, *at: patched(ranker, d, d, *at)), "into itself"),
        (every_head(lambda ranker, r, d, *at: patched(ranker, r, r, *at)), "nothing was patched"),
        (every_head(lambda ranker, r, d, *at: patched(ranker, d, r, *at)), "are exchanged"),
        (lambda *runs: patch_every_head(*runs).T, "the axes are [layer, head]"),
        (every_head(lambda *a: patched(*a, put=put_layer)), "all heads of a layer at once"),
        (as_effects, "those are effects"),
        (as_recovery, "recovery already"),
        (lambda *runs: None, "Not attempted yet"),
    ],
)
def test_each_mistake_about_the_loop_over_heads_is_named(capsys, wrong, sentence):
    check_patch_every_head(wrong)
    assert sentence in capsys.readouterr().out


def test_one_patched_run_for_each_head_is_right():
    check_patch_every_head(patch_every_head, strict=True)
