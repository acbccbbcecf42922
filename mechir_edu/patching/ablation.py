"""Ablation: what a score loses when heads say nothing, the usual, or what they say elsewhere.

The same engines as in patching, but what is put in for a head's z does not come from the other
version of the document. ``how`` says where it comes from:

``zero``
    Nothing. Simple, but far from anything the model has seen; effects are easily overstated.
``mean``
    The head's mean z over all positions of all the pairs. It takes away what differs between
    texts and leaves what the head always says (Wang et al., Interpretability in the wild, 2023).
``resample``
    The head's z in another pair, drawn with a seed, at the position that lies equally far into
    the text (Chan et al., Causal scrubbing, 2022). Everything about it is usual but the text.
    With ``among`` the other pair agrees with this one on a stated property, such as whether the
    added word matches the query: if that property is all that the heads know, the score stays.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechir_edu.alignment.aligned import AlignedPair, AlignedPairs
from mechir_edu.collection.given import checked_number
from mechir_edu.collection.progress import Progress
from mechir_edu.patching.activation import as_result, make_job, measure
from mechir_edu.patching.batches import SIDES, Batch, Runs, make_batches
from mechir_edu.patching.engines.hooks import activations
from mechir_edu.patching.engines.means import mean_activations
from mechir_edu.patching.entry import takes_turn
from mechir_edu.patching.options import ChosenDirection, PatchOptions, require_known
from mechir_edu.patching.result import PatchingResult
from mechir_edu.patching.rows import By
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker

HOWS = ("zero", "mean", "resample")


@takes_turn
@torch.no_grad()
def ablate(
    ranker: Ranker,
    pairs: Sequence[Pair] | AlignedPairs,
    *,
    how: str = "mean",
    on: str = "perturbed",
    stack: str | None = None,
    heads: Sequence[tuple[int, int]] | None = None,
    together: bool = False,
    by: By = None,
    filler: str = "a",
    method: str = "exact",
    seed: int = 0,
    among: Callable[[Pair], Hashable] | None = None,
    memory: int | None = None,
    progress: Progress = True,
) -> PatchingResult:
    """Knock out heads on one version of each document and keep the relevance scores.

    Parameters
    ----------
    ranker, pairs, stack, heads, together, by, filler, method, memory, progress : as in
        `mechir_edu.patch`; method "exact" or "naive".
    how : what is put in for z: "zero", "mean" or "resample".
    on : which version is ablated. Of "perturbed", recovery is the share of the axiom's score
        change that goes with the head.
    seed : of the pairs that are drawn for "resample".
    among : with "resample", a function of a pair; the other pair is drawn from those for which it
        gives the same, such as ``lambda pair: pair.axiom`` in a list of TFC1 and its control.

    Returns
    -------
    PatchingResult
        Of site "head"; ``effect()`` is the ablated score minus the score without ablation, and
        ``provenance["ablation"]`` is ``how``.

    Raises
    ------
    ValueError
        For an unknown option, fewer than two pairs to resample from (of each group, with
        ``among``), ``among`` without "resample", or what `patch` refuses.
    """
    seed = checked_number(seed, "seed", least=0)
    require_known("how", how, HOWS)
    require_known("on", on, SIDES)
    require_known("method", method, ("exact", "naive"))
    if among is not None and how != "resample":
        raise ValueError(
            f'among says which pairs to resample from, so it needs how="resample", got {how!r}'
        )
    options = PatchOptions(
        stack=stack,
        by=by,
        heads=heads,
        together=together,
        filler=filler,
        method=method,
        memory=memory,
    )
    job = make_job(options, ranker, pairs, progress)
    ranker = job.ranker
    if how == "zero":
        zero = (torch.zeros(1, 1, 1, 1, device=ranker.device),) * ranker.n_layers
        job = replace(job, prepare=lambda runs: replace(runs, given_z=zero))
    elif how == "mean":
        mean = mean_z(ranker, job.batches, on)
        job = replace(job, prepare=lambda runs: replace(runs, given_z=mean))
    else:
        others = draw_among([pair.pair for pair in job.aligned.aligned], among, seed)
        job = replace(job, prepare=resampling(ranker, job.aligned.aligned, others, on))
    # What is ablated is the recipient; the donor's activations are not used.
    into: ChosenDirection = "perturbed_to_baseline" if on == "baseline" else "baseline_to_perturbed"
    # Of another z every layer is tested, those before the text, too.
    tested = {"constants": []} if job.ranker.stack.title else {}
    return as_result(job, measure(job, into), ablation=how, seed=seed, **tested)


def mean_z(ranker: Ranker, batches: Sequence[Batch], on: str) -> tuple[Tensor, ...]:
    """Mean z of each layer over the tokens of all pairs, each [1, 1, head, d_head]."""
    names = [ranker.stack.hook_name("head", layer) for layer in range(ranker.n_layers)]
    means = mean_activations(ranker, (batch.side(on) for batch in batches), names)
    return tuple(means[name][None, None] for name in names)


def draw_others(n_pairs: int, seed: int) -> np.ndarray:
    """Draw for each pair the index of another, each pair once: a shuffled circle.

    Raises
    ------
    ValueError
        For fewer than two pairs.
    """
    if n_pairs < 2:
        raise ValueError(f"resample needs at least two pairs to draw from, got {n_pairs}")
    order = np.random.default_rng(seed).permutation(n_pairs)
    others = np.empty(n_pairs, dtype=np.int64)
    others[order] = np.roll(order, 1)
    return others


def draw_among(
    pairs: Sequence[Pair], among: Callable[[Pair], Hashable] | None, seed: int
) -> np.ndarray:
    """Draw for each pair the index of another of its group, each pair once (`draw_others`).

    Raises
    ------
    TypeError
        For ``among`` that is no function, or gives what cannot be compared.
    ValueError
        For a group of fewer than two pairs; names it.
    """
    if among is None:
        return draw_others(len(pairs), seed)
    if not callable(among):
        raise TypeError(f"among needs a function of a pair, got {among!r}")
    groups: dict[Hashable, list[int]] = {}
    for index, pair in enumerate(pairs):
        groups.setdefault(among(pair), []).append(index)
    others = np.empty(len(pairs), dtype=np.int64)
    for number, (value, members) in enumerate(groups.items()):
        if len(members) < 2:
            raise ValueError(
                f"resample needs at least two pairs that agree, got {len(members)} for which among "
                f"gives {value!r} (query {pairs[members[0]].query_id}, document "
                f"{pairs[members[0]].doc_id}); give more pairs, or group them more coarsely"
            )
        of_group = np.array(members)
        others[of_group] = of_group[draw_others(len(members), seed + number)]
    return others


def resampling(
    ranker: Ranker, aligned: Sequence[AlignedPair], others: np.ndarray, on: str
) -> Callable[[Runs], Runs]:
    """Put into a batch's runs each pair's z of the other pair that was drawn for it."""

    def stretched(index: int, n_pos: int) -> list[Float[Tensor, "pos head d_head"]]:
        (other,) = make_batches(ranker, [aligned[others[index]]], max_tokens=1)
        # First to first and last to last, so that [CLS] and the final [SEP] meet their like.
        places = torch.linspace(0, other.n_pos - 1, n_pos, device=ranker.device).round().long()
        return [z[0, places if z.shape[1] > 1 else [0]] for z in _all_z(ranker, other.side(on))]

    def prepare(runs: Runs) -> Runs:
        drawn = [stretched(int(index), runs.batch.n_pos) for index in runs.batch.index]
        return replace(runs, given_z=tuple(map(torch.stack, zip(*drawn, strict=True))))

    return prepare


def _all_z(ranker: Ranker, inputs: dict[str, Tensor]) -> list[Tensor]:
    names = [ranker.stack.hook_name("head", layer) for layer in range(ranker.n_layers)]
    by_name = activations(ranker, inputs, names)
    return [by_name[name] for name in names]
