"""Where a head looks in one pair: its attention pattern, with the tokens to read it by."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float

from mechir_edu.aligned import Role
from mechir_edu.batches import make_batches
from mechir_edu.bridged import activations
from mechir_edu.perturb import Pair
from mechir_edu.scoring import align_for
from mechir_edu.sites import hook_name

if TYPE_CHECKING:
    from mechir_edu.rankers import Ranker


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


@torch.no_grad()
def pair_attention(
    ranker: "Ranker",
    pair: Pair,
    *,
    layer: int,
    head: int,
    side: Literal["baseline", "perturbed"] = "perturbed",
    filler: str = "a",
) -> PairAttention:
    """Read a head's pattern in one version of a pair, aligned as `mechir_edu.patch` aligns it.

    Raises
    ------
    ValueError
        If there is no such layer or head, or the pair cannot be aligned.
    """
    if not (0 <= layer < ranker.n_layers and 0 <= head < ranker.n_heads):
        raise ValueError(
            f"needed a layer below {ranker.n_layers} and a head below {ranker.n_heads}, got layer "
            f"{layer}, head {head}"
        )
    aligned = align_for(ranker, [pair], filler).aligned
    (batch,) = make_batches(ranker, aligned, max_tokens=1)
    name = hook_name("pattern", layer)
    pattern = activations(ranker, getattr(batch, side), [name])[name][0, head]
    ids = getattr(aligned[0], f"{side}_ids")
    return PairAttention(
        pattern=pattern.cpu().numpy(),
        tokens=tuple(ranker.tokenizer.convert_ids_to_tokens(ids.tolist())),
        edited=aligned[0].roles == Role.EDIT,
    )
