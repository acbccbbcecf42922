"""Whatever is no text, id or whole number is refused by place and type, before any work starts."""

import math
import types
from collections import OrderedDict, UserDict

import numpy as np
import pandas as pd
import pytest

import mechir_edu as me
from mechir_edu.collection.collection import Collection
from mechir_edu.collection.given import checked_id, checked_number, checked_texts
from mechir_edu.collection.sources import PassagesInMemory
from mechir_edu.data import CatDataCollator, DotDataCollator, MechIRDataset

pytestmark = pytest.mark.usefixtures("as_users_run")

TEXTS = ["corals live in the sea", "trains run late", "reefs"]
HALF = "half an emoji \ud83d here"

NO_TEXTS = {
    "a dictionary": ({"d1": "corals", "d2": "trains"}, r"texts is a dict.*list\(texts.values"),
    "an ordered one": (OrderedDict(d1="corals"), "texts is an OrderedDict.*values"),
    "a user's own": (UserDict(d1="corals"), "texts is a UserDict.*values"),
    "a read-only one": (types.MappingProxyType({"d1": "corals"}), "texts is a mappingproxy"),
    "a table": (pd.DataFrame({"text": TEXTS}), r"texts is a DataFrame of shape \(3, 1\)"),
    "a set": (set(TEXTS), "texts is a set of 3.*no order"),
    "a frozen set": (frozenset(TEXTS), "texts is a frozenset of 3.*no order"),
    "keys": ({"corals": 1}.keys(), "texts is a dict_keys"),
    "bytes": (b"corals", r"texts is b'corals' \(bytes\)"),
    "None": (None, "texts is None"),
    "a number": (3, r"texts is 3 \(int\)"),
    "NaN": (math.nan, "texts is NaN"),
    "None among them": ([*TEXTS, None], r"texts\[3\] is None; needed a str"),
    "NaN among them": (["corals", math.nan], r"texts\[1\] is NaN \(a float\); needed a str"),
    "a number among them": (["corals", 4], r"texts\[1\] is 4 \(int\)"),
    "bytes among them": (["corals", b"x"], r"texts\[1\] is b'x' \(bytes\).*decode it"),
    "tuples": ([("d1", "corals")], r"texts\[0\] is a tuple of 2"),
    "lists": ([TEXTS], r"texts\[0\] is a list of 3"),
    "a table's gap": (pd.Series(["corals", None]), r"texts\[1\] is (None|NaN)"),
    "a typed gap": (pd.Series(["corals", pd.NA], dtype="string"), r"texts\[1\]"),
    "two columns": (np.array([TEXTS, TEXTS]), r"texts is a ndarray of shape \(2, 3\)"),
    "numbers": (np.arange(3), r"texts\[0\] is 0"),
    "half a character": (["corals", HALF], r"texts\[1\] has '\\ud83d' at character 14"),
}
SAME_TEXTS = {
    "a tuple": tuple(TEXTS),
    "an array": np.array(TEXTS),
    "an array of objects": np.array(TEXTS, dtype=object),
    "a column": pd.Series(TEXTS, index=[7, 8, 9]),
    "a typed column": pd.Series(TEXTS, dtype="string"),
    "a generator": (text for text in TEXTS),
    "a dictionary's values": dict(enumerate(TEXTS)).values(),
}


@pytest.fixture(scope="module")
def rankers(small_ranker):
    return small_ranker("bert", "dot"), small_ranker("bert", "cat")


@pytest.mark.parametrize("texts", SAME_TEXTS.values(), ids=SAME_TEXTS)
def test_texts_that_stand_in_order_are_texts_whatever_holds_them(texts):
    read = checked_texts(texts)
    assert read == TEXTS
    assert {type(text) for text in read} == {str}


@pytest.mark.parametrize(("texts", "message"), NO_TEXTS.values(), ids=NO_TEXTS)
def test_what_is_no_text_is_refused_by_every_way_into_a_ranker(rankers, texts, message):
    dot, cat = rankers
    silent = me.Scale([(0, 0)], 1.0)
    ways = [
        *(dot.tokenize, dot.embed, dot.encode_documents, dot.forward, dot.run_with_hooks),
        *(lambda t, r=r: r.score("coral", t) for r in rankers),
        *(lambda t, r=r: r.under(silent).score("coral", t) for r in rankers),
        *(lambda t, f=f: f("coral", t) for f in (cat.tokenize, cat.forward, cat.run_with_cache)),
        dot.under(silent).encode_documents,
    ]
    for way in ways:
        with pytest.raises((TypeError, ValueError), match=message):
            way(texts)


@pytest.mark.parametrize("query", [None, math.nan, 3, b"coral", {"q": "coral"}, HALF])
def test_a_query_that_is_none_is_refused_before_a_text_is_read(rankers, query, monkeypatch):
    dot, cat = rankers
    for ranker in rankers:
        monkeypatch.setattr(ranker, "forward", None)
        with pytest.raises((TypeError, ValueError), match="^query (is|has)"):
            ranker.score(query, TEXTS)
    with pytest.raises((TypeError, ValueError), match="^query"):
        dot.encode_query(query)
    with pytest.raises((TypeError, ValueError), match="^quer"):
        cat.tokenize(query, TEXTS)


@pytest.mark.parametrize("queries", [["coral", "train", "reef"], ("coral",), np.array(["a", "b"])])
def test_several_queries_are_never_paired_with_texts_in_another_order(rankers, queries):
    for ranker in (*rankers, *(r.under(me.Scale([(0, 0)], 1.0)) for r in rankers)):
        with pytest.raises(TypeError, match=r"query is .*; needed a str"):
            ranker.score(queries, TEXTS)


def test_tokens_of_several_queries_are_those_of_the_pairs(rankers):
    cat = rankers[1]
    queries = ["train", "coral reef", "sea"]
    together = cat.forward(queries, TEXTS)
    alone = [cat.score(query, text)[0] for query, text in zip(queries, TEXTS, strict=True)]
    np.testing.assert_allclose(together.numpy(force=True), alone, atol=1e-5)
    for wrong in (queries[:2], queries[:1], []):
        with pytest.raises(ValueError, match=f"one for each of 3 texts, got {len(wrong)}"):
            cat.forward(wrong, TEXTS)


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "8", None, math.nan])
def test_a_batch_size_is_a_positive_whole_number(rankers, size):
    for ranker in rankers:
        with pytest.raises((TypeError, ValueError), match="batch_size is"):
            ranker.score("coral", TEXTS, batch_size=size)


def test_scores_do_not_depend_on_what_holds_the_texts_or_numbers(rankers):
    for ranker in rankers:
        expected = ranker.score("coral", TEXTS)
        for texts in (np.array(TEXTS), pd.Series(TEXTS), iter(TEXTS)):
            got = ranker.score(np.str_("coral"), texts, batch_size=np.int64(32))
            np.testing.assert_array_equal(got, expected)


def test_control_characters_are_part_of_a_text(rankers):
    texts = ["\x00", "co\x00ral", "\x1b[1m\x07", "\ufeffcoral", "\r\n", ""]
    for ranker in rankers:
        assert np.isfinite(ranker.score("co\x00ral", texts)).all()


# Ids, numbers and seeds


@pytest.mark.parametrize("given", ["7", 7, np.int64(7), np.uint8(7), np.str_("7")])
def test_a_whole_number_and_its_digits_are_one_id(given):
    assert checked_id(given, "id") == "7"
    assert type(checked_id(given, "id")) is str


@pytest.mark.parametrize("given", [None, math.nan, 7.0, True, b"7", ("7",), pd.NA, np.float64(7)])
def test_what_is_no_id_is_refused(given):
    with pytest.raises(TypeError, match="^id is .*needed an id"):
        checked_id(given, "id")


@pytest.mark.parametrize("given", [1.0, True, "1", None, np.float32(1), np.bool_(True), [1]])
def test_what_is_no_whole_number_is_refused(given):
    with pytest.raises(TypeError, match=r"^n is .*needed a whole number"):
        checked_number(given, "n")


@pytest.mark.parametrize("seed", [1.0, True, "1", None, np.bool_(True), math.nan])
def test_a_seed_that_is_no_whole_number_is_refused_wherever_one_is_taken(collection, seed):
    values = np.arange(8.0)
    ways = [
        lambda: me.make_pairs(collection, "TFC1", n=2, seed=seed),
        lambda: collection.sample(2, seed=seed),
        lambda: collection.statistics(seed=seed),
        lambda: MechIRDataset(collection, n=2, seed=seed),
        lambda: me.stats.mean_change(values, query_ids=list("aabbccdd"), seed=seed),
    ]
    for way in ways:
        with pytest.raises(TypeError, match="^seed is"):
            way()


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_a_seed_of_numpy_draws_what_pythons_does(collection, kind):
    for axiom in ("TFC1", "TFC1-control"):
        pairs = me.make_pairs(collection, axiom, n=6, seed=1)
        grades = [kind(grade) for grade in collection.grades()]
        assert me.make_pairs(collection, axiom, n=kind(6), seed=kind(1), grades=grades) == pairs
    assert collection.sample(3, seed=kind(1)) == collection.sample(3, seed=1)


def test_draws_with_pythons_whole_numbers_stay_as_they_are(collection):
    pairs = me.make_pairs(collection, "TFC1", n=4, seed=1)
    drawn = [("q32", "d187", "tune"), ("q19", "d012", "hurricanes"), ("q06", "d264", "rise")]
    assert [(p.query_id, p.doc_id, p.term) for p in pairs[:3]] == drawn


# Collections


def made(queries=None, qrels=None, texts=None):
    queries = {"q": "coral reef"} if queries is None else queries
    qrels = {"q": {"d": 3}} if qrels is None else qrels
    passages = PassagesInMemory({"d": "warm seas"} if texts is None else texts)
    return Collection("toy", queries, qrels, (passages,))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"queries": {"q": None}}, r"queries\['q'\] is None"),
        ({"queries": {"q": HALF}}, r"queries\['q'\] has"),
        ({"queries": {1.0: "coral"}}, r"id of queries is 1.0 \(float\)"),
        ({"queries": {1: "coral", "1": "reef"}}, "queries has an id twice"),
        ({"queries": ["coral"]}, "queries is a list of 1; needed a dictionary"),
        ({"qrels": {"q": {"d": 2.0}}}, r"qrels\['q'\]\['d'\] is 2.0 \(float\)"),
        ({"qrels": {"q": {"d": True}}}, r"qrels\['q'\]\['d'\] is True \(bool\)"),
        ({"qrels": {"q": {None: 2}}}, r"id of qrels\['q'\] is None"),
        ({"qrels": {"q": ["d"]}}, r"qrels\['q'\] is a list of 1"),
        ({"texts": {"d": math.nan}}, r"passages\['d'\] is NaN"),
        ({"texts": {"d": HALF}}, r"passages\['d'\] has '\\ud83d'"),
        ({"texts": {b"d": "text"}}, r"id of passages is b'd' \(bytes\)"),
    ],
)
def test_a_collection_holds_texts_ids_and_grades_or_says_where_not(parts, message):
    with pytest.raises((TypeError, ValueError), match=message):
        made(**parts)


def test_numbers_of_numpy_in_a_collection_draw_what_pythons_do():
    plain = made({"1": "coral reef"}, {"1": {"2": 3}}, {"2": "warm seas"})
    numbers = made({np.int64(1): "coral reef"}, {1: {np.int32(2): np.int64(3)}}, {2: "warm seas"})
    for axiom in ("TFC1", "TDC"):
        assert me.make_pairs(numbers, axiom, n=1) == me.make_pairs(plain, axiom, n=1) != []


def test_a_store_of_passages_is_not_believed():
    class Store(PassagesInMemory):
        def lookup(self, doc_ids):
            return {"d": b"warm seas"}

    broken = Collection("toy", {"q": "reef"}, {"q": {"d": 3}}, (Store({}),))
    with pytest.raises(TypeError, match=r"passage 'd' of toy is b'warm seas' \(bytes\)"):
        me.make_pairs(broken, "TFC1", n=1)


@pytest.mark.parametrize("ids", ["d001", 7, None, [None], [1.5]])
def test_texts_are_looked_up_by_several_ids(collection, ids):
    with pytest.raises(TypeError, match="doc_ids"):
        collection.texts(ids)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 2.5}, "n is 2.5"),
        ({"n": True}, "n is True"),
        ({"n": "3"}, r"n is '3' \(str\)"),
        ({"grades": 3}, "grades is 3"),
        ({"grades": [2.0]}, r"grades\[0\] is 2.0"),
        ({"grades": "3"}, "grades is '3'"),
    ],
)
def test_what_is_drawn_is_asked_for_in_whole_numbers(collection, options, message):
    with pytest.raises(TypeError, match=message):
        me.make_pairs(collection, "TFC1", **options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("TFC1", "collection"), r"collection is 'TFC1' \(str\)"),
        ((None, "TFC1"), "collection is None; needed what load_collection gives"),
        ((pd.DataFrame({"a": [1]}), "TFC1"), "collection is a DataFrame"),
        ((Collection, "TFC1"), "collection is a type|collection is an? "),
    ],
)
def test_make_pairs_says_what_it_needs(given, message):
    with pytest.raises(TypeError, match=message):
        me.make_pairs(*given, n=1)


def test_exchanged_arguments_are_named(collection, rankers):
    dot, scale = rankers[0], me.Scale([(0, 0)], 1.0)
    with pytest.raises(TypeError, match="did you exchange collection and axiom"):
        me.make_pairs("TFC1", collection)
    with pytest.raises(TypeError, match="did you exchange collection and ranker"):
        me.evaluate(collection, dot)
    with pytest.raises(TypeError, match="did you exchange collection and intervention"):
        me.compare(dot, scale, collection)


@pytest.mark.parametrize("wrong", ["dot", None, 3, pd.DataFrame({"a": [1]}), me.Dot])
def test_evaluations_refuse_the_wrong_kind_before_they_score(collection, rankers, wrong):
    with pytest.raises(TypeError, match="ranker is"):
        me.evaluate(wrong, collection)
    with pytest.raises(TypeError, match="collection is"):
        me.evaluate(rankers[0], wrong)
    with pytest.raises(TypeError, match="needed a Knockout|ranker is"):
        me.compare(rankers[0], collection, wrong)
    with pytest.raises(TypeError, match="needed a Knockout"):
        me.evaluate(rankers[0], collection, intervention="knockout" if wrong is None else wrong)


@pytest.mark.parametrize("measures", [[], (), "nDCG@10", None, [3]])
def test_an_evaluation_needs_measures(collection, rankers, measures):
    with pytest.raises((TypeError, ValueError), match="measure"):
        me.evaluate(rankers[0], collection, measures=measures)


def test_an_evaluation_of_one_querys_letters_is_refused(collection, rankers):
    with pytest.raises(TypeError, match=r"query_ids is 'q01' \(str\)"):
        me.evaluate(rankers[0], collection, query_ids="q01")


# The paper's way in


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (("coral", None), "text 1 is None"),
        ((math.nan, "reefs"), "query 1 is NaN"),
        (("coral", ["reefs"]), "text 1 is a list of 1"),
        ({"query": "coral", "text": "reefs"}, r"batch\[1\] is a dict of 2"),
        ("coral", r"batch\[1\] is 'coral' \(str\)"),
        (("coral", HALF), "text 1 has"),
    ],
)
@pytest.mark.parametrize("collator", [DotDataCollator, CatDataCollator])
def test_a_collator_names_the_item_that_is_none(rankers, collator, item, message):
    collate = collator(rankers[0].tokenizer, lambda document: f"{document} coral")
    with pytest.raises((TypeError, ValueError), match=message):
        collate([("coral", "trains run late"), item])


def test_a_table_of_pairs_needs_ids_and_whole_grades(collection):
    (judged,) = collection.sample(1).judged
    table = pd.DataFrame({"query_id": [judged.query_id], "doc_id": [judged.doc_id]})
    (item,) = MechIRDataset(collection, table.assign(relevance=2.0)).items
    assert (item.relevance, type(item.relevance)) == (2, int)
    with pytest.raises(TypeError, match="relevance of a pair is 2.5"):
        MechIRDataset(collection, table.assign(relevance=2.5))
    for missing in (None, math.nan, 7.0):
        with pytest.raises(TypeError, match=r"pairs.doc_id\[0\] is .*needed an id"):
            MechIRDataset(collection, table.assign(doc_id=[missing]))
    for wrong in ("pairs", [("q", "d")]):
        with pytest.raises(TypeError, match="pairs is"):
            MechIRDataset(collection, wrong)
    with pytest.raises(TypeError, match="collection is None"):
        MechIRDataset(None)


def test_only_a_collators_batch_can_be_patched(rankers):
    for wrong in (None, "batch", [1], {"aligned": 1}):
        with pytest.raises(TypeError, match="aligned is .*needed a batch of a collator"):
            rankers[0].patch(wrong)


def test_rows_of_pyterrier_are_refused_where_a_text_or_an_id_is_missing(rankers):
    pytest.importorskip("pyterrier", reason='NOT TESTED: pip install "mechir-edu[pyterrier]"')
    good = {"qid": ["1", "1", "2"], "query": ["coral", "coral", "sea"]}
    good |= {"docno": ["a", "b", "a"], "text": TEXTS}
    rerank = rankers[0].as_pyterrier()
    assert len(rerank(pd.DataFrame(good))) == 3
    for change, message in (
        ({"qid": ["1", None, "2"]}, "qid of row 1 is (None|NaN)"),
        ({"qid": [1.0, math.nan, 2.0]}, "qid of row 0 is 1.0"),
        ({"docno": ["a", "b", math.nan]}, "docno of row 2 is NaN"),
        ({"text": ["a", None, "c"]}, r"text of row 1 \(qid 1, docno b\) is (None|NaN)"),
        (
            {"text": pd.Series(["a", HALF, "c"], dtype=object)},
            r"text of row 1 \(qid 1, docno b\) has",
        ),
        ({"query": ["coral", "coral", 3]}, r"query of row 2 \(qid 2, docno a\) is 3"),
        ({"query": ["coral", "reef", "sea"]}, "qid 1 stands for two queries, 'coral' and"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            rerank(pd.DataFrame(good | change))
