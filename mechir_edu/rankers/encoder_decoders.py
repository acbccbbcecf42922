"""The encoder-decoder families, T5 and mT5: pre-LN, with relative positions and RMSNorm.

Importing this module registers them. The decoder takes a single step, from its start token, so it
has one row: its self-attention has one key, and only its cross-attention reads the text. ::

    encoder_blocks   resid_pre ─> attn ─> MLP                       a row for each token
                                    └──────────────┐ final stream
    decoder_blocks   resid_pre ─> self_attn ─> cross_attn ─> MLP    one row

Scores are not scaled by the width of a head; what is added to them by position is made in block 0
of the encoder and handed on from block to block, and that of the decoder's one row takes no part.
"""

from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.model_bridge.generalized_components import (
    EmbeddingBridge,
    LinearBridge,
)
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformers import PretrainedConfig

from mechir_edu.rankers.adapters import EncoderAdapter, TokenIds, register_family
from mechir_edu.rankers.components import EncoderAttentionBridge, PreLNBlockBridge
from mechir_edu.rankers.stacks import Stack

ONE_KEY = (
    "the decoder takes one step, so its self-attention has a single key: the pattern is the "
    "constant 1, and q and k have no effect"
)
BEFORE_THE_TEXT = "before the first cross-attention the decoder has seen its start token only"


class T5BlockBridge(PreLNBlockBridge):
    """A block of T5; passed over, it still hands on what is added to scores by position."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if "attn" not in self.submodules:  # upstream's names for the one attention of a block
            self.hook_aliases = {
                name: of for name, of in self.hook_aliases.items() if not of.startswith("attn.")
            }

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the block, or hand its input on when it is skipped."""
        if not self.skipped:
            return super().forward(*args, **kwargs)
        hidden, position_bias = args[0], args[2]
        if position_bias is None:  # block 0 makes it; the next one would take zeros instead
            attention = self.original_component.layer[0].SelfAttention.original_component
            position_bias = attention.compute_bias(hidden.shape[1], hidden.shape[1])
        return hidden, position_bias, args[5]


@register_family
class T5Adapter(EncoderAdapter):
    """T5 and Flan-T5, with their head that predicts words."""

    model_type, prefix, classes = "t5", "T5", ("ForConditionalGeneration",)
    is_post_ln = False
    is_encoder_decoder = True
    passed_over = ("n_positions",)  # positions are relative, and none is too far away
    absent_hooks: ClassVar[dict[str, str]] = {
        "hook_resid_mid": "the sum before a sublayer is hook_resid_pre and what the sublayers "
        "before it added"
    }

    def prepare_model(self, hf_model: nn.Module) -> None:
        """Switch the model to the hooked attention and map its two stacks."""
        super().prepare_model(hf_model)
        hf_model.config.use_cache = False
        is_gated = hf_model.config.is_gated_act

        def attention(path: str) -> EncoderAttentionBridge:
            projections = {name: LinearBridge(name=name) for name in "qkvo"}
            return EncoderAttentionBridge(name=path, config=self.cfg, submodules=projections)

        def mlp(path: str) -> GeneralizedComponent:
            if is_gated:
                return self._gated_mlp(path, gate="wi_0", up="wi_1", down="wo")
            return self._mlp(path, "wi", "wo")

        def blocks(name: str, aliases: dict[str, str], **parts: Any) -> T5BlockBridge:
            aliases = {"hook_mlp_in": "mlp.hook_in", "hook_mlp_out": "mlp.hook_out", **aliases}
            return T5BlockBridge(
                name=name, config=self.cfg, hook_alias_overrides=aliases, submodules=parts
            )

        self.component_mapping = {
            "embed": EmbeddingBridge(name="shared"),
            "encoder_blocks": blocks(
                "encoder.block",
                {},
                ln1=self._rms_norm("layer.0.layer_norm"),
                attn=attention("layer.0.SelfAttention"),
                ln2=self._rms_norm("layer.1.layer_norm"),
                mlp=mlp("layer.1.DenseReluDense"),
            ),
            "encoder_ln_final": self._rms_norm("encoder.final_layer_norm"),
            "decoder_blocks": blocks(
                "decoder.block",
                {
                    "hook_attn_out": "self_attn.hook_out",
                    "hook_cross_attn_out": "cross_attn.hook_out",
                },
                ln1=self._rms_norm("layer.0.layer_norm"),
                self_attn=attention("layer.0.SelfAttention"),
                ln2=self._rms_norm("layer.1.layer_norm"),
                cross_attn=attention("layer.1.EncDecAttention"),
                ln3=self._rms_norm("layer.2.layer_norm"),
                mlp=mlp("layer.2.DenseReluDense"),
            ),
            "decoder_ln_final": self._rms_norm("decoder.final_layer_norm"),
        }

    def _components(self, prefix: str) -> dict[str, GeneralizedComponent]:
        return {}

    @classmethod
    def stacks(cls, config: PretrainedConfig) -> tuple[Stack, ...]:
        """The encoder's attention, the decoder's own, and its attention to the encoder."""
        n_heads, n_steps = config.num_heads, config.num_decoder_layers
        own = ("head", "v", "resid_pre", "attn_out")
        decoder = partial(
            Stack, n_steps, n_heads, n_heads, "decoder_blocks", is_all_that_goes_on=False
        )
        return (
            Stack(config.num_layers, n_heads, n_heads, "encoder_blocks", title="encoder"),
            decoder(
                attention="self_attn",
                title="decoder",
                sites=(*own, "mlp_out"),
                constants=tuple((site, ONE_KEY) for site in ("pattern", "q", "k")),
                constant_at_first=tuple((site, BEFORE_THE_TEXT) for site in own),
                per_token=(),
            ),
            decoder(
                attention="cross_attn",
                title="cross",
                attn_out="hook_cross_attn_out",
                sites=("head", "pattern", "q", "k", "v", "attn_out"),
                constant_at_first=(("q", BEFORE_THE_TEXT),),
                per_token=("k", "v"),
            ),
        )

    @classmethod
    def longest(cls, config: PretrainedConfig) -> int:
        """Most tokens in a sequence: positions are relative, so only what fits into memory."""
        return 2**20

    @staticmethod
    def d_mlp(config: PretrainedConfig) -> int:  # noqa: D102
        return config.d_ff

    @staticmethod
    def activation(config: PretrainedConfig) -> str:  # noqa: D102
        return config.dense_act_fn

    @staticmethod
    def position_bias(  # noqa: D102
        hf_model: nn.Module, x: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "1 head pos pos"]:
        attention = hf_model.encoder.block[0].layer[0].SelfAttention
        attention = getattr(attention, "original_component", attention)
        return attention.compute_bias(x.shape[1], x.shape[1])

    @classmethod
    def hidden(  # noqa: D102
        cls, hf_model: nn.Module, inputs: dict[str, TokenIds]
    ) -> Float[Tensor, "text 1 d_model"]:
        """Final hidden state of the decoder's one step, [text, 1, d_model]."""
        return cls.decode(hf_model, inputs, hf_model.encoder(**inputs)[0])

    @classmethod
    def decode(
        cls,
        hf_model: nn.Module,
        inputs: dict[str, TokenIds],
        encoded: Float[Tensor, "text pos d_model"],
    ) -> Float[Tensor, "text 1 d_model"]:
        """The same from the encoder's final hidden states."""
        return hf_model.decoder(
            input_ids=cls.start(hf_model, inputs["input_ids"]),
            encoder_hidden_states=encoded,
            encoder_attention_mask=inputs["attention_mask"],
            use_cache=False,
        )[0]

    @classmethod
    def start(cls, hf_model: nn.Module, input_ids: TokenIds) -> Int[Tensor, "text 1"]:
        """The token that the decoder starts from, for each text."""
        return torch.full_like(input_ids[:, :1], hf_model.config.decoder_start_token_id)

    @classmethod
    def output_scale(cls, config: PretrainedConfig) -> float:
        """By which final hidden states are multiplied before words are predicted from them."""
        is_scaled = getattr(config, "scale_decoder_outputs", False)
        return config.d_model**-0.5 if is_scaled else 1.0


@register_family
class MT5Adapter(T5Adapter):
    """mT5: T5 in many languages, its output not scaled."""

    model_type, prefix = "mt5", "MT5"
