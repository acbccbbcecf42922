"""Patch a decoder through hooks, and run only what stands behind the first edited token.

A token of a causal model sees those before it alone. So before the first position at which
recipient and donor differ, both runs and every patched run are the same: their keys and values are
computed once for a batch and then only read, and what is patched there has an effect of exactly 0.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache

from mechir_edu.patching.batches import Runs
from mechir_edu.patching.engines.hooks import patch_stacked
from mechir_edu.patching.rows import Masks, Roles
from mechir_edu.patching.sweep import Scored, Sweep
from mechir_edu.rankers.agreement import VerificationError, difference
from mechir_edu.rankers.base import Inputs, Ranker

TOLERANCE = 1e-4  # between whole runs and those behind a prefix, relative to the scores


class SharedPrefix:
    """Keys and values of the first positions, as a cache that is read and never written.

    Parameters
    ----------
    layers : key and value of each layer, [pair, head, pos, d_head].
    """

    is_compileable = False

    def __init__(self, layers: list[tuple[Tensor, Tensor]]) -> None:
        self.layers, self.length = layers, layers[0][0].shape[2]
        self.is_sliding = [False] * len(layers)  # all positions are here; the mask has the window

    def update(
        self, key: Tensor, value: Tensor, layer: int, *args: Any, **options: Any
    ) -> tuple[Tensor, ...]:
        """Put the prefix before new keys and values, for as many copies of the pairs."""
        n = len(key) // len(self.layers[layer][0])
        kept = zip(self.layers[layer], (key, value), strict=True)
        return tuple(torch.cat([old.repeat(n, 1, 1, 1), new], dim=2) for old, new in kept)

    def get_seq_length(self, layer: int = 0) -> int:
        """Positions of the prefix."""
        return self.length

    get_query_offset = get_seq_length

    def get_mask_sizes(self, queries: Any, layer: int = 0) -> tuple[int, int]:
        """Number of keys that queries see, and the position of the first."""
        n = queries if isinstance(queries, int) else len(queries)
        return self.length + n, 0


@dataclass(frozen=True)
class _Chosen(Sweep):
    """A sweep whose masks are given."""

    chosen: Any = None

    def masks(self, roles: Roles) -> Masks:
        return self.chosen


def shares_prefix(ranker: Ranker) -> bool:
    """Whether runs of a ranker may be cut short: it is causal, and nothing intervenes in it."""
    return ranker.intervention is None and ranker.family.is_causal(ranker.hf_model.config)


def first_edited(runs: Runs) -> Int[Tensor, " pair"]:
    """The first position at which recipient and donor differ; their length where none does."""
    differs = [runs.recipient[name] != runs.donor[name] for name in runs.recipient]
    is_edited = torch.stack(differs).any(dim=0)
    nowhere = torch.full_like(is_edited[:, 0], is_edited.shape[1], dtype=torch.long)
    return torch.where(is_edited.any(dim=1), is_edited.long().argmax(dim=1), nowhere)


def masks_behind(
    runs: Runs, sweep: Sweep, starts: Int[Tensor, " pair"]
) -> tuple[Masks, list[int], list[int]]:
    """Positions that each patch touches from a pair's first edited one on, [mask, pair, pos].

    Before it nothing can be patched: both runs are the same there. With the masks come the indices
    of those that touch a position of some pair, and of those that touch none.
    """
    masks = sweep.masks(runs.batch.roles)
    masks = masks & (torch.arange(masks.shape[-1], device=masks.device) >= starts.unsqueeze(1))
    touched = masks.flatten(1).any(dim=1).tolist()
    live = [mask for mask, is_live in enumerate(touched) if is_live]
    return masks, live, sorted({*range(len(masks))} - {*live})


def unpatched_cells(runs: Runs, sweep: Sweep, masks: list[int]) -> Iterator[Scored]:
    """Cells of some masks with the recipient's score, exactly: nothing can be patched there."""
    for layer in range(sweep.n_layers):
        if cells := [(layer, m, head) for m in masks for head in sweep.heads_of(layer)]:
            yield cells, runs.unpatched.expand(len(cells), -1)


def patch_through_hooks(
    ranker: Ranker, runs: Runs, sweep: Sweep, *, max_tokens: int, skips: bool
) -> Iterator[Scored]:
    """`patch_stacked`, behind a shared prefix where there is one.

    A patch at positions before the first edited one gives exactly the recipient's score.

    Raises
    ------
    VerificationError
        Where a run behind the prefix has another score than a whole one.
    """
    starts = first_edited(runs)
    start = min(int(starts.min()), runs.batch.n_pos - 1)
    if not skips or not start or runs.given_z is not None or not shares_prefix(ranker):
        yield from patch_stacked(ranker, runs, sweep, max_tokens=max_tokens, skips=skips)
        return
    masks, live, dead = masks_behind(runs, sweep, starts)
    yield from unpatched_cells(runs, sweep, dead)
    if not live:
        return
    tail, tail_runs = _behind(ranker, runs, start)
    fields = {name: getattr(sweep, name) for name in sweep.__dataclass_fields__}
    chosen = _Chosen(**fields, chosen=masks[live][:, :, start:])
    # A copy of the prefix costs its keys and values, a small part of what a row of the tail costs.
    room = max(1, max_tokens * (masks.shape[-1] - start) // (masks.shape[-1] - start + start // 8))
    for cells, scores in patch_stacked(tail, tail_runs, chosen, max_tokens=room):
        yield [(layer, live[m], head) for layer, m, head in cells], scores


def _behind(ranker: Ranker, runs: Runs, start: int) -> tuple[Ranker, Runs]:
    """The ranker as it runs on the positions from ``start`` on, and the runs as it takes them."""
    cache = DynamicCache()
    before = {name: inputs[:, :start] for name, inputs in runs.recipient.items()}
    model = ranker.hf_model.base_model  # what `Ranker.hidden` runs
    of_prefix = model(**before, past_key_values=cache, use_cache=True)[0]
    prefix = SharedPrefix([(layer.keys, layer.values) for layer in cache.layers])
    counts, n_pairs, tail = ranker.counts(runs.recipient), runs.batch.n_pairs, copy.copy(ranker)

    def hidden(inputs: Inputs) -> Tensor:
        """Final hidden states of all positions, those of the prefix as they were."""
        n = len(inputs["input_ids"]) // n_pairs
        mask = [before["attention_mask"].repeat(n, 1), inputs["attention_mask"]]
        given = {**inputs, "attention_mask": torch.cat(mask, dim=1)}
        of_tail = model(**given, past_key_values=prefix, use_cache=False)[0]
        return torch.cat([of_prefix.repeat(n, 1, 1), of_tail], dim=1)

    tail.hidden = hidden  # type: ignore[method-assign]
    tail.counts = lambda inputs: counts.repeat(  # type: ignore[method-assign]
        len(inputs["input_ids"]) // n_pairs, 1
    )
    recipient, donor = (
        {name: tensor[:, start:] for name, tensor in inputs.items()}
        for inputs in (runs.recipient, runs.donor)
    )
    roles = runs.batch.roles[:, start:]
    batch = replace(runs.batch, baseline=recipient, perturbed=donor, roles=roles)
    apart = difference(batch.score(tail, recipient), runs.unpatched, TOLERANCE)
    if apart is not None and not runs.unpatched.isnan().any():
        raise VerificationError(
            f"a run behind the shared prefix differs from a whole one by {apart:.2g}; this version "
            "of transformers reads caches in another way. Use method='naive'"
        )
    return tail, replace(runs, batch=batch, recipient=recipient, donor=donor)
