"""LoRA adapters: merged as peft merges them, named in the settings, or refused by name."""

import copy
import json
import sys

import huggingface_hub
import pytest
import torch
from patching_helpers import assert_same
from safetensors.torch import load_file, save_file
from small_models import (
    build_model,
    save,
    save_model,
    save_sentence_transformer,
    save_yes_no,
)
from small_tokenizers import decoder_bpe, wordpiece
from torch import nn

import mechir_edu as me
from mechir_edu.rankers.checkpoint.loading import weights_sha256

peft = pytest.importorskip("peft")
LIKELIHOOD = {"readout": "query likelihood"}
QUERY, TEXTS = "coral reefs", ["A coral reef is built by small animals.", "The sea."]


def adapt(folder, *, suffix="Model", task="SEQ_CLS", saved=("classifier",), targets=("query",)):
    """Save a random base, and an adapter of it with its own head; gives peft's merged model."""
    import transformers

    base = save_model(
        "bert", suffix, folder / "base", **({"num_labels": 1} if suffix != "Model" else {})
    )
    auto = (
        transformers.AutoModelForSequenceClassification
        if task == "SEQ_CLS"
        else transformers.AutoModel
    )
    options = {"num_labels": 1} if task == "SEQ_CLS" else {}
    model = auto.from_pretrained(base, **options)
    config = peft.LoraConfig(
        task_type=task, r=2, target_modules=list(targets), modules_to_save=list(saved) or None
    )
    model = peft.get_peft_model(model, config)
    for weight in model.parameters():
        if weight.requires_grad:
            nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder / "adapter")
    return model.eval().merge_and_unload()


def scores(model, tokenizer):
    with torch.no_grad():
        inputs = tokenizer([QUERY] * len(TEXTS), TEXTS, padding=True, return_tensors="pt")
        return model(**inputs).logits[:, 0].numpy()


def test_a_reranker_equals_pefts_merged_model_and_names_base_and_adapter(tmp_path):
    model = adapt(tmp_path)
    ranker = me.Cat(tmp_path / "adapter")
    assert_same(ranker.score(QUERY, TEXTS), scores(model, ranker.tokenizer))
    assert ranker.name == str(tmp_path / "adapter")
    assert {"base", "adapter"} <= set(ranker.settings)
    assert ranker.checksum not in ranker.settings.values()
    assert me.guess_kind(tmp_path / "adapter") == "cat"


def test_a_trained_head_is_the_adapters_or_else_the_bases(tmp_path):
    model = adapt(tmp_path, suffix="ForSequenceClassification", saved=())
    ranker = me.Cat(tmp_path / "adapter", verify=False)
    assert_same(ranker.score(QUERY, TEXTS), scores(model, ranker.tokenizer))


def test_the_checksum_is_of_base_and_adapter(tmp_path):
    adapt(tmp_path)
    before = me.Cat(tmp_path / "adapter", verify=False)
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"lora_alpha": 32}))
    after = me.Cat(tmp_path / "adapter", verify=False)
    assert before.settings["base"] == after.settings["base"]
    assert before.settings["adapter"] != after.settings["adapter"]
    assert before.checksum != after.checksum
    assert abs(before.score(QUERY, TEXTS) - after.score(QUERY, TEXTS)).max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"base_model_name_or_path": "nobody/none"},
            FileNotFoundError,
            "'nobody/none', which is not",
        ),
        ({"base_model_name_or_path": None}, ValueError, "names no base_model_name_or_path"),
        ({"peft_type": "IA3"}, ValueError, "peft_type to 'IA3'; needed 'LORA'"),
        ({"task_type": None}, ValueError, "task_type to None; needed one of SEQ_CLS"),
        ({"target_modules": ["query", "key"]}, ValueError, "does not fit base.*key.lora_A"),
    ],
)
def test_what_cannot_be_merged_is_refused_by_name(tmp_path, monkeypatch, changes, error, message):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    adapt(tmp_path)
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(error, match=message):
        me.Cat(tmp_path / "adapter")


def test_a_head_that_nobody_trained_is_refused(tmp_path):
    adapt(tmp_path)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    kept = {key: t for key, t in load_file(file).items() if "classifier" not in key}
    save_file(kept, file)
    with pytest.raises(ValueError, match="neither base nor its adapter .*classifier"):
        me.Cat(tmp_path / "adapter")


def test_without_peft_it_is_asked_for(tmp_path, monkeypatch):
    adapt(tmp_path)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"needs peft: pip install 'mechir-edu\[lora\]'"):
        me.Cat(tmp_path / "adapter")


def adapter_of(model, base, folder, **options):
    """Save a random LoRA adapter of a model; gives peft's merged model."""
    model = peft.get_peft_model(model, peft.LoraConfig(r=2, **options))
    model.peft_config["default"].base_model_name_or_path = str(base)
    redraw(model)
    model.save_pretrained(folder)
    return model.eval().merge_and_unload()


def redraw(model):
    for name, weight in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(weight, std=0.3)


def test_an_adapter_of_an_encoder_embeds_as_pefts_merged_model(tmp_path):
    base = save_model("bert", "Model", tmp_path / "base")
    options = {"task_type": "FEATURE_EXTRACTION", "target_modules": ["query"]}
    model = adapter_of(build_model("bert"), base, tmp_path / "adapter", **options)
    ranker = me.Dot(tmp_path / "adapter", pooling="mean")
    whole = me.Dot(save(model, wordpiece(), tmp_path / "whole"), pooling="mean", verify=False)
    assert_same(ranker.score(QUERY, TEXTS), whole.score(QUERY, TEXTS))
    assert ranker.settings["base"] == weights_sha256(base)


def answering(folder):
    base = save_model("qwen3", "ForCausalLM", folder / "base")
    options = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "down_proj"]}
    plain = build_model("qwen3", "ForCausalLM")
    return adapter_of(plain, base, folder / "adapter", **options)


@pytest.mark.parametrize("asked", [{"true_token": 300, "false_token": 301}, LIKELIHOOD])
def test_an_adapter_of_a_language_model_ranks_as_pefts_merged_model(tmp_path, asked):
    model = answering(tmp_path)
    ranker = me.Cat(tmp_path / "adapter", **asked)
    whole = me.Cat(save(model, decoder_bpe(), tmp_path / "whole"), **asked, verify=False)
    base = me.Cat(tmp_path / "base", **asked, verify=False)
    assert_same(copy.deepcopy(ranker).score(QUERY, TEXTS), ranker.score(QUERY, TEXTS))
    assert_same(ranker.score(QUERY, TEXTS), whole.score(QUERY, TEXTS))
    assert abs(ranker.score(QUERY, TEXTS) - base.score(QUERY, TEXTS)).max() > 1e-3


def sentence_transformer_with_adapter(folder, base=None, after=()):
    from sentence_transformers import SentenceTransformer

    model = save_sentence_transformer(folder, after=after)
    base = base or folder / "encoder"
    options = {"task_type": "FEATURE_EXTRACTION", "target_modules": ["query"]}
    model[0].auto_model.add_adapter(peft.LoraConfig(r=2, **options))
    redraw(model)
    model.save_pretrained(str(folder / "adapter"), create_model_card=False)
    file = folder / "adapter" / "adapter_config.json"
    stated = json.loads(file.read_text()) | {"base_model_name_or_path": str(base)}
    file.write_text(json.dumps(stated))
    return SentenceTransformer(str(folder / "adapter"), device="cpu")


def test_an_adapter_in_a_folder_of_sentence_transformers_keeps_its_modules(tmp_path):
    from sentence_transformers.sentence_transformer.modules import Dense

    torch.manual_seed(0)
    publisher = sentence_transformer_with_adapter(tmp_path, after=[Dense(32, 8)])
    ranker = me.Dot(tmp_path / "adapter")
    assert ranker.head.pooling == "mean"
    assert_same(ranker.embed(TEXTS).numpy(), publisher.encode(TEXTS))
    dense = tmp_path / "adapter" / "2_Dense" / "model.safetensors"
    save_file({key: tensor + 1 for key, tensor in load_file(dense).items()}, dense)
    assert me.Dot(tmp_path / "adapter", verify=False).checksum != ranker.checksum


def test_a_base_of_sentence_transformers_may_keep_its_encoder_in_a_folder(tmp_path):
    base = tmp_path / "saved"
    publisher = sentence_transformer_with_adapter(tmp_path, base=base)
    (base / "0_Transformer").mkdir()
    for file in base.iterdir():
        if file.is_file() and file.name != "modules.json":
            file.rename(base / "0_Transformer" / file.name)
    modules = base / "modules.json"
    modules.write_text(modules.read_text().replace('"path": ""', '"path": "0_Transformer"'))
    ranker = me.Dot(tmp_path / "adapter")
    assert ranker.settings["base"] == weights_sha256(base / "0_Transformer")
    assert_same(ranker.embed(TEXTS).numpy(), publisher.encode(TEXTS))


def test_a_yes_no_rerankers_adapter_keeps_its_answers_and_its_chat_template(tmp_path):
    from sentence_transformers import CrossEncoder

    publisher = save_yes_no(tmp_path)
    options = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj"]}
    publisher[0].model.add_adapter(peft.LoraConfig(r=2, **options))
    redraw(publisher)
    publisher.save_pretrained(str(tmp_path / "adapter"), create_model_card=False)
    publisher = CrossEncoder(str(tmp_path / "adapter"), device="cpu")
    pairs = [(QUERY, text) for text in TEXTS]
    scores = publisher.predict(pairs, activation_fn=nn.Identity())
    assert_same(me.Cat(tmp_path / "adapter").score(QUERY, TEXTS), scores)


def test_an_adapter_without_the_modules_of_its_base_is_refused(tmp_path):
    sentence_transformer_with_adapter(tmp_path, base=tmp_path / "saved")
    (tmp_path / "adapter" / "modules.json").unlink()
    with pytest.raises(ValueError, match=r"which has modules.json and it has none"):
        me.Dot(tmp_path / "adapter")


def test_an_adapter_in_a_folder_below_the_modules_is_refused_by_name(tmp_path):
    sentence_transformer_with_adapter(tmp_path)
    below = tmp_path / "adapter" / "0_Transformer"
    below.mkdir()
    for file in (tmp_path / "adapter").glob("*adapter*"):
        file.rename(below / file.name)
    modules = tmp_path / "adapter" / "modules.json"
    modules.write_text(modules.read_text().replace('"path": ""', '"path": "0_Transformer"'))
    with pytest.raises(ValueError, match="0_Transformer.*adapter"):
        me.Dot(tmp_path / "adapter")
