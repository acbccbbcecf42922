"""Step-down max-T by sign flips: exact in small cases, and what it is for in larger ones."""

from itertools import product

import numpy as np
import pytest
from max_t_studies import METHODS, Power, count_families, measure_family
from simulate import Design

from mechir_edu import stats
from mechir_edu.stats.sign_flips import family_wise_p, stepped_down

EIGHT = list("abcdefgh")
TINY = Design("tiny", np.full((12, 1), 2))


def every_pattern(effect):
    """Adjusted p values by the book: all patterns of signs, t itself, one step at a time."""
    n_queries = effect.shape[1]

    def t(values):
        return np.abs(values.mean(axis=1)) / values.std(axis=1, ddof=1)

    patterns = np.array([t(effect * signs) for signs in product([1, -1], repeat=n_queries)])
    order, p, least = np.argsort(-t(effect)), np.empty(len(effect)), 0.0
    for step, cell in enumerate(order):
        still_in = patterns[:, order[step:]].max(axis=1)
        least = max(least, np.mean(still_in >= t(effect)[cell] - 1e-9))
        p[cell] = least
    return p


@pytest.mark.parametrize("seed", range(5))
def test_all_patterns_of_a_few_queries_give_the_p_values_of_the_book(seed):
    effect = np.random.default_rng(seed).standard_normal((4, 8)) + [[0], [0.3], [0.8], [2]]
    assert family_wise_p(effect, query_ids=EIGHT) == pytest.approx(every_pattern(effect))


def test_a_single_cell_is_a_plain_sign_flip_test():
    # Of the 2^5 patterns of 1, 2, 4, 8, 16, only this and its mirror image reach 31.
    assert family_wise_p(np.array([1.0, 2, 4, 8, 16]), query_ids=list("abcde")) == 2 / 32


def test_pairs_of_one_query_turn_together():
    effect = np.random.default_rng(1).standard_normal((3, 8)) + 1
    pairs = np.repeat(effect, 3, axis=1) / 3
    ids = np.repeat(EIGHT, 3)
    assert family_wise_p(pairs, query_ids=ids) == pytest.approx(
        family_wise_p(effect, query_ids=EIGHT)
    )


def test_copies_of_a_cell_cost_nothing():
    effect = np.random.default_rng(2).standard_normal((1, 8)) + 1
    alone = family_wise_p(effect, query_ids=EIGHT)
    assert family_wise_p(np.repeat(effect, 50, axis=0), query_ids=EIGHT) == pytest.approx(
        np.repeat(alone, 50)
    )
    by = stats.mean_change(np.repeat(effect, 50, axis=0), query_ids=EIGHT).p
    assert stats.corrected(by)[0] > 3 * alone[0]


def test_a_cell_that_was_not_patched_is_no_evidence_and_costs_nothing():
    effect = np.vstack([np.random.default_rng(3).standard_normal(8) + 1, np.zeros(8)])
    p = family_wise_p(effect, query_ids=EIGHT)
    assert p[1] == 1
    assert p[0] == family_wise_p(effect[:1], query_ids=EIGHT)[0]


def test_cells_keep_their_places_and_no_sign_or_scale_matters():
    effect = np.random.default_rng(4).standard_normal((2, 3, 8)) + 0.5
    scale = np.array([[[1.0], [-2], [10]], [[-0.1], [3], [1e-6]]])
    p = family_wise_p(effect, query_ids=EIGHT)
    assert p.shape == (2, 3)
    assert family_wise_p(effect * scale, query_ids=EIGHT) == pytest.approx(p)


def test_random_patterns_come_close_to_all_of_them(monkeypatch):
    effect = np.random.default_rng(5).standard_normal((4, 8)) + 0.7
    exact = family_wise_p(effect, query_ids=EIGHT)
    monkeypatch.setattr("mechir_edu.stats.sign_flips.MOST_QUERIES", 4)
    drawn = family_wise_p(effect, query_ids=EIGHT, n_flips=20_000)
    assert drawn == pytest.approx(exact, abs=0.015)
    assert family_wise_p(effect + 99, query_ids=EIGHT, n_flips=99).min() >= 1 / 100
    again, other = (family_wise_p(effect, query_ids=EIGHT, n_flips=99, seed=s) for s in (0, 1))
    assert (again == family_wise_p(effect, query_ids=EIGHT, n_flips=99)).all()
    assert (again != other).any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_flips": 10}, "n_flips needs a whole number of at least 99"),
        ({"seed": -1}, "seed"),
        ({"query_ids": list("abc")}, "quer"),
    ],
)
def test_what_makes_no_sense_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        family_wise_p(np.ones((2, 8)), **{"query_ids": EIGHT} | given)


def test_studies_without_an_effect_are_counted():
    share = measure_family(TINY, "normal", "query", n=20, n_flips=99)
    assert set(share) == set(METHODS)
    assert all(0 <= found <= 1 for found in share.values())


def test_true_and_false_findings_are_counted():
    sums = np.random.default_rng(6).standard_normal((3, 12)) + [[9], [9], [0]]
    (found,) = {p for p in count_families([(sums, np.array([True, True, False]))], 99).values()}
    assert found == Power(detected=1.0, any_false=0.0, false=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("exchange", ["pair", "query"])
def test_at_most_5_percent_of_studies_without_an_effect_show_a_cell(exchange):
    share = measure_family(TINY, "exponential", exchange, n=1000, n_flips=999)
    assert share["max-T"] <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)


def test_sums_per_query_are_what_counts():
    sums = np.random.default_rng(7).standard_normal((3, 8))
    p = stepped_down(sums, n_flips=99, seed=0)
    assert p == pytest.approx(family_wise_p(sums, query_ids=EIGHT))
