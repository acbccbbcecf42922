"""LoRA adapters: merged as peft merges them, named in the settings, or refused by name."""

import json
import sys

import huggingface_hub
import pytest
from patching_helpers import assert_same
from small_models import save_model
from torch import nn

import mechir_edu as me

peft = pytest.importorskip("peft")
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
    import torch

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
    from safetensors.torch import load_file, save_file

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
