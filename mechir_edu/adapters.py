"""Give Hugging Face encoders TransformerLens hook points that are live.

TransformerLens 4 wraps a Hugging Face model in place: an *adapter* says which module is the
embedding, which the blocks, and so on, and every named module gets hook points around it.
Upstream has no adapter for bare encoders or sequence classifiers, and its BERT adapter drops
edits of the attention pattern. Ours leaves every Hugging Face module where it is and makes the
attention *function* hookable through transformers' public ``AttentionInterface``, so that an edit
of the scores or the pattern changes the output.

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
ModernBERT is pre-LN: there ``resid_pre`` is the un-normalised stream, as in a decoder.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.architecture_adapter import ArchitectureAdapter
from transformer_lens.model_bridge.generalized_components import (
    AttentionBridge,
    BertPoolerBridge,
    BlockBridge,
    EmbeddingBridge,
    LinearBridge,
    MLPBridge,
    NormalizationBridge,
    PosEmbedBridge,
)
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

HOOKED_ATTENTION = "mechir_edu_hooked"


def hooked_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    bridge: "EncoderAttentionBridge | None" = None,
    **_: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend, with live hooks on scores and pattern, and SDPA when nobody hooks them.

    ``query``, ``key`` and ``value`` are [batch, head, pos, d_head]; ``attention_mask`` is additive.
    Returns z as [batch, pos, head, d_head] and the pattern when it was materialised. Without a
    ``bridge`` (an unwrapped model that shares a wrapped one's config object) there are no hooks.
    """
    if bridge is not None:
        query, key, value = bridge.hook_fused_qkv(query, key, value)
    scaling = query.size(-1) ** -0.5 if scaling is None else scaling
    if bridge is None or not bridge.needs_pattern:
        z = F.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling
        )
        return z.transpose(1, 2).contiguous(), None
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    pattern = F.softmax(bridge.hook_attn_scores(scores), dim=-1)
    pattern = bridge.hook_pattern(F.dropout(pattern, p=dropout, training=module.training))
    return (pattern @ value).transpose(1, 2).contiguous(), pattern


class EncoderAttentionBridge(AttentionBridge):
    """An attention module kept as Hugging Face wrote it, with every hook live.

    Parameters
    ----------
    normalises : the wrapped module ends with residual and LayerNorm (``BertAttention``), so
        ``hook_out`` is fired at the output projection instead, before both.
    fused : no separate q, k, v modules (ModernBERT's ``Wqkv``): ``hook_q``, ``hook_k``, ``hook_v``
        fire on what enters the attention function, q and k after the rotation.
    """

    def __init__(self, *args: Any, normalises: bool = False, fused: bool = False, **kwargs: Any):
        super().__init__(*args, fused_qkv=fused, **kwargs)
        self._normalises, self._fused, self._mirrored = normalises, fused, False
        if fused:
            self.hook_q, self.hook_k, self.hook_v = HookPoint(), HookPoint(), HookPoint()

    def setup_hook_compatibility(self) -> None:
        """Reshape z to heads (as upstream does) and fire ``hook_out`` at the projection."""
        super().setup_hook_compatibility()
        if self._normalises and not self._mirrored:
            self.o.hook_out.add_hook(lambda out, hook: self.hook_out(out), is_permanent=True)
            self._mirrored = True

    @property
    def needs_pattern(self) -> bool:
        """Whether somebody listens to scores or pattern, which SDPA does not show."""
        return self.hook_pattern.has_hooks() or self.hook_attn_scores.has_hooks()

    def hook_fused_qkv(self, *qkv: Tensor) -> tuple[Tensor, ...]:
        """Fire q, k, v hooks (seen as [batch, pos, head, d_head]) where no module carries them."""
        if not self._fused:
            return qkv
        hooks = (self.hook_q, self.hook_k, self.hook_v)
        return tuple(h(x.transpose(1, 2)).transpose(1, 2) for h, x in zip(hooks, qkv, strict=True))

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Run the wrapped module; its attention function finds this bridge in the kwargs."""
        hidden_states = self.hook_in(hidden_states)
        out = self.original_component(hidden_states, *args, bridge=self, **kwargs)
        # The upstream block captures the block's input for split-q/k/v forks; let go of it.
        self._captured_pre_ln_residual = None
        return out if self._normalises else (self.hook_out(out[0]), *out[1:])


class MPNetAttentionBridge(EncoderAttentionBridge):
    """MPNet computes attention inline, so it is recomputed here from its own projections."""

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


class EncoderBlockBridge(BlockBridge):
    """A block that can be passed over, so that layers before a patch need not run again.

    ``skipped`` hands the hidden states on untouched; the caller then supplies the recipient's
    ``resid_pre`` at the first block that runs.
    """

    def __init__(self, *args: Any, returns_tuple: bool = False, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.skipped, self._returns_tuple = False, returns_tuple

    def _extract_layer_idx(self) -> int:
        # Upstream's pattern knows "layers.3" and "h.3" but not "encoder.layer.3".
        return int(self.name.rsplit(".", 1)[1])

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the block, or hand its input on when it is skipped."""
        if not self.skipped:
            return super().forward(*args, **kwargs)
        hidden = args[0] if args else kwargs["hidden_states"]
        return (hidden,) if self._returns_tuple else hidden


class EncoderAdapter(ArchitectureAdapter):
    """What all encoder families share; a family says where its modules are (`_components`)."""

    supports_generation = False
    supports_kv_cache = False
    supports_batched_generation = False
    supports_causal_loss = False
    supports_hf_output_attentions = False
    applicable_phases: list[int] = []

    uses_attention_interface = True
    attention_class: type[EncoderAttentionBridge] = EncoderAttentionBridge
    is_post_ln = True

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self.cfg.normalization_type = "LN"
        self.cfg.positional_embedding_type = "standard"
        self.cfg.attention_dir = "bidirectional"
        self.cfg.final_rms = self.cfg.gated_mlp = self.cfg.attn_only = False
        self.supports_fold_ln = False
        self.weight_processing_conversions = {}
        self.component_mapping = self._components("")

    def _components(self, prefix: str) -> dict[str, GeneralizedComponent]:
        raise NotImplementedError

    def _heads(self, hf_model: nn.Module, prefix: str) -> dict[str, GeneralizedComponent]:
        """Whatever stands after the blocks: pooler, classifier."""
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

    def _norm(self, name: str) -> NormalizationBridge:
        return NormalizationBridge(name=name, config=self.cfg, use_native_layernorm_autograd=True)

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

    def _post_ln_blocks(self, name: str, *, returns_tuple: bool = False, **parts: Any):
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


class BertAdapter(EncoderAdapter):
    """BERT, RoBERTa, XLM-R and ELECTRA: one module tree, four embeddings."""

    has_token_types = True
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
        if hasattr(base, "embeddings_project"):  # ELECTRA with a narrower embedding
            heads["embed_project"] = LinearBridge(name=f"{prefix}embeddings_project")
        if "classifier" not in heads and hasattr(hf_model, "classifier"):
            layers = {name: LinearBridge(name=name) for name in ("dense", "out_proj")}
            heads["classifier"] = GeneralizedComponent(name="classifier", submodules=layers)
        return heads


class MPNetAdapter(BertAdapter):
    """MPNet: no token types, relative positions, attention computed inline."""

    uses_attention_interface = False
    attention_class = MPNetAttentionBridge
    has_token_types = False
    returns_tuple = True
    ln1 = "attention.LayerNorm"
    projections = {"q": "attn.q", "k": "attn.k", "v": "attn.v", "o": "attn.o"}


class DistilBertAdapter(EncoderAdapter):
    """DistilBERT: post-LN like BERT, with names of its own."""

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


class ModernBertAdapter(EncoderAdapter):
    """ModernBERT: pre-LN, rotary positions, local and global attention, gated MLP."""

    is_post_ln = False

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
        blocks = EncoderBlockBridge(
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


FAMILIES: dict[str, tuple[str, type[EncoderAdapter]]] = {  # model_type: class prefix, adapter
    "bert": ("Bert", BertAdapter),
    "roberta": ("Roberta", BertAdapter),
    "xlm-roberta": ("XLMRoberta", BertAdapter),
    "electra": ("Electra", BertAdapter),
    "distilbert": ("DistilBert", DistilBertAdapter),
    "mpnet": ("MPNet", MPNetAdapter),
    "modernbert": ("ModernBert", ModernBertAdapter),
}
ADAPTERS = {
    f"{prefix}{suffix}": adapter
    for prefix, adapter in FAMILIES.values()
    for suffix in ("Model", "ForSequenceClassification")
}


def first_position(config: Any) -> int:
    """Number of the first position: RoBERTa, XLM-R and MPNet count from ``padding_idx + 1``."""
    counts_from_padding = config.model_type in ("roberta", "xlm-roberta", "mpnet")
    return config.pad_token_id + 1 if counts_from_padding else 0


def position_ids(hf_model: nn.Module, n_pos: int) -> Tensor:
    """Consecutive positions in the numbering of the model's own embedding, as [1, pos].

    They are always passed on: with a mask that has a 0 before a 1 TransformerLens would inject
    its own, and a masked filler must not renumber the tokens behind it.
    """
    first = first_position(hf_model.config)
    return torch.arange(first, first + n_pos, device=hf_model.device).unsqueeze(0)


def convert(hf_model: nn.Module) -> TransformerBridge:
    """Wrap a Hugging Face encoder, **in place**, as a TransformerLens model with live hooks.

    Parameters
    ----------
    hf_model : a bare encoder or a ``*ForSequenceClassification`` of one of `FAMILIES`. It is
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
            "For another encoder, subclass mechir_edu.adapters.EncoderAdapter and add it to "
            "mechir_edu.adapters.ADAPTERS"
        )
    AttentionInterface.register(HOOKED_ATTENTION, hooked_attention)
    AttentionMaskInterface.register(HOOKED_ATTENTION, eager_mask)  # additive, four axes
    ArchitectureAdapterFactory.register_adapter(name, ADAPTERS[name])
    return build_bridge_from_module(hf_model, name, hf_config=hf_model.config).eval()
