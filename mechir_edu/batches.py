"""Pairs of one length, side by side: no padding, so a patched run costs no wasted token."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int8
from torch import Tensor

from mechir_edu.aligned import AlignedPair

if TYPE_CHECKING:
    from mechir_edu.rankers import Ranker
    from mechir_edu.suffix import PostLNStack

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """Aligned pairs of equal length, as inputs of a ranker.

    Attributes
    ----------
    index : where the pairs stand in the whole set, [pair].
    baseline, perturbed : `Ranker.model_inputs` of both versions.
    roles : `mechir_edu.aligned.Role` of each position, [pair, pos].
    fixed : embeddings of the side that does not change, for a bi-encoder, [pair, d_embedding].
    given_z : z of each layer to put in where the donor's would be (ablation), each of a shape that
        expands to [pair, pos, head, d_head]; None patches from the donor run.
    """

    index: np.ndarray
    baseline: Inputs
    perturbed: Inputs
    roles: Int8[Tensor, "pair pos"]
    fixed: Float[Tensor, "pair d_embedding"] | None
    given_z: tuple[Tensor, ...] | None = None

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return self.roles.shape[0]

    @property
    def n_pos(self) -> int:
        """Common length in tokens."""
        return self.roles.shape[1]

    def runs(self, direction: str) -> tuple[Inputs, Inputs]:
        """Recipient's and donor's inputs."""
        pair = (self.baseline, self.perturbed)
        return pair if direction == "perturbed_to_baseline" else pair[::-1]

    def score(self, model: "Ranker | PostLNStack", inputs: Inputs) -> Float[Tensor, " pair"]:
        """Relevance scores of a run of this batch, through the hooks or without them."""
        hidden = model.hidden(inputs)
        seen = inputs["attention_mask"][:, : hidden.shape[1]]
        return model.relevance(hidden, seen, self.fixed)


def repeat(inputs: Inputs, n: int) -> Inputs:
    """Stack n copies of a batch's inputs, copy by copy."""
    return {name: tensor.repeat(n, 1) for name, tensor in inputs.items()}


def make_batches(
    ranker: "Ranker", aligned: Sequence[AlignedPair], *, max_tokens: int
) -> Iterator[Batch]:
    """Group pairs by length, at most ``max_tokens`` tokens (and at least one pair) a batch."""
    by_length = defaultdict(list)
    for index, pair in enumerate(aligned):
        by_length[len(pair.roles)].append(index)
    for n_pos, members in sorted(by_length.items()):
        step = max(1, max_tokens // n_pos)
        for start in range(0, len(members), step):
            yield _make_batch(ranker, aligned, members[start : start + step])


def _make_batch(ranker: "Ranker", aligned: Sequence[AlignedPair], members: list[int]) -> Batch:
    pairs = [aligned[i] for i in members]

    def stack(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(pair, name) for pair in pairs]))

    def inputs(side: str) -> Inputs:
        ids, mask = stack(f"{side}_ids"), stack(f"{side}_mask")
        return ranker.model_inputs(ids, mask, stack("token_type_ids"))

    return Batch(
        index=np.array(members),
        baseline=inputs("baseline"),
        perturbed=inputs("perturbed"),
        roles=stack("roles").to(ranker.device),
        fixed=_embed_fixed(ranker, pairs) if ranker.kind == "dot" else None,
    )


@torch.no_grad()
def _embed_fixed(ranker: "Ranker", pairs: list[AlignedPair]) -> Tensor:
    # The same query stands in many pairs: encode each once.
    unique = {pair.fixed_ids.tobytes(): pair.fixed_ids for pair in pairs}
    embeddings = {
        key: ranker.forward(torch.from_numpy(ids).unsqueeze(0))[0] for key, ids in unique.items()
    }
    return torch.stack([embeddings[pair.fixed_ids.tobytes()] for pair in pairs])
