import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from mechir_edu.collection import mini
from mechir_edu.collection.formats import read_qrels, read_texts
from mechir_edu.collection.terms import terms

QUERIES, DOCS, QRELS = (
    read_texts(mini.QUERIES),
    read_texts(mini.DOCS),
    read_qrels(mini.QRELS),
)
DOMAINS = read_texts(mini.FOLDER / "domains.tsv")


def shared_terms(query_id, doc_id):
    return set(terms(QUERIES[query_id])) & set(terms(DOCS[doc_id]))


def of_grade(query_id, *grades):
    return [doc_id for doc_id, relevance in QRELS[query_id].items() if relevance in grades]


def test_there_are_thirty_queries_or_more_with_eight_passages_or_more_each():
    assert len(QUERIES) >= 30
    assert QRELS.keys() == QUERIES.keys() == DOMAINS.keys()
    assert min(map(len, QRELS.values())) >= 8


def test_every_passage_is_judged_for_exactly_one_query():
    judged = Counter(doc_id for docs in QRELS.values() for doc_id in docs)
    assert judged == dict.fromkeys(DOCS, 1)


def test_passages_have_forty_to_ninety_words():
    lengths = [len(text.split()) for text in DOCS.values()]
    assert min(lengths) >= 40
    assert max(lengths) <= 90


def test_length_does_not_give_the_grade_away():
    means = []
    for grade in range(4):
        texts = [DOCS[d] for q in QRELS for d in of_grade(q, grade)]
        means.append(sum(len(text.split()) for text in texts) / len(texts))
    assert max(means) - min(means) < 5


def test_the_order_of_ids_does_not_give_the_grade_away():
    ranks = [sorted(DOCS).index(d) for q in QRELS for d in of_grade(q, 2, 3)]
    assert abs(sum(ranks) / len(ranks) - len(DOCS) / 2) < 20


@pytest.mark.parametrize("query_id", sorted(QUERIES))
def test_every_query_has_every_grade(query_id):
    assert set(QRELS[query_id].values()) == {0, 1, 2, 3}


@pytest.mark.parametrize("query_id", sorted(QUERIES))
def test_every_query_has_two_terms_or_more(query_id):
    assert len(set(terms(QUERIES[query_id]))) >= 2


@pytest.mark.parametrize("query_id", sorted(QUERIES))
def test_one_perfectly_relevant_passage_has_no_query_term_and_one_has(query_id):
    matches = [bool(shared_terms(query_id, doc_id)) for doc_id in of_grade(query_id, 3)]
    assert sorted(matches) == [False, True]


@pytest.mark.parametrize("query_id", sorted(QUERIES))
def test_a_near_miss_shares_two_query_terms_and_is_irrelevant(query_id):
    assert any(len(shared_terms(query_id, doc_id)) >= 2 for doc_id in of_grade(query_id, 0))


def test_there_are_several_domains_with_several_queries():
    counts = Counter(DOMAINS.values())
    assert len(counts) >= 10
    assert min(counts.values()) >= 2


def test_no_passage_or_sentence_occurs_twice():
    sentences = [s.strip() for text in DOCS.values() for s in text.split(".") if len(s) > 30]
    assert len(set(DOCS.values())) == len(DOCS)
    assert len(set(sentences)) == len(sentences)


def test_the_card_states_the_counts():
    card = (mini.FOLDER / "README.md").read_text()
    grades = Counter(g for docs in QRELS.values() for g in docs.values())
    assert f"{len(QUERIES)} queries, {len(DOCS)} passages" in card
    assert all(f" {grades[g]} |" in card for g in grades)


LOAD = """
import ir_datasets, json, mechir_edu
{made_known}
dataset = ir_datasets.load("mechir-edu/mini")
counts = [sum(1 for _ in entities) for entities in
          (dataset.docs_iter(), dataset.queries_iter(), dataset.qrels_iter())]
doc = dataset.docs_store().get("d001")
print(json.dumps([counts, doc.text, sorted(dataset.qrels_defs())]))
"""


# A fresh process each, because other tests have loaded the collection in this one.
def run(script, **environment):
    command = [sys.executable, "-c", script]
    environment = os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    "made_known",
    [
        "mechir_edu.load_collection('embedded')",
        "import mechir_edu.collection.mini; [mechir_edu.collection.mini.register() for _ in '12']",
    ],
)
def test_ir_datasets_knows_the_collection_once_it_is_loaded_or_registered(made_known, tmp_path):
    done = run(LOAD.format(made_known=made_known), IR_DATASETS_HOME=str(tmp_path))
    judgments = sum(map(len, QRELS.values()))
    assert json.loads(done.stdout) == [
        [len(DOCS), len(QUERIES), judgments],
        DOCS["d001"],
        [0, 1, 2, 3],
    ]


def test_importing_the_package_changes_nothing_outside_it():
    script = (
        "import sys; before = list(sys.meta_path); import mechir_edu; "
        "print('ir_datasets' in sys.modules, sys.meta_path == before)"
    )
    assert run(script).stdout == "False True\n"
