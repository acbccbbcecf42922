"""Patched runs that branch off from the recipient's, as all engines do that read weights.

A patch in layer L leaves the layers before L as they were. Recipient and donor therefore walk
through the layers side by side, once; at each layer all its cells branch off, stacked along the
batch, and only the rest of the model runs on them. What a block computes, and how a run goes on
from a patch, is the engine's: `mechir_edu.patching.engines.suffix` and
`mechir_edu.patching.engines.pre_ln`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechir_edu.patching.batches import Runs, repeat_fixed
from mechir_edu.patching.rows import Masks
from mechir_edu.patching.sweep import Cell, Scored, Sweep

# What each cell's patch adds, [cell, pair, row, d], and what runs on to the hidden states read.
Patched = tuple[Tensor, Callable[[], Tensor]]
# Bytes of runs that an engine keeps for patches to come, so that what stands here runs once.
KEPT = 2**28
# Which pairs each cell's patch changes, and what the runs of all end with: None where it is none.
Ended = tuple[Bool[Tensor, "cell pair"], Tensor | None]


def unseen(mask: Int[Tensor, "pair pos"], dtype: torch.dtype) -> Float[Tensor, "pair pos"]:
    """What is added to the scores of keys: minus infinity where a token is masked."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask == 0, float("-inf"))


@dataclass(frozen=True)
class Branch:
    """One batch's patched runs, from the layer where they part from the recipient's.

    Attributes
    ----------
    stack : the blocks; its ``relevance`` makes scores of what a run ends with.
    runs, sweep : what is patched from what, and which cells.
    """

    stack: Any
    runs: Runs
    sweep: Sweep

    @cached_property
    def masks(self) -> Masks:
        """Positions that each patch touches, made once for all layers."""
        return self.sweep.masks(self.runs.batch.roles)

    @property
    def chosen(self) -> list[int]:
        """Indices of the masks that are patched."""
        return list(range(len(self.masks)))

    @property
    def counts(self) -> Int[Tensor, "pair row"]:
        """Rows that a score may read."""
        return self.stack.counts(self.runs.recipient)

    def cells(self, layer: int) -> list[Cell]:
        """The sweep's cells in a layer, mask by mask."""
        heads = self.sweep.heads_of(layer)
        return [(layer, m, head) for m in self.chosen for head in heads]

    def run(self, layer: int, x: Tensor, *, of_donor: bool) -> Any:
        """Every activation that can be patched in a layer, and its ``resid_post``."""
        raise NotImplementedError

    def patched(self, cells: list[Cell], mask: Tensor, run_r: Any, run_d: Any) -> Patched:
        """What each cell's patch adds to the recipient, and the run from there on.

        ``mask`` is [cell, pair, row, 1].
        """
        patch = self.patch_heads if self.sweep.is_head_site else self.patch_block
        return patch(cells, mask, run_r, run_d)

    def patch_heads(self, cells: list[Cell], mask: Tensor, run_r: Any, run_d: Any) -> Patched:
        """`patched` for sites that heads have."""
        raise NotImplementedError

    def patch_block(self, cells: list[Cell], mask: Tensor, run_r: Any, run_d: Any) -> Patched:
        """`patched` for sites that a block has once."""
        raise NotImplementedError

    def end(self, cells: list[Cell], run_r: Any, run_d: Any) -> Ended:
        """Which pairs each cell's patch changes, and what the patched runs end with."""
        mask = self.masks[[m for _, m, _ in cells]].unsqueeze(-1)
        delta, run_on = self.patched(cells, mask, run_r, run_d)
        # Rounding differs between batches of different size, so "no change" is decided here.
        is_changed = delta.flatten(2).any(dim=-1) & mask.any(dim=(-2, -1))
        return is_changed, run_on() if is_changed.any() else None

    def score(
        self, is_changed: Bool[Tensor, "cell pair"], final: Tensor | None
    ) -> Float[Tensor, "cell pair"]:
        """Scores of cells from what `end` gives."""
        n = len(is_changed)
        if final is None:
            return self.runs.unpatched.expand(n, -1)
        seen = self.counts[:, : final.shape[1]].repeat(n, 1)
        scores = self.stack.relevance(final, seen, repeat_fixed(self.runs.batch.fixed, n))
        return torch.where(is_changed, scores.unflatten(0, (n, -1)), self.runs.unpatched)

    def walk(self, x_r: Tensor, x_d: Tensor, max_tokens: int) -> Iterator[Scored]:
        """Scores of all cells, those of a layer (or as many as have room) at a time."""
        for cells, ended in self.ends(x_r, x_d, max_tokens):
            yield cells, self.score(*ended)

    def ends(self, x_r: Tensor, x_d: Tensor, max_tokens: int) -> Iterator[tuple[list[Cell], Ended]]:
        """Take both runs through the layers; at each, patch its cells and run on from there."""
        n_pairs, n_rows = x_r.shape[:2]
        step = max(1, max_tokens // (n_pairs * n_rows))
        last = max(at for at in range(self.sweep.n_layers) if self.sweep.heads_of(at))
        for index, (run_r, run_d) in enumerate(self.through(x_r, x_d, last + 1)):
            cells = self.cells(index)
            for chunk in (cells[i : i + step] for i in range(0, len(cells), step)):
                yield chunk, self.end(chunk, run_r, run_d)

    def through(self, x_r: Tensor, x_d: Tensor, n_layers: int) -> Iterator[tuple[Any, Any]]:
        """Both runs, layer by layer, up to the last layer that has cells."""
        for index in range(n_layers):
            run_r = self.run(index, x_r, of_donor=False)
            if self.runs.given_z is None:
                run_d = self.run(index, x_d, of_donor=True)
            else:  # there is no donor: the recipient's own run stands for it, with another z
                z = self.runs.given_z[index].transpose(1, 2)
                run_d = replace(run_r, z=z.expand_as(run_r.z))
            yield run_r, run_d
            x_r, x_d = run_r.resid_post, run_d.resid_post
        self.finished(n_layers, x_r)

    def finished(self, layer: int, x: Tensor) -> None:
        """Look at the recipient's run as it enters the layer behind the last that was patched."""
