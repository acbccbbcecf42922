"""What the statistics promise, counted on data sets whose truth is known.

The full counts are in docs/study/validation.md, made by tools/validate_statistics.py.
"""

import numpy as np
import pytest
import validate_statistics as validation
from max_t_studies import SMALL, tell_corrections
from null_studies import count_findings, draw_null, measure_null
from other_intervals import METHODS, compare, pairs_independent
from real_scores import Run, examine, read_runs
from simulate import (
    QUESTIONS,
    SHAPES,
    Coverage,
    Design,
    ask_mean,
    count_pairs,
    cover,
    draw_changes,
    measure_coverage,
    read_designs,
)
from validation_tables import tell_coverage, tell_null, tell_real

from mechir_edu import stats
from mechir_edu.collection.judged import Judged
from mechir_edu.stats.clusters import query_sums

DESIGNS = read_designs()
TINY = Design("tiny", np.array([[2, 1], [1, 3], [2, 2], [4, 1], [1, 1]]))


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["normal", "exponential"])
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("question", QUESTIONS)
def test_95_percent_intervals_hold_the_truth_94_to_96_times_in_100(question, design, shape):
    found = measure_coverage(QUESTIONS[question], DESIGNS[design], shape, n=4000, seed=1)
    assert found.is_within(0.94, 0.96), found


@pytest.mark.slow
@pytest.mark.parametrize("exchange", ["pair", "query"])
@pytest.mark.parametrize("design", DESIGNS)
def test_at_most_5_percent_of_studies_without_an_effect_show_a_head(design, exchange):
    found = measure_null(DESIGNS[design], "exponential", exchange, n=1000, seed=1)
    assert found.corrected <= 0.05 + found.error
    assert found.uncorrected > 0.3


@pytest.mark.slow
def test_intervals_that_take_pairs_as_independent_fail_the_same_count():
    found = compare(DESIGNS["DL19"], "exponential", n=2000)
    assert not found["Student's t, pairs taken as independent"].is_within()
    assert not found["percentile bootstrap over queries"].is_within()


@pytest.mark.slow
def test_tests_that_take_pairs_as_independent_fail_the_same_count(rng):
    def by_pair():
        influence = rng.standard_normal((100, 43))[:, DESIGNS["DL19"].query]
        return influence + rng.standard_normal(influence.shape)

    assert count_findings(by_pair() for _ in range(100)).corrected > 0.9


@pytest.mark.slow
def test_rows_of_the_committed_validation_are_drawn_again_to_the_letter():
    tables = [
        tell_coverage([DESIGNS["DL20"].only(3)], 10_000, 0),
        tell_null([DESIGNS["DL19"]], 2000, 0),
        tell_corrections([SMALL[0]], [], 500, 0),
        tell_real(read_runs(validation.STUDY / validation.SCORES)[:1], 2000, 0),
    ]
    rows = [line for table in tables for line in table.splitlines() if line.startswith("|")]
    committed = (validation.STUDY / "validation.md").read_text().splitlines()
    assert len(rows) > 20
    assert [row for row in rows if row not in committed] == []


def test_a_count_allows_for_what_its_number_of_data_sets_can_tell():
    few, many = (Coverage(0.934, 0.03, 0.036, n) for n in (1000, 40_000))
    assert few.is_within()
    assert not many.is_within()
    assert many.error == pytest.approx(few.error / np.sqrt(40))


def test_intervals_that_miss_are_counted_on_their_side():
    zero = np.zeros(4)
    found = stats.Estimate(zero, np.array([-1, -1, 1, -3.0]), np.array([1, 1, 2, -2.0]), zero, 8, 4)
    assert cover(0.0, found) == Coverage(0.5, 0.25, 0.25, 4)


def test_drawn_changes_have_the_mean_and_the_likeness_within_queries_that_they_claim(rng):
    query = DESIGNS["DL19"].query
    change = draw_changes(DESIGNS["DL19"], rng, 400, SHAPES["exponential"], mean=1.0)
    first, second = change[:, query == 0][:, :2].T
    assert change.mean() == pytest.approx(1, abs=0.03)
    assert change.var() == pytest.approx(1, abs=0.05)
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(0.5, abs=0.15)


def test_the_same_seed_counts_the_same():
    first, again = (measure_coverage(ask_mean, TINY, "normal", n=20, seed=4) for _ in range(2))
    assert first == again
    assert first.n == 20


def test_a_head_with_a_real_effect_is_counted_as_a_finding(rng):
    studies = (draw_null(DESIGNS["DL20"], rng, "normal", "query") + 20 for _ in range(5))
    assert count_findings(studies).corrected == 1


def test_exchanging_donor_and_recipient_leaves_heads_without_an_effect(rng):
    sums = [draw_null(DESIGNS["DL19"], rng, "exponential", "query") for _ in range(200)]
    mean, spread = np.mean(sums, axis=(0, 2)), np.std(sums, axis=(0, 2))
    assert np.abs(mean / spread * np.sqrt(200 * 43)).max() < 5


def test_pairs_are_counted_by_query_and_grade():
    judged = [Judged(query, str(i), "", "", grade) for i, (query, grade) in enumerate(GRADED)]
    assert count_pairs(judged) == [[0, 0, 1], [1, 0, 2]]


GRADED = [("a", 0), ("a", 2), ("b", 2), ("a", 2)]


def test_designs_have_the_sizes_of_samples_from_trec_dl(trec_dl):
    drawn = validation.load_collection(validation.DL19).sample(1000, seed=0).judged
    assert count_pairs(drawn) == DESIGNS["DL19"].counts.tolist()
    assert [len(design.counts) for design in DESIGNS.values()] == [43, 54, 97]


def test_the_naive_interval_is_the_one_for_independent_pairs(rng):
    pairs = rng.standard_normal((1, 100_000))
    low, high = pairs_independent(query_sums(pairs, np.arange(100_000) % 7), np.full(7, 1e5 / 7))
    assert high[0] == -low[0] == pytest.approx(1.96 / np.sqrt(1e5), rel=0.01)


def test_the_report_names_every_question_and_method(tmp_path, monkeypatch, rng):
    monkeypatch.setattr(validation, "REPORT", tmp_path / "validation.md")
    monkeypatch.setattr(validation, "read_designs", lambda: {"DL19": DESIGNS["DL19"]})
    monkeypatch.setattr(validation, "read_runs", lambda folder: [run_of(DESIGNS["DL19"], rng)])
    validation.main(["report", "--runs", "4", "--null-runs", "2", "--compared", "2"])
    written = (tmp_path / "validation.md").read_text()
    assert all(name in written for name in [*QUESTIONS, *METHODS])
    titles = [line for line in written.splitlines() if line.startswith("#")]
    committed = (validation.STUDY / "validation.md").read_text().splitlines()
    assert titles == [line for line in committed if line.startswith("#")]
    assert written.count("| made up") == 4  # without an effect, with one, and its own


def test_queries_of_a_run_stand_for_all_queries(rng):
    found = examine(run_of(DESIGNS["DL19"], rng), n=30)
    assert found.change.held > 0.8
    assert found.recovery.held > 0.8
    assert found.null.corrected < found.null.uncorrected


def run_of(design, rng):
    """Scores of six heads, on pairs like the design's."""
    change = draw_changes(design, rng, 1, SHAPES["normal"], mean=1.0)[0]
    noise = draw_changes(design, rng, 6, SHAPES["normal"])
    return Run("made up", change, 0.1 * change + noise, [f"q{q}" for q in design.query])
