"""How much memory patching may take: tokens stacked in one pass, pairs whose scores are held."""

import math
import re
from typing import Any

import numpy as np

from mechir_edu.rankers.base import Ranker

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
MOST = 10**18  # bytes
FLOAT = 4  # bytes
HELD = 16  # passes of an encoder whose final hidden states wait for the decoder
SHARD_SIZE = 16  # pairs that a long run holds at once, and loses when it is killed


def parse_bytes(text: str) -> int:
    """Read an amount of memory such as "800MB" or "1.5 GB" (powers of ten), in bytes.

    Raises
    ------
    ValueError
        For anything else, or an amount below one byte or above any machine's.

    Examples
    --------
    >>> parse_bytes("1.5GB")
    1500000000
    """
    amount = r"(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]?)B?"
    parts = re.fullmatch(amount, text.strip(), re.IGNORECASE | re.ASCII)
    n_bytes = int(float(parts[1]) * UNITS[parts[2].upper()]) if parts else 0
    if not 1 <= n_bytes <= MOST:
        raise ValueError(
            f'needed an amount of memory such as "800MB" or "1.5GB", got {text[:40]!r}'
        )
    return n_bytes


def require_budget(memory: Any) -> None:
    """Refuse a budget that is no number of bytes.

    Raises
    ------
    TypeError, ValueError
        For another type, or a number that is below 1 or no finite one.
    """
    if memory is None:
        return
    is_number = isinstance(memory, int | float | np.number) and not isinstance(memory, bool)
    if not is_number:
        raise TypeError(f"memory needs a number of bytes, such as 800_000_000, got {memory!r}")
    if not 1 <= memory < math.inf:
        raise ValueError(f"memory needs at least 1 byte, and a finite number of them, got {memory}")


def bytes_per_token(ranker: Ranker) -> int:
    """Estimate what one token takes while a patched run passes through a layer, at full length.

    Two copies of the MLP's inner activation, eight of the stream (residual, q, k, v, z and sums),
    and a row of attention scores for each head; of a causal ranker also the keys and values of all
    layers, and of an encoder-decoder the final hidden states that wait for the decoder.
    """
    d_model, d_mlp = _widths(ranker)
    n_numbers = 2 * d_mlp + 8 * d_model + ranker.n_heads * ranker.max_length
    if ranker.family.is_causal(ranker.hf_model.config):
        attention = getattr(ranker.stack.block(ranker.bridge, 0), ranker.stack.attention)
        n_numbers += 2 * ranker.n_layers * attention.k.weight.shape[0]
    if ranker.engine == "encoder-decoder":
        n_numbers += HELD * d_model
    return FLOAT * n_numbers


def bytes_of_weights(ranker: Ranker) -> int:
    """Size of the weights that `mechir_edu.patching.engines.suffix` multiplies beforehand."""
    if not ranker.is_post_ln:
        return 0
    d_model, d_mlp = _widths(ranker)
    return FLOAT * ranker.n_layers * d_model * d_mlp


def tokens_for(budget: int, ranker: Ranker) -> int:
    """Tokens that can be stacked in one pass within a budget, which does not count the model.

    Parameters
    ----------
    budget : bytes.
    ranker : of any kind.

    Raises
    ------
    ValueError
        If not even one sequence of the ranker's full length fits; names the least that does.
    """
    require_budget(budget)
    per_token, weights = bytes_per_token(ranker), bytes_of_weights(ranker)
    n_tokens = (int(budget) - weights) // per_token
    if n_tokens < ranker.max_length:
        least = math.ceil((weights + per_token * ranker.max_length) / UNITS["M"])
        raise ValueError(
            f"needed at least {least} MB for one sequence of {ranker.max_length} tokens through "
            f"{ranker.name}, got {budget / UNITS['M']:.3g} MB; allow more memory"
        )
    return n_tokens


def _widths(ranker: Ranker) -> tuple[int, int]:
    """d_model and d_mlp."""
    config = ranker.hf_model.config
    return config.hidden_size, ranker.family.d_mlp(config)
