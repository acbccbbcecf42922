"""Stacks of blocks: how many layers and heads there are, and the names of their hooks.

An encoder is one stack, ``blocks``, with one attention in each block, ``attn``. A model with
several stacks, or with several attentions in a block, lists one `Stack` for each attention; then
every check at load goes through all of them, and ``stack=`` of `mechir_edu.patch` chooses.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from transformers import PretrainedConfig

from mechir_edu.rankers.hook_names import HOOK_POINTS

KEY_VALUE_SITES = ("k", "v")


@dataclass(frozen=True)
class Stack:
    """Blocks of one shape, one behind the other, and one of their attentions.

    Attributes
    ----------
    n_layers : number of blocks.
    n_heads : heads of the attention; each has a z, a pattern and a q.
    n_kv_heads : heads that have a k and a v. Fewer than ``n_heads`` under grouped attention, where
        k and v head j serve the next ``n_heads / n_kv_heads`` heads in turn.
    name, attention : in the names of hooks, ``{name}.{layer}.{attention}.hook_z``.
    title : what ``stack=`` calls it; empty where there is only one.
    attn_out : the hook of what the attention adds to the stream.
    sites : those that may be patched, each of which is tested at load.
    constants : why other sites are constants, that is, why no patch there changes anything.
    constant_at_first : sites that are the same in every run in layer 0, and why.
    per_token : sites with a row for each token of the texts; the others have a single row.
    is_all_that_goes_on : whether a block's stream decides all that comes after it; not where
        another stack is read beside it.
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    name: str = "blocks"
    attention: str = "attn"
    title: str = ""
    attn_out: str = "hook_attn_out"
    sites: tuple[str, ...] = tuple(HOOK_POINTS)
    constants: tuple[tuple[str, str], ...] = ()
    constant_at_first: tuple[tuple[str, str], ...] = ()
    per_token: tuple[str, ...] = tuple(HOOK_POINTS)
    is_all_that_goes_on: bool = True

    def heads_at(self, site: str) -> int:
        """Number of heads that a site has in each layer."""
        return self.n_kv_heads if site in KEY_VALUE_SITES else self.n_heads

    def has_row_per_token(self, site: str) -> bool:
        """Whether a site has a row for each token, so that positions of it can be told apart."""
        return site in self.per_token

    def constant_layers(self, site: str) -> dict[int, str]:
        """Layers in which a site is the same in every run, and why."""
        reason = dict(self.constant_at_first).get(site)
        return {} if reason is None else {0: reason}

    def notes(self, site: str) -> dict[str, Any]:
        """What a result has to say of this stack, in what JSON can hold."""
        if not self.title:
            return {}
        constants = self.constant_layers(site).items()
        return {"stack": self.title, "constants": [[layer, reason] for layer, reason in constants]}

    def require_site(self, site: str) -> None:
        """Refuse a site at which no patch could change anything, or that is another stack's.

        Raises
        ------
        ValueError
            With the reason, and the sites that there are.
        """
        if site in self.sites:
            return
        reason = dict(self.constants).get(site, f"{self.titled('stack')} has no {site} of its own")
        raise ValueError(f"{reason}; needed one of {', '.join(map(repr, self.sites))}")

    def titled(self, what: str) -> str:
        """Something of this stack, in words: "layer", or "decoder layer"."""
        return f"{self.title} {what}".strip()

    def hook_name(self, site: str, layer: int) -> str:
        """Name of the hook point of a site, as in ``hook_dict``."""
        point = HOOK_POINTS[site].replace("attn.", f"{self.attention}.")
        return f"{self.name}.{layer}.{self.attn_out if site == 'attn_out' else point}"

    def cells(self) -> Iterator[tuple[str, int, str]]:
        """Every site that is offered: site, layer, and the name of its hook point."""
        for layer in range(self.n_layers):
            for site in self.sites:
                yield site, layer, self.hook_name(site, layer)

    def block(self, bridge: Any, layer: int) -> Any:
        """A block of the wrapped model."""
        return getattr(bridge, self.name)[layer]


def encoder_stack(config: PretrainedConfig) -> Stack:
    """The one stack of an encoder, or of a decoder alone, from its ``config.json``."""
    n_heads = config.num_attention_heads
    n_kv_heads = getattr(config, "num_key_value_heads", None) or n_heads
    return Stack(config.num_hidden_layers, n_heads, n_kv_heads)
