"""One pair as a ranker reads it: aligned tokens, both scores, and where a head looks."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64

from mechir_edu.alignment.aligned import Role
from mechir_edu.patching.batches import SIDES, make_batches
from mechir_edu.patching.engines.hooks import activations
from mechir_edu.patching.entry import takes_turn
from mechir_edu.patching.numbers import plain_heads
from mechir_edu.patching.options import require_known
from mechir_edu.patching.reading import PairReading
from mechir_edu.patching.scoring import align_for, score_pairs
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.hook_names import require_heads


@dataclass(frozen=True, eq=False)
class PairAttention:
    """Attention of one head in one version of a pair; pass it on to `plots.plot_attention`.

    Attributes
    ----------
    pattern : share of attention [from, to]; rows sum to 1.
    tokens : one label for each position, as the tokenizer writes it.
    edited : True where baseline and perturbed differ.
    """

    pattern: Float[np.ndarray, "pos pos"]
    tokens: tuple[str, ...]
    edited: Bool[np.ndarray, " pos"]


@takes_turn
@torch.no_grad()
def pair_attention(
    ranker: Ranker,
    pair: Pair,
    *,
    layer: int,
    head: int,
    side: str = "perturbed",
    filler: str = "a",
) -> PairAttention:
    """Read a head's pattern in one version of a pair, aligned as `mechir_edu.patch` aligns it.

    Raises
    ------
    ValueError
        If there is no such layer, head or side, or the pair cannot be aligned.
    """
    ((layer, head),) = plain_heads([(layer, head)])
    require_heads([(layer, head)], ranker.n_layers, ranker.n_heads)
    require_known("side", side, SIDES)
    aligned = align_for(ranker, [pair], filler).aligned
    (batch,) = make_batches(ranker, aligned, max_tokens=1)
    name = ranker.stack.hook_name("pattern", layer)
    pattern = activations(ranker, batch.side(side), [name])[name][0, head]
    ids = aligned[0].baseline_ids if side == "baseline" else aligned[0].perturbed_ids
    return PairAttention(pattern.cpu().numpy(), _labels(ranker, ids), aligned[0].roles == Role.EDIT)


@takes_turn
def read_pair(ranker: Ranker, pair: Pair, *, filler: str = "a") -> PairReading:
    """Align and score one pair as `mechir_edu.patch` does.

    Parameters
    ----------
    ranker : of any kind.
    pair : the pair to read. Its baseline is scored with the filler in it, which is what patching
        compares with.
    filler : what stands in the gaps, as for `mechir_edu.align`.

    Raises
    ------
    ValueError
        If the pair cannot be aligned, with the reason.
    """
    aligned = align_for(ranker, [pair], filler)
    scores = score_pairs(ranker, aligned)
    (read,) = aligned.aligned
    return PairReading(
        baseline=_labels(ranker, read.baseline_ids),
        perturbed=_labels(ranker, read.perturbed_ids),
        edited=read.roles == Role.EDIT,
        baseline_score=float(scores.baseline[0]),
        perturbed_score=float(scores.perturbed[0]),
    )


def _labels(ranker: Ranker, ids: Int64[np.ndarray, " pos"]) -> tuple[str, ...]:
    return tuple(ranker.tokenizer.convert_ids_to_tokens(ids.tolist()))
