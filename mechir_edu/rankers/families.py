"""The encoder families: each one adapter. Those beside BERT say what is not as in BERT.

`mechir_edu.rankers.adapters` says what an adapter is. Importing this module registers the families.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.model_bridge.generalized_components import (
    BertPoolerBridge,
    EmbeddingBridge,
    LinearBridge,
    PosEmbedBridge,
)
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformers import PretrainedConfig

from mechir_edu.rankers.adapters import FAMILIES, EncoderAdapter, register_family
from mechir_edu.rankers.components import (
    EncoderAttentionBridge,
    PreLNBlockBridge,
    hooked_attention,
)
from mechir_edu.rankers.pooling import Hidden, Mask, mean_pool

__all__ = [
    "FAMILIES",
    "BertAdapter",
    "DistilBertAdapter",
    "ElectraAdapter",
    "MPNetAdapter",
    "ModernBertAdapter",
    "RobertaAdapter",
    "XLMRobertaAdapter",
]


@register_family
class BertAdapter(EncoderAdapter):
    """BERT; RoBERTa, XLM-R and ELECTRA have the same tree of modules."""

    model_type, prefix = "bert", "Bert"
    has_token_types = predicts_words = True
    unused_by_bi_encoders = ("pooler",)
    pretraining_heads: ClassVar[tuple[str, ...]] = ("cls", "pooler")
    returns_tuple = False
    ln1 = "attention.output.LayerNorm"
    projections = {"q": "self.query", "k": "self.key", "v": "self.value", "o": "output.dense"}

    def _components(self, prefix: str) -> dict[str, GeneralizedComponent]:
        embeddings = f"{prefix}embeddings"
        types = {
            "token_type_embed": EmbeddingBridge(name=f"{embeddings}.token_type_embeddings"),
        }
        return {
            "embed": EmbeddingBridge(name=f"{embeddings}.word_embeddings"),
            **(types if self.has_token_types else {}),
            "pos_embed": PosEmbedBridge(name=f"{embeddings}.position_embeddings"),
            "embed_ln": self._norm(f"{embeddings}.LayerNorm"),
            "blocks": self._post_ln_blocks(
                f"{prefix}encoder.layer",
                returns_tuple=self.returns_tuple,
                attn=self._attention("attention", normalises=True, **self.projections),
                ln1=self._norm(self.ln1),
                mlp=self._mlp(None, "intermediate.dense", "output.dense"),
                ln2=self._norm("output.LayerNorm"),
            ),
        }

    def _heads(self, hf_model: nn.Module, prefix: str) -> dict[str, GeneralizedComponent]:
        base = hf_model.base_model
        heads = super()._heads(hf_model, prefix)
        if getattr(base, "pooler", None) is not None:
            dense = {"dense": LinearBridge(name="dense")}
            heads["pooler"] = BertPoolerBridge(name=f"{prefix}pooler", submodules=dense)
        if "classifier" not in heads and hasattr(hf_model, "classifier"):
            layers = {name: LinearBridge(name=name) for name in ("dense", "out_proj")}
            heads["classifier"] = GeneralizedComponent(name="classifier", submodules=layers)
        return heads

    @classmethod
    def classify(  # noqa: D102
        cls, hf_model: nn.Module, hidden: Hidden, mask: Mask
    ) -> Float[Tensor, "pair label"]:
        pooler = getattr(hf_model.base_model, "pooler", None)
        return hf_model.classifier(hidden if pooler is None else pooler(hidden))

    @classmethod
    def word_head(  # noqa: D102
        cls, hf_model: nn.Module
    ) -> tuple[Callable[[Hidden], Hidden], nn.Linear]:
        head = hf_model.cls.predictions
        return head.transform, head.decoder


@register_family
class RobertaAdapter(BertAdapter):
    """RoBERTa: position embeddings start behind that of padding."""

    model_type, prefix = "roberta", "Roberta"
    pretraining_heads = ("lm_head", "pooler")

    @staticmethod
    def uncounted(config: PretrainedConfig) -> int | None:  # noqa: D102
        if config.pad_token_id is None:
            raise ValueError(
                "config.json has no pad_token_id, from which the model numbers "
                "its positions; add the one that the model was trained with"
            )
        return config.pad_token_id

    @classmethod
    def word_head(  # noqa: D102
        cls, hf_model: nn.Module
    ) -> tuple[Callable[[Hidden], Hidden], nn.Linear]:
        head = hf_model.lm_head
        return lambda x: head.layer_norm(F.gelu(head.dense(x))), head.decoder


@register_family
class XLMRobertaAdapter(RobertaAdapter):
    """XLM-RoBERTa: RoBERTa with another vocabulary."""

    model_type, prefix = "xlm-roberta", "XLMRoberta"


@register_family
class ElectraAdapter(BertAdapter):
    """ELECTRA: its embedding may be narrower than the stream."""

    model_type, prefix = "electra", "Electra"
    pretraining_heads = ("discriminator_predictions", "generator_predictions", "generator_lm_head")
    predicts_words = False  # its generator does, of which no ranker is made

    def _heads(self, hf_model: nn.Module, prefix: str) -> dict[str, GeneralizedComponent]:
        heads = super()._heads(hf_model, prefix)
        if hasattr(hf_model.base_model, "embeddings_project"):
            heads["embed_project"] = LinearBridge(name=f"{prefix}embeddings_project")
        return heads


class MPNetAttentionBridge(EncoderAttentionBridge):
    """Attention from MPNet's own projections, because its module computes it inline."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | None = None,
        **_: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend with the relative position bias added to the scores, then residual and LN."""
        wrapped = self.original_component
        x = self.hook_in(hidden_states)
        split = (*x.shape[:-1], -1, wrapped.attn.attention_head_size)
        q, k, v = (project(x).view(split).transpose(1, 2) for project in (self.q, self.k, self.v))
        biases = [bias for bias in (attention_mask, position_bias) if bias is not None]
        dropout = wrapped.attn.dropout.p if self.training else 0.0
        z, pattern = hooked_attention(
            wrapped.attn, q, k, v, sum(biases) if biases else None, dropout=dropout, bridge=self
        )
        out = wrapped.dropout(self.o(z.flatten(2)))
        return wrapped.LayerNorm(out + hidden_states), pattern


@register_family
class MPNetAdapter(BertAdapter):
    """MPNet: no token types, relative positions, attention computed inline."""

    model_type, prefix = "mpnet", "MPNet"
    pretraining_heads = ("lm_head", "pooler")
    uses_attention_interface = False
    attention_class = MPNetAttentionBridge
    has_token_types = False
    returns_tuple = True
    ln1 = "attention.LayerNorm"
    projections = {"q": "attn.q", "k": "attn.k", "v": "attn.v", "o": "attn.o"}

    @staticmethod
    def uncounted(config: PretrainedConfig) -> int | None:  # noqa: D102
        return 1  # fixed in its code: the config's padding does not matter

    word_head = RobertaAdapter.word_head

    @staticmethod
    def position_bias(  # noqa: D102
        hf_model: nn.Module, x: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "1 head pos pos"] | None:
        return hf_model.base_model.encoder.compute_position_bias(x[:1])


@register_family
class DistilBertAdapter(EncoderAdapter):
    """DistilBERT: post-LN like BERT, with names of its own."""

    model_type, prefix = "distilbert", "DistilBert"
    pretraining_heads = ("vocab_transform", "vocab_layer_norm", "vocab_projector")
    predicts_words = True

    @staticmethod
    def d_mlp(config: PretrainedConfig) -> int:  # noqa: D102
        return config.hidden_dim

    @staticmethod
    def activation(config: PretrainedConfig) -> str:  # noqa: D102
        return config.activation

    @classmethod
    def classify(  # noqa: D102
        cls, hf_model: nn.Module, hidden: Hidden, mask: Mask
    ) -> Float[Tensor, "pair label"]:
        return hf_model.classifier(torch.relu(hf_model.pre_classifier(hidden[:, 0])))

    @classmethod
    def word_head(  # noqa: D102
        cls, hf_model: nn.Module
    ) -> tuple[Callable[[Hidden], Hidden], nn.Linear]:
        def transform(x: Hidden) -> Hidden:
            return hf_model.vocab_layer_norm(hf_model.activation(hf_model.vocab_transform(x)))

        return transform, hf_model.vocab_projector

    def _components(self, prefix: str) -> dict[str, GeneralizedComponent]:
        projections = {"q": "q_lin", "k": "k_lin", "v": "v_lin", "o": "out_lin"}
        return {
            "embed": EmbeddingBridge(name=f"{prefix}embeddings.word_embeddings"),
            "pos_embed": PosEmbedBridge(name=f"{prefix}embeddings.position_embeddings"),
            "embed_ln": self._norm(f"{prefix}embeddings.LayerNorm"),
            "blocks": self._post_ln_blocks(
                f"{prefix}transformer.layer",
                attn=self._attention("attention", normalises=False, **projections),
                ln1=self._norm("sa_layer_norm"),
                mlp=self._mlp("ffn", "lin1", "lin2"),
                ln2=self._norm("output_layer_norm"),
            ),
        }


@register_family
class ModernBertAdapter(EncoderAdapter):
    """ModernBERT: pre-LN, rotary positions, local and global attention, gated MLP."""

    model_type, prefix = "modernbert", "ModernBert"
    pretraining_heads = ("head", "decoder")
    predicts_words = True
    is_post_ln = False
    absent_hooks: ClassVar[dict[str, str]] = {
        "hook_resid_mid": "the sum before the MLP is hook_resid_pre + hook_attn_out, and what the "
        "MLP's branch alone reads of it is ln2.hook_in"
    }

    @staticmethod
    def activation(config: PretrainedConfig) -> str:  # noqa: D102
        return config.hidden_activation

    @staticmethod
    def classifies_first_position(config: PretrainedConfig) -> bool:  # noqa: D102
        return config.classifier_pooling == "cls"

    @classmethod
    def classify(  # noqa: D102
        cls, hf_model: nn.Module, hidden: Hidden, mask: Mask
    ) -> Float[Tensor, "pair label"]:
        is_first = cls.classifies_first_position(hf_model.config)
        pooled = hidden[:, 0] if is_first else mean_pool(hidden, mask)
        return hf_model.classifier(hf_model.head(pooled))

    @classmethod
    def word_head(  # noqa: D102
        cls, hf_model: nn.Module
    ) -> tuple[Callable[[Hidden], Hidden], nn.Linear]:
        return hf_model.head, hf_model.decoder

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self.cfg.positional_embedding_type = "rotary"
        self.cfg.gated_mlp = True

    def _components(self, prefix: str) -> dict[str, GeneralizedComponent]:
        attention = EncoderAttentionBridge(
            name="attn",
            config=self.cfg,
            fused=True,
            submodules={"qkv": LinearBridge(name="Wqkv"), "o": LinearBridge(name="Wo")},
        )
        blocks = PreLNBlockBridge(
            name=f"{prefix}layers",
            config=self.cfg,
            hook_alias_overrides={"hook_mlp_in": "mlp.hook_in"},
            submodules={
                "ln1": self._norm("attn_norm"),
                "attn": attention,
                "ln2": self._norm("mlp_norm"),
                "mlp": self._mlp("mlp", "Wi", "Wo"),
            },
        )
        return {
            "embed": EmbeddingBridge(name=f"{prefix}embeddings.tok_embeddings"),
            "embed_ln": self._norm(f"{prefix}embeddings.norm"),
            "blocks": blocks,
            "ln_final": self._norm(f"{prefix}final_norm"),
        }

    def _heads(self, hf_model: nn.Module, prefix: str) -> dict[str, GeneralizedComponent]:
        heads = super()._heads(hf_model, prefix)
        if hasattr(hf_model, "head"):
            heads["head"] = GeneralizedComponent(name="head")
        return heads
