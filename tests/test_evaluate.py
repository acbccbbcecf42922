"""Re-ranking and its measures: identities first, then figures from elsewhere, then bad input."""

import json
import re
from dataclasses import replace

import evaluate_ranker
import ir_datasets
import ir_measures
import numpy as np
import pandas as pd
import pytest
from ir_measures import nDCG

import mechir_edu as me
from mechir_edu.interventions.candidates import choose, rank, read_run
from mechir_edu.interventions.evaluation import Comparison, evaluate_run
from mechir_edu.interventions.measures import parse_measures
from mechir_edu.interventions.reranking import rerank

DL19 = "msmarco-passage/trec-dl-2019/judged"


@pytest.fixture(scope="module")
def few(collection):
    return list(collection.queries)[:4]


def evaluated(ranker, collection, **options):
    return me.evaluate(ranker, collection, progress=False, **options)


def compared(ranker, collection, intervention, **options):
    return me.compare(ranker, collection, intervention, progress=False, **options)


class Oracle:
    """Scores by the judgments, or by their opposite."""

    def __init__(self, collection, sign=1):
        self.sign = sign
        self.grades = {
            (collection.queries[query_id], text): docs[doc_id]
            for query_id, docs in collection.qrels.items()
            for doc_id, text in collection.texts(docs).items()
        }

    def score(self, query, texts):
        return [self.sign * self.grades.get((query, text), 0) for text in texts]


def test_an_intervention_that_changes_nothing_makes_no_difference(planted, collection, few):
    nothing = me.Scale(planted.planted_heads, 1.0)
    effect = compared(planted, collection, nothing, query_ids=few)
    assert effect.after.run == effect.before.run
    for measure in effect.before.values:
        found = effect.difference(measure)
        assert (found.value, found.low, found.high) == (0, 0, 0)


def with_strangers(collection, queries):
    """A run in which the passages judged for a query stand among those of the next one."""
    following = zip(queries, [*queries[1:], queries[0]], strict=True)
    judged = collection.qrels
    return {q: dict.fromkeys([*judged[q], *judged[other]], 0.0) for q, other in following}


def test_knocking_out_the_planted_circuit_ruins_the_ranking(planted, collection):
    run = with_strangers(collection, list(collection.queries)[:12])
    knockout = me.Knockout(planted.planted_heads)
    effect = compared(planted, collection, knockout, run=run, query_ids=run)
    assert effect.difference().high < 0
    assert effect.summary().loc[0, "n_queries"] == 12


def test_ranking_by_the_judgments_is_perfect_and_their_opposite_is_not(collection):
    best, worst = (evaluated(Oracle(collection, sign), collection, run="pool") for sign in (1, -1))
    assert best.mean("nDCG@10").value == pytest.approx(1)
    assert best.mean("RR(rel=2)@10").value == 1
    assert Comparison(worst, best).difference().low > 0.9


def test_a_bi_encoder_that_remembers_passages_ranks_as_it_scores(dot, collection, few):
    run = with_strangers(collection, few[:2])
    scored, skipped = rerank(dot, collection, run, progress=False)
    texts = collection.texts(run[few[1]])
    expected = dot.score(collection.queries[few[1]], list(texts.values()))
    np.testing.assert_allclose(list(scored[few[1]].values()), expected, atol=1e-5)
    assert skipped == []


def test_minilm_puts_good_passages_first_until_it_is_steered_wildly(dot, collection, few):
    wild = me.SteerResidual(3, np.where(np.arange(384) % 2, 1.0, -1.0), 30.0)
    effect = compared(dot, collection, wild, query_ids=few)
    assert effect.before.mean("RR(rel=2)@10").value > 0.7
    assert effect.difference("nDCG@10").value < 0


def test_the_pool_is_what_was_judged_for_any_query(collection, few):
    found = choose(collection, "pool", few[:1])
    assert len(found[few[0]]) == 324


def test_values_are_those_of_ir_measures_and_grade_one_is_not_relevant(collection, few):
    run = {q: {doc: float(i) for i, doc in enumerate(collection.qrels[q])} for q in few}
    found = evaluate_run(collection, run, query_ids=few)
    qrels = {q: dict(collection.qrels[q]) for q in few}
    assert found.mean("nDCG@10").value == pytest.approx(
        ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]
    )
    docs = rank(run[few[0]])
    first = next(i for i, doc in enumerate(docs, start=1) if qrels[few[0]][doc] >= 2)
    assert found.values["RR(rel=2)@10"][0] == 1 / first


def test_ties_are_broken_by_doc_id_whatever_order_passages_came_in(collection, few):
    docs = list(collection.qrels[few[0]])
    runs = ({few[0]: dict.fromkeys(order, 1.0)} for order in (docs, docs[::-1]))
    found = [evaluate_run(collection, run, query_ids=few[:1]) for run in runs]
    assert found[0].values == found[1].values
    assert rank({"d1": 0.5, "d3": 0.5, "d2": 0.5}) == ["d3", "d2", "d1"]


def test_a_query_without_results_counts_zero_and_is_reported(planted, collection, few):
    run = {few[0]: dict.fromkeys([*collection.qrels[few[0]], "nowhere"], 0.0)}
    found = evaluated(planted, collection, run=run, query_ids=few[:2])
    assert found.values["nDCG@10"][0] > 0
    assert found.values["nDCG@10"][1] == 0
    assert {skip.reason for skip in found.skipped} == {
        "passage not in the collection",
        "no passage to rank",
    }


def test_the_difference_is_paired_by_query(collection, few):
    run = {q: {doc: float(i) for i, doc in enumerate(collection.qrels[q])} for q in few}
    before, values = evaluate_run(collection, run, query_ids=few), {}
    for measure, value in before.values.items():
        values[measure] = value - 0.25
    found = Comparison(before, replace(before, values=values)).difference()
    assert (found.value, found.low, found.high) == pytest.approx((-0.25,) * 3)
    frame = Comparison(before, before).to_dataframe()
    assert list(frame) == ["query_id", "measure", "before", "after", "difference"]
    assert len(frame) == 2 * len(few)


def test_summaries_say_the_mean_the_interval_and_the_number_of_queries(collection):
    run = {q: dict(docs) for q, docs in collection.qrels.items()}
    summary = evaluate_run(collection, run).summary()
    assert list(summary["measure"]) == ["nDCG@10", "RR(rel=2)@10"]
    assert (summary["n_queries"] == len(collection.qrels)).all()
    assert isinstance(summary, pd.DataFrame)


def test_bm25_on_dl19_and_dl20_scores_what_is_known_of_it(trec_dl):
    for year, known in (("2019", 0.5058), ("2020", 0.4796)):
        name = f"msmarco-passage/trec-dl-{year}"
        run = read_run(trec_dl / name / "bm25.run", depth=100)
        found = evaluate_run(me.load_collection(f"{name}/judged"), run)
        assert found.mean("nDCG@10").value == pytest.approx(known, abs=5e-5)
        assert all(len(docs) <= 100 for docs in run.values())


def test_a_run_file_of_dl19_can_be_reranked(planted, trec_dl):
    collection = me.load_collection(DL19)
    path = trec_dl / "msmarco-passage/trec-dl-2019/bm25.run"
    few = list(collection.queries)[:2]
    found = evaluated(planted, collection, run=read_run(path, depth=10), query_ids=few)
    assert [len(docs) for docs in found.run.values()] == [10, 10]
    assert 0 <= found.mean("RR(rel=2)@10").value <= 1


@pytest.fixture
def with_scoreddocs(tmp_path):
    """An ir_datasets id whose run has three columns, the last of them a score."""
    path = tmp_path / "run"
    path.write_text("q1 d1 0.5\nq1 d2 0.9\nq2 d1 0\nq2 d3 0\n")
    handler = ir_datasets.formats.TrecScoredDocs(ir_datasets.util.LocalDownload(path, mkdir=False))
    ir_datasets.registry.register("mechir-edu/test-run", ir_datasets.datasets.base.Dataset(handler))
    yield "mechir-edu/test-run"
    ir_datasets.registry._registered.pop("mechir-edu/test-run")


def test_a_run_is_read_from_an_ir_datasets_id(with_scoreddocs):
    assert read_run(with_scoreddocs)["q1"] == {"d1": 0.5, "d2": 0.9}
    with pytest.raises(ValueError, match="leave depth out"):
        read_run(with_scoreddocs, depth=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measures": ["nDGC@10"]}, "nDGC"),
        ({"query_ids": ["nobody"]}, "nobody"),
        ({"query_ids": []}, "at least"),
        ({"run": {"x": {"y": 1.0}}}, "none of its"),
        ({"run": "mechir-edu/mini"}, "comes without a run"),
        ({"intervention": me.Knockout([(9, 9)])}, "no head"),
    ],
)
def test_a_wrong_option_is_named(planted, collection, options, message):
    with pytest.raises(ValueError, match=message):
        evaluated(planted, collection, **options)


MEASURES = [
    *("nDCG@0", "nDCG@-1", "nDCG@1.5", "nDCG@1e3", "nDCG@True", "nDCG@999999999999999999999"),
    *(
        "P@0",
        "R@0",
        "AP@0",
        "RR@0",
        "ERR@0",
        "Success@0",
        "Judged@0",
        "Accuracy@0",
        "Compat(p=2.0)",
    ),
    *("P(rel=0)@5", "AP(rel=0)", "RR(rel=0)@10", "Bpref(rel=0)", "Rprec(rel=0)", "P(rel=True)@5"),
    *("P", "R", "IPrec", "IPrec@0.123", "IPrec@2.0", "SetF(beta=-1.0)", "P(relative=True)@5"),
    *("nDCG(dcg='x')@10", "nDCG(gains={'a':1})@10", "nDCG(gains={1:1.5})@10", "nDCG(gains=5)@10"),
    *(
        "nDCG(judged_only=1)@10",
        "alpha_nDCG@10",
        "ERR_IA@10",
        "NRBP",
        "BPM@10",
        "NumRel(rel=2)",
        "Compat(p=2.0)",
    ),
    *("", " ", "nDCG@", "nDCG@@10", "nDGC@10", "nDCG@10;AP", "__import__('os')", "nDCG 10", "@10"),
    ir_measures.nDCG @ 0,
    ir_measures.P(rel=0) @ 5,
    ir_measures.Success @ -3,
    ir_measures.nDCG(cutoff="10"),
]


@pytest.mark.parametrize("measure", MEASURES, ids=str)
def test_a_measure_that_cannot_be_computed_is_refused_by_name(measure):
    with pytest.raises(ValueError, match=f"got {re.escape(repr(str(measure)))}: "):
        parse_measures(["AP", measure])


def test_no_measure_and_what_is_no_list_are_refused(as_users_run):
    with pytest.raises(ValueError, match="at least one measure"):
        parse_measures([])
    for measures in ("nDCG@10", ir_measures.AP, None, 10):
        with pytest.raises(TypeError, match="needed a list such as"):
            parse_measures(measures)
    with pytest.raises(TypeError, match="needed the name of a measure"):
        parse_measures(["AP", 10])


def test_names_and_measures_are_taken_alike_and_each_once(collection, few):
    run = {q: dict(collection.qrels[q]) for q in few}
    measures = ["nDCG@10", ir_measures.nDCG @ 10, "MAP", ir_measures.AP, "IPrec@0.5"]
    values = evaluate_run(collection, run, measures=measures, query_ids=few).values
    assert list(values) == ["nDCG@10", "AP", "IPrec@0.5"]


def test_a_measure_whose_program_wants_other_ids_is_refused_before_scoring(collection, few):
    class Never:
        def score(self, query, texts):
            raise AssertionError("scored")

    with pytest.raises(ValueError, match="'ERR@20': it cannot be computed here"):
        evaluated(Never(), collection, measures=["ERR@20"])


@pytest.mark.parametrize(
    ("docs", "error", "message"),
    [
        ({"d001": float("nan")}, ValueError, r"run\['q01'\]\['d001'\] is nan; needed a finite"),
        ({"d001": float("inf")}, ValueError, "finite"),
        ({"d001": None}, TypeError, "is None; needed a number"),
        ({"d001": "1.0"}, TypeError, "needed a number"),
        ({1: 1.0}, TypeError, "an id of run"),
        ({"d\ud800": 1.0}, ValueError, "half of a surrogate pair"),
        (["d001"], TypeError, "needed doc_id -> score"),
    ],
)
def test_a_run_that_no_program_could_rank_is_refused(
    collection, as_users_run, docs, error, message
):
    with pytest.raises(error, match=message):
        evaluate_run(collection, {"q01": docs})


def test_a_run_of_other_queries_is_not_a_run_of_zeros(collection, as_users_run):
    for run in ({"1": {"d001": 1.0}}, {}, {1: {"d001": 1.0}}):
        with pytest.raises(ValueError, match="with none of its 36"):
            evaluate_run(collection, run)
    with pytest.raises(TypeError, match="did you exchange collection and run"):
        evaluate_run({"q01": {"d001": 1.0}}, collection)


def test_a_run_that_is_nowhere_is_named():
    with pytest.raises(FileNotFoundError, match="no-such-run"):
        read_run("no-such-run")


def test_scores_that_are_no_numbers_are_refused(collection, few):
    class Broken:
        def score(self, query, texts):
            return [float("nan")] * len(texts)

    with pytest.raises(ValueError, match="finite"):
        evaluated(Broken(), collection, query_ids=few)


def test_different_queries_cannot_be_compared(collection, few):
    run = {q: dict(docs) for q, docs in collection.qrels.items()}
    sides = [evaluate_run(collection, run, query_ids=ids) for ids in (few, few[:2])]
    with pytest.raises(ValueError, match="same queries"):
        Comparison(*sides)


def test_the_evaluation_tool_reports_what_the_package_measures(planted, collection, tmp_path):
    run = with_strangers(collection, list(collection.queries)[:2])
    lines = (f"{q} Q0 {d} 0 {score} tag\n" for q, docs in run.items() for d, score in docs.items())
    (tmp_path / "run").write_text("".join(lines))
    arguments = ["--model", "planted", "--run", str(tmp_path / "run"), "--pairs", "0"]
    assert evaluate_ranker.main([*arguments, "--json", str(tmp_path / "json")]) == 0
    (found,) = json.loads((tmp_path / "json").read_text())["ranking"]
    own = evaluated(planted, collection, run=tmp_path / "run")
    gain = Comparison(evaluate_run(collection, run), own).difference()
    assert found["reranked"]["value"] == own.mean().value
    assert (found["gain"]["low"], found["gain"]["high"]) == (gain.low, gain.high)
