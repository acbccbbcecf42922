"""Patch through the hooks: the reference loop, and a stacked version for any architecture.

Both inject donor activations by a hook at the site. `patch_naive` runs the whole model once for
each cell, as one writes it by hand. `patch_stacked` stacks cells along the batch and lets only the
patched layer and those after it run: blocks before it hand on the recipient's stream. Where a hook
of the user's own is in place, all blocks run, as it may carry something from one to another.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mechir_edu.patching.batches import Batch, Runs, repeat, repeat_fixed
from mechir_edu.patching.rows import Masks
from mechir_edu.patching.sweep import Scored, Sweep
from mechir_edu.rankers.base import Inputs, Ranker


def blend(site: str, recipient: Tensor, donor: Tensor, mask: Tensor, head: int | None) -> Tensor:
    """Recipient's activation with the donor's at the masked positions (of one head).

    ``mask`` is [pair, pos]. A pattern is patched in the rows of the masked (query) positions.
    """
    patched = recipient.clone()
    if head is None:
        patched[mask] = donor[mask]
    elif site == "pattern":  # [pair, head, pos, pos]
        patched[:, head][mask] = donor[:, head][mask]
    else:  # [pair, pos, head, d_head]
        patched[:, :, head][mask] = donor[:, :, head][mask]
    return patched


def patch_naive(ranker: Ranker, runs: Runs, sweep: Sweep) -> Iterator[Scored]:
    """One whole forward pass for each cell; the reference that all else must equal."""
    batch = runs.batch
    masks = sweep.masks(batch.roles)
    for layer in range(sweep.n_layers):
        heads = sweep.heads_of(layer)
        if not heads:
            continue
        given = _donated(ranker, runs, sweep.site, [layer])[layer]
        for head in heads:
            for m, mask in enumerate(masks):
                hook = _injection(sweep.site, given, mask.unsqueeze(0), [head])
                hooks = [(ranker.stack.hook_name(sweep.site, layer), hook)]
                scores = run_hooked(ranker, batch, runs.recipient, hooks)
                yield [(layer, m, head)], scores


def patch_stacked(
    ranker: Ranker, runs: Runs, sweep: Sweep, *, max_tokens: int, skips: bool = True
) -> Iterator[Scored]:
    """Run only the layers from the patch on (or all of them), many cells in one pass.

    A pair none of whose positions is patched has exactly its unpatched (recipient's) score.
    """
    batch, recipient = runs.batch, runs.recipient
    masks = sweep.masks(batch.roles)
    for layer in range(sweep.n_layers):
        cells = [(layer, m, head) for m in range(len(masks)) for head in sweep.heads_of(layer)]
        if not cells:
            continue
        if runs.given_z is None and layer in ranker.stack.constant_layers(sweep.site):
            yield cells, runs.unpatched.expand(len(cells), -1)
            continue
        name, stream = (
            ranker.stack.hook_name(sweep.site, layer),
            ranker.stack.hook_name("resid_pre", layer),
        )
        given = _donated(ranker, runs, sweep.site, [layer])[layer]
        resid = activations(ranker, recipient, [stream])[stream]
        step = max(1, max_tokens // (batch.n_pairs * batch.n_pos))
        for chunk in (cells[i : i + step] for i in range(0, len(cells), step)):
            n, chosen = len(chunk), masks[[mask for _, mask, _ in chunk]]
            inject = _injection(sweep.site, given, chosen, [head for _, _, head in chunk])
            # The blocks before are skipped, so the recipient's stream is put in by hand.
            hooks = [(stream, _replacement(resid.repeat(n, 1, 1)))] if skips else []
            hooks.append((name, inject))
            with skipping(ranker, layer if skips else 0):
                scores = run_hooked(ranker, batch, repeat(recipient, n), hooks, n)
            yield chunk, torch.where(chosen.any(dim=-1), scores, runs.unpatched)


def patch_together(
    ranker: Ranker, runs: Runs, sweep: Sweep, *, skips: bool = True
) -> Iterator[Scored]:
    """Patch all heads of a sweep in one run, from the first of their layers on (or in a whole run).

    Later heads of the set see the stream that the earlier ones changed.
    """
    batch, recipient, heads = runs.batch, runs.recipient, sweep.heads or ()
    layers = sorted({layer for layer, _ in heads})
    first, stream = layers[0], ranker.stack.hook_name("resid_pre", layers[0])
    given = _donated(ranker, runs, sweep.site, layers)
    resid = activations(ranker, recipient, [stream])[stream]
    for m, mask in enumerate(sweep.masks(batch.roles)):
        hooks = [(stream, _replacement(resid))] if skips else []
        hooks += [
            (
                ranker.stack.hook_name(sweep.site, layer),
                _injection(sweep.site, given[layer], mask[None], [head]),
            )
            for layer, head in heads
        ]
        with skipping(ranker, first if skips else 0):
            scores = run_hooked(ranker, batch, recipient, hooks)
        yield [(first, m, None)], torch.where(mask.any(dim=-1), scores, runs.unpatched)


@contextmanager
def skipping(ranker: Ranker, layer: int) -> Iterator[None]:
    """Blocks before ``layer`` hand their input on, untouched, while the context lasts."""
    blocks = [ranker.stack.block(ranker.bridge, i) for i in range(layer)]
    for block in blocks:
        block.skipped = True
    try:
        yield
    finally:
        for block in blocks:
            block.skipped = False


def _donated(ranker: Ranker, runs: Runs, site: str, layers: list[int]) -> dict[int, Tensor]:
    """What is put in at a site of some layers: the donor run's activations, or a given z."""
    if runs.given_z is not None:
        n_pos = runs.batch.n_pos if ranker.stack.has_row_per_token(site) else 1
        shape = (runs.batch.n_pairs, n_pos, ranker.n_heads, -1)
        return {layer: runs.given_z[layer].expand(shape) for layer in layers}
    names = {layer: ranker.stack.hook_name(site, layer) for layer in layers}
    by_name = activations(ranker, runs.donor, list(names.values()))
    return {layer: by_name[name] for layer, name in names.items()}


def activations(ranker: Ranker, inputs: Inputs, names: list[str]) -> dict[str, Tensor]:
    """Run a ranker and copy the activations at the hook points of these names."""
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda activation, hook: kept.update({name: activation.clone()})

    with ranker.bridge.hooks(fwd_hooks=[(name, keep(name)) for name in names]):
        ranker.hidden(inputs)
    return kept


def _replacement(value: Tensor) -> Any:
    return lambda activation, hook: value


def _injection(site: str, donor: Tensor, masks: Masks, heads: list[int | None]) -> Any:
    def inject(activation: Tensor, hook: Any) -> Tensor:
        stacked = activation.unflatten(0, (len(heads), -1))
        patched = [
            blend(site, stacked[i], donor, mask, head)
            for i, (mask, head) in enumerate(zip(masks, heads, strict=True))
        ]
        return torch.cat(patched)

    return inject


def run_hooked(
    ranker: Ranker, batch: Batch, inputs: Inputs, hooks: list, n_cells: int = 1
) -> Tensor:
    """Scores of a batch stacked so many times, with hooks in place, [cell, pair]."""
    with ranker.bridge.hooks(fwd_hooks=hooks):
        hidden = ranker.hidden(inputs)
    fixed = repeat_fixed(batch.fixed, n_cells)
    return ranker.relevance(hidden, ranker.counts(inputs), fixed).unflatten(0, (n_cells, -1))
