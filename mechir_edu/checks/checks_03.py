"""Checks of 03_patch_by_hand: the three runs, recovery, and the loop over heads."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mechir_edu.alignment.aligner import align
from mechir_edu.checks._report import attempt, checker, mistake_in
from mechir_edu.models import Cat
from mechir_edu.patching.activation import patch
from mechir_edu.perturb.pair import Pair

TEXT = "Brine keeps a surface wet when it would freeze."
PAIR = Pair("toy", "toy", "why does salt melt ice on roads", TEXT, f"{TEXT} salt", "TFC1", 1)
TO_BASELINE, TO_PERTURBED = "perturbed_to_baseline", "baseline_to_perturbed"


@checker("three runs, and the third differs from the first in one head alone.")
def check_three_runs(answer: Callable) -> str | None:
    """Check ``three_runs(ranker, recipient, donor, layer, head)``: scores of all three runs."""
    ranker, recipient, donor = _planted_runs()
    match, aggregate = min(ranker.planted_heads), max(ranker.planted_heads)
    # Heads that carry nothing tell a patch of one head from one of its layer, or of a position.
    # The aggregating head does all of its work at [CLS], far from the edit.
    heads = [match, (match[0], match[1] + 1), (aggregate[0], 0), aggregate]
    given = [attempt(answer, ranker, recipient, donor, *at) for at in heads]
    low, high = (float(ranker.forward(**tokens)) for tokens in (recipient, donor))
    patched, swapped = (_patched_scores(ranker, to) for to in (TO_BASELINE, TO_PERTURBED))

    def runs(third: Callable[[int, int], float]) -> np.ndarray:
        return np.array([[low, high, third(*at)] for at in heads])

    def by_hook(write: Callable[[Tensor, Tensor, int], object]) -> np.ndarray:
        return runs(
            lambda layer, head: _patched(
                ranker, recipient, donor, layer, lambda z, given: write(z, given, head)
            )
        )

    right = runs(lambda *at: patched[at])
    mistakes = {
        "you patched the perturbed run into itself; the third run reads the recipient's "
        "tokens.": runs(lambda *at: high),
        "the third run equals the first; take z from the donor's cache, and let the hook hand it "
        "back.": runs(lambda *at: low),
        "donor and recipient are exchanged in the third run; it reads the recipient's tokens and "
        "takes z from the donor.": runs(lambda *at: swapped[at]),
        "you patched all heads of the layer; z is [batch, pos, head, d_head], choose one.": by_hook(
            lambda z, given, head: z.copy_(given)
        ),
        "you patched a position, not a head; z is [batch, pos, head, d_head].": by_hook(
            lambda z, given, head: z[:, head].copy_(given[:, head])
        ),
        "you patched the edited position only; take the head's z at all positions.": by_hook(
            lambda z, given, head: z[:, -2, head].copy_(given[:, -2, head])
        ),
        "the order is recipient, donor, patched.": right[:, [1, 0, 2]],
    }
    return mistake_in([[float(score) for score in scores] for scores in given], right, mistakes)


@checker("recovery divides the mean effect by the mean change, so no single pair can take over.")
def check_recovery(answer: Callable) -> str | None:
    """Check ``recovery(patched, recipient, donor)``: a ratio of means over the last axis."""
    recipient = np.array([1.0, 2.0, 3.0, 2.0])
    donor = np.array([2.0, 4.0, 2.99, 3.0])
    patched = np.array([[1.5, 3.0, 3.1, 2.4], [1.0, 2.0, 2.9, 2.0]])
    effect, change = patched - recipient, donor - recipient
    mean_effect, mean_change = effect.mean(-1), change.mean()
    right = mean_effect / mean_change
    mistakes = {
        "that is the mean of each pair's ratio; a pair whose score hardly moved then counts more "
        "than all others. Take both means first.": (effect / change).mean(-1),
        "the sign is reversed; the change is donor minus recipient, the effect patched minus "
        "recipient.": -right,
        "take off the recipient's score from the patched one; recovery starts where nothing was "
        "patched.": patched.mean(-1) / mean_change,
        "take off the recipient's score below the line too; 1 means the donor's score.": mean_effect
        / donor.mean(),
        "you measured how far the patched run is from the donor, which is 1 minus recovery.": 1
        - right,
        "keep the sign of each change; one that goes the other way has to count "
        "against.": mean_effect / abs(change).mean(),
        "you took the mean over cells; pairs are the last axis.": effect.mean(0) / mean_change,
        "one number for each cell, please; take means over the last axis, the pairs, "
        "only.": effect.mean() / mean_change,
    }
    return mistake_in(attempt(answer, patched, recipient, donor), right, mistakes)


@checker("your loop gives the numbers of me.patch, and finds the heads that were planted.")
def check_patch_every_head(answer: Callable) -> str | None:
    """Check ``patch_every_head(ranker, recipient, donor)``: patched scores, [layer, head]."""
    ranker, recipient, donor = _planted_runs()
    given = attempt(answer, ranker, recipient, donor)
    low, high = (float(ranker.forward(**tokens)) for tokens in (recipient, donor))
    right, swapped = (_patched_scores(ranker, to) for to in (TO_BASELINE, TO_PERTURBED))
    mistakes = {
        "you patched the perturbed run into itself; patched runs read the recipient's "
        "tokens.": np.full_like(right, high),
        "nothing was patched; take z from the donor's cache, and let the hook hand it "
        "back.": np.full_like(right, low),
        "donor and recipient are exchanged.": swapped,
        "layers and heads are exchanged; the axes are [layer, head].": right.T,
        "you patched all heads of a layer at once; a run patches one.": np.broadcast_to(
            _whole_layers(ranker, recipient, donor)[:, None], right.shape
        ),
        "those are effects; hand back the patched scores themselves.": right - low,
        "that is recovery already; hand back the patched scores.": (right - low) / (high - low),
    }
    return mistake_in(given, right, mistakes)


def _planted_runs() -> tuple[Cat, dict[str, Tensor], dict[str, Tensor]]:
    """Ranker, and the tokens of the baseline (recipient) and of the perturbed run (donor)."""
    ranker = Cat("planted", verify=False, device="cpu")
    (aligned,) = align([PAIR], ranker.tokenizer, kind=ranker.kind).aligned
    types = aligned.token_type_ids
    return ranker, _tokens(aligned.baseline_ids, types), _tokens(aligned.perturbed_ids, types)


def _patched_scores(ranker: Cat, direction: str) -> np.ndarray:
    """Score after each patch by the package, [layer, head]."""
    return patch(ranker, [PAIR], direction=direction, progress=False).scores[..., 0]


def _tokens(ids: np.ndarray, types: np.ndarray) -> dict[str, Tensor]:
    """Make a batch of one text."""
    batch = {"input_ids": ids, "token_type_ids": types}
    return {name: torch.from_numpy(array)[None] for name, array in batch.items()}


def _whole_layers(
    ranker: Cat, recipient: dict[str, Tensor], donor: dict[str, Tensor]
) -> np.ndarray:
    layers = range(ranker.n_layers)
    scores = [_patched(ranker, recipient, donor, layer, Tensor.copy_) for layer in layers]
    return np.array(scores)


def _patched(
    ranker: Cat,
    recipient: dict[str, Tensor],
    donor: dict[str, Tensor],
    layer: int,
    write: Callable[[Tensor, Tensor], object],
) -> float:
    """Score of the recipient's run after `write(z, z of the donor)` in a layer."""
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = ranker.run_with_cache(**donor, names_filter=name)

    def hook(z: Tensor, hook: object) -> Tensor:
        z = z.clone()
        write(z, cache[name])
        return z

    return float(ranker.run_with_hooks(**recipient, fwd_hooks=[(name, hook)]))
