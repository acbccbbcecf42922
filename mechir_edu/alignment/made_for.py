"""What an alignment was made for: its token ids mean nothing to a ranker that reads otherwise."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MadeFor:
    """How texts were read when they were aligned.

    Attributes
    ----------
    tokenizer : SHA-256 of all that decides which tokens a text becomes.
    max_length : longest sequence in tokens that was allowed.
    prompts : what was put before every query and every document, and behind every query.
    """

    tokenizer: str
    max_length: int
    prompts: tuple[str, ...]


def made_for(tokenizer: Any, max_length: int, prompts: Sequence[str]) -> MadeFor:
    """Describe how texts are read with a tokenizer, up to a length, with prompts."""
    behind = prompts[2:] if any(prompts[2:]) else ()
    return MadeFor(fingerprint(tokenizer), max_length, (*prompts[:2], *behind))


def fingerprint(tokenizer: Any) -> str:
    """SHA-256 of what a tokenizer does, which its settings for one call have no part in."""
    # The file that the tokenizer would be saved as. How long texts are cut and padded stands first.
    steps = tokenizer.backend_tokenizer.to_str().partition('"added_tokens":')[2]
    has_types = "token_type_ids" in tokenizer.model_input_names
    others = (tokenizer.truncation_side, bool(tokenizer.split_special_tokens), has_types)
    return hashlib.sha256(f"{others}{steps}".encode()).hexdigest()


def require_made_for(pairs: Any, ranker: Any) -> None:
    """Refuse an alignment that a ranker would read as other texts.

    A ranker that reads more tokens than the alignment was allowed is given shorter texts, as
    whoever aligned them wanted.

    Parameters
    ----------
    pairs : an `AlignedPairs`.
    ranker : a ranker of the same kind.

    Raises
    ------
    ValueError
        Saying what differs.
    """
    made = pairs.made_for
    reads = made_for(ranker.tokenizer, ranker.max_length, ranker.prompts)
    if made.tokenizer != reads.tokenizer:
        raise ValueError(
            "pairs were aligned with another tokenizer than the ranker's, so their token ids mean "
            "other words; align them with ranker.tokenizer"
        )
    if made.prompts != reads.prompts:
        raise ValueError(
            f"pairs were aligned with the prompts {made.prompts}, but the ranker reads "
            f"{reads.prompts} before query and document; pass prompts=ranker.prompts to align"
        )
    sequences = [ids for pair in pairs.aligned for ids in (pair.baseline_ids, pair.fixed_ids)]
    longest = max((len(ids) for ids in sequences if ids is not None), default=0)
    if longest > reads.max_length:
        raise ValueError(
            f"pairs were aligned for max_length={made.max_length} and have up to {longest} tokens, "
            f"but the ranker reads {reads.max_length}; pass max_length=ranker.max_length to align"
        )
