"""Where a patch is made: which sites of which layers and heads, and at which positions.

A *cell* is one patch: a site in a layer, of one head or of the whole block, at some positions. The
axes of a result follow from it: layer, head (for head sites), role or pos, pair.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from mechir_edu.alignment.aligned import N_ROLES
from mechir_edu.patching.batches import Batch
from mechir_edu.patching.rows import ROWS, By, EachRole, Roles, Rows
from mechir_edu.rankers.hook_names import HEAD_SITES, Head, require_heads

Cell = tuple[int, int, int | None]  # layer, index of the mask, head (None: the whole block)
Scored = tuple[list[Cell], Tensor]  # cells, scores [cell, pair]


@dataclass(frozen=True)
class Sweep:
    """Which cells to patch, one after another; made by `PatchOptions.sweep`.

    Attributes
    ----------
    site : a key of `mechir_edu.rankers.hook_names.HOOK_POINTS`.
    by : None patches all positions at once, "pos" each alone, "role" all of one role.
    n_layers : layers of the ranker.
    n_heads : heads that the site has in a layer; of k and v there may be fewer.
    heads : only these (layer, head), in this order; all when None.
    together : patch all of ``heads`` in one run instead of one after another.
    one_row : whether the site has a single row, which is none of the texts' positions.
    n_roles : how many roles there are to patch (`mechir_edu.alignment.aligned.role_names`).

    Raises
    ------
    ValueError
        For heads at a site of whole blocks, a head that the ranker lacks or that comes twice, no
        head at all, ``by`` at a site with one row.
    """

    site: str
    by: By
    n_layers: int
    n_heads: int
    heads: tuple[Head, ...] | None = None
    together: bool = False
    n_roles: int = N_ROLES
    one_row: bool = False

    def __post_init__(self) -> None:
        if self.one_row and self.by is not None:
            raise ValueError(
                f"{self.site} has one row in this stack and no positions; leave out by="
            )
        if self.together and self.heads is None:
            raise ValueError("together=True needs heads=[(layer, head), ...] to patch as one set")
        if self.heads is None:
            return
        if not self.is_head_site:
            raise ValueError(f"heads= goes with a head site ({', '.join(HEAD_SITES)})")
        require_heads(self.heads, self.n_layers, self.n_heads)
        require_different(self.heads)

    @property
    def is_head_site(self) -> bool:
        """Whether a cell belongs to one head."""
        return self.site in HEAD_SITES

    @property
    def rows(self) -> Rows:
        """How positions are told apart."""
        return EachRole(self.n_roles) if self.by == "role" else ROWS[self.by]

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes of the scores, as in `mechir_edu.PatchingResult`."""
        cell = ("layer", "head") if self.is_head_site else ("layer",)
        if self.heads is not None:
            cell = ("set",) if self.together else ("cell",)
        return cell + self.rows.axes

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
        if head is None:
            return (layer,)
        return (layer, head) if self.heads is None else (self.heads.index((layer, head)),)

    def masks(self, roles: Roles) -> Bool[Tensor, "mask pair row"]:
        """Positions that each patch touches; one mask for all, for each role, or for each pos."""
        return self.rows.masks(roles[:, :1] if self.one_row else roles)


def require_different(heads: Sequence[Head]) -> None:
    """Refuse a choice of no head, or of one head twice.

    Raises
    ------
    ValueError
        With the heads.
    """
    if not heads or len(set(heads)) < len(heads):
        raise ValueError(f"heads= needs different (layer, head), got {list(heads)}")


class Scores:
    """The scores of a sweep, filled in batch by batch; NaN where nothing was patched yet.

    Attributes
    ----------
    array : float32, [*cell, pair], with the axes of the sweep.
    """

    def __init__(self, sweep: Sweep, lengths: np.ndarray) -> None:
        self.sweep, self.lengths = sweep, lengths
        shape = sweep.cell_shape + sweep.rows.shape(lengths)
        self.array = np.full(shape, np.nan, dtype=np.float32)

    def put(self, batch: Batch, scored: Iterable[Scored]) -> None:
        """Write what an engine made of a batch."""
        for cells, scores in scored:
            for (layer, mask, head), of_cell in zip(cells, scores.cpu().numpy(), strict=True):
                place = self.sweep.rows.place(mask, batch.index, self.lengths)
                self.array[(*self.sweep.index(layer, head), *place)] = of_cell
