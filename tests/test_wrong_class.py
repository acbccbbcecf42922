"""A checkpoint that is given to the wrong class is told which class reads it; a kind is guessed."""

import json

import pytest
import transformers
from small_models import save_model
from test_modular import save_modular
from test_multi_vector import save_modules, save_pylate, save_stanford
from test_sparse import publisher

import mechir_edu as me
from mechir_edu.rankers.checkpoint.which_kind import guessed_kind, told_kind
from mechir_edu.rankers.kinds import guess_kind

CLASSES = {"dot": me.Dot, "cat": me.Cat, "sparse": me.Sparse, "multi-vector": me.MultiVector}


def save_dot(folder):
    from small_models import save_sentence_transformer

    save_sentence_transformer(folder)
    return folder / "saved"


def save_sparse(folder):
    publisher(save_model("bert", "ForMaskedLM", folder / "a")).save(str(folder / "saved"))
    return folder / "saved"


def save_cat(folder):
    from sentence_transformers import CrossEncoder

    plain = save_model("bert", "ForSequenceClassification", folder / "a", num_labels=1)
    CrossEncoder(str(plain), device="cpu").save_pretrained(str(folder / "saved"))
    return folder / "saved"


def saved(save):
    def saved(folder):
        save(folder)
        return folder / "saved"

    return saved


FORMS = {  # form: kind, how it is saved
    "sentence-transformers' bi-encoder": ("dot", save_dot),
    "bare encoder": ("dot", lambda folder: save_model("bert", "Model", folder)),
    "sentence-transformers' cross-encoder": ("cat", save_cat),
    "modular cross-encoder": ("cat", saved(save_modular)),
    "classifier": (
        "cat",
        lambda folder: save_model("bert", "ForSequenceClassification", folder, num_labels=1),
    ),
    "sentence-transformers' SPLADE": ("sparse", save_sparse),
    "sentence-transformers' ColBERT": ("multi-vector", saved(save_modules)),
    "PyLate's ColBERT": ("multi-vector", save_pylate),
    "Stanford's ColBERT": ("multi-vector", save_stanford),
}


@pytest.fixture(scope="module", params=FORMS)
def form(request, tmp_path_factory):
    kind, save = FORMS[request.param]
    return kind, save(tmp_path_factory.mktemp("form"))


@pytest.mark.parametrize("asked", CLASSES)
def test_the_wrong_class_names_the_right_one(form, asked):
    kind, folder = form
    if asked == kind:
        assert CLASSES[kind](str(folder), verify=False).kind == kind
        return
    with pytest.raises(ValueError, match=rf"{CLASSES[kind].__name__}( reads|$)"):
        CLASSES[asked](str(folder), verify=False)


def test_the_kind_is_guessed_from_the_files(form):
    kind, folder = form
    assert guess_kind(str(folder)) == kind


@pytest.mark.parametrize("asked", ["cat", "multi-vector"])
def test_a_model_that_predicts_words_may_be_sparse_or_a_bare_encoder(tmp_path, asked):
    folder = save_model("bert", "ForMaskedLM", tmp_path)
    with pytest.raises(ValueError, match="me.Sparse reads it, and its encoder alone me.Dot reads"):
        CLASSES[asked](str(folder))
    assert guessed_kind(folder) == "dot"
    named = tmp_path / "splade-tiny"
    assert guessed_kind(save_model("bert", "ForMaskedLM", named)) == "sparse"


def test_pooling_given_looks_at_a_classifiers_encoder_but_not_at_another_kind_of_ranker(form):
    kind, folder = form
    is_stored = told_kind(folder).is_stored
    if is_stored and kind != "dot":
        with pytest.raises(ValueError, match=f"load it with me.{CLASSES[kind].__name__}"):
            me.Dot(str(folder), pooling="mean", verify=False)


def test_an_encoder_decoder_is_for_monot5(tmp_path):
    config = transformers.T5Config(architectures=["T5ForConditionalGeneration"])
    config.save_pretrained(tmp_path)
    assert told_kind(tmp_path).kinds == ("monot5",)
    assert "me.MonoT5 reads it" in told_kind(tmp_path).what


def test_what_says_nothing_has_to_be_named(tmp_path):
    folder = save_model("bert", "Model", tmp_path)
    config = json.loads((folder / "config.json").read_text()) | {"architectures": None}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="nothing in .* says which kind.*--kind"):
        guess_kind(str(folder))
    assert guess_kind("embedded") == "dot"
    assert guess_kind("planted") == "cat"
