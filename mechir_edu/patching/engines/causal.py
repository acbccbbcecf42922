"""Patch a decoder exactly and fast: run only the layers and the rows that a patch can change.

A token of a causal model sees those before it alone. So, beside the layers before the patch:

- What stands before the first edited token is the same in recipient, donor and every patched run.
  Its keys and values are made once for a pair, in one run of the whole recipient, and all cells
  read them (`mechir_edu.patching.engines.pre_ln.View`); a cell runs the rows behind it. A patch
  before the first edited token has an effect of exactly 0.
- Where the score is read off the last token, the last layer runs on that row alone; the others
  give it their keys and values.
- All heads of a layer are patched in one pass, each of a few rows, so that the products are large.

Positions and masks (sliding windows, masked fillers) are those that the wrapped model hands to its
blocks, so that nothing here knows how a family makes them. Each batch's recipient is compared with
the score that the wrapped model gave it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechir_edu.patching.batches import Runs
from mechir_edu.patching.engines.hooks import skipping
from mechir_edu.patching.engines.pre_ln import (
    PreLNBranch,
    PreLNLayer,
    Stream,
    View,
    require_same_score,
)
from mechir_edu.patching.engines.prefix import first_edited, masks_behind, unpatched_cells
from mechir_edu.patching.rows import Masks
from mechir_edu.patching.sweep import Scored, Sweep
from mechir_edu.rankers.base import Inputs, Ranker


class CausalStack:
    """The blocks of a decoder on their own weights, and what they are handed."""

    def __init__(self, ranker: Ranker) -> None:
        self.ranker = ranker
        self.layers = [PreLNLayer(ranker, ranker.stack, i) for i in range(ranker.n_layers)]
        self.ln_final = ranker.bridge.ln_final.original_component
        self.relevance, self.counts = ranker.relevance, ranker.counts

    def enter(self, inputs: Inputs) -> tuple[Stream, list[View]]:
        """The stream that enters layer 0, and what the rows see in each; runs the wrapped model."""
        handed: list[tuple[tuple, dict[str, Any]]] = []
        blocks = [self.ranker.stack.block(self.ranker.bridge, i) for i in range(len(self.layers))]
        handles = [
            block.register_forward_pre_hook(
                lambda block, given, named: handed.append((given, named)), with_kwargs=True
            )
            for block in blocks
        ]
        try:
            with skipping(self.ranker, len(blocks)):
                self.ranker.hidden(inputs)
        finally:
            for handle in handles:
                handle.remove()
        (stream,) = handed[0][0]
        return stream, [self._view(named, stream) for _, named in handed]

    def _view(self, named: dict[str, Any], stream: Stream) -> View:
        layer = self.layers[0]
        none = stream.new_empty(len(stream), layer.n_kv_heads, 0, layer.d_head)
        # Positions are counted alike in every text (`adapters.position_ids`).
        cos, sin = (part[:1] for part in named["position_embeddings"])
        return View(named["attention_mask"], none, none, (cos, sin))


@dataclass(frozen=True)
class Prefix:
    """What stands before the first edited position of a batch's pairs, in every run.

    Attributes
    ----------
    start : how many positions that are.
    keys, values : of each layer, [pair, kv_head, pos, d_head].
    final : final hidden states, [pair, pos, d_model].
    """

    start: int
    keys: list[Float[Tensor, "pair kv_head pos d_head"]]
    values: list[Float[Tensor, "pair kv_head pos d_head"]]
    final: Stream

    def view(self, layer: int, whole: View) -> View:
        """What the rows behind the prefix see of it and of each other."""
        turn = whole.turn and tuple(part[:, self.start :] for part in whole.turn)
        keys, values = self.keys[layer], self.values[layer]
        return View(whole.bias[:, :, self.start :], keys, values, turn)


def patch_causal(
    stack: CausalStack, runs: Runs, sweep: Sweep, *, max_tokens: int
) -> Iterator[Scored]:
    """Patch every cell of a sweep; gives cells and their scores, [cell, pair].

    Raises
    ------
    VerificationError
        Where the recipient has another score here than in the wrapped model.
    """
    # At once, not when scores are asked for, as this runs the wrapped model
    # (`mechir_edu.patching.engines.suffix.patch_suffix`).
    entered = stack.enter(runs.recipient), stack.enter(runs.donor)
    return _patch(stack, runs, sweep, *entered, max_tokens)


def _patch(
    stack: CausalStack,
    runs: Runs,
    sweep: Sweep,
    recipient: tuple[Stream, list[View]],
    donor: tuple[Stream, list[View]],
    max_tokens: int,
) -> Iterator[Scored]:
    starts = first_edited(runs)
    if runs.given_z is not None:  # of another z every position may be put in
        starts = torch.zeros_like(starts)
    masks, live, dead = masks_behind(runs, sweep, starts)
    yield from unpatched_cells(runs, sweep, dead)
    if not live:
        return
    (x_r, views_r), (x_d, views_d) = recipient, donor
    start = int(starts.min())
    prefix = _run_recipient(stack, runs, x_r, views_r, start)
    views_r, views_d = (
        [prefix.view(i, view) for i, view in enumerate(views)] for views in (views_r, views_d)
    )
    rows = _rows_read(stack, runs, start)
    behind = masks[:, :, start:]
    branch = CausalBranch(stack, runs, sweep, views_r, views_d, rows, prefix, behind, live)
    yield from branch.walk(x_r[:, start:], x_d[:, start:], max_tokens)


def _run_recipient(
    stack: CausalStack, runs: Runs, x: Stream, views: list[View], start: int
) -> Prefix:
    """Run the whole recipient once: compare its score with the wrapped model's, keep its prefix."""
    keys, values = [], []
    for layer, view in zip(stack.layers, views, strict=True):
        run = layer.run(x, view)
        keys.append(run.k[:, :, :start].clone())
        values.append(run.v[:, :, :start].clone())
        x = run.resid_post
    final = stack.ln_final(x)
    require_same_score(stack, runs, final)
    return Prefix(start, keys, values, final[:, :start])


def _rows_read(stack: CausalStack, runs: Runs, start: int) -> slice:
    """Rows behind the prefix that the score depends on: all, or from the last that counts on."""
    if stack.ranker.rows != "last":
        return slice(None)
    counts = stack.counts(runs.recipient)
    last = counts.shape[1] - 1 - int(counts.flip(1).argmax(dim=1).max())
    return slice(last - start, None) if last >= start else slice(None)


@dataclass(frozen=True)
class CausalBranch(PreLNBranch):
    """One batch's patched runs behind its prefix.

    Attributes
    ----------
    prefix : what all runs share.
    behind : positions that each patch touches, [mask, pair, row].
    live : indices of the masks that touch any.
    """

    stack: CausalStack
    prefix: Prefix
    behind: Masks
    live: list[int]

    @cached_property
    def masks(self) -> Masks:  # noqa: D102
        return self.behind

    @property
    def chosen(self) -> list[int]:  # noqa: D102
        return self.live

    @cached_property
    def counts(self) -> Int[Tensor, "pair row"]:
        """Rows that a score may read, of those that `read` gives."""
        counts = self.stack.counts(self.runs.recipient)
        return counts if self.reads_prefix else counts[:, self.prefix.start :][:, self.rows]

    @property
    def reads_prefix(self) -> bool:
        """Whether the score may depend on what stands before the first edited position."""
        return self.rows == slice(None)

    def read(self, x: Stream) -> Tensor:
        """Final hidden states: of the rows that are read, or of all positions."""
        final = self.stack.ln_final(x)
        if not self.reads_prefix:
            return final
        before = self.prefix.final
        return torch.cat([before.repeat(len(final) // len(before), 1, 1), final], dim=1)
