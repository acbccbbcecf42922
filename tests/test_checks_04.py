import numpy as np
import pytest
from scipy.stats import rankdata

from mechir_edu.checks.checks_04 import check_heads_that_stand, check_rank_correlation


def where(mask):
    return {(int(layer), int(head)) for layer, head in np.argwhere(mask)}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda found, level: where(found.p < level), "went by p"),
        (lambda found, level: where((found.q < level) & (found.value > 0)), "raise the score only"),
        (lambda found, level: where(found.q >= level), "do not stand"),
        (lambda found, level: where(abs(found.value) > level), "size of the recovery"),
        (lambda found, level: found.q < level, "a mask"),
        (lambda found, level: None, "Not attempted yet"),
    ],
)
def test_each_mistake_about_heads_that_stand_is_named(capsys, wrong, sentence):
    check_heads_that_stand(wrong)
    assert sentence in capsys.readouterr().out


def test_heads_of_small_q_are_right_in_any_form():
    check_heads_that_stand(lambda found, level: where(found.q < level), strict=True)
    check_heads_that_stand(lambda found, level: np.argwhere(found.q < level), strict=True)


def correlate(first, second):
    return np.corrcoef(first.ravel(), second.ravel())[0, 1]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (correlate, "Pearson's"),
        (lambda a, b: correlate(a.ravel().argsort(), b.ravel().argsort()), "apply it twice"),
        (lambda a, b: correlate(rankdata(abs(a)), rankdata(abs(b))), "the sign matters"),
        (lambda a, b: correlate(rankdata(a, axis=1), rankdata(b, axis=1)), "row by row"),
        (lambda a, b: ..., "Not attempted yet"),
    ],
)
def test_each_mistake_about_rank_correlation_is_named(capsys, wrong, sentence):
    check_rank_correlation(wrong)
    assert sentence in capsys.readouterr().out


def test_a_correlation_of_ranks_is_right():
    check_rank_correlation(lambda a, b: correlate(rankdata(a), rankdata(b)), strict=True)
