"""A checkpoint's weights are all used, its config.json all obeyed; else it is refused by name."""

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import save_model

from mechir_edu import Cat, Dot
from mechir_edu.rankers.checkpoint.loading import checked_name, load_encoder

WEIGHTS, SIZE = "model.safetensors", 32
LAYER = "encoder.layer.0"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder of each (family, class), saved once."""
    folders = {}

    def save_once(family="roberta", suffix="Model", **settings):
        key = (family, suffix, *settings.items())
        if key not in folders:
            folders[key] = save_model(family, suffix, tmp_path_factory.mktemp(family), **settings)
        return folders[key]

    return save_once


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of such a folder, with weights and settings of `config.json` added."""

    def copied(*which, more=(), less=(), name="copied", settings=None, **config):
        folder = Path(shutil.copytree(saved(*which, **(settings or {})), tmp_path / name))
        if more or less:
            tensors = load_file(folder / WEIGHTS) | dict(more)
            kept = {key: tensor for key, tensor in tensors.items() if key not in less}
            save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})
        stated = json.loads((folder / "config.json").read_text()) | config
        (folder / "config.json").write_text(json.dumps(stated))
        return folder

    return copied


def load(folder, ranker=Dot, **options):
    return ranker(str(folder), verify=False, **options)


def layers(folder, *, says_how=False):
    """Number of layers of a checkpoint's encoder, which is loaded without hooks."""
    return load_encoder(folder, says_how=says_how).config.num_hidden_layers


def weights(*names, shape=(4, SIZE)):
    return {name: torch.zeros(shape) for name in names}


# Weights that the model does not use


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ([f"{LAYER}.attention.self.distance_embedding.weight"], "relative positions"),
        ([f"{LAYER}.attention.self.rotary_emb.cos"], "relative positions"),
        ([f"{LAYER}.attention.self.query.lora_A.default.weight"], "adapter.*merge_and_unload"),
        ([f"{LAYER}.attention.self.key.ia3_l.x"], "adapter.*merge_and_unload"),
        ([f"{LAYER}.output.adapters.x.adapter_down.0.weight"], "adapter.*merge_adapter"),
        (["prompt_embeddings.weight"], "adapter"),
        (["linear.weight"], "ColBERT: a multi-vector ranker, which me.MultiVector reads"),
        (["sparse_linear.weight"], "a learned-sparse ranker"),
        (["embeddingHead.weight", "norm.weight"], "a projection or a head behind the encoder"),
        (["mlp.dense.weight"], "a projection or a head behind the encoder"),
        (["bert_decoder.layer.weight"], "the decoder of a model"),
        (["encoder.layer.7.attention.self.query.weight"], "layers beyond those that config.json"),
        (["anything.at.all"], "a part of another model"),
    ],
)
def test_weights_without_a_place_are_refused_with_what_they_look_like(copy, names, what):
    folder = copy(more=weights(*names))
    with pytest.raises(
        ValueError, match=f"copied has weights that RobertaModel does not use: .*{what}"
    ) as error:
        load(folder)
    assert all(name in str(error.value) for name in names)


def test_five_of_many_weights_are_named(copy):
    folder = copy(more=weights(*(f"adapter.{i}" for i in range(7))))
    with pytest.raises(ValueError, match=r"adapter.0, .*adapter.4 \.\.\. ?\."):
        load(folder)


def test_unmerged_weights_beside_a_base_layer_are_called_an_adapter(copy):
    query = f"{LAYER}.attention.self.query"
    folder = copy(more=weights(f"{query}.base_layer.weight"), less=[f"{query}.weight"])
    with pytest.raises(ValueError, match="an adapter that was not merged"):
        load(folder)


def test_a_cross_encoder_with_more_weights_is_refused(copy):
    folder = copy("roberta", "ForSequenceClassification", more=weights("gate.weight"))
    with pytest.raises(ValueError, match="does not use: gate.weight.*trained as a cross-encoder"):
        load(folder, Cat)


def test_fewer_layers_than_the_file_has_are_refused(copy):
    with pytest.raises(ValueError, match="layers beyond those that config.json counts"):
        load(copy(num_hidden_layers=1))


@pytest.mark.parametrize(
    ("family", "suffix"),
    [
        ("bert", "ForPreTraining"),
        ("bert", "ForMaskedLM"),
        ("roberta", "ForMaskedLM"),
        ("distilbert", "ForMaskedLM"),
        ("electra", "ForPreTraining"),
        ("electra", "ForMaskedLM"),
        ("mpnet", "ForMaskedLM"),
        ("modernbert", "ForMaskedLM"),
    ],
)
def test_heads_of_training_tasks_do_not_matter(saved, family, suffix):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert layers(saved(family, suffix), says_how=True) == 2


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_a_model_that_predicts_words_is_loaded_with_a_warning(saved, family):
    with pytest.warns(UserWarning, match="predicts words and does not say how it ranks.*SPLADE"):
        layers(saved(family, "ForMaskedLM"))


def test_a_model_called_splade_is_refused(copy):
    folder = copy("roberta", "ForMaskedLM", name="splade-v3")
    with pytest.raises(ValueError, match="learned-sparse ranker .SPLADE., which me.Sparse reads"):
        load(folder)


def test_numbers_that_older_versions_stored_do_not_matter(copy):
    more = {"embeddings.position_ids": torch.arange(130)[None]}
    assert layers(copy(more=more)) == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_weights_are_read_as_they_are_stored(copy, saved, dtype):
    file = saved() / WEIGHTS
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
    folder = copy(more=tensors, dtype="float16", torch_dtype="float16")
    embeddings = load_encoder(folder).embeddings.word_embeddings.weight
    assert torch.equal(embeddings, tensors["embeddings.word_embeddings.weight"].float())


# What a folder is


@pytest.mark.parametrize("family", ["distilbert", "roberta", "modernbert"])
@pytest.mark.parametrize("stated", [True, False])
def test_a_classifier_is_no_bi_encoder(saved, copy, family, stated):
    which = family, "ForSequenceClassification"
    folder = saved(*which) if stated else copy(*which, architectures=None)
    with pytest.raises(ValueError, match="classifier.*me.Cat reads it.*pooling="):
        load(folder)
    assert layers(folder, says_how=True) == 2


@pytest.mark.parametrize(
    ("suffix", "what"),
    [("ForQuestionAnswering", "a reader that finds answers"), ("ForTokenClassification", "tokens")],
)
@pytest.mark.parametrize("ranker", [Dot, Cat])
def test_a_model_of_another_task_is_no_ranker(saved, suffix, what, ranker):
    with pytest.raises(ValueError, match=f"saved by ModernBert{suffix}: .*{what}.*not a ranker"):
        load(saved("modernbert", suffix), ranker)


@pytest.mark.parametrize("family", ["roberta", "modernbert"])
def test_an_encoder_is_no_cross_encoder(saved, copy, family):
    with pytest.raises(ValueError, match="lacks weights of a classifier.*me.Dot reads it"):
        load(saved(family), Cat)
    with pytest.raises(ValueError, match="lacks weights of .*ForSequenceClassification"):
        load(copy(family, architectures=None), Cat)


def test_a_class_of_its_own_needs_to_be_told_its_pooling(copy):
    folder = copy(architectures=["Contriever"])
    with pytest.raises(ValueError, match="saved by Contriever, a class of its own.*pass pooling="):
        load(folder)
    assert load(folder, pooling="mean").head.pooling == "mean"
    with pytest.raises(ValueError, match="saved by Contriever: a class of its own, which is not"):
        load(folder, Cat)


@pytest.mark.parametrize("content", [{"peft_type": "LORA"}, {}])
@pytest.mark.parametrize("ranker", [Dot, Cat])
def test_an_adapter_beside_the_weights_is_refused(copy, ranker, content):
    folder = copy("roberta", "ForSequenceClassification")
    (folder / "adapter_config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="holds an adapter .*merge it first.*merge_and_unload"):
        load(folder, ranker)


# Settings of config.json


@pytest.mark.parametrize(
    "config",
    [
        {"position_embedding_type": "relative_key_query"},
        {"position_embedding_type": "sans_pos"},
        {"auto_map": {"AutoModel": "modeling.NewModel"}},
        {"auto_map": {"AutoModelForMaskedLM": "someone/other--modeling.Bert"}},
        {"pruned_heads": {"0": [1]}},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
        {"add_cross_attention": True},
        {"use_alibi": True},
        {"rotary_emb_fraction": 1.0},
        {"is_causal": True},
        {"feed_forward_type": "geglu"},
        {"pooling": "mean"},
        {"embedding_scale": 5},
        {"sliding_window": 4},
        {"attention_scale": 0.5},
        {"head_dim": 5},
    ],
    ids=lambda config: "-".join(map(str, next(iter(config.items())))),
)
def test_a_setting_that_is_not_obeyed_is_refused(copy, config):
    (key, value), *_ = config.items()
    with pytest.raises(ValueError, match=f"config.json of copied sets {key} to .*does not obey"):
        load(copy(**config))


@pytest.mark.parametrize(
    "config",
    [
        {"position_embedding_type": "absolute"},
        {"auto_map": {}},
        {"pruned_heads": {}},
        {"gradient_checkpointing": True},
        {"pooler_fc_size": 768, "pooler_type": "first_token_transform", "directionality": "bidi"},
        {"emb_size": SIZE, "head_dim": 8, "cell": {}, "structure": []},
        {"output_past": True, "use_cache": True, "torchscript": False, "do_sample": False},
        {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
        {"id2label": {"0": "a", "1": "b", "2": "c"}},
        {"use_alibi": False, "sliding_window": None},
    ],
    ids=lambda config: next(iter(config)),
)
def test_settings_that_change_no_score_are_taken_in_silence(copy, config):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layers(copy(**config))


def test_other_unknown_settings_are_warned_of(copy):
    with pytest.warns(UserWarning, match="sets temperament to 'good', which .* does not know"):
        layers(copy(temperament="good"))


def test_settings_of_modernbert_as_it_was_published_are_taken(copy):
    published = {"position_embedding_type": "absolute", "layer_norm_eps": 1e-5, "norm_eps": 1e-5}
    published |= {"reference_compile": True, "repad_logits_with_grad": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layers(copy("modernbert", global_rope_theta=160000.0, **published))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_attention_heads", 0),
        ("num_hidden_layers", -1),
        ("num_hidden_layers", 2.5),
        ("hidden_size", "32"),
        ("intermediate_size", True),
        ("vocab_size", None),
        ("max_position_embeddings", 0),
        ("layer_norm_eps", -1),
        ("layer_norm_eps", "small"),
        ("layer_norm_eps", float("nan")),
        ("hidden_act", "gulp"),
        ("hidden_act", ["gelu"]),
        ("architectures", "BertModel"),
    ],
)
def test_an_impossible_value_is_refused_by_file_and_key(copy, key, value):
    with pytest.raises(
        ValueError, match=f"({key}.*config.json of copied|config.json of copied.*{key})"
    ):
        load(copy(**{key: value}))


@pytest.mark.parametrize(
    ("key", "value"), [("num_attention_heads", 5), ("hidden_dropout_prob", "none")]
)
def test_a_model_that_cannot_be_built_is_refused(copy, key, value):
    with pytest.raises(ValueError, match="no model can be built from config.json of copied and"):
        load(copy(**{key: value}))


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"vocab_size": 300}, "word_embeddings.weight .[0-9]+, 32. for .300, 32."),
        ({"intermediate_size": 40}, "intermediate.dense.bias .48,. for .40,."),
        ({"max_position_embeddings": 64}, "position_embeddings"),
        ({"type_vocab_size": 2}, "token_type_embeddings"),
    ],
)
def test_shapes_that_do_not_fit_are_named(copy, config, named):
    with pytest.raises(ValueError, match=f"copied cannot be loaded: their shapes do not.*{named}"):
        load(copy(**config))


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "null", "3", '"text"', "\xff"])
def test_a_damaged_config_is_refused(copy, content):
    folder = copy()
    (folder / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match="config.json (is no JSON file|must hold an object)"):
        load(folder)


@pytest.mark.parametrize("file", [WEIGHTS, "config.json", "tokenizer.json", "vocab.txt"])
def test_a_pointer_of_git_lfs_is_refused(copy, file):
    folder = copy()
    (folder / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ValueError, match=f"{file} is a pointer of git-lfs.*git lfs pull"):
        load(folder)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_index_of_shards_is_refused(copy, content):
    folder = copy()
    (folder / f"{WEIGHTS}.index.json").write_text(content)
    with pytest.raises(ValueError, match="index.json (is no JSON file|must hold an object)"):
        load(folder)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_truncated_file_of_weights_is_refused(copy, share):
    folder = copy()
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match="weights in copied cannot be loaded"):
        load(folder)


# Names


@pytest.mark.parametrize("name", [None, b"embedded", 3, ["embedded"], {}, torch.nn.Linear(1, 1)])
def test_a_name_of_another_type_is_refused(name):
    with pytest.raises(TypeError, match=f"name of a checkpoint.*got {type(name).__name__}; save a"):
        checked_name(name)


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_refused(name):
    with pytest.raises(ValueError, match='got ""'):
        Dot(name)


def test_a_file_in_place_of_its_folder_is_refused(saved):
    with pytest.raises(ValueError, match="is a file; needed the folder"):
        Dot(saved() / "config.json")


# Two labels


@pytest.mark.parametrize("family", ["distilbert", "roberta", "electra", "modernbert"])
def test_two_labels_rank_by_the_log_probability_of_relevant(saved, family):
    folder = saved(family, "ForSequenceClassification")
    ranker = load(folder, Cat)
    query, texts = "coral reef", ["a reef", "the sea is warm", "bleaching of corals", "fish"] * 2
    inputs = {k: v for k, v in ranker.tokenize(query, texts).items()}
    inputs = {k: v for k, v in ranker.model_inputs(**inputs).items()}
    with torch.no_grad():
        relevant = ranker.hf_model(**inputs)[0].softmax(dim=-1)[:, 1]
    torch.testing.assert_close(torch.from_numpy(ranker.score(query, texts)).sigmoid(), relevant)


def test_labels_of_a_checkpoint_that_are_not_understood_are_refused(copy):
    folder = copy(
        "roberta", "ForSequenceClassification", id2label={"0": "NEGATIVE", "1": "POSITIVE"}
    )
    with pytest.raises(ValueError, match="NEGATIVE.*do not say which one means relevant"):
        load(folder, Cat)


def test_a_length_without_room_for_a_query_and_a_document_is_refused(saved):
    folder = saved("roberta", "ForSequenceClassification")
    with pytest.raises(ValueError, match="leave room for a short query.*needed [0-9]+ or more"):
        load(folder, Cat, max_length=6)
