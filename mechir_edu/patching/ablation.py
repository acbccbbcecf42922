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

import torch

from mechir_edu.alignment.aligned import AlignedPairs
from mechir_edu.collection.given import checked_number
from mechir_edu.collection.progress import Progress
from mechir_edu.patching.activation import as_result, make_job, measure
from mechir_edu.patching.batches import SIDES
from mechir_edu.patching.elsewhere import draw_among, mean_z, resampling
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
        z = torch.zeros(1, 1, 1, 1, device=ranker.device, dtype=ranker.hf_model.dtype)
        zero = (z,) * ranker.n_layers
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
    tested: dict[str, list] = {"constants": []} if job.ranker.stack.title else {}
    return as_result(job, measure(job, into), ablation=how, seed=seed, **tested)
