"""A planted in PyTerrier's pipelines, with the real package and without Java."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import mechir_edu as me

pt = pytest.importorskip("pyterrier", reason='NOT TESTED: pip install "mechir-edu[pyterrier]"')


@pytest.fixture(scope="module")
def results(collection):
    """What a first stage found for three queries, in PyTerrier's columns."""
    return pd.DataFrame(
        {"qid": query_id, "query": collection.queries[query_id], "docno": doc_id, "text": text}
        for query_id in list(collection.queries)[:3]
        for doc_id, text in collection.texts(collection.qrels[query_id]).items()
    )


@pytest.fixture(scope="module")
def qrels(collection):
    return pd.DataFrame(
        {"qid": query_id, "docno": doc_id, "label": relevance}
        for query_id, docs in collection.qrels.items()
        for doc_id, relevance in docs.items()
    )


def test_scores_and_ranks_are_those_of_the_ranker(planted, results):
    found = planted.as_pyterrier()(results.assign(score=0.0, rank=0, note="kept"))
    for _, group in found.groupby("qid"):
        expected = planted.score(group["query"].iloc[0], group["text"].tolist())
        np.testing.assert_allclose(group["score"], expected, atol=1e-5)
        assert list(group["rank"]) == list(range(len(group)))
        assert group["score"].is_monotonic_decreasing
    assert (found["note"] == "kept").all()
    assert len(found) == len(results)


def test_an_intervened_ranker_stands_in_a_pipeline(planted, results):
    knockout = me.Knockout(planted.planted_heads)
    pipeline = pt.Transformer.from_df(results) >> planted.as_pyterrier(knockout) % 3
    queries = results[["qid", "query"]].drop_duplicates()
    found = pipeline(queries)
    assert (found.groupby("qid").size() == 3).all()
    best = found.iloc[0]
    expected = planted.under(knockout).score(best["query"], best["text"])[0]
    assert best["score"] == pytest.approx(expected, rel=1e-4)


def test_an_experiment_compares_a_ranker_with_itself_under_an_intervention(
    planted, collection, results, qrels
):
    first = pt.Transformer.from_df(results)
    systems = [
        first >> planted.as_pyterrier(),
        first >> planted.as_pyterrier(me.Scale([(0, 0)], 0)),
    ]
    table = pt.Experiment(
        systems, results[["qid", "query"]].drop_duplicates(), qrels, ["ndcg_cut_10"], ["a", "b"]
    )
    own = me.evaluate(planted, collection, query_ids=results["qid"].unique(), progress=False)
    assert table["ndcg_cut_10"][0] == pytest.approx(own.mean("nDCG@10").value)


def test_equal_scores_are_ordered_as_in_evaluations(results):
    class Indifferent:
        def score(self, query, texts):
            return [1.0] * len(texts)

    from mechir_edu.interventions.pyterrier import Reranker

    found = Reranker(Indifferent())(results.sample(frac=1, random_state=0))
    for _, group in found.groupby("qid"):
        assert list(group["docno"]) == sorted(group["docno"], reverse=True)


def test_pyterrier_can_inspect_it_and_says_which_column_is_missing(planted, results):
    transformer = planted.as_pyterrier()
    columns = pt.inspect.transformer_outputs(transformer, ["qid", "query", "docno", "text"])
    assert {"score", "rank"} <= set(columns)
    assert "planted" in repr(transformer)
    with pytest.raises(pt.validate.InputValidationError, match="text"):
        transformer(results.drop(columns="text"))


def test_no_java_is_started(planted, results):
    planted.as_pyterrier()(results[:2])
    assert not pt.java.started()


def test_without_pyterrier_the_extra_is_named():
    code = (
        "import sys; sys.modules['pyterrier'] = None\n"
        "try:\n    import mechir_edu.interventions.pyterrier\n"
        "except ModuleNotFoundError as error:\n    assert 'mechir-edu[pyterrier]' in str(error)\n"
        "else:\n    raise SystemExit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
