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
much the patch would do. So an estimate of "no effect" is the one to distrust; `approximation_error`
compares with exact patching, and `mechir_edu.screening` patches the leading heads exactly.

The estimate adds up: over positions to roles, and over roles to the patch of all positions.
Patching the attention pattern needs no gradient of its own, because z is linear in the pattern:
the patch replaces z by the donor's pattern applied to the recipient's values.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from mechir_edu.batches import Batch, Inputs
from mechir_edu.bridged import Scored
from mechir_edu.results import PatchingResult
from mechir_edu.sites import Sweep, hook_name
from mechir_edu.suffix import LayerRun, PostLNStack, attend

if TYPE_CHECKING:
    from mechir_edu.rankers import Ranker

Effects = Float[Tensor, "pair head pos"]  # in score units; one "head" for a whole block
ByLayer = dict[int, Tensor]


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


def linearise(
    model: "PostLNStack | Ranker", batch: Batch, sweep: Sweep, direction: str
) -> Linearised:
    """Run both sides, and one backward pass from the recipient's score.

    Parameters
    ----------
    model : the fast stack of a post-LN ranker, or any ranker, whose hooks are then used.
    """
    through = _through_stack if isinstance(model, PostLNStack) else _through_hooks
    with torch.enable_grad():
        recipient, donor, sites, changes = through(model, batch, sweep, direction)
        # Pairs do not see each other, so the sum's gradient holds each pair's own.
        slopes = torch.autograd.grad(recipient.sum(), list(sites.values()))
    effects = {
        layer: (slope * change).sum(dim=-1).reshape(batch.n_pairs, -1, batch.n_pos)
        for (layer, change), slope in zip(changes.items(), slopes, strict=True)
    }
    return Linearised(recipient.detach(), donor.detach(), effects)


def _through_stack(
    stack: PostLNStack, batch: Batch, sweep: Sweep, direction: str
) -> tuple[Tensor, Tensor, ByLayer, ByLayer]:
    recipient, donor = batch.runs(direction)
    x_r, x_d = stack.embed(recipient), stack.embed(donor)
    bias_r, bias_d = stack.bias(recipient, x_r), stack.bias(donor, x_d)
    sites, changes = {}, {}
    for index, layer in enumerate(stack.layers):
        if sweep.heads_of(index) and not sites:
            x_r = x_r.detach().requires_grad_()  # no graph of the layers before the first patch
        run_r, run_d = layer.run(x_r, bias_r), layer.run(x_d, bias_d)
        if sweep.heads_of(index):
            sites[index] = _activation(run_r, sweep.site)
            changes[index] = _given(run_r, run_d, sweep.site, bias_d) - sites[index].detach()
        x_r, x_d = run_r.resid_post, run_d.resid_post
    scores = (
        stack.ranker.relevance(x, inputs["attention_mask"], batch.fixed)
        for x, inputs in ((x_r, recipient), (x_d, donor))
    )
    return *scores, sites, changes


def _activation(run: LayerRun, site: str) -> Tensor:
    return run.z if site in ("head", "pattern") else getattr(run, site)


def _given(run_r: LayerRun, run_d: LayerRun, site: str, bias_d: Tensor | None) -> Tensor:
    if site == "pattern":
        return attend(run_d.q, run_d.k, run_r.v.detach(), bias_d)
    return _activation(run_d, site)


def _through_hooks(
    ranker: "Ranker", batch: Batch, sweep: Sweep, direction: str
) -> tuple[Tensor, Tensor, ByLayer, ByLayer]:
    layers = [layer for layer in range(sweep.n_layers) if sweep.heads_of(layer)]

    def run(inputs: Inputs, *, leaf: bool) -> tuple[Tensor, ByLayer]:
        kept = {}

        def keep(layer: int) -> Any:
            def hook(activation: Tensor, hook: Any) -> Tensor:
                if leaf and not kept:
                    activation = activation.detach().requires_grad_()
                kept[layer] = _heads_outside(activation, sweep.site)
                # Handed back, because what a hook sees of z is a view beside the graph.
                return _heads_outside(kept[layer], sweep.site)

            return hook

        with ranker.bridge.hooks(fwd_hooks=[(hook_name(sweep.site, i), keep(i)) for i in layers]):
            return batch.score(ranker, inputs), kept

    inputs_r, inputs_d = batch.runs(direction)
    recipient, sites = run(inputs_r, leaf=True)
    donor, given = run(inputs_d, leaf=False)
    return recipient, donor, sites, {i: given[i] - sites[i].detach() for i in layers}


def _heads_outside(activation: Tensor, site: str) -> Tensor:
    """Swap pos and head where a hook has them as [pair, pos, head, d_head]; its own inverse."""
    return activation.transpose(1, 2) if site in ("head", "q", "k", "v") else activation


@dataclass(frozen=True, eq=False)
class ApproximationError:
    """How far estimated effects are from exact ones, as means over pairs.

    Attributes
    ----------
    pearson, spearman : correlation over cells.
    top_k, overlap : share of the exact ``top_k`` (by absolute effect) that the estimates' hold.
    error : estimated minus exact effect of each cell, [*cell], in score units.
    n_pairs : how many pairs the means are over.
    """

    pearson: float
    spearman: float
    top_k: int
    overlap: float
    error: Float[np.ndarray, "*cell"]
    n_pairs: int

    @property
    def largest(self) -> float:
        """Largest absolute error of a cell, in score units."""
        return float(np.abs(self.error).max())

    @property
    def worst(self) -> tuple[int, ...]:
        """Index of the cell with the largest error."""
        return tuple(
            int(i) for i in np.unravel_index(np.abs(self.error).argmax(), self.error.shape)
        )


def approximation_error(
    estimated: PatchingResult, exact: PatchingResult, *, top_k: int = 10
) -> ApproximationError:
    """Compare a gradient's estimates with exact patching of the same pairs.

    Raises
    ------
    ValueError
        If the results are of different pairs, sites, axes or directions, or by position.
    """
    for name in ("pairs", "site", "axes", "direction"):
        if getattr(estimated, name) != getattr(exact, name):
            raise ValueError(f"needed two results with the same {name}; patch both alike")
    found, true = (result.effect().mean(axis=-1, dtype=np.float64) for result in (estimated, exact))
    leading = [set(np.argsort(-np.abs(effect.ravel()))[:top_k]) for effect in (found, true)]
    return ApproximationError(
        pearson=float(pearsonr(found.ravel(), true.ravel()).statistic),
        spearman=float(spearmanr(found.ravel(), true.ravel()).statistic),
        top_k=top_k,
        overlap=len(set.intersection(*leading)) / len(leading[1]),
        error=found - true,
        n_pairs=len(exact.pairs),
    )
