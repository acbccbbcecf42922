"""A ranker that is not what it says is refused at load, with the layer and the site."""

import pytest
import torch
from small_models import FAMILIES, build_model, save_model
from transformers import AttentionInterface

from mechir_edu import Dot
from mechir_edu.rankers import adapters, families
from mechir_edu.rankers.components import (
    EncoderAttentionBridge,
    EncoderBlockBridge,
    hooked_attention,
)


@pytest.fixture(params=["bert", "mpnet", "modernbert"])
def folder(request, tmp_path):
    return str(save_model(request.param, "Model", tmp_path))


@pytest.fixture
def attend_as(monkeypatch):
    """Replace the attention of all models that are wrapped from now on."""

    def replace(attention):
        monkeypatch.setattr(adapters, "hooked_attention", attention)
        monkeypatch.setattr(families, "hooked_attention", attention)  # MPNet calls it itself

    yield replace
    AttentionInterface.register(adapters.HOOKED_ATTENTION, hooked_attention)


class Deaf:
    """A bridge whose pattern can be watched, but not edited."""

    __class__ = EncoderAttentionBridge  # for checks of types

    def __init__(self, bridge):
        self.bridge = bridge

    def __getattr__(self, name):
        return getattr(self.bridge, name)

    def hook_pattern(self, pattern):
        self.bridge.hook_pattern(pattern)
        return pattern


def deaf_attention(*tensors, bridge=None, **options):
    return hooked_attention(*tensors, bridge=Deaf(bridge), **options)


def unmasked_attention(module, query, key, value, attention_mask, **options):
    return hooked_attention(module, query, key, value, None, **options)


def scale(folder, factor, *parts):
    """BERT's checkpoint with some of layer 1's weights multiplied by a factor."""
    model = build_model("bert")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(f"layer.1.{part}" in name for part in parts):
                parameter.mul_(factor)
    save_model("bert", "Model", folder)
    model.save_pretrained(folder)
    return str(folder)


def zero(folder, *parts):
    return scale(folder, 0, *parts)


@pytest.mark.parametrize("kind", ["dot", "cat"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_passes(small_ranker, family, kind):
    assert small_ranker(family, kind).n_heads == 4  # loading it has verified it


def test_a_pattern_that_drops_edits_is_refused_with_layer_and_site(attend_as, folder):
    attend_as(deaf_attention)
    with pytest.raises(
        RuntimeError, match=r"editing pattern of layer 0 \(.*\), pattern of layer 1 \(.*\) changes"
    ):
        Dot(folder)


def test_a_stream_that_drops_edits_is_refused(monkeypatch, folder):
    def ignore(self, args, kwargs):
        self.hook_in(args[0])
        return args, kwargs

    monkeypatch.setattr(EncoderBlockBridge, "_hook_input_hidden_states", ignore)
    with pytest.raises(
        RuntimeError, match=r"editing resid_pre of layer 0 \(.*\), resid_pre of layer 1"
    ):
        Dot(folder)


def test_a_wrapped_output_that_differs_is_refused(attend_as, tmp_path):
    attend_as(unmasked_attention)
    folder = str(save_model("bert", "Model", tmp_path))
    with pytest.raises(RuntimeError, match="output differs from the Hugging Face model's by"):
        Dot(folder)


def test_an_attn_out_that_is_not_the_sum_of_heads_is_refused(monkeypatch, tmp_path):
    make = EncoderBlockBridge.__init__

    def after_layer_norm(self, *, hook_alias_overrides, **options):
        aliases = hook_alias_overrides | {"hook_attn_out": "ln1.hook_out"}
        make(self, hook_alias_overrides=aliases, **options)

    monkeypatch.setattr(EncoderBlockBridge, "__init__", after_layer_norm)
    with pytest.raises(RuntimeError, match="sum of heads of layer 0 differs from attn_out"):
        Dot(str(save_model("bert", "Model", tmp_path)))


def test_a_checkpoint_with_a_dead_mlp_is_refused_with_its_layer(tmp_path):
    with pytest.raises(RuntimeError, match=r"editing mlp_out of layer 1 \(.*\) changes nothing"):
        Dot(zero(tmp_path, "output.dense"))


def test_a_layer_that_sees_nothing_of_others_is_refused_with_its_sites(tmp_path):
    folder = zero(tmp_path, "attention.self.query", "attention.self.key")
    with pytest.raises(
        RuntimeError, match=r"editing q of layer 1 \(.*\), k of layer 1 \(.*\) changes nothing"
    ):
        Dot(folder)


def test_a_layer_that_hardly_tells_tokens_apart_is_not_taken_for_dead(tmp_path):
    assert Dot(scale(tmp_path, 1e-10, "attention.self.query")).n_layers == 2


def test_without_verification_anything_loads(attend_as, tmp_path):
    attend_as(deaf_attention)
    assert Dot(zero(tmp_path, "output.dense"), verify=False).n_layers == 2
