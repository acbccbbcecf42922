"""The longest sequence of tokens that a ranker reads."""

from numbers import Integral
from typing import Any

from transformers import PreTrainedTokenizerBase


def checked_length(
    tokenizer: PreTrainedTokenizerBase, wanted: Any, *, most: int, pair: bool
) -> int:
    """Longest sequence that is read: the caller's, or the checkpoint's own.

    Raises
    ------
    ValueError
        When it is not a whole number, or leaves no room for a text beside the special tokens; when
        the caller's is more than the model has positions for.
    """
    least = tokenizer.num_special_tokens_to_add(pair=pair) + 1 + pair  # a token of each text
    if wanted is not None:
        if not (is_whole(wanted) and least <= wanted <= most):
            raise ValueError(
                f"max_length must be from {least} to {most} for this checkpoint, got {wanted!r}"
            )
        return int(wanted)
    stated = min(tokenizer.model_max_length, most)
    if stated < least:
        raise ValueError(
            f"the checkpoint states that it reads {stated} tokens (model_max_length in "
            f"tokenizer_config.json, or max_seq_length); needed {least} or more: correct the file, "
            "or pass max_length"
        )
    return int(stated)


def is_whole(number: Any) -> bool:
    """Whether something is a whole number, Python's or numpy's; True and False are not."""
    return isinstance(number, Integral) and not isinstance(number, bool)
