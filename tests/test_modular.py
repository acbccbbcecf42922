"""Cross-encoders saved as modules: equal to sentence-transformers, and patched as the others."""

import json
from pathlib import Path

import numpy as np
import pytest
from patching_helpers import PAIRS, SITES, assert_same, patched
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Pooling
from small_models import draw_weights, save_model
from torch import nn

import mechir_edu as me

QUERY = "coral reefs"
TEXTS = ["A coral reef is built by small animals in warm water.", "The sea.", "REEF fish, " * 60]
LAST = "4_Dense/config.json"


def save_modular(folder, family="modernbert", pooling="cls", **settings):
    """Save a random cross-encoder of the ettin rerankers' modules; gives the library's model."""
    encoder = Transformer(str(save_model(family, "Model", folder / "encoder")))
    head = [Dense(32, 24, bias=False, activation_function=nn.GELU()), LayerNorm(24)]
    head += [Dense(24, 1, activation_function=nn.Identity(), module_output_name="scores")]
    for part in head:
        draw_weights(part)
    modules = [encoder, Pooling(32, pooling), *head]
    model = CrossEncoder(modules=modules, device="cpu", **settings)
    model.save_pretrained(str(folder / "saved"), create_model_card=False)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modular")
    save_modular(folder)
    return folder / "saved"


@pytest.fixture
def edited(folder, tmp_path):
    """A copy of the folder, some keys of one of its files set."""
    import shutil

    def edit(file, **changes):
        shutil.copytree(folder, tmp_path / "edited")
        file = tmp_path / "edited" / file
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))
        return str(tmp_path / "edited")

    return edit


def published(model):
    return model.predict([(QUERY, text) for text in TEXTS], activation_fn=nn.Identity())


@pytest.mark.parametrize("family", ["modernbert", "bert"])
@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_scores_equal_sentence_transformers(tmp_path, family, pooling):
    model = save_modular(tmp_path, family, pooling)
    ranker = me.Cat(str(tmp_path / "saved"))
    assert_same(ranker.score(QUERY, TEXTS), published(model))
    assert ranker.reads_first_position_only == (pooling == "cls")


def test_its_default_prompt_stands_before_the_query(tmp_path):
    model = save_modular(tmp_path, prompts={"rank": "find: "}, default_prompt_name="rank")
    ranker = me.Cat(str(tmp_path / "saved"), verify=False)
    assert ranker.prompts.query == "find: "
    assert_same(ranker.score(QUERY, TEXTS), published(model))


@pytest.mark.parametrize(("family", "pooling"), [("bert", "cls"), ("bert", "mean")])
def test_exact_patching_equals_naive(tmp_path, family, pooling):
    save_modular(tmp_path, family, pooling)
    ranker = me.Cat(str(tmp_path / "saved"))
    for site in SITES:
        exact, naive = (patched(ranker, PAIRS[:2], site=site, method=m) for m in METHODS)
        assert_same(exact.scores, naive.scores)
    assert exact.provenance["engine"] == "post-LN suffix"


METHODS = ("exact", "naive")


def test_exact_patching_equals_naive_in_a_pre_ln_body(folder):
    ranker = me.Cat(str(folder))
    exact, naive = (patched(ranker, PAIRS[:2], method=method) for method in METHODS)
    assert_same(exact.scores, naive.scores)
    whole = patched(ranker, PAIRS[:2], site="resid_pre")
    assert_same(whole.scores[0], whole.donor)


def test_the_checksum_covers_the_modules_behind_the_encoder(folder, edited):
    before = me.Cat(str(folder), verify=False)
    changed = Path(edited("config.json"))
    file = changed / "3_LayerNorm" / "model.safetensors"
    weights = load_file(file)
    save_file({name: weight * 2 for name, weight in weights.items()}, file)
    after = me.Cat(str(changed), verify=False)
    assert before.checksum != after.checksum
    assert not np.allclose(before.score(QUERY, TEXTS), after.score(QUERY, TEXTS))


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        (LAST, {"out_features": 2}, "out_features to 2; needed 1"),
        (LAST, {"module_output_name": "sentence_embedding"}, "module_output_name.*needed 'scores'"),
        (LAST, {"use_residual": True}, "4_Dense/config.json .*use_residual"),
        ("2_Dense/config.json", {"module_input_name": "token_embeddings"}, "module_input_name"),
        ("2_Dense/config.json", {"in_features": 31}, "do not fit in_features"),
        ("2_Dense/config.json", {"activation_function": "own.Act"}, "class of torch.nn"),
        ("3_LayerNorm/config.json", {"dimension": 7}, "do not fit dimension in 3_LayerNorm"),
        ("3_LayerNorm/config.json", {"eps": 1e-3}, "3_LayerNorm/config.json .*eps"),
        ("1_Pooling/config.json", {"include_prompt": False}, "include_prompt"),
        ("1_Pooling/config.json", {"pooling_mode": ["cls", "max"]}, "one pooling mode"),
        (
            "sentence_bert_config.json",
            {"transformer_task": "sequence-classification"},
            "transformer_task",
        ),
        (
            "config_sentence_transformers.json",
            {"activation_fn": "torch.nn.modules.activation.GELU"},
            "activation_fn",
        ),
    ],
)
def test_a_setting_that_is_not_obeyed_is_refused_by_name(edited, file, changes, message):
    with pytest.raises(ValueError, match=message):
        me.Cat(edited(file, **changes))


def test_modules_that_are_not_understood_are_refused(tmp_path):
    encoder = Transformer(str(save_model("bert", "Model", tmp_path / "encoder")))
    last = Dense(32, 1, module_output_name="scores")
    model = CrossEncoder(modules=[encoder, Pooling(32, "cls"), Dropout(), last], device="cpu")
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    with pytest.raises(ValueError, match="modules Transformer, Pooling, Dropout, Dense; a cross"):
        me.Cat(str(tmp_path / "saved"))


def test_a_module_without_its_weights_is_refused(edited):
    folder = Path(edited("config.json"))
    (folder / "3_LayerNorm" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="3_LayerNorm has no weights"):
        me.Cat(str(folder))
