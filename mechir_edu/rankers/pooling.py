"""Ways to make one vector of a text's final hidden states, by sentence-transformers' names."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Hidden = Float[Tensor, "pair pos d_model"]
Mask = Int[Tensor, "pair _"]  # may be longer: some scores need the hidden state of position 0 only
Embedding = Float[Tensor, "pair d_embedding"]
RowsRead = Literal["first", "last", "all"]  # which final hidden states a score is made of


def first_token(hidden: Hidden, mask: Mask) -> Embedding:
    """Take the hidden state of the first position, [CLS]."""
    return hidden[:, 0]


def last_token(hidden: Hidden, mask: Mask) -> Embedding:
    """Take the hidden state of the last real token."""
    last = mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def _weighted_sum(hidden: Hidden, weights: Tensor) -> Embedding:
    return (hidden * weights.to(hidden.dtype).unsqueeze(-1)).sum(dim=1)


def mean_pool(hidden: Hidden, mask: Mask) -> Embedding:
    """Average the hidden states of real tokens."""
    # Padding still has hidden states (attention ignores it as a key, not as a query), so a plain
    # .mean(dim=1) would let the batch's composition change the embedding.
    return _weighted_sum(hidden, mask) / mask.sum(dim=1, keepdim=True)


def mean_sqrt_pool(hidden: Hidden, mask: Mask) -> Embedding:
    """Sum the real tokens and divide by the root of their number."""
    return _weighted_sum(hidden, mask) / mask.sum(dim=1, keepdim=True).sqrt()


def weighted_mean_pool(hidden: Hidden, mask: Mask) -> Embedding:
    """Average with weights that grow with the position (SGPT)."""
    weights = mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return _weighted_sum(hidden, weights) / weights.sum(dim=1, keepdim=True)


def max_pool(hidden: Hidden, mask: Mask) -> Embedding:
    """Take each dimension's maximum over real tokens."""
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)


ROWS: Mapping[str, RowsRead] = {"cls": "first", "lasttoken": "last"}  # "all" for the others
# Names as sentence-transformers writes them.
POOLING: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": first_token,
    "mean": mean_pool,
    "max": max_pool,
    "lasttoken": last_token,
    "mean_sqrt_len_tokens": mean_sqrt_pool,
    "weightedmean": weighted_mean_pool,
}
