import gzip
import os
import subprocess
import sys
from collections import Counter

import pytest

from mechir_edu.collection.collection import Collection
from mechir_edu.collection.judged import Judged
from mechir_edu.collection.load import load_collection
from mechir_edu.collection.sources import PassagesInMemory

DL19 = "msmarco-passage/trec-dl-2019/judged"
DL20 = "msmarco-passage/trec-dl-2020/judged"


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MECHIR_EDU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make_collection(qrels, queries=None, texts=None):
    """A toy collection; each judged passage exists unless texts says otherwise."""
    docs = {doc_id for judged in qrels.values() for doc_id in judged}
    passages = PassagesInMemory(texts or {doc_id: f"text of {doc_id}" for doc_id in docs})
    return Collection("toy", queries or {q: f"query {q}" for q in qrels}, qrels, (passages,))


def ids(sample):
    return [(judged.query_id, judged.doc_id) for judged in sample.judged]


def own_files(folder, docs='{"doc_id": "a", "title": "T", "text": "sea"}\n', suffix="jsonl"):
    (folder / "q.tsv").write_text("q1\tcoral reef\nq2\tsea level\n")
    (folder / f"d.{suffix}").write_text(docs)
    (folder / "qrels").write_text("q1 0 a 2\n\nq1 0 missing 0\n")
    return {
        "queries": folder / "q.tsv",
        "docs": folder / f"d.{suffix}",
        "qrels": folder / "qrels",
    }


# --- sampling ---------------------------------------------------------------------------------


def test_a_sample_is_even_over_grades(collection):
    grades = Counter(judged.relevance for judged in collection.sample(40).judged)
    assert grades == {3: 10, 2: 10, 1: 10, 0: 10}


def test_a_sample_is_even_over_queries_within_a_grade(collection):
    judged = collection.sample(36, grades=[3]).judged
    assert len({j.query_id for j in judged}) == 36


def test_no_pair_is_drawn_twice_and_every_pair_is_drawn_in_the_end(collection):
    drawn = ids(collection.sample(10_000))
    assert len(drawn) == len(set(drawn)) == 324


def test_a_scarce_grade_is_made_up_for_by_the_others():
    toy = make_collection({"q": {"a": 3, "b": 0, "c": 0, "d": 0}})
    assert Counter(j.relevance for j in toy.sample(4).judged) == {3: 1, 0: 3}


def test_a_query_with_many_judgments_does_not_dominate():
    many = {f"d{i}": 1 for i in range(100)}
    toy = make_collection({"big": many, "small": {"x": 1, "y": 1, "z": 1}})
    assert Counter(j.query_id for j in toy.sample(6).judged) == {"big": 3, "small": 3}


def test_one_seed_gives_one_sample_and_another_seed_another(collection):
    assert collection.sample(20, seed=1) == collection.sample(20, seed=1)
    assert ids(collection.sample(20, seed=1)) != ids(collection.sample(20, seed=2))


def test_a_smaller_sample_begins_a_larger_one(collection):
    assert ids(collection.sample(50))[:13] == ids(collection.sample(13))


def test_the_draws_of_one_grade_do_not_depend_on_the_others():
    alone = {q: {f"{q}{i}": 3 for i in range(5)} for q in "abc"}
    mixed = {q: docs | {f"{q}zero{i}": 0 for i in range(7)} for q, docs in alone.items()}
    of_both = [ids(make_collection(qrels).sample(9, grades=[3])) for qrels in (alone, mixed)]
    assert of_both[0] == of_both[1]


def test_a_missing_passage_is_counted_and_the_next_one_drawn():
    qrels = {"q": {doc_id: 1 for doc_id in "abcdef"}}
    toy = make_collection(qrels, texts={"a": "sea", "b": "reef"})
    sample = toy.sample(2)
    assert {j.doc_id for j in sample.judged} == {"a", "b"}
    assert {s.reason for s in sample.skipped} <= {"passage not in the collection"}
    assert len(toy.sample(6).skipped) == 4


def test_queries_without_judgments_are_counted():
    toy = make_collection({"q": {"a": 1}}, queries={"q": "sea", "bare": "reef"})
    assert [(s.query_id, s.reason) for s in toy.sample(1).skipped] == [
        ("bare", "query without judgments")
    ]


def test_judgments_without_a_query_are_counted():
    toy = make_collection({"q": {"a": 1}, "lost": {"b": 1}}, queries={"q": "sea"})
    sample = toy.sample(2)
    assert ids(sample) == [("q", "a")]
    assert [s.reason for s in sample.skipped] == ["judgments without a query"]


def test_a_judged_pair_carries_query_text_and_grade(collection):
    judged = collection.sample(1).judged[0]
    text = collection.texts([judged.doc_id])[judged.doc_id]
    query = collection.queries[judged.query_id]
    assert judged == Judged(judged.query_id, judged.doc_id, query, text, 3)


def test_impossible_requests_are_refused(collection):
    with pytest.raises(ValueError, match="positive number of pairs, got n=0"):
        collection.sample(0)
    with pytest.raises(ValueError, match=r"grade \[7\]; it has grades \[3, 2, 1, 0\]"):
        collection.sample(5, grades=[7, 3])


# --- term statistics --------------------------------------------------------------------------


def test_statistics_count_the_documents_that_hold_a_term(collection):
    statistics = collection.statistics()
    assert statistics.n_docs == 324
    assert 0 < statistics.df["bicarbon"] < statistics.df["water"] < 324


def test_statistics_are_read_from_the_disk_the_second_time(own_cache, monkeypatch):
    counted = load_collection("embedded").statistics()
    assert len(list(own_cache.glob("df-*.json.gz"))) == 1
    monkeypatch.setattr("mechir_edu.collection.collection.count_terms", None)
    assert load_collection("embedded").statistics() == counted


def test_a_collection_counts_its_terms_once(monkeypatch):
    toy = make_collection({"q": {"a": 1}})
    counted = toy.statistics()
    for name in ("count_terms", "read_statistics"):
        monkeypatch.setattr(f"mechir_edu.collection.collection.{name}", None)
    assert toy.statistics() is counted


def test_changed_documents_are_counted_again():
    first, second = (
        make_collection({"q": {"a": 1}}, texts={"a": "reef", "b": word}).statistics()
        for word in ("reef", "sand")
    )
    assert (first.df["reef"], second.df["reef"]) == (2, 1)


def test_of_too_many_documents_a_seeded_sample_is_counted():
    toy = make_collection({"q": {f"d{i}": 1 for i in range(2000)}})
    sampled = [toy.statistics(at_most=500, seed=seed) for seed in (0, 0, 1)]
    assert sampled[0] == sampled[1] != sampled[2]
    assert 400 < sampled[0].n_docs < 600


# --- own files --------------------------------------------------------------------------------


def test_own_files_make_a_collection(tmp_path):
    own = load_collection(**own_files(tmp_path))
    assert own.queries == {"q1": "coral reef", "q2": "sea level"}
    assert own.texts(["a", "missing"]) == {"a": "T sea"}
    reasons = Counter(s.reason for s in own.sample(5).skipped)
    assert reasons == {"query without judgments": 1, "passage not in the collection": 1}


def test_tab_separated_and_gzipped_passages_are_read(tmp_path):
    files = own_files(tmp_path, docs="a\tsea and\tsand\n", suffix="tsv")
    packed = tmp_path / "packed.tsv.gz"
    packed.write_bytes(gzip.compress(files["docs"].read_bytes()))
    own = load_collection(**files | {"docs": packed})
    assert own.texts(["a"]) == {"a": "sea and\tsand"}


def test_own_files_and_ids_can_be_joined(tmp_path):
    own = load_collection("embedded", **own_files(tmp_path))
    assert {"q01", "q1"} <= own.queries.keys()
    assert own.texts(["a", "d001"]).keys() == {"a", "d001"}


@pytest.mark.parametrize(
    ("what", "content", "message"),
    [
        ("queries", "no tab here\n", r"q.tsv, line 1: needed 'id<TAB>text'"),
        ("queries", "q1\ta\nq1\tb\n", r"line 2: ids must be unique, got 'q1'"),
        ("docs", "{broken\n", r"d.jsonl, line 1: needed a JSON object"),
        (
            "docs",
            '{"doc_id": "a", "words": "b"}\n',
            r"got the fields \['doc_id', 'words'\]",
        ),
        ("qrels", "q1 0 a\n", r"qrels, line 1: needed 'query_id 0 doc_id relevance'"),
        ("qrels", "q1 0 a high\n", r"needed 'query_id 0 doc_id relevance'"),
    ],
)
def test_a_bad_line_is_named(tmp_path, what, content, message):
    files = own_files(tmp_path)
    files[what].write_text(content)
    with pytest.raises(ValueError, match=message):
        load_collection(**files)


def test_two_of_three_files_are_not_enough(tmp_path):
    files = own_files(tmp_path)
    del files["docs"]
    with pytest.raises(ValueError, match="together, got no docs"):
        load_collection(**files)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_collection(**own_files(tmp_path) | {"docs": tmp_path / "nowhere.tsv"})


# --- ids --------------------------------------------------------------------------------------


def test_the_embedded_collection_has_two_names():
    assert load_collection("mechir-edu/mini").queries == load_collection("embedded").queries


def test_one_source_given_twice_is_one_source():
    twice = load_collection("embedded", "mechir-edu/mini")
    assert len(twice.queries) == 36
    assert len(twice.passages) == 1


def test_an_unknown_id_names_its_neighbours():
    with pytest.raises(ValueError, match="near it are .*msmarco-passage/trec-dl-2019"):
        load_collection("msmarco-pasage/trec-dl-2019")


def test_an_id_without_judgments_names_relatives_that_have_some():
    with pytest.raises(ValueError, match="ids that have all three: .*trec-dl-2019/judged"):
        load_collection("msmarco-passage")


def test_nothing_is_not_a_collection():
    with pytest.raises(ValueError, match='pass "embedded", an ir_datasets id'):
        load_collection()


def test_without_a_network_the_error_says_what_to_do(tmp_path):
    # A fresh process, because ir_datasets fixes its home when it is imported.
    script = f"import mechir_edu.collection.load as c; c.load_collection({DL19!r})"
    nowhere = "http://127.0.0.1:9"
    offline = {"IR_DATASETS_HOME": str(tmp_path), "IR_DATASETS_DL_TRIES": "1"}
    environment = os.environ | offline | {"HTTPS_PROXY": nowhere, "https_proxy": nowhere}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert "OSError: could not read msmarco-passage" in done.stderr
    assert 'load_collection("embedded")' in done.stderr
    assert "IR_DATASETS_HOME" in done.stderr


def test_contradicting_sources_are_refused(tmp_path):
    files = own_files(tmp_path) | {"queries": tmp_path / "other.tsv"}
    (tmp_path / "other.tsv").write_text("q1\tcoral reef\nq01\tsomething else\n")
    with pytest.raises(ValueError, match="'q01' has two values"):
        load_collection("embedded", **files)


def test_one_id_for_two_passages_is_refused(tmp_path):
    docs = '{"doc_id": "d001", "text": "another passage"}\n{"doc_id": "a", "text": "sea"}\n'
    both = load_collection("embedded", **own_files(tmp_path, docs=docs))
    with pytest.raises(ValueError, match="'d001' names two different passages"):
        both.texts(["d001"])


# --- real data --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dl(trec_dl):
    return load_collection(DL19, DL20)


@pytest.mark.usefixtures("trec_dl")
def test_dl19_and_dl20_share_one_passage_collection(dl):
    assert len(dl.queries) == 43 + 54
    assert sum(map(len, dl.qrels.values())) == 9_260 + 11_386
    assert len(dl.passages) == 1


def test_a_real_sample_is_stratified_and_counts_missing_passages(dl):
    sample = dl.sample(400, seed=3)
    assert Counter(j.relevance for j in sample.judged) == dict.fromkeys(range(4), 100)
    assert len({j.query_id for j in sample.judged}) > 90
    assert {s.reason for s in sample.skipped} == {"passage not in the collection"}


def test_real_statistics_are_plausible(dl):
    statistics = dl.statistics()
    assert statistics.n_docs == 18_181
    assert 3 < statistics.idf("contour") < 7
