from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from mechir_edu.stats.clusters import p_values, query_sums
from mechir_edu.stats.comparisons import match_pairs, mean_difference, recovery_difference
from mechir_edu.stats.estimates import grade_trend, mean_change, sign_agreement
from mechir_edu.stats.intervals import estimate_ratio, selective_coverage
from mechir_edu.stats.maps import profile_correlation, profile_gap, split_half_reliability
from mechir_edu.stats.power import minimum_detectable_effect
from mechir_edu.stats.recovered import corrected, recovery

# Pairs per query as a seeded stratified sample of 300 from TREC DL 2019 has them: 43 queries.
DL19_SIZES = np.array([1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5, 6, 6, 6])
DL19_SIZES = np.concatenate([DL19_SIZES, [7, 7, 8, 8, 9, 9, 10, 10, 11, 12, 12, 13, 14, 15, 16]])
DL19_SIZES = np.concatenate([DL19_SIZES, [16, 17, 18]])


TENS = np.repeat(np.arange(10), 20)


@dataclass
class Ids:
    query_id: str
    doc_id: str


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def query_ids():
    return np.repeat([f"q{i:02}" for i in range(len(DL19_SIZES))], DL19_SIZES)


def simulate(rng, *, n_cells=1, share=0.1):
    """Score changes and effects [cell, pair] with query effects, and the query of each pair."""
    query = np.repeat(np.arange(len(DL19_SIZES)), rng.choice(DL19_SIZES, len(DL19_SIZES)))
    change = 0.05 + 0.04 * rng.standard_normal(len(DL19_SIZES))[query]
    change = change + 0.04 * rng.standard_normal(len(query))
    noise = rng.standard_normal((n_cells, len(DL19_SIZES)))[:, query]
    effect = share * change + 0.01 * (noise + rng.standard_normal((n_cells, len(query))))
    return change, effect, query


def test_a_patch_that_changes_nothing_recovers_nothing_for_certain(rng, query_ids):
    recipient, change = rng.standard_normal((2, len(query_ids)))
    found = recovery(recipient, recipient, recipient + change + 1, query_ids=query_ids)
    assert (float(found.value), float(found.low), float(found.high)) == (0, 0, 0)
    assert found.p == 1


def test_a_patch_that_gives_the_donors_scores_recovers_everything(rng, query_ids):
    recipient, change = rng.standard_normal((2, len(query_ids)))
    donor = recipient + change + 1
    found = recovery(donor, recipient, donor, query_ids=query_ids)
    np.testing.assert_allclose([found.value, found.low, found.high], 1, atol=1e-9)


def test_recovery_is_the_ratio_of_the_two_means(rng, query_ids):
    recipient, donor = rng.standard_normal((2, len(query_ids))) + [[0], [2]]
    patched = rng.standard_normal((2, 3, len(query_ids)))
    found = recovery(patched, recipient, donor, query_ids=query_ids)
    expected = (patched.mean(axis=-1) - recipient.mean()) / (donor.mean() - recipient.mean())
    np.testing.assert_allclose(found.value, expected)
    assert (found.n_pairs, found.n_queries) == (len(query_ids), 43)


def test_one_pair_that_hardly_moved_rules_the_mean_of_ratios_alone(rng, query_ids):
    change, effect = np.full(len(query_ids), 1.0), np.full(len(query_ids), 0.1)
    change[0] = 1e-4
    zero = np.zeros(len(query_ids))
    means, ratios = (
        float(recovery(effect, zero, change, query_ids=query_ids, how=how).value)
        for how in ("ratio_of_means", "mean_of_ratios")
    )
    assert means == pytest.approx(0.1, abs=0.001)
    assert ratios > 3


def test_mean_of_ratios_refuses_pairs_without_a_change_and_counts_them(query_ids):
    zero, change = np.zeros(len(query_ids)), np.ones(len(query_ids))
    change[:2] = 0
    with pytest.raises(ValueError, match="got 2 pairs without one"):
        recovery(change, zero, change, query_ids=query_ids, how="mean_of_ratios")


def test_intervals_of_recovery_hold_the_truth_as_often_as_they_say(rng):
    hits = 0
    for seed in range(300):
        change, effect, query = simulate(rng)
        sums = query_sums(effect, query), query_sums(change, query)
        found = estimate_ratio(*sums, n_boot=400, seed=seed)
        hits += bool(found.low[0] <= 0.1 <= found.high[0])
    assert 0.92 <= hits / 300 <= 0.98


@pytest.mark.filterwarnings("error")
def test_a_ratio_from_one_query_is_unbounded_and_its_arithmetic_silent():
    # 0.29 / 0.3 * 0.3 is not 0.29 in floats: a residual that is rounding error alone
    found = estimate_ratio(np.array([[2.0], [0.0], [0.29]]), np.array([[0.3]]))
    np.testing.assert_allclose(found.value, [20 / 3, 0.0, 29 / 30])
    assert np.isinf([found.low, found.high]).all()


def test_equal_pairs_of_a_query_count_once(rng):
    once = rng.standard_normal(40)
    copies = np.repeat(once, 25)
    clustered = mean_change(copies, query_ids=np.repeat(np.arange(40), 25))
    as_if_independent = mean_change(copies, query_ids=np.arange(1000))
    single = mean_change(once, query_ids=np.arange(40))
    assert clustered.high - clustered.low > 4 * (as_if_independent.high - as_if_independent.low)
    assert clustered.low == pytest.approx(single.low)


def test_p_values_are_uniform_where_nothing_has_an_effect(rng, query_ids):
    per_query = rng.standard_normal((4000, 43))[:, np.unique(query_ids, return_inverse=True)[1]]
    p = p_values(query_sums(per_query + rng.standard_normal(per_query.shape), query_ids))
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.015)
    assert np.mean(p < 0.001) < 0.003


def test_a_grid_without_effects_shows_no_head_after_correction(rng):
    change, effect, query = simulate(rng, n_cells=144, share=0.0)
    zero = np.zeros(len(query))
    found = recovery(effect.reshape(12, 12, -1), zero, change, query_ids=query)
    assert (found.p < 0.05).any()
    assert not found.significant().any()


def test_the_one_head_with_an_effect_is_found_among_144(rng):
    change, effect, query = simulate(rng, n_cells=144, share=0.0)
    effect[30] += 0.3 * change
    found = recovery(effect.reshape(12, 12, -1), np.zeros(len(query)), change, query_ids=query)
    assert np.argwhere(found.significant()).tolist() == [[2, 6]]


def test_a_change_that_may_be_zero_gives_no_bounded_recovery(rng, query_ids):
    change = rng.standard_normal(len(query_ids))
    change += 0.01 - change.mean()
    found = recovery(0.5 * change, 0 * change, change, query_ids=query_ids)
    assert not found.denominator_significant
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert "cannot be told from zero" in found.warning


def test_a_clear_change_gives_no_warning(rng, query_ids):
    change = 1 + 0.1 * rng.standard_normal(len(query_ids))
    found = recovery(0.5 * change, 0 * change, change, query_ids=query_ids)
    assert found.denominator_significant
    assert found.warning is None


def test_a_mean_change_of_exactly_zero_is_an_error(query_ids):
    same = np.ones(len(query_ids))
    with pytest.raises(ValueError, match="not the same run"):
        recovery(same, same, same, query_ids=query_ids)


@pytest.mark.parametrize("n_queries", [1, 2, 3])
def test_fewer_than_four_queries_say_nothing_bounded_about_other_queries(rng, n_queries):
    change = 1 + 0.01 * rng.standard_normal(30)
    found = recovery(0.5 * change, 0 * change, change, query_ids=np.arange(30) % n_queries)
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert f"30 pairs of {n_queries} queries" in found.warning


def test_scores_that_are_not_numbers_are_an_error_with_their_count(query_ids):
    change = np.ones(len(query_ids))
    change[3] = np.nan
    with pytest.raises(ValueError, match="got 1 that are NaN"):
        mean_change(change, query_ids=query_ids)


def test_the_same_seed_gives_the_same_interval_and_another_seed_hardly_another(rng):
    change, _, query = simulate(rng)
    first, again, other = (mean_change(change, query_ids=query, seed=s) for s in (0, 0, 1))
    assert first == again
    assert first.low == pytest.approx(other.low, abs=0.1 * (first.value - first.low))


def test_sign_agreement_is_the_share_of_pairs_that_obey_the_axiom():
    change, query = np.array([0.2, 0.1, -0.1, 0.3, 0.0]), list("abcde")
    assert mean_change(change, query_ids=query, expected_sign=1).sign_agreement == 0.6
    assert mean_change(change, query_ids=query, expected_sign=-1).sign_agreement == 0.2
    assert mean_change(change, query_ids=query, expected_sign=0).sign_agreement is None


def test_where_all_pairs_agree_the_interval_still_leaves_room():
    found = sign_agreement(np.ones(40), 1, query_ids=np.arange(40) % 20)
    more = sign_agreement(np.ones(40), 1, query_ids=np.arange(40))
    assert found.value == found.high == 1
    assert 0.75 < found.low < more.low < 1


def test_agreement_of_queries_that_are_of_one_mind_is_less_certain(rng):
    mind = np.repeat([1.0, -1, 1, 1, 1, -1, 1, 1, 1, 1], 20)
    apart, together = (sign_agreement(mind, 1, query_ids=ids) for ids in (np.arange(200), TENS))
    assert apart.value == together.value == 0.8
    assert together.high - together.low > 3 * (apart.high - apart.low)
    assert apart.p < 0.001 < together.p


def test_nothing_agrees_with_an_axiom_that_expects_nothing():
    with pytest.raises(ValueError, match="predicts nothing"):
        sign_agreement(np.ones(5), 0, query_ids=list("abcde"))


def test_a_contrast_cancels_what_a_document_does_to_both_sides(rng):
    pairs = [Ids(f"q{i % 20}", f"d{i}") for i in range(100)]
    document = 5 * rng.standard_normal(100)
    axiom = document + 0.2 + 0.01 * rng.standard_normal(100)
    shuffled = rng.permutation(100)
    control = document[shuffled] + 0.01 * rng.standard_normal(100)
    found = mean_difference(
        axiom, control, first_pairs=pairs, second_pairs=[pairs[i] for i in shuffled]
    )
    assert found.value == pytest.approx(0.2, abs=0.01)
    assert found.low > 0.18


def test_a_contrast_uses_the_pairs_that_both_sides_have():
    first = [Ids("a", "1"), Ids("a", "2"), Ids("b", "1")]
    second = [Ids("b", "1"), Ids("c", "1"), Ids("a", "2")]
    here, there = match_pairs(first, second)
    assert (here.tolist(), there.tolist()) == ([1, 2], [2, 0])


def test_a_contrast_without_common_pairs_or_with_a_pair_twice_is_an_error():
    pair, other = Ids("a", "1"), Ids("a", "2")
    with pytest.raises(ValueError, match="none in common"):
        match_pairs([pair], [other])
    with pytest.raises(ValueError, match="each query and document once"):
        match_pairs([pair, pair], [pair])


def test_recoveries_differ_where_one_of_two_edits_goes_through_the_head_twice(rng, query_ids):
    change = 1 + 0.2 * rng.standard_normal((2, len(query_ids)))
    first, second = ((share * c, c) for share, c in zip([0.2, 0.1], change, strict=True))
    found = recovery_difference(first, second, query_ids=query_ids)
    same = recovery_difference(first, (0.2 * change[1], change[1]), query_ids=query_ids)
    assert found.value == pytest.approx(0.1)
    assert found.low > 0.09
    assert same.value == pytest.approx(0)


def test_no_share_of_a_change_that_may_be_zero_can_be_compared(rng, query_ids):
    noise, change = rng.standard_normal((2, len(query_ids))) + [[0], [3]]
    noise -= noise.mean() - 0.01
    found = recovery_difference((change, change), (noise, noise), query_ids=query_ids)
    assert (found.low, found.high, found.p) == (-np.inf, np.inf, 1)


def test_the_grade_trend_is_the_least_squares_slope(rng, query_ids):
    grade = rng.integers(0, 4, len(query_ids))
    change = 0.5 - 0.1 * grade + 0.05 * rng.standard_normal(len(query_ids))
    found = grade_trend(change, grade, query_ids=query_ids)
    assert found.value == pytest.approx(np.polyfit(grade, change, 1)[0])
    assert found.low < -0.1 < found.high < 0


def test_a_trend_that_hangs_on_one_query_has_no_bounds(rng):
    grade, query = np.r_[np.zeros(19, int), 1], np.arange(20)
    found = grade_trend(grade + 0.1 * rng.standard_normal(20), grade, query_ids=query)
    assert (found.low, found.high, found.p) == (-np.inf, np.inf, 1)


def test_a_trend_over_one_grade_is_an_error(query_ids):
    with pytest.raises(ValueError, match="two grades"):
        grade_trend(np.ones(len(query_ids)), np.ones(len(query_ids), int), query_ids=query_ids)


def test_an_effect_of_the_minimum_detectable_size_is_found_four_times_in_five(rng):
    def study(mean, n_queries):
        query = np.repeat(np.arange(n_queries), 10)
        noise = 0.3 * rng.standard_normal(n_queries)[query] + rng.standard_normal(len(query))
        return mean + noise, query

    pilot, query = study(0, 2000)
    size = minimum_detectable_effect(pilot, query_ids=query, n_pairs=400, n_queries=40)
    p = [p_values(query_sums(*study(size, 40))) for _ in range(500)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.8, abs=0.06)


def test_more_pairs_of_the_same_queries_help_less_than_more_queries(rng):
    change, _, query = simulate(rng)
    size = {
        (pairs, queries): minimum_detectable_effect(
            change, query_ids=query, n_pairs=pairs, n_queries=queries
        )
        for pairs, queries in [(300, 40), (1200, 40), (1200, 160)]
    }
    assert size[300, 40] > size[1200, 40] > 1.5 * size[1200, 160]


def test_a_pilot_without_a_repeated_query_is_an_error():
    with pytest.raises(ValueError, match="two pairs of one"):
        minimum_detectable_effect(np.ones(5), query_ids=list("abcde"), n_pairs=9, n_queries=3)


def test_two_maps_of_one_mechanism_correlate_and_of_none_do_not(rng, query_ids):
    shape, n = (6, 12), len(query_ids)
    strength = rng.standard_normal((*shape, 1))
    first, second = strength + rng.standard_normal((2, *shape, n))
    noise = rng.standard_normal((*shape, n))
    ids = {"first_queries": query_ids, "second_queries": query_ids}
    same, none = (profile_correlation(first, effect, **ids) for effect in (second, noise))
    assert same.low > 0.9
    assert none.low < 0 < none.high
    assert (same.n_cells, same.n_queries) == (72, 43)


def test_maps_of_disjoint_queries_can_be_compared(rng, query_ids):
    effect = rng.standard_normal((6, 12, 1)) + rng.standard_normal((6, 12, len(query_ids)))
    others = [f"other {query}" for query in query_ids]
    found = profile_correlation(effect, effect, first_queries=query_ids, second_queries=others)
    assert found.value == pytest.approx(1)
    assert found.n_queries == 86


def test_a_map_of_pure_noise_has_no_split_half_reliability(rng, query_ids):
    noise = rng.standard_normal((6, 12, len(query_ids)))
    mechanism = 2 * rng.standard_normal((6, 12, 1)) + noise
    assert split_half_reliability(mechanism, query_ids=query_ids).low > 0.9
    assert split_half_reliability(noise, query_ids=query_ids).value < 0.3


def test_a_map_without_differences_cannot_be_ranked(query_ids):
    with pytest.raises(ValueError, match="effects that differ"):
        split_half_reliability(np.zeros((6, 12, len(query_ids))), query_ids=query_ids)


def test_intervals_of_selected_cells_miss_no_more_often_than_they_promise():
    rng = np.random.default_rng(0)
    truth = np.repeat([0.0, 2.5], 10)
    missed = []
    for _ in range(400):
        seen = rng.normal(truth)
        selected = corrected(2 * norm.sf(abs(seen))) < 0.05
        reach = norm.ppf((1 + selective_coverage(selected)) / 2)
        if selected.any():
            missed.append((abs(seen - truth) > reach)[selected].mean())
        else:
            missed.append(0.0)
    assert np.mean(missed) < 0.05


def test_the_fewer_cells_are_selected_the_wider_are_their_intervals():
    few, all_of_them = (selective_coverage(np.arange(72) < n) for n in (1, 72))
    assert few > all_of_them > 0.95
    assert selective_coverage(np.zeros(72, bool)) == few


# What is given

QUERIES = list("aabbccddee")
CHANGE = np.linspace(0.5, 1.4, 10)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"n_boot": n}, "n_boot needs") for n in (0, 1, -1, 9)),
        *(({"n_boot": n}, "n_boot is") for n in (2.5, True, None, "100", np.float64(100))),
        *(({"interval": share}, "interval needs") for share in (0, 1, 95, -0.5, np.nan)),
        *(({"interval": share}, "interval is") for share in ("0.95", None, True)),
        *(({"seed": seed}, "seed") for seed in (1.0, True, None, "1", -1)),
    ],
)
def test_no_interval_is_made_of_choices_that_make_no_sense(options, message):
    effect = CHANGE * np.array([0.1, 0.2, 0.4])[:, None]
    sides = ((effect, CHANGE), (effect, CHANGE))
    named = {"first_queries": QUERIES, "second_queries": QUERIES}
    for make in (
        lambda: recovery(effect, 0 * CHANGE, CHANGE, query_ids=QUERIES, axes=("cell",), **options),
        lambda: mean_change(CHANGE, query_ids=QUERIES, **options),
        lambda: recovery_difference(*sides, query_ids=QUERIES, **options),
        lambda: profile_correlation(effect, effect, **named, **options),
        lambda: profile_gap(*[effect[:, :8]] * 2, query_ids=list("abcdefgh"), **options),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            make()


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("share", [0, 1, 95, "0.95", None, np.nan])
def test_shares_are_between_nothing_and_all(share):
    size = {"query_ids": QUERIES, "n_pairs": 100, "n_queries": 10}
    for make in (
        lambda: sign_agreement(CHANGE, 1, query_ids=QUERIES, interval=share),
        lambda: grade_trend(CHANGE, [0, 1] * 5, query_ids=QUERIES, interval=share),
        lambda: split_half_reliability(CHANGE[None], query_ids=QUERIES, interval=share),
        lambda: selective_coverage(np.array([True]), level=share),
        lambda: minimum_detectable_effect(CHANGE, **size, power=share),
        lambda: minimum_detectable_effect(CHANGE, **size, level=share),
    ):
        with pytest.raises((TypeError, ValueError), match="(interval|level|power) (needs|is)"):
            make()


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_a_pair_without_a_query_is_never_left_out_in_silence(missing):
    for ids in ([*QUERIES[:9], missing], pd.Series([*QUERIES[:9], missing], dtype=object)):
        with pytest.raises(ValueError, match="needed a query id for each pair.*for pair 9"):
            mean_change(CHANGE, query_ids=ids)
    with pytest.raises(ValueError, match="needed a query id for each pair"):
        mean_change(CHANGE, query_ids=[*range(9), np.nan])


@pytest.mark.usefixtures("as_users_run")
def test_a_query_is_one_query_whatever_holds_its_ids():
    expected = mean_change(CHANGE, query_ids=QUERIES)
    for ids in (
        tuple(QUERIES),
        np.array(QUERIES, dtype=object),
        pd.Series(QUERIES),
        np.repeat(range(5), 2),
    ):
        assert mean_change(CHANGE, query_ids=ids) == expected


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize(
    ("patched", "recipient", "donor"),
    [
        ((3, 1), (10,), (10,)),
        ((3, 10), (1,), (10,)),
        ((3, 10), (10,), (1,)),
        ((3, 10), (), (10,)),
        ((10, 3), (10,), (10,)),
        ((3, 10), (2, 10), (2, 10)),
    ],
)
def test_scores_of_other_pairs_are_never_stretched_to_fit(patched, recipient, donor):
    rng = np.random.default_rng(0)
    scores = [rng.random(shape) for shape in (patched, recipient, donor)]
    with pytest.raises(ValueError, match="scores of the same pairs, got shapes"):
        recovery(*scores, query_ids=QUERIES)


@pytest.mark.usefixtures("as_users_run")
def test_cells_of_another_shape_are_never_stretched_to_fit():
    wide, narrow = np.ones((2, 3, 10)) * CHANGE, np.ones((3, 10)) * CHANGE
    pairs = [Ids(q, str(i)) for i, q in enumerate(QUERIES)]
    named = {"first_queries": QUERIES, "second_queries": QUERIES}
    both = {"first_pairs": pairs, "second_pairs": pairs}
    for make in (
        lambda: mean_difference(wide, narrow, **both),
        lambda: recovery_difference((wide, CHANGE), (narrow, CHANGE), query_ids=QUERIES),
        lambda: profile_correlation(wide, narrow, **named),
        lambda: profile_gap(wide, narrow, query_ids=QUERIES),
    ):
        with pytest.raises(ValueError, match="needed effects of the same cells"):
            make()
    with pytest.raises(ValueError, match="a pair for each column"):
        mean_difference(CHANGE, CHANGE, first_pairs=pairs[:4], second_pairs=pairs)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("wrong", [["q"] * 10, [None] * 10, [{"query_id": "q", "doc_id": "d"}]])
def test_a_comparison_needs_pairs(wrong):
    pairs = [Ids(q, str(i)) for i, q in enumerate(QUERIES)]
    with pytest.raises(TypeError, match="needed pairs, each with query_id and doc_id"):
        match_pairs(pairs, wrong)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("change", [[np.nan, *CHANGE[1:]], ["0.5"] * 10, [None] * 10, CHANGE * 1j])
def test_a_change_that_is_no_number_agrees_with_nothing(change):
    for make in (
        lambda: sign_agreement(change, 1, query_ids=QUERIES),
        lambda: mean_change(change, query_ids=QUERIES),
        lambda: grade_trend(change, [0, 1] * 5, query_ids=QUERIES),
    ):
        with pytest.raises((TypeError, ValueError), match="needed finite numbers|needs numbers"):
            make()


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("sign", [2, True, 1.0, "1"])
def test_a_sign_is_1_or_minus_1_or_0(sign):
    with pytest.raises((TypeError, ValueError), match="expected_sign"):
        mean_change(CHANGE, query_ids=QUERIES, expected_sign=sign)


@pytest.mark.usefixtures("as_users_run")
def test_plain_lists_are_numbers_too():
    trend = grade_trend(CHANGE.tolist(), [0, 1] * 5, query_ids=QUERIES)
    assert trend == grade_trend(CHANGE, np.array([0, 1] * 5), query_ids=QUERIES)
