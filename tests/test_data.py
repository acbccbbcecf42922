import pandas as pd
import pytest
from small_tokenizers import wordpiece
from torch.utils.data import DataLoader

from mechir_edu.alignment.aligned import Role
from mechir_edu.data import CatDataCollator, DotDataCollator, MechIRDataset
from mechir_edu.perturb.own import perturbation


@perturbation
def prepend(document):
    return "MechIR! " + document


@perturbation(expected_sign=1)
def append_query(document, query):
    return f"{document} {query}"


@pytest.fixture(scope="module")
def dataset():
    return MechIRDataset("embedded", n=12, seed=3)


@pytest.fixture
def judgments(collection):
    """All judgments of the embedded collection, as a table."""
    rows = [(q, d, r) for q, docs in collection.qrels.items() for d, r in docs.items()]
    return pd.DataFrame(rows, columns=["query_id", "doc_id", "relevance"])


def batches(dataset, collator, **options):
    return [batch["aligned"] for batch in DataLoader(dataset, collate_fn=collator, **options)]


def edited_tokens(aligned):
    ids = aligned.perturbed_ids[aligned.roles == Role.EDIT]
    return wordpiece().decode(ids)


def test_a_dataset_yields_judged_pairs_of_its_collection(dataset, collection):
    query, text, relevance, query_id, doc_id = dataset[0]
    assert len(dataset) == 12
    assert (query, relevance) == (collection.queries[query_id], collection.qrels[query_id][doc_id])
    assert text == collection.texts([doc_id])[doc_id]


def test_a_dataset_of_named_pairs_yields_those_pairs(judgments):
    frame = judgments.head(5)
    dataset = MechIRDataset("embedded", frame)
    assert [item.doc_id for item in dataset] == frame["doc_id"].tolist()
    assert [item.relevance for item in dataset] == frame["relevance"].tolist()


def test_the_relevance_of_named_pairs_is_looked_up_where_it_is_not_given(judgments):
    frame = judgments.head(5)
    dataset = MechIRDataset("embedded", frame.drop(columns="relevance"))
    assert [item.relevance for item in dataset] == frame["relevance"].tolist()


def test_named_pairs_that_are_not_there_are_counted(judgments):
    frame = judgments.head(2).copy()
    frame.loc[1, "doc_id"] = "nowhere"
    dataset = MechIRDataset("embedded", frame)
    assert len(dataset) == 1
    assert [skip.reason for skip in dataset.skipped] == ["passage not in the collection"]


def test_pairs_of_another_collection_are_an_error():
    frame = pd.DataFrame({"query_id": [1, 2], "doc_id": [3, 4]})
    with pytest.raises(ValueError, match="2 x query not in the collection"):
        MechIRDataset("embedded", frame)


def test_pairs_without_ids_are_an_error():
    with pytest.raises(ValueError, match="add doc_id"):
        MechIRDataset("embedded", pd.DataFrame({"query_id": ["1"]}))


def test_a_collection_without_judgments_is_an_error_that_names_some_with_them():
    with pytest.raises(ValueError, match="msmarco-passage/trec-dl-2019/judged"):
        MechIRDataset("msmarco-passage")


@pytest.mark.parametrize("collator", [DotDataCollator, CatDataCollator])
def test_a_prepended_text_is_aligned_at_the_start(dataset, collator):
    for aligned in batches(dataset, collator(wordpiece(), prepend)):
        (pair,) = aligned.aligned
        assert edited_tokens(pair) == "mechir!"
        assert (pair.baseline_ids == pair.perturbed_ids).sum() == (pair.roles != Role.EDIT).sum()


def test_a_perturbation_may_read_the_query(dataset):
    (aligned,) = batches(dataset, CatDataCollator(wordpiece(), append_query), batch_size=12)
    assert len(aligned.aligned) == 12
    for pair in aligned.aligned:
        assert edited_tokens(pair) == wordpiece().decode(wordpiece().encode(pair.pair.query)[1:-1])
        assert (pair.pair.axiom, pair.pair.expected_sign) == ("append_query", 1)


def test_plain_tuples_and_plain_functions_will_do():
    collator = DotDataCollator(wordpiece(), lambda document: document + " fish")
    (pair,) = collator([("coral", "a reef")])["aligned"].aligned
    assert edited_tokens(pair) == "fish"


def test_the_filler_is_the_special_token():
    collator = DotDataCollator(wordpiece(), prepend, special_token="mask")
    assert collator([("coral", "a reef")])["aligned"].filler == "mask"


@pytest.mark.parametrize(("collator", "longest"), [(DotDataCollator, 40), (CatDataCollator, 70)])
def test_a_long_document_is_shortened_but_not_by_what_was_appended(collator, longest):
    batch = collator(wordpiece(), append_query, d_max_length=40)([("coral", "reef " * 600)])
    (pair,) = batch["aligned"].aligned
    assert len(pair.roles) == longest
    assert edited_tokens(pair) == "coral"


def test_a_query_longer_than_its_limit_is_skipped():
    collator = DotDataCollator(wordpiece(), prepend, q_max_length=5)
    aligned = collator([("coral", "a reef"), ("coral reef fish sea", "a reef")])["aligned"]
    assert len(aligned.aligned) == 1
    assert [skip.reason for skip in aligned.skipped] == ["query longer than q_max_length"]


def test_a_perturbation_that_changes_nothing_is_an_error(dataset):
    collator = DotDataCollator(wordpiece(), str)
    with pytest.raises(ValueError, match="str left nothing to patch .* 3 x edit changes nothing"):
        collator([dataset[i] for i in range(3)])


def test_the_papers_listings_run(dot):
    assert dot.hook_dict
    collator = DotDataCollator(dot.tokenizer, prepend, d_max_length=12)
    loader = DataLoader(MechIRDataset("embedded", n=2), collate_fn=collator)
    outputs = [dot.patch(**batch) for batch in loader]
    assert [output.scores.shape for output in outputs] == [(6, 12, 1)] * 2
    by_pos = [
        dot.patch(**batch, patch_type="head_by_pos", layer_head_list=[(0, 1)]) for batch in loader
    ]
    assert all(set(output) == {"head", "pattern"} for output in by_pos)
