"""Give Hugging Face models TransformerLens hook points that are live.

TransformerLens 4 wraps a Hugging Face model in place: an *adapter* says which module is the
embedding, which the blocks, and so on, and every named module gets hook points around it.
Upstream has no adapter for bare encoders or sequence classifiers, and its BERT adapter drops
edits of the attention pattern. Ours leaves every Hugging Face module where it is, and an edit at
any hook point changes the output (`mechir_edu.rankers.components`).

What the sites mean in a post-LN block (BERT and its relatives)::

    resid_pre ──┬─> q, k, v ─> scores ─> pattern ─> z ─> W_O ─> attn_out ─┐
                └──────────────────────── + <─────────────────────────────┘
                                          │ resid_mid
                                         LN1 ──┬──> MLP ──> mlp_out ─┐
                                               └───────── + <────────┘
                                                          │
                                                         LN2 ──> resid_post (= next resid_pre)

``attn_out`` and ``mlp_out`` are what a sublayer *adds*, before the residual sum and the LayerNorm
that follows; ``resid_pre`` is the stream handed from block to block, after LN2 of the block before.
ModernBERT and decoders are pre-LN: there ``resid_pre`` is the un-normalised stream, and the sum
before the MLP is in no hook: it is resid_pre + attn_out.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.architecture_adapter import ArchitectureAdapter
from transformer_lens.model_bridge.generalized_components import (
    LinearBridge,
    MLPBridge,
    NormalizationBridge,
    RMSNormalizationBridge,
)
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformers import AttentionInterface, AttentionMaskInterface, PretrainedConfig
from transformers.masking_utils import eager_mask

from mechir_edu.rankers.components import (
    EncoderAttentionBridge,
    EncoderBlockBridge,
    hooked_attention,
)
from mechir_edu.rankers.pooling import Hidden, Mask

HOOKED_ATTENTION = "mechir_edu_hooked"
TokenIds = Int[Tensor, "text pos"]


class EncoderAdapter(ArchitectureAdapter):
    """What all encoder families share.

    A family is one subclass under `register_family`: where its modules are (`_components`), and
    whatever else differs from the defaults here. Everything outside asks the adapter; nothing
    outside knows an architecture by name.

    Attributes
    ----------
    model_type : as ``config.json`` has it.
    prefix, classes : names of the family's Hugging Face classes, such as "Bert" and "Model".
    is_post_ln : whether LayerNorm follows the residual sum.
    has_token_types : whether the model is told which of two texts a token belongs to.
    unused_by_bi_encoders : modules of the bare encoder that no embedding is computed from; a
        bi-encoder is loaded without them, and a checkpoint may lack them.
    pretraining_heads : modules that its training tasks put beside or behind the encoder, and that
        no score is made of; a checkpoint may have them.
    predicts_words : whether its head for masked words is known here, see `word_head`.
    absent_hooks : hooks that other families have, and what to use in their place.
    is_encoder_decoder : whether a decoder reads what its encoder makes, and takes no positions.
    passed_over : settings in ``config.json`` that its classes rightly pass over.
    """

    model_type: ClassVar[str]
    prefix: ClassVar[str]
    classes: ClassVar[tuple[str, ...]] = ("Model", "ForSequenceClassification", "ForMaskedLM")

    supports_generation = False
    supports_kv_cache = False
    supports_batched_generation = False
    supports_causal_loss = False
    supports_hf_output_attentions = False
    applicable_phases: list[int] = []

    uses_attention_interface = True
    attention_class: type[EncoderAttentionBridge] = EncoderAttentionBridge
    is_post_ln = True
    has_token_types = False
    unused_by_bi_encoders: ClassVar[tuple[str, ...]] = ()
    pretraining_heads: ClassVar[tuple[str, ...]] = ()
    predicts_words: ClassVar[bool] = False
    absent_hooks: ClassVar[dict[str, str]] = {}
    is_encoder_decoder: ClassVar[bool] = False
    passed_over: ClassVar[tuple[str, ...]] = ()

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self.cfg.normalization_type = "LN"
        self.cfg.positional_embedding_type = "standard"
        self.cfg.attention_dir = "bidirectional"
        self.cfg.final_rms = self.cfg.gated_mlp = self.cfg.attn_only = False
        self.supports_fold_ln = False
        self.weight_processing_conversions: dict[str, Any] = {}
        self.component_mapping = self._components("")

    def _components(self, prefix: str) -> dict[str, GeneralizedComponent]:
        raise NotImplementedError

    def _heads(self, hf_model: nn.Module, prefix: str) -> dict[str, GeneralizedComponent]:
        """What follows the blocks: pooler, classifier."""
        return {
            name: LinearBridge(name=name)
            for name in ("pre_classifier", "classifier")
            if isinstance(getattr(hf_model, name, None), nn.Linear)
        }

    def prepare_model(self, hf_model: nn.Module) -> None:
        """Switch the model to the hooked attention and map the modules that it really has."""
        if self.uses_attention_interface:
            hf_model.set_attn_implementation(HOOKED_ATTENTION)
        base = hf_model.base_model_prefix
        prefix = f"{base}." if base in dict(hf_model.named_children()) else ""
        self.component_mapping = {**self._components(prefix), **self._heads(hf_model, prefix)}

    @classmethod
    def hidden(
        cls, hf_model: nn.Module, inputs: dict[str, TokenIds]
    ) -> Float[Tensor, "text row d_model"]:
        """Final hidden states, hooks included."""
        return hf_model.base_model(**inputs)[0]

    @staticmethod
    def uncounted(config: PretrainedConfig) -> int | None:
        """Id of the padding token where positions are counted from it on, without it; or None."""
        return None

    @classmethod
    def first_position(cls, config: PretrainedConfig) -> int:
        """Index of the first token's position embedding."""
        padding = cls.uncounted(config)
        return 0 if padding is None else padding + 1

    @classmethod
    def longest(cls, config: PretrainedConfig) -> int:
        """Most tokens that the position embeddings allow in a sequence, special ones counted."""
        return config.max_position_embeddings - cls.first_position(config)

    @staticmethod
    def d_mlp(config: PretrainedConfig) -> int:
        """Width of the MLP's inner activation."""
        return config.intermediate_size

    @staticmethod
    def activation(config: PretrainedConfig) -> str:
        """Name of the MLP's activation function."""
        return config.hidden_act

    @staticmethod
    def position_bias(
        hf_model: nn.Module, x: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "1 head pos pos"] | None:
        """What is added to attention scores by position; None for nothing."""
        return None

    @staticmethod
    def is_causal(config: PretrainedConfig) -> bool:
        """Whether a token sees only those before it."""
        return False

    @staticmethod
    def softcap(config: PretrainedConfig) -> float | None:
        """The bound of attention scores; None where there is none."""
        return None

    @staticmethod
    def classifies_first_position(config: PretrainedConfig) -> bool:
        """Whether a classifier reads the final hidden state of position 0 alone."""
        return True

    @classmethod
    def classify(
        cls, hf_model: nn.Module, hidden: Hidden, mask: Mask
    ) -> Float[Tensor, "pair label"]:
        """Logits of a ``*ForSequenceClassification`` model from its final hidden states.

        ``hidden`` may hold position 0 alone, [pair, 1, d_model], where `classifies_first_position`.
        """
        return hf_model.classifier(hidden)  # a module that picks position 0 itself

    @classmethod
    def word_head(cls, hf_model: nn.Module) -> tuple[Callable[[Hidden], Hidden], nn.Linear]:
        """What a ``*ForMaskedLM`` makes of hidden states, and the layer that gives word logits."""
        raise NotImplementedError

    def _norm(self, name: str) -> NormalizationBridge:
        return NormalizationBridge(name=name, config=self.cfg, use_native_layernorm_autograd=True)

    def _rms_norm(self, name: str) -> RMSNormalizationBridge:
        return RMSNormalizationBridge(name=name, config=self.cfg)

    def _attention(
        self, name: str, *, normalises: bool, **projections: str
    ) -> EncoderAttentionBridge:
        return self.attention_class(
            name=name,
            config=self.cfg,
            normalises=normalises,
            submodules={key: LinearBridge(name=path) for key, path in projections.items()},
        )

    def _mlp(self, name: str | None, into: str, out: str) -> MLPBridge:
        layers = {"in": LinearBridge(name=into), "out": LinearBridge(name=out)}
        return MLPBridge(name=name, config=self.cfg, submodules=layers)

    def _post_ln_blocks(
        self, name: str, *, returns_tuple: bool = False, **parts: GeneralizedComponent
    ) -> EncoderBlockBridge:
        aliases = {
            "hook_attn_out": "attn.hook_out",
            "hook_resid_mid": "ln1.hook_in",
            "hook_mlp_in": "mlp.hook_in",
            "hook_mlp_out": "mlp.hook_out",
        }
        return EncoderBlockBridge(
            name=name,
            config=self.cfg,
            hook_alias_overrides=aliases,
            submodules=parts,
            returns_tuple=returns_tuple,
        )


FAMILIES: dict[str, type[EncoderAdapter]] = {}  # by model_type
ADAPTERS: dict[str, type[EncoderAdapter]] = {}  # by the name of a Hugging Face class


def register_family(adapter: type[EncoderAdapter]) -> type[EncoderAdapter]:
    """Make a family known by its adapter; `me.Dot` and `me.Cat` load its checkpoints.

    A class decorator: it returns the adapter. transformers must know the model's classes.
    """
    FAMILIES[adapter.model_type] = adapter
    ADAPTERS.update({f"{adapter.prefix}{name}": adapter for name in adapter.classes})
    return adapter


def family_of(hf_model: nn.Module) -> type[EncoderAdapter]:
    """The adapter that knows a model's architecture."""
    return FAMILIES[hf_model.config.model_type]


def position_ids(hf_model: nn.Module, input_ids: TokenIds, attention_mask: TokenIds) -> TokenIds:
    """Positions in the numbering of the model's own embedding.

    They are always passed on: given a mask with a 0 before a 1, TransformerLens would inject its
    own. A family that does not count the padding token (`uncounted`) passes over one that a text
    names, too; but a masked filler inside a text must not renumber the tokens behind it.
    """
    family, config = family_of(hf_model), hf_model.config
    counted = torch.ones_like(input_ids)
    if (padding := family.uncounted(config)) is not None:
        is_filler = (attention_mask == 0) & (attention_mask.cumsum(dim=1) > 0)
        counted = ((input_ids != padding) | is_filler).long()
    return family.first_position(config) - 1 + counted.cumsum(dim=1) * counted


def convert(hf_model: nn.Module) -> TransformerBridge:
    """Wrap a Hugging Face model, **in place**, as a TransformerLens model with live hooks.

    Parameters
    ----------
    hf_model : a bare model or a ``*ForSequenceClassification`` of one of `FAMILIES`. It is
        changed in place and must not be saved afterwards.

    Raises
    ------
    ValueError
        For any other class; names the classes that are supported.
    """
    name = type(hf_model).__name__
    if name not in ADAPTERS:
        raise ValueError(
            f"no encoder adapter for {name}; needed one of {', '.join(sorted(ADAPTERS))}. "
            "For another encoder, subclass EncoderAdapter and call register_family, both of "
            "mechir_edu.rankers.adapters"
        )
    AttentionInterface.register(HOOKED_ATTENTION, hooked_attention)
    AttentionMaskInterface.register(HOOKED_ATTENTION, eager_mask)  # additive, four axes
    ours = f"mechir_edu.{name}"  # beside upstream's adapter, which others in this process may use
    ArchitectureAdapterFactory.register_adapter(ours, ADAPTERS[name])
    return build_bridge_from_module(hf_model, ours, hf_config=hf_model.config).eval()
