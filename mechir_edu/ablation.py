"""Ablation: what a score loses when heads say nothing, the usual, or something else's.

The same engine as patching, but what is put in for a head's z does not come from the other version
of the document. ``how`` says what does:

``zero``
    Nothing. Simple, but far from anything the model has seen; effects are easily overstated.
``mean``
    The head's mean z over all positions of all the pairs. It takes away what differs between
    texts and leaves what the head always says (Wang et al., Interpretability in the wild, 2023).
``resample``
    The head's z in another pair, drawn with a seed, at the position that lies equally far into
    the text (Chan et al., Causal scrubbing, 2022). Everything about it is usual but the text.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechir_edu.aligned import AlignedPair, AlignedPairs
from mechir_edu.batches import Batch, make_batches
from mechir_edu.bridged import activations, mean_activations
from mechir_edu.patching import as_result, make_job, measure
from mechir_edu.perturb import Pair
from mechir_edu.results import PatchingResult
from mechir_edu.scoring import DIRECTIONS, align_for
from mechir_edu.sites import By, hook_name, make_sweep

if TYPE_CHECKING:
    from mechir_edu.rankers import Ranker

How = Literal["zero", "mean", "resample"]
Side = Literal["baseline", "perturbed"]


@torch.no_grad()
def ablate(
    ranker: "Ranker",
    pairs: Sequence[Pair] | AlignedPairs,
    *,
    how: How = "mean",
    on: Side = "perturbed",
    heads: Sequence[tuple[int, int]] | None = None,
    together: bool = False,
    by: By = None,
    filler: str = "a",
    method: Literal["exact", "naive"] = "exact",
    seed: int = 0,
    memory: int | None = None,
    progress: bool | Callable[[int], object] = True,
) -> PatchingResult:
    """Knock out heads on one version of each document and keep the relevance scores.

    Parameters
    ----------
    ranker, pairs, heads, together, by, filler, method, memory, progress : as in
        `mechir_edu.patch`; method "exact" or "naive".
    how : what is put in for z: "zero", "mean" or "resample".
    on : which version is ablated. Of "perturbed", recovery is the share of the axiom's score
        change that goes with the head.
    seed : of the pairs that are drawn for "resample".

    Returns
    -------
    PatchingResult
        Of site "head"; ``effect()`` is the ablated score minus the score without ablation, and
        ``provenance["ablation"]`` is ``how``.

    Raises
    ------
    ValueError
        For an unknown option, fewer than two pairs to resample from, or what `patch` refuses.
    """
    if how not in ("zero", "mean", "resample") or on not in ("baseline", "perturbed"):
        raise ValueError(
            f'how must be "zero", "mean" or "resample" and on "baseline" or "perturbed", got '
            f"{how!r} and {on!r}"
        )
    if method not in ("exact", "naive"):
        raise ValueError(f'ablation is "exact" or "naive", got method {method!r}')
    sweep = make_sweep(ranker, "head", by, heads, together)
    aligned = align_for(ranker, pairs, filler)
    job = make_job(ranker, sweep, aligned, memory, method, progress)
    if how == "zero":
        nothing = (torch.zeros(1, 1, 1, 1, device=ranker.device),) * ranker.n_layers
        job = replace(job, prepare=lambda batch: replace(batch, given_z=nothing))
    elif how == "mean":
        mean = mean_z(ranker, job.batches, on)
        job = replace(job, prepare=lambda batch: replace(batch, given_z=mean))
    else:
        others = draw_others(len(aligned.aligned), seed)
        job = replace(job, prepare=_resampling(ranker, aligned.aligned, others, on))
    found = measure(job, DIRECTIONS[int(on == "perturbed")], method)
    return as_result(job, aligned, found, method, ablation=how, seed=seed)


def mean_z(ranker: "Ranker", batches: Sequence[Batch], on: Side) -> tuple[Tensor, ...]:
    """Mean z of each layer over the tokens of all pairs, each [1, 1, head, d_head]."""
    names = [hook_name("head", layer) for layer in range(ranker.n_layers)]
    means = mean_activations(ranker, (getattr(batch, on) for batch in batches), names)
    return tuple(means[name][None, None] for name in names)


def draw_others(n_pairs: int, seed: int) -> np.ndarray:
    """Draw for each pair the index of another, each pair once: a shuffled circle."""
    if n_pairs < 2:
        raise ValueError(f"resample needs two pairs or more to draw from, got {n_pairs}")
    order = np.random.default_rng(seed).permutation(n_pairs)
    others = np.empty(n_pairs, dtype=np.int64)
    others[order] = np.roll(order, 1)
    return others


def _resampling(
    ranker: "Ranker", aligned: Sequence[AlignedPair], others: np.ndarray, on: Side
) -> Callable[[Batch], Batch]:
    def stretched(index: int, n_pos: int) -> list[Float[Tensor, "pos head d_head"]]:
        (other,) = make_batches(ranker, [aligned[others[index]]], max_tokens=1)
        # First to first and last to last, so that [CLS] and the final [SEP] meet their like.
        places = torch.linspace(0, other.n_pos - 1, n_pos, device=ranker.device).round().long()
        return [z[0, places] for z in _all_z(ranker, getattr(other, on))]

    def prepare(batch: Batch) -> Batch:
        drawn = [stretched(int(index), batch.n_pos) for index in batch.index]
        return replace(batch, given_z=tuple(map(torch.stack, zip(*drawn, strict=True))))

    return prepare


def _all_z(ranker: "Ranker", inputs: dict[str, Tensor]) -> list[Tensor]:
    names = [hook_name("head", layer) for layer in range(ranker.n_layers)]
    found = activations(ranker, inputs, names)
    return [found[name] for name in names]
