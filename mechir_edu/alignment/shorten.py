"""Shorten texts that are too long, at the end where the tokenizer cuts."""

from collections.abc import Sequence
from typing import TypeVar

from mechir_edu.alignment.tokendiff import Chunk

T = TypeVar("T")


def cut(items: Sequence[T], n: int, *, from_left: bool) -> list[T]:
    """Keep the first ``n`` items or, cutting from the left, the last ones."""
    return list(items[max(len(items) - n, 0) :] if from_left else items[:n])


def drop_shared(chunks: Sequence[Chunk], n_tokens: int, *, from_left: bool) -> list[Chunk]:
    """Take `n_tokens` shared tokens away, the last ones first, and leave every edit whole.

    ``from_left`` takes the first ones first.

    Raises
    ------
    ValueError
        If there are not that many shared tokens.
    """
    kept: list[Chunk] = []
    for chunk in chunks if from_left else reversed(chunks):
        n_gone = min(n_tokens, chunk.width) if chunk.same else 0
        n_tokens -= n_gone
        head, tail = (n_gone, 0) if from_left else (0, n_gone)
        (start, end), (other, other_end) = chunk.baseline, chunk.perturbed
        if n_gone < chunk.width:
            spans = (start + head, end - tail), (other + head, other_end - tail)
            kept.append(Chunk(*spans, chunk.same))
    if n_tokens > 0:
        raise ValueError(f"the two sides share {n_tokens} tokens fewer than are to be dropped")
    return kept if from_left else kept[::-1]
