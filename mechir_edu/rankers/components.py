"""Attention and blocks whose every hook is live: an edit there changes the output.

The Hugging Face modules stay as they are. Only the attention *function* is ours: transformers
looks it up by name (``AttentionInterface``), calls it with the query, key and value of all heads,
and hands on what else the module was called with. That is how `hooked_attention` finds the bridge
whose hooks it fires.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge.generalized_components import AttentionBridge, BlockBridge

# What modules hand on that attention does not depend on: positions are in the stream or in q and k,
# a window is in the mask, and the others say what a call returns.
NO_PART = {"position_ids", "sliding_window", "deterministic", "use_cache", "cache_position"}
NO_PART |= {"output_attentions", "output_hidden_states", "return_dict", "token_type_ids"}


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
    position_bias: Tensor | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend, with live hooks on scores and pattern; by SDPA where neither is hooked.

    ``query``, ``key`` and ``value`` are [batch, head, pos, d_head]; ``attention_mask`` is additive,
    and so is ``position_bias``. Returns z as [batch, pos, head, d_head] and the pattern when it was
    materialised. Without a ``bridge`` (an unwrapped model that shares a wrapped one's config
    object) there are no hooks.
    Key and value may have fewer heads, each of which serves a group; ``softcap`` bounds the scores.
    Whatever else the module hands on is a TypeError, unless attention does not depend on it.
    """
    if wanted := [name for name, v in others.items() if v is not None and name not in NO_PART]:
        raise TypeError(f"{type(module).__name__} hands on {wanted[0]}, which is not computed here")
    if position_bias is not None:
        position_bias = position_bias if attention_mask is None else position_bias + attention_mask
        attention_mask = position_bias
    if bridge is not None:
        query, key, value = bridge.hook_fused_qkv(query, key, value)
    if (group := query.size(1) // key.size(1)) > 1:
        key, value = (x.repeat_interleave(group, dim=1) for x in (key, value))
    scaling = query.size(-1) ** -0.5 if scaling is None else scaling
    if softcap is None and (bridge is None or not bridge.needs_pattern):
        z = F.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling
        )
        return z.transpose(1, 2).contiguous(), None
    scores = query @ key.transpose(2, 3) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if attention_mask is not None:
        scores = scores + attention_mask
    pattern = F.softmax(scores if bridge is None else bridge.hook_attn_scores(scores), dim=-1)
    pattern = F.dropout(pattern, p=dropout, training=module.training)
    pattern = pattern if bridge is None else bridge.hook_pattern(pattern)
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
        """Whether scores or pattern are hooked, which SDPA does not compute."""
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


class PreLNBlockBridge(EncoderBlockBridge):
    """A block whose LayerNorms stand on branches: no hook is the sum between its sublayers."""

    hook_aliases: dict[str, str]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        # Upstream has "ln2.hook_in", which is the MLP's branch: the stream goes round it.
        self.hook_aliases = {k: v for k, v in self.hook_aliases.items() if k != "hook_resid_mid"}
