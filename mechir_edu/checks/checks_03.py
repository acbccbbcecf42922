"""Checks of 03_patch_by_hand: the three runs, recovery, and the loop over heads."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechir_edu.alignment.aligner import align
from mechir_edu.checks._planted import (
    ON_THE_PLANTED,
    planted_ranker,
    trying,
)
from mechir_edu.checks._report import attempt, checker, mistake_in, same
from mechir_edu.patching.activation import patch
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.hook_names import Head

Write = Callable[[Tensor, Tensor, int], object]
PlantedRuns = tuple[Ranker, dict[str, Tensor], dict[str, Tensor]]

TEXT = "Brine keeps a surface wet when it would freeze."
PAIR = Pair("toy", "toy", "why does salt melt ice on roads", TEXT, f"{TEXT} salt", "TFC1", 1)
TO_BASELINE, TO_PERTURBED = "perturbed_to_baseline", "baseline_to_perturbed"


@checker(
    "three runs, and the third differs from the first in one head alone.", trying=ON_THE_PLANTED
)
def check_three_runs(answer: Callable) -> str | None:
    """Check ``three_runs(ranker, recipient, donor, layer, head)``: scores of all three runs."""
    ranker, recipient, donor = _planted_runs()
    heads = _tried_heads(ranker)
    with trying():
        given = [list(attempt(answer, ranker, recipient, donor, *at)) for at in heads]
    if len(given[0]) != 3:
        return f"give three scores, of recipient, donor and patched run; you gave {len(given[0])}."
    scores = np.array([[float(score) for score in runs] for runs in given])
    right, mistakes = _three_runs()
    return mistake_in(scores, right, mistakes, otherwise=_which_run(scores, right, heads))


def _tried_heads(ranker: Ranker) -> list[Head]:
    """Choose heads on which mistakes differ.

    Heads that carry nothing tell a patch of one head from one of its layer, or of a position. The
    aggregating head does all of its work at [CLS], far from the edit; the last one, a distractor,
    has an output in the recipient, so adding to it is not replacing it.
    """
    match, aggregate = min(ranker.planted_heads), max(ranker.planted_heads)
    return [match, (match[0], match[1] + 1), (aggregate[0], 0), aggregate, (0, 2)]


def _which_run(given: np.ndarray, right: np.ndarray, heads: list[Head]) -> str:
    """Say which of the three scores is wrong, and for which head first."""
    wrong = abs(given - right) > 1e-4
    for run, name in enumerate(("recipient's", "donor's")):
        if wrong[:, run].any():
            return f"the {name} score is wrong; it is that of its tokens, with no hook."
    first = int(wrong[:, 2].argmax())
    return (
        f"the patched run's score is wrong for {wrong[:, 2].sum()} of the {len(heads)} heads "
        f"tried, first for layer {heads[first][0]}, head {heads[first][1]}; put the donor's z of "
        "that head in place of the recipient's, at all positions."
    )


@cache
def _three_runs() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """All three scores for each tried head, and what each mistake makes of them."""
    ranker, recipient, donor = planted = _planted_runs()
    low, high = (float(ranker.forward(**tokens)) for tokens in (recipient, donor))
    patched, swapped = _patched_scores(TO_BASELINE), _patched_scores(TO_PERTURBED)

    def runs(third: Callable[[int, int], float]) -> np.ndarray:
        return np.array([[low, high, third(*at)] for at in _tried_heads(ranker)])

    def by_hook(write: Write) -> np.ndarray:
        return runs(lambda layer, head: _patched(planted, layer, head, write))

    right = runs(lambda *at: patched[at])
    return right, {
        "you patched the perturbed run into itself; the third run reads the recipient's "
        "tokens.": runs(lambda *at: high),
        "the third run equals the first; take z from the donor's cache, and let the hook hand it "
        "back.": runs(lambda *at: low),
        "donor and recipient are exchanged in the third run; it reads the recipient's tokens and "
        "takes z from the donor.": runs(lambda *at: swapped[at]),
        "you patched all heads of the layer; z is [batch, pos, head, d_head], choose one.": by_hook(
            put_layer
        ),
        "you patched a position, not a head; z is [batch, pos, head, d_head].": by_hook(
            put_position
        ),
        "you patched the edited position only; take the head's z at all positions.": by_hook(
            put_at_edit
        ),
        "you patched [CLS] only; take the head's z at all positions.": by_hook(put_at_cls),
        "you added the donor's z to the recipient's; put it in its place, with = and not +=.": (
            by_hook(add_head)
        ),
        "you silenced the head; its z should become the donor's, not zero.": by_hook(silence_head),
        "the order is recipient, donor, patched.": right[:, [1, 0, 2]],
        "that is the third run's effect; give its score.": right - [0, 0, low],
        "that is the third run's recovery; give its score.": np.column_stack(
            [right[:, :2], (right[:, 2] - low) / (high - low)]
        ),
    }


@checker("recovery divides the mean effect by the mean change, so no single pair can take over.")
def check_recovery(answer: Callable) -> str | None:
    """Check ``recovery(patched, recipient, donor)``: a ratio of means over the last axis."""
    recipient = np.array([1.0, 2.0, 3.0, 2.0])
    donor = np.array([2.0, 6.0, 2.99, 3.0])
    patched = np.array([[1.5, 3.0, 3.1, 2.4], [1.0, 2.0, 2.9, 2.0]])
    effect, change = patched - recipient, donor - recipient
    mean_effect, mean_change = effect.mean(-1), change.mean()
    right = mean_effect / mean_change
    mistakes = {
        "that is the mean of each pair's ratio; a pair whose score hardly moved then counts more "
        "than all others. Take both means first.": (effect / change).mean(-1),
        "that is the median of each pair's ratio; recovery is a ratio of two means.": np.median(
            effect / change, axis=-1
        ),
        "that is a ratio of medians; recovery is a ratio of two means.": np.median(effect, axis=-1)
        / np.median(change),
        "that is a ratio of sums of absolute values; effects that go the other way have to count "
        "against.": abs(effect).sum(-1) / abs(change).sum(),
        "a bracket is missing above the line: (patched - recipient) is one difference, divided as "
        "a whole.": patched.mean(-1) - recipient.mean() / mean_change,
        "a bracket is missing below the line: divide by (donor - recipient), one "
        "difference.": mean_effect / donor.mean() - recipient.mean(),
        "brackets are missing; divide one difference by the other, (patched - recipient) by "
        "(donor - recipient).": patched.mean(-1)
        - recipient.mean() / donor.mean()
        - recipient.mean(),
        "that is the mean effect; divide it by the mean change.": mean_effect,
        "that is a share upside down; the effect is divided by the change.": mean_change
        / mean_effect,
        "that is a percentage; 1 stands for the whole change.": 100 * right,
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


@checker(
    "your loop gives the numbers of me.patch, and finds the heads that were planted.",
    trying=ON_THE_PLANTED,
)
def check_patch_every_head(answer: Callable) -> str | None:
    """Check ``patch_every_head(ranker, recipient, donor)``: patched scores, [layer, head]."""
    ranker, recipient, donor = _planted_runs()
    with trying():
        given = attempt(answer, ranker, recipient, donor)
    right, mistakes = _loops()
    return mistake_in(given, right, mistakes)


@cache
def _loops() -> tuple[np.ndarray, dict[str, Any]]:
    """Patched scores of all heads, and what each mistake makes of them."""
    ranker, recipient, donor = planted = _planted_runs()
    low, high = (float(ranker.forward(**tokens)) for tokens in (recipient, donor))
    right, swapped = _patched_scores(TO_BASELINE), _patched_scores(TO_PERTURBED)

    def by_hook(write: Write) -> np.ndarray:
        scores = [_patched(planted, layer, head, write) for layer, head in np.ndindex(right.shape)]
        return np.reshape(scores, right.shape)

    mistakes: dict[str, Any] = {
        "you patched the perturbed run into itself; patched runs read the recipient's "
        "tokens.": np.full_like(right, high),
        "nothing was patched; take z from the donor's cache, and let the hook hand it "
        "back.": np.full_like(right, low),
        "donor and recipient are exchanged.": swapped,
        "layers and heads are exchanged; the axes are [layer, head].": right.T,
        "you patched all heads of a layer at once; a run patches one.": by_hook(put_layer),
        "you patched a position, not a head; z is [batch, pos, head, d_head].": by_hook(
            put_position
        ),
        "you patched the edited position only; take a head's z at all positions.": by_hook(
            put_at_edit
        ),
        "you patched [CLS] only; take a head's z at all positions.": by_hook(put_at_cls),
        "you added the donor's z to the recipient's; put it in its place.": by_hook(add_head),
        "you silenced the heads; their z should become the donor's, not zero.": by_hook(
            silence_head
        ),
        "those are effects; hand back the patched scores themselves.": right - low,
        "that is recovery already; hand back the patched scores.": (right - low) / (high - low),
        "that is one score for each layer; patch each head in a run of its own.": right.mean(1),
    }
    for axis, name in enumerate(("layer", "head")):
        first = f"{name} 0 was left out; {name}s are counted from 0."
        last = f"the last {name} was left out; range(n) ends with n - 1 by itself."
        mistakes |= {first: _left_out(right, 0, axis), last: _left_out(right, -1, axis)}
    return right, mistakes


def _left_out(right: np.ndarray, place: int, axis: int) -> Callable[[object], bool]:
    """Make a test for answers that are right but for one layer or head, whatever stands there."""
    rest = np.delete(right, place, axis)

    def is_left_out(given: object) -> bool:
        return any(same(part, rest) for part in (given, np.delete(np.asarray(given), place, axis)))

    return is_left_out


def _planted_runs() -> PlantedRuns:
    """Ranker, and the tokens of the baseline (recipient) and of the perturbed run (donor).

    The ranker is not kept here: it is loaded anew after an answer that changed it.
    """
    ranker = planted_ranker()
    (aligned,) = align([PAIR], ranker.tokenizer, kind=ranker.kind).aligned
    types = aligned.token_type_ids
    return ranker, _tokens(aligned.baseline_ids, types), _tokens(aligned.perturbed_ids, types)


def _tokens(ids: np.ndarray, types: np.ndarray) -> dict[str, Tensor]:
    """Make a batch of one text."""
    batch = {"input_ids": ids, "token_type_ids": types}
    return {name: torch.from_numpy(array)[None] for name, array in batch.items()}


@cache
def _patched_scores(direction: str) -> np.ndarray:
    """Score after each patch by the package, [layer, head]."""
    result = patch(planted_ranker(), [PAIR], direction=direction, progress=False)
    return result.scores[..., 0]


def _patched(planted: PlantedRuns, layer: int, head: int, write: Write) -> float:
    """Score of the recipient's run after ``write(z, z of the donor, head)`` in a layer."""
    ranker, recipient, donor = planted
    name = f"blocks.{layer}.attn.hook_z"
    _, cached = ranker.run_with_cache(**donor, names_filter=name)

    def hook(z: Tensor, hook: object) -> Tensor:
        z = z.clone()
        write(z, cached[name], head)
        return z

    return float(ranker.run_with_hooks(**recipient, fwd_hooks=[(name, hook)]))


# What mistakes write into z [batch, pos, head, d_head], given the donor's.


def put_layer(z: Tensor, given: Tensor, head: int) -> None:
    """Patch all heads."""
    z.copy_(given)


def put_position(z: Tensor, given: Tensor, head: int) -> None:
    """Take the head's number for a position."""
    z[:, head] = given[:, head]


def put_at_edit(z: Tensor, given: Tensor, head: int) -> None:
    """Patch the edited position, the last one before [SEP]."""
    z[:, -2, head] = given[:, -2, head]


def put_at_cls(z: Tensor, given: Tensor, head: int) -> None:
    """Patch the first position."""
    z[:, 0, head] = given[:, 0, head]


def add_head(z: Tensor, given: Tensor, head: int) -> None:
    """Add instead of replacing."""
    z[:, :, head] += given[:, :, head]


def silence_head(z: Tensor, given: Tensor, head: int) -> None:
    """Silence instead of patching."""
    z[:, :, head] = 0
