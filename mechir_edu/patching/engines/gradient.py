"""Estimate every patch at once, from one gradient: attribution patching.

Around the recipient's run the score is nearly linear in any one activation, so that the score after
a patch is about ::

    recipient's score + < donor's activation - recipient's activation, d score / d activation >

with the gradient taken at the recipient. One forward pass of either side and one backward pass
give this for all layers, heads and positions together, where exact patching runs the model once for
each cell. The idea is Neel Nanda's ("Attribution patching: activation patching at industrial
scale", 2023); Kramár, Lieberum, Shah and Nanda ("AtP*: an efficient and scalable method for
localizing LLM behaviour to components", 2024) say when it fails: where the score has flattened out
at the recipient (a saturated softmax, a tanh at its ceiling) the gradient is close to zero however
much the patch would do. So an estimate of "no effect" is the one to distrust;
`mechir_edu.approximation_error` compares with exact patching, and
`mechir_edu.patching.engines.screening` patches the leading heads exactly.

The estimate adds up: over positions to roles, and over roles to the patch of all positions.
Patching the attention pattern needs no gradient of its own, because z is linear in the pattern:
the patch replaces z by the donor's pattern applied to the recipient's values.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mechir_edu.patching.batches import Batch, Runs
from mechir_edu.patching.engines.hooks import activations, run_hooked
from mechir_edu.patching.engines.suffix import HeadsRun, Kept, LayerRun, PostLNStack, attend
from mechir_edu.patching.sweep import Scored, Sweep
from mechir_edu.rankers.base import Inputs, Ranker

Effects = Float[Tensor, "pair head pos"]  # in score units; one "head" for a whole block
ByLayer = dict[int, Tensor]
STEP = 0.01  # of the way to the donor, to measure a slope


@dataclass(frozen=True)
class Linearised:
    """A batch's scores, and what each position's patch would add to them if they were linear.

    Attributes
    ----------
    recipient, donor : scores of the two runs, [pair].
    effects : for each layer of the sweep, [pair, head, pos]; one "head" for a block site.
    """

    recipient: Float[Tensor, " pair"]
    donor: Float[Tensor, " pair"]
    effects: dict[int, Effects]

    def estimates(self, batch: Batch, sweep: Sweep) -> Iterator[Scored]:
        """Cells and their estimated scores, [cell, pair]; one item for each layer."""
        masks = sweep.masks(batch.roles).to(self.recipient.dtype)
        for layer, effects in self.effects.items():
            heads = sweep.heads_of(layer)
            chosen = effects if heads == [None] else effects[:, heads]
            added = torch.einsum("mbp,bhp->mhb", masks, chosen).flatten(0, 1)
            cells = [(layer, m, head) for m in range(len(masks)) for head in heads]
            yield cells, self.recipient + added


def linearise(model: PostLNStack | Ranker, runs: Runs, sweep: Sweep) -> Linearised:
    """Run both sides, and one backward pass from the recipient's score.

    Parameters
    ----------
    model : the fast stack of a post-LN ranker, or any ranker, whose hooks are then used.
    """
    with torch.enable_grad():
        if isinstance(model, PostLNStack):
            recipient, donor, sites, changes = _through_stack(model, runs, sweep)
        else:
            recipient, donor, sites, changes = _through_hooks(model, runs, sweep)
        # Pairs do not see each other, so the sum's gradient holds each pair's own.
        slopes = torch.autograd.grad(
            recipient.sum(), list(sites.values()), allow_unused=True, materialize_grads=True
        )
    n_pos = 1 if sweep.one_row else runs.batch.n_pos
    effects = {
        layer: (slope * change).sum(dim=-1).reshape(runs.batch.n_pairs, -1, n_pos)
        for (layer, change), slope in zip(changes.items(), slopes, strict=True)
    }
    return Linearised(recipient.detach(), donor.detach(), effects)


@torch.no_grad()
def require_true_slopes(ranker: Ranker, runs: Runs, sweep: Sweep) -> None:
    """Refuse a ranker whose gradient is not the slope of its score, because of someone's hook.

    Raises
    ------
    ValueError
        Naming the layer where they differ.
    """
    linear = linearise(ranker, runs, sweep)
    expected = {i: effects.sum(dim=(1, 2)) for i, effects in linear.effects.items()}
    size = max(slope.abs().max().item() for slope in expected.values())
    rounding = 1e-6 * max(1.0, linear.recipient.abs().max().item()) / STEP
    for layer, slope in expected.items():
        name = ranker.stack.hook_name(sweep.site, layer)
        sides = (runs.recipient, runs.donor)
        own, given = (activations(ranker, side, [name])[name] for side in sides)
        moved = (_moved(step * (given - own)) for step in (STEP, -STEP))
        up, down = (run_hooked(ranker, runs.batch, runs.recipient, [(name, m)])[0] for m in moved)
        apart = ((up - down) / (2 * STEP) - slope).abs().max().item()
        if not apart <= 0.05 * size + 2 * rounding:
            raise ValueError(
                f"behind {sweep.site} of layer {layer} the gradient is not the slope of the score "
                f"({apart:.2g} apart): a hook cuts or changes it; use method='exact'"
            )


def _moved(by: Tensor) -> Any:
    return lambda activation, hook: activation + by


def _through_stack(
    stack: PostLNStack, runs: Runs, sweep: Sweep
) -> tuple[Tensor, Tensor, ByLayer, ByLayer]:
    recipient, donor = runs.recipient, runs.donor
    x_r, x_d = stack.embed(recipient), stack.embed(donor)
    bias_r, bias_d = stack.bias(recipient, x_r), stack.bias(donor, x_d)
    sites: ByLayer = {}
    changes: ByLayer = {}
    of_heads: list[tuple[HeadsRun, HeadsRun]] = []
    for index, layer in enumerate(stack.layers):
        if sweep.heads_of(index) and not sites:
            x_r = x_r.detach().requires_grad_()  # no graph of the layers before the first patch
        run_r, run_d = layer.run(x_r, bias_r), layer.run(x_d, bias_d)
        if sweep.heads_of(index):
            sites[index] = _activation(run_r, sweep.site)
            changes[index] = _given(run_r, run_d, sweep.site, bias_d) - sites[index].detach()
        x_r, x_d = run_r.resid_post, run_d.resid_post
        if stack.room and sweep.site == "head":
            of_heads.append((run_r.of_heads(), run_d.of_heads()))
    if of_heads:
        layers_r, layers_d = zip(*of_heads, strict=True)
        stack.keep(recipient, Kept(layers_r, bias_r))
        stack.keep(donor, Kept(layers_d, bias_d))
    scores = (
        stack.relevance(x, stack.counts(inputs), runs.batch.fixed)
        for x, inputs in ((x_r, recipient), (x_d, donor))
    )
    return *scores, sites, changes


def _activation(run: LayerRun, site: str) -> Tensor:
    # z is linear in the pattern, so z stands for it (see the module).
    return run.z if site == "pattern" else run.at(site)


def _given(run_r: LayerRun, run_d: LayerRun, site: str, bias_d: Tensor | None) -> Tensor:
    if site == "pattern":
        return attend(run_d.q, run_d.k, run_r.v.detach(), bias_d)
    return _activation(run_d, site)


def _through_hooks(
    ranker: Ranker, runs: Runs, sweep: Sweep
) -> tuple[Tensor, Tensor, ByLayer, ByLayer]:
    layers = [layer for layer in range(sweep.n_layers) if sweep.heads_of(layer)]

    def run(inputs: Inputs, *, leaf: bool) -> tuple[Tensor, ByLayer]:
        kept: ByLayer = {}

        def keep(layer: int) -> Any:
            def hook(activation: Tensor, hook: Any) -> Tensor:
                if leaf and not kept:
                    activation = activation.detach().requires_grad_()
                kept[layer] = _heads_outside(activation, sweep.site)
                # Handed back, because what a hook sees of z is a view beside the graph.
                return _heads_outside(kept[layer], sweep.site)

            return hook

        with ranker.bridge.hooks(
            fwd_hooks=[(ranker.stack.hook_name(sweep.site, i), keep(i)) for i in layers]
        ):
            return runs.batch.score(ranker, inputs), kept

    recipient, sites = run(runs.recipient, leaf=True)
    donor, given = run(runs.donor, leaf=False)
    return recipient, donor, sites, {i: given[i] - sites[i].detach() for i in layers}


def _heads_outside(activation: Tensor, site: str) -> Tensor:
    """Swap pos and head where a hook has them as [pair, pos, head, d_head]; its own inverse."""
    return activation.transpose(1, 2) if site in ("head", "q", "k", "v") else activation
