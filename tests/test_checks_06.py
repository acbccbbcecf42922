import numpy as np
import pytest

from mechir_edu.checks.checks_06 import check_flip_by_query, check_matched_contrast


def matched_contrast(axiom, control):
    return np.mean([axiom[key] - control[key] for key in axiom if key in control])


def flip_by_query(effect, query_ids, rng):
    queries, place = np.unique(query_ids, return_inverse=True)
    return effect * rng.choice([-1, 1], size=len(queries))[place]


def in_place(effect, query_ids, rng):
    effect *= -1
    return effect


def stub(*arguments):
    raise NotImplementedError


def means(axiom, control):
    return [np.mean([*side.values()]) for side in (axiom, control)]


WRONG_CONTRASTS = {
    "keep those that both": lambda a, c: np.subtract(*means(a, c)),
    "leave it out": lambda a, c: np.mean([a[key] - c.get(key, 0) for key in a]),
    "other way round": lambda a, c: -matched_contrast(a, c),
    "take the control's off": lambda a, c: np.mean([a[key] for key in a if key in c]),
    "take the mean": lambda a, c: 3 * matched_contrast(a, c),
    "a ratio": lambda a, c: np.divide(*means(*({k: s[k] for k in a if k in c} for s in (a, c)))),
}
WRONG_FLIPS = {
    "return a new array": in_place,
    "should keep it": lambda effect, queries, rng: effect.mean(axis=1),
    "only signs should": lambda effect, queries, rng: rng.permuted(effect, axis=1),
    "no sign was turned": lambda effect, queries, rng: effect.copy(),
    "all signs are turned": lambda effect, queries, rng: -effect,
    "a coin of its own": lambda effect, queries, rng: effect * rng.choice([-1, 1], effect.shape),
    "one coin turned everything": lambda effect, queries, rng: effect * rng.choice([-1, 1]),
    "pairs of one query": lambda effect, queries, rng: effect * rng.choice([-1, 1], len(queries)),
}


@pytest.mark.parametrize(("sentence", "wrong"), WRONG_CONTRASTS.items())
def test_a_wrong_contrast_hears_its_mistake(sentence, wrong, capsys):
    check_matched_contrast(wrong)
    assert sentence in capsys.readouterr().out


@pytest.mark.parametrize(("sentence", "wrong"), WRONG_FLIPS.items())
def test_a_wrong_null_hears_its_mistake(sentence, wrong, capsys):
    check_flip_by_query(wrong)
    assert sentence in capsys.readouterr().out


@pytest.mark.parametrize("check", [check_matched_contrast, check_flip_by_query])
def test_an_untouched_stub_is_not_attempted_yet(check, capsys):
    check(stub)
    assert capsys.readouterr().out.startswith("Not attempted yet")


def test_the_solutions_pass():
    check_matched_contrast(matched_contrast, strict=True)
    check_flip_by_query(flip_by_query, strict=True)
