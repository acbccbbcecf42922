"""Stacks of blocks: how many layers and heads there are, and the names of their hooks.

An encoder is one stack, ``blocks``, with one attention in each block, ``attn``. A model with
several stacks, or with several attentions in a block, lists them all; then every check at load
goes through all of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from transformers import PretrainedConfig

from mechir_edu.rankers.hook_names import HEAD_SITES, HOOK_POINTS

KEY_VALUE_SITES = ("k", "v")


@dataclass(frozen=True)
class Stack:
    """Blocks of one shape, one behind the other.

    Attributes
    ----------
    n_layers : number of blocks.
    n_heads : heads of an attention; each has a z, a pattern and a q.
    n_kv_heads : heads that have a k and a v. Fewer than ``n_heads`` under grouped attention, where
        k and v head j serve the next ``n_heads / n_kv_heads`` heads in turn.
    name : in the names of hooks, ``{name}.{layer}.{attention}.hook_z``.
    attentions : names of a block's attentions.
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    name: str = "blocks"
    attentions: tuple[str, ...] = ("attn",)

    def heads_at(self, site: str) -> int:
        """Number of heads that a site has in each layer."""
        return self.n_kv_heads if site in KEY_VALUE_SITES else self.n_heads

    def hook_name(self, site: str, layer: int, attention: str = "attn") -> str:
        """Name of the hook point of a site, as in ``hook_dict``."""
        point = HOOK_POINTS[site].replace("attn.", f"{attention}.")
        return f"{self.name}.{layer}.{point}"

    def cells(self) -> Iterator[tuple[str, int, str]]:
        """Every site that is offered: site, layer, and the name of its hook point."""
        for layer in range(self.n_layers):
            for site in HOOK_POINTS:
                for attention in self.attentions if site in HEAD_SITES else self.attentions[:1]:
                    yield site, layer, self.hook_name(site, layer, attention)

    def block(self, bridge: Any, layer: int) -> Any:
        """A block of the wrapped model."""
        return getattr(bridge, self.name)[layer]


def encoder_stack(config: PretrainedConfig) -> Stack:
    """The one stack of an encoder, or of a decoder alone, from its ``config.json``."""
    n_heads = config.num_attention_heads
    n_kv_heads = getattr(config, "num_key_value_heads", None) or n_heads
    return Stack(config.num_hidden_layers, n_heads, n_kv_heads)
