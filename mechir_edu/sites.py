"""Where a patch can be made, and at which positions.

A *cell* is one patch: a site in a layer, of one head or of the whole block, at some positions. The
axes of a result follow from it: layer, head (for head sites), role or pos, pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int8
from torch import Tensor

from mechir_edu.aligned import ROLE_NAMES

BLOCK_SITES = ("resid_pre", "attn_out", "mlp_out")
HEAD_SITES = ("head", "pattern", "q", "k", "v")
HOOK_POINTS = {
    "resid_pre": "hook_resid_pre",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
    "head": "attn.hook_z",
    "pattern": "attn.hook_pattern",
    "q": "attn.hook_q",
    "k": "attn.hook_k",
    "v": "attn.hook_v",
}

By = Literal["pos", "role"] | None
Masks = Bool[Tensor, "mask pair pos"]


def hook_name(site: str, layer: int) -> str:
    """Name of the hook point of a site, as in ``hook_dict``."""
    return f"blocks.{layer}.{HOOK_POINTS[site]}"


@dataclass(frozen=True)
class Sweep:
    """Which cells to patch, one after another.

    Attributes
    ----------
    site : one of `BLOCK_SITES` or `HEAD_SITES`.
    by : None patches all positions at once, "pos" each alone, "role" all of one role.
    n_layers, n_heads : shape of the ranker.
    heads : only these (layer, head), in this order; all when None.
    together : patch all of ``heads`` in one run instead of one after another.
    """

    site: str
    by: By
    n_layers: int
    n_heads: int
    heads: tuple[tuple[int, int], ...] | None = None
    together: bool = False

    def __post_init__(self) -> None:
        if self.together and self.heads is None:
            raise ValueError("together=True needs heads=[(layer, head), ...] to patch as one set")
        if self.site not in HOOK_POINTS:
            raise ValueError(f"site must be one of {', '.join(HOOK_POINTS)}, got {self.site!r}")
        if self.by not in (None, "pos", "role"):
            raise ValueError(f'by must be None, "pos" or "role", got {self.by!r}')
        if self.heads is not None:
            self._check_heads()

    def _check_heads(self) -> None:
        if not self.is_head_site:
            raise ValueError(f"heads= goes with a head site ({', '.join(HEAD_SITES)})")
        for layer, head in self.heads:
            if not (0 <= layer < self.n_layers and 0 <= head < self.n_heads):
                raise ValueError(
                    f"no head (layer {layer}, head {head}): layers are 0-{self.n_layers - 1}, "
                    f"heads 0-{self.n_heads - 1}"
                )
        if not self.heads or len(set(self.heads)) < len(self.heads):
            raise ValueError(f"heads= needs different (layer, head), got {list(self.heads)}")

    @property
    def is_head_site(self) -> bool:
        """Whether a cell belongs to one head."""
        return self.site in HEAD_SITES

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes of the scores, as in `mechir_edu.results.PatchingResult`."""
        cell = ("layer", "head") if self.is_head_site else ("layer",)
        if self.heads is not None:
            cell = ("set",) if self.together else ("cell",)
        return cell + {None: ("pair",), "role": ("role", "pair"), "pos": ("row",)}[self.by]

    @property
    def cell_shape(self) -> tuple[int, ...]:
        """Shape of the axes before the positions: [set], [cell], [layer, head] or [layer]."""
        if self.together:
            return (1,)
        if self.heads is not None:
            return (len(self.heads),)
        return (self.n_layers, self.n_heads) if self.is_head_site else (self.n_layers,)

    def heads_of(self, layer: int) -> list[int | None]:
        """Heads to patch in a layer; ``[None]`` stands for the whole block."""
        if self.heads is not None:
            return [head for at, head in self.heads if at == layer]
        return list(range(self.n_heads)) if self.is_head_site else [None]

    def index(self, layer: int, head: int | None) -> tuple[int, ...]:
        """Where a cell's scores stand along `cell_shape`."""
        if self.together:
            return (0,)
        if self.heads is not None:
            return (self.heads.index((layer, head)),)
        return (layer, head) if self.is_head_site else (layer,)

    def masks(self, roles: Int8[Tensor, "pair pos"]) -> Masks:
        """Positions that each patch touches; one entry for all, for each role, or for each pos."""
        if self.by is None:
            return torch.ones_like(roles, dtype=torch.bool).unsqueeze(0)
        if self.by == "role":
            every = torch.arange(len(ROLE_NAMES), device=roles.device)
            return roles.unsqueeze(0) == every.view(-1, 1, 1)
        n_pos = roles.shape[1]
        eye = torch.eye(n_pos, dtype=torch.bool, device=roles.device)
        return eye.unsqueeze(1).expand(n_pos, len(roles), n_pos)


def make_sweep(
    ranker,
    site: str,
    by: By,
    heads: Sequence[tuple[int, int]] | None,
    together: bool = False,
) -> Sweep:
    """`Sweep` over a ranker's layers and heads."""
    chosen = None if heads is None else tuple((int(layer), int(head)) for layer, head in heads)
    return Sweep(site, by, ranker.n_layers, ranker.n_heads, chosen, together)
