"""The decoder families: causal, pre-LN, with RMSNorm, rotary positions and grouped heads.

Importing this module registers them, as `mechir_edu.rankers.families` does the encoders.

q and k are hooked as the projections give them, before a norm of each head and the rotation, which
are functions of one head at one position; so patching before or after them is the same. A sliding
window is in the mask. Gemma norms what a sublayer gives before adding it: ``attn_out`` and
``mlp_out`` are what is added, and the heads add up to ``attn.hook_out``, before that norm.
"""

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.model_bridge.generalized_components import (
    EmbeddingBridge,
    LinearBridge,
)
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformers import PretrainedConfig

from mechir_edu.rankers.adapters import ADAPTERS, EncoderAdapter, register_family
from mechir_edu.rankers.components import EncoderAttentionBridge, PreLNBlockBridge
from mechir_edu.rankers.pooling import Hidden, Mask, last_token

__all__ = [
    "Gemma2Adapter",
    "Gemma3Adapter",
    "LlamaAdapter",
    "MistralAdapter",
    "Qwen2Adapter",
    "Qwen3Adapter",
]


@register_family
class LlamaAdapter(EncoderAdapter):
    """Llama; Mistral and Qwen have the same tree of modules."""

    model_type, prefix = "llama", "Llama"
    classes: ClassVar[tuple[str, ...]] = ("Model", "ForSequenceClassification", "ForCausalLM")
    pretraining_heads = ("lm_head",)
    is_post_ln = False
    absent_hooks: ClassVar[dict[str, str]] = {
        "hook_resid_mid": "the sum before the MLP is hook_resid_pre + hook_attn_out, and what the "
        "MLP's branch alone reads of it is ln2.hook_in"
    }
    norms: ClassVar[dict[str, str]] = {
        "ln1": "input_layernorm",
        "ln2": "post_attention_layernorm",
    }

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self._set_rms_rotary_defaults()
        self.cfg.attention_dir = "causal"

    def prepare_model(self, hf_model: nn.Module) -> None:
        """Switch the model to the hooked attention, and never let it keep keys and values."""
        super().prepare_model(hf_model)
        hf_model.config.use_cache = False

    @staticmethod
    def is_causal(config: PretrainedConfig) -> bool:  # noqa: D102
        return not getattr(config, "use_bidirectional_attention", False)

    @staticmethod
    def classifies_first_position(config: PretrainedConfig) -> bool:  # noqa: D102
        return False

    @classmethod
    def classify(  # noqa: D102
        cls, hf_model: nn.Module, hidden: Hidden, mask: Mask
    ) -> Float[Tensor, "pair label"]:
        return hf_model.score(last_token(hidden, mask))

    def _components(self, prefix: str) -> dict[str, GeneralizedComponent]:
        parts: dict[str, GeneralizedComponent] = {
            name: self._rms_norm(path) for name, path in self.norms.items()
        }
        parts["attn"] = EncoderAttentionBridge(
            name="self_attn",
            config=self.cfg,
            submodules={name: LinearBridge(name=f"{name}_proj") for name in "qkvo"},
        )
        parts["mlp"] = self._gated_mlp()
        blocks = PreLNBlockBridge(
            name=f"{prefix}layers",
            config=self.cfg,
            hook_alias_overrides={"hook_mlp_in": "mlp.hook_in"},
            submodules=parts,
        )
        return {
            "embed": EmbeddingBridge(name=f"{prefix}embed_tokens"),
            "blocks": blocks,
            "ln_final": self._rms_norm(f"{prefix}norm"),
        }

    def _heads(self, hf_model: nn.Module, prefix: str) -> dict[str, GeneralizedComponent]:
        heads = {"unembed": "lm_head", "score": "score"}
        return {
            name: LinearBridge(name=path) for name, path in heads.items() if hasattr(hf_model, path)
        }


@register_family
class MistralAdapter(LlamaAdapter):
    """Mistral: Llama with a sliding window."""

    model_type, prefix = "mistral", "Mistral"


@register_family
class Qwen2Adapter(LlamaAdapter):
    """Qwen 2 and 2.5: Llama with biases of q, k and v."""

    model_type, prefix = "qwen2", "Qwen2"


@register_family
class Qwen3Adapter(LlamaAdapter):
    """Qwen 3: Llama with a norm of each head's q and k."""

    model_type, prefix = "qwen3", "Qwen3"


@register_family
class Gemma2Adapter(LlamaAdapter):
    """Gemma 2: a norm on either side of each sublayer, soft caps, a window in every other layer."""

    model_type, prefix = "gemma2", "Gemma2"
    norms: ClassVar[dict[str, str]] = {
        "ln1": "input_layernorm",
        "ln1_post": "post_attention_layernorm",
        "ln2": "pre_feedforward_layernorm",
        "ln2_post": "post_feedforward_layernorm",
    }

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self.cfg.rmsnorm_uses_offset = True  # its norms multiply by 1 + weight

    @staticmethod
    def activation(config: PretrainedConfig) -> str:  # noqa: D102
        return config.hidden_activation

    @staticmethod
    def softcap(config: PretrainedConfig) -> float | None:  # noqa: D102
        return config.attn_logit_softcapping


@register_family
class Gemma3Adapter(Gemma2Adapter):
    """Gemma 3, of text alone: Gemma 2 with norms of q and k in place of soft caps."""

    model_type, prefix = "gemma3_text", "Gemma3Text"
    classes = ("Model", "ForSequenceClassification")

    @staticmethod
    def softcap(config: PretrainedConfig) -> None:  # noqa: D102
        return None


ADAPTERS["Gemma3ForCausalLM"] = Gemma3Adapter  # the one class without its family's prefix
