"""ColBERT: equal to sentence-transformers from every format, patched fast and by hooks alike."""

import json

import numpy as np
import pytest
import torch
from patching_helpers import PAIRS, SITES_BY, assert_same, patched
from safetensors.torch import load_file, save_file
from small_models import save_model

import mechir_edu as me
from mechir_edu.plots import matches_in_words, plot_matches

DOCS = ["Corals, expel (algae) when the water warms!", "Trains run late.", "Coral bleaching"]
QUERIES = ["coral bleaching", "how do corals, that are warm, lose the algae?"]
METADATA = {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "doc_maxlen": 64}
METADATA |= {"query_maxlen": 12, "attend_to_mask_tokens": False, "mask_punctuation": True}


def save_stanford(folder, **metadata):
    """A random checkpoint as Stanford's ColBERT writes it."""
    save_model("bert", "Model", folder)
    weights = {f"bert.{name}": w for name, w in load_file(folder / "model.safetensors").items()}
    generator = torch.Generator().manual_seed(1)
    weights["linear.weight"] = torch.randn(16, 32, generator=generator)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["HF_ColBERT"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "artifact.metadata").write_text(json.dumps(METADATA | metadata))
    return folder


def save_modules(folder, family="bert", **options):
    """A random checkpoint as sentence-transformers 6 writes it; gives its model."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    torch.manual_seed(0)
    encoder = Transformer(str(save_model(family, "Model", folder / "encoder")), **options)
    dense = Dense(
        32,
        16,
        bias=False,
        activation_function=torch.nn.Identity(),
        module_input_name="token_embeddings",
    )
    parts = [encoder, dense, MultiVectorMask([".", ","])]
    parts.append(Normalize(module_input_name="token_embeddings"))
    model = MultiVectorEncoder(modules=parts, device="cpu")
    model.save(str(folder / "saved"), create_model_card=False)
    return model


def save_pylate(folder):
    """The same in PyLate's older format: Transformer and Dense, markers beside them."""
    save_modules(folder, document_length=48)
    saved = folder / "saved"
    modules = json.loads((saved / "modules.json").read_text())[:2]
    modules[1]["type"] = "pylate.models.Dense.Dense"
    (saved / "modules.json").write_text(json.dumps(modules))
    settings = {
        "model_type": "ColBERT",
        "query_prefix": "[unused0] ",
        "similarity_fn_name": "MaxSim",
    }
    settings |= {"document_prefix": "[unused1] ", "query_length": 10, "document_length": 48}
    settings |= {"attend_to_expansion_tokens": True, "skiplist_words": ["!", "("]}
    (saved / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return saved


def publishers_scores(folder, query):
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder), device="cpu")
    similarity = model.similarity(model.encode_query([query]), model.encode_document(DOCS))
    return torch.as_tensor(similarity)[0].numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_stanford(tmp_path_factory.mktemp("colbert"))


@pytest.fixture(scope="module")
def late(folder):
    return me.MultiVector(str(folder))


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("attends", [True, False])
def test_a_stanford_folder_equals_sentence_transformers(tmp_path, query, attends):
    folder = save_stanford(tmp_path, attend_to_mask_tokens=attends)
    assert_same(me.MultiVector(str(folder)).score(query, DOCS), publishers_scores(folder, query))


def test_a_pylate_folder_equals_sentence_transformers(tmp_path):
    folder = save_pylate(tmp_path)
    ranker = me.MultiVector(str(folder))
    assert ranker.max_length == 48
    for query in QUERIES:
        assert_same(ranker.score(query, DOCS), publishers_scores(folder, query))


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("modernbert", {"query_length": 9}),
        ("bert", {"query_expansion": {"strategy": "min", "attend": False, "length": 8}}),
    ],
)
def test_a_folder_of_sentence_transformers_equals_it(tmp_path, family, options):
    save_modules(tmp_path, family, **options)
    ranker = me.MultiVector(str(tmp_path / "saved"))
    for query in QUERIES:
        assert_same(ranker.score(query, DOCS), publishers_scores(tmp_path / "saved", query))


@pytest.mark.parametrize(("site", "by"), SITES_BY)
def test_exact_patching_equals_naive(late, site, by):
    exact, naive = (
        patched(late, PAIRS[:2], site=site, by=by, method=method) for method in ("exact", "naive")
    )
    assert_same(exact.scores, naive.scores)
    assert exact.provenance["engine"] == "post-LN suffix"


def test_patching_the_whole_stream_gives_the_donors_score(late):
    result = patched(late, site="resid_pre")
    assert_same(result.scores[0], result.donor)


def test_pairs_are_scored_as_texts_are(late):
    pairs = [pair for pair in PAIRS if len(late.tokenizer.tokenize(pair.term)) == 1]
    scores = me.score_pairs(late, pairs)
    expected = [late.score(pair.query, [pair.perturbed])[0] for pair in pairs]
    assert_same(scores.perturbed, np.array(expected))


def test_the_marker_is_a_prompt(late):
    aligned = me.align(PAIRS[:1], late.tokenizer, kind=late.kind, prompts=late.prompts)
    (pair,) = aligned.aligned
    assert np.flatnonzero(pair.roles == me.Role.PROMPT).tolist() == [1]
    assert patched(late, site="resid_pre", by="role").scores.shape == (2, 8, len(PAIRS))


def test_the_other_methods_take_it(late, collection):
    assert patched(late, method="gradient").scores.shape == (2, 4, len(PAIRS))
    assert np.isfinite(me.ablate(late, PAIRS, progress=False).scores).all()
    assert np.isfinite(me.path_patch(late, PAIRS[:2], progress=False).to_score).all()
    effect = me.compare(
        late, collection, me.Knockout([(0, 0)]), query_ids=["q01", "q02"], progress=False
    )
    assert np.isfinite(effect.change()).all()
    query, texts = collection.queries["q02"], collection.texts(effect.before.run["q02"])
    expected = late.score(query, list(texts.values()))
    assert_same(np.array(list(effect.before.run["q02"].values())), expected)


def test_punctuation_is_seen_but_not_scored(late):
    inputs = late.model_inputs(**late.tokenize(["Coral, warm."]))
    assert inputs["attention_mask"].all()
    tokens = late.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist())
    left_out = [t for t, counts in zip(tokens, late.counts(inputs)[0], strict=True) if not counts]
    assert left_out == [",", "."]


def test_an_edited_query_is_refused(late):
    pair = me.Pair("q", "d", "reef", DOCS[0], DOCS[0], "mine", 1, perturbed_query="coral reef")
    with pytest.raises(ValueError, match="reads a query by a template of its own"):
        me.patch(late, [pair])


# Which match moved


def test_parts_of_query_tokens_add_up_to_the_score_change(late):
    moved, scores = me.matches_moved(late, PAIRS), me.score_pairs(late, PAIRS)
    assert_same(np.array([m.change.sum() for m in moved.matches]), scores.score_change())
    assert_same(np.array(moved.table()["mean"].sum()), scores.score_change().mean())
    assert [len(m.query_tokens) for m in moved.matches] == [12] * len(PAIRS)


def test_a_match_is_the_token_of_largest_cosine(late):
    (matches,) = me.matches_moved(late, PAIRS[:1]).matches
    vectors = late.encode_query(PAIRS[0].query)[0]
    documents = late.encode_documents([PAIRS[0].perturbed])[0]
    ids = late.tokenizer(late.prompts.document + PAIRS[0].perturbed)["input_ids"]
    places = (vectors @ documents.T).masked_fill(~documents.any(-1), -9).argmax(-1)
    expected = late.tokenizer.convert_ids_to_tokens([ids[i] for i in places])
    assert list(matches.perturbed_match) == expected


def test_the_picture_and_its_words_say_the_same(late):
    (matches,) = me.matches_moved(late, PAIRS[:1]).matches
    ax, words = plot_matches(matches, k=4), matches_in_words(matches, k=4)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == list(matches.to_dataframe().query_token[:4])
    assert all(f"{name} " in words for name in names)


def test_only_a_ranker_with_vectors_of_tokens_has_matches(planted):
    with pytest.raises(TypeError, match="needed a ranker with a vector for each token"):
        me.matches_moved(planted, PAIRS)


# What is refused


def test_a_folder_of_another_kind_is_told_which_class_reads_it(tmp_path, folder):
    with pytest.raises(ValueError, match="saved by BertModel.*me.Dot reads it"):
        me.MultiVector(str(save_model("bert", "Model", tmp_path / "a")))
    for kind in (me.Dot, me.Cat, me.Sparse):
        with pytest.raises(ValueError, match="me.MultiVector"):
            kind(str(folder))
    saved = save_pylate(tmp_path / "b")
    for kind in (me.Dot, me.Cat, me.Sparse):
        with pytest.raises(ValueError, match=r"\(ColBERT\); load it with me.MultiVector"):
            kind(str(saved))


def test_a_folder_without_its_projection_is_refused(tmp_path):
    folder = save_stanford(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["linear.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks linear.weight"):
        me.MultiVector(str(folder))
