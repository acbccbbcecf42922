"""Pairs of one length, side by side: no padding, so a patched run costs no wasted token."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int8
from torch import Tensor

from mechir_edu.alignment.aligned import AlignedPair
from mechir_edu.rankers.base import Inputs, Ranker

SIDES = ("baseline", "perturbed")


@runtime_checkable
class Encoder(Protocol):
    """What scores a batch: a ranker with its hooks, or a fast engine's copy of it."""

    def hidden(self, inputs: Inputs) -> Tensor:
        """Final hidden states, [pair, pos, d_model] or of position 0 alone."""

    def counts(self, inputs: Inputs) -> Tensor:
        """Rows that a score may read, [pair, pos]."""

    def relevance(
        self, hidden: Tensor, attention_mask: Tensor, fixed: Tensor | None
    ) -> Float[Tensor, " pair"]:
        """Relevance scores from final hidden states and the mask of `counts`."""


@dataclass(frozen=True)
class Batch:
    """Aligned pairs of equal length, as inputs of a ranker.

    Attributes
    ----------
    index : where the pairs stand in the whole set, [pair].
    baseline, perturbed : `Ranker.model_inputs` of both versions.
    roles : `mechir_edu.alignment.aligned.Role` of each position, [pair, pos].
    fixed : what the ranker made of the side that does not change, [pair, ...]; None where it reads
        both sides together.
    """

    index: np.ndarray
    baseline: Inputs
    perturbed: Inputs
    roles: Int8[Tensor, "pair pos"]
    fixed: Float[Tensor, "pair ..."] | None

    @property
    def n_pairs(self) -> int:
        """How many pairs stand side by side."""
        return self.roles.shape[0]

    @property
    def n_pos(self) -> int:
        """Their common length in tokens."""
        return self.roles.shape[1]

    def side(self, name: str) -> Inputs:
        """Inputs of one of the `SIDES`."""
        return self.baseline if name == "baseline" else self.perturbed

    def runs(self, direction: str, unpatched: Float[Tensor, " pair"] | None = None) -> "Runs":
        """Recipient and donor for a direction of patching.

        ``unpatched`` are the recipient's scores, where they are known already.
        """
        donor, recipient = direction.split("_to_")
        if unpatched is None:
            unpatched = torch.full((self.n_pairs,), torch.nan, device=self.roles.device)
        return Runs(self, self.side(recipient), self.side(donor), unpatched)

    def score(self, model: Encoder, inputs: Inputs) -> Float[Tensor, " pair"]:
        """Relevance scores of a run of this batch."""
        hidden = model.hidden(inputs)
        seen = model.counts(inputs)[:, : hidden.shape[1]]
        return model.relevance(hidden, seen, self.fixed)


@dataclass(frozen=True)
class Runs:
    """The two runs of a batch that a patch takes from and puts into.

    Attributes
    ----------
    recipient : inputs of the run that is patched.
    donor : inputs of the run that activations are taken from.
    unpatched : the recipient's scores, [pair]; what a patch that changes nothing must give. NaN
        where they were not measured.
    given_z : z of each layer to put in instead of the donor's (ablation), each of a shape that
        expands to [pair, pos, head, d_head]; None patches from the donor.
    """

    batch: Batch
    recipient: Inputs
    donor: Inputs
    unpatched: Float[Tensor, " pair"]
    given_z: tuple[Tensor, ...] | None = None


def repeat(inputs: Inputs, n: int) -> dict[str, Tensor]:
    """Stack n copies of a batch's inputs, copy by copy."""
    return {name: tensor.repeat(n, 1) for name, tensor in inputs.items()}


def repeat_fixed(fixed: Tensor | None, n: int) -> Tensor | None:
    """Stack n copies of what was made of the side that does not change."""
    return None if fixed is None else fixed.repeat(n, *[1] * (fixed.dim() - 1))


def make_batches(
    ranker: Ranker, aligned: Sequence[AlignedPair], *, max_tokens: int
) -> Iterator[Batch]:
    """Group pairs by length, at most ``max_tokens`` tokens (and at least one pair) a batch.

    Those of a decoder are grouped by where they are edited, too, as what stands before the first
    edited token of a batch is run once.
    """
    by_length = defaultdict(list)
    for index, pair in enumerate(aligned):
        part = _edited_eighth(pair) if ranker.family.is_causal(ranker.hf_model.config) else 0
        by_length[len(pair.roles), part].append(index)
    for (n_pos, _), members in sorted(by_length.items()):
        step = max(1, max_tokens // n_pos)
        for start in range(0, len(members), step):
            yield _make_batch(ranker, aligned, members[start : start + step])


def _make_batch(ranker: Ranker, aligned: Sequence[AlignedPair], members: list[int]) -> Batch:
    pairs = [aligned[i] for i in members]
    types = _stack([pair.token_type_ids for pair in pairs])
    baseline_ids = _stack([pair.baseline_ids for pair in pairs])
    baseline_mask = _stack([pair.baseline_mask for pair in pairs])
    perturbed_ids = _stack([pair.perturbed_ids for pair in pairs])
    perturbed_mask = _stack([pair.perturbed_mask for pair in pairs])
    return Batch(
        index=np.array(members),
        baseline=ranker.model_inputs(baseline_ids, baseline_mask, types),
        perturbed=ranker.model_inputs(perturbed_ids, perturbed_mask, types),
        roles=_stack([pair.roles for pair in pairs]).to(ranker.device),
        fixed=ranker.encode_fixed([pair.fixed_ids for pair in pairs]),
    )


def _edited_eighth(pair: AlignedPair) -> int:
    """In which eighth of a text the two versions begin to differ."""
    is_other_id = pair.baseline_ids != pair.perturbed_ids
    is_edited = is_other_id | (pair.baseline_mask != pair.perturbed_mask)
    return 8 * int(is_edited.argmax()) // len(is_edited)


def _stack(arrays: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))
