"""What a tokenizer makes of a text: its word pieces, their places, and the template around them.

The special tokens around a query and a document differ between model families (BERT writes
``[CLS] query [SEP] document [SEP]``, RoBERTa ``<s> query </s></s> document </s>``), and so do the
token types. Both are read off the tokenizer's own output once, so that sequences that are put
together from token ids are the ones that the tokenizer itself would have written.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

SPECIAL = -1  # the slot of a part of a template that is a special token


@dataclass(frozen=True)
class Pieces:
    """The word pieces of one text, without special tokens.

    Attributes
    ----------
    ids : token ids.
    spans : character span ``[start, end)`` of each token in the text.
    """

    ids: list[int]
    spans: list[tuple[int, int]]


def split_texts(texts: Iterable[str], tokenizer: Any) -> dict[str, Pieces]:
    """Split each distinct text into word pieces, all of them, however long it is."""
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return {}
    encoded = tokenizer(
        distinct,
        add_special_tokens=False,
        return_offsets_mapping=True,
        truncation=False,
        padding=False,
        verbose=False,
    )
    rows = zip(distinct, encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return {text: Pieces(ids, spans) for text, ids, spans in rows}


@dataclass(frozen=True)
class Template:
    """How a tokenizer surrounds one sequence, or a pair of them, with special tokens.

    A part is one special token or the place of one whole text.

    Attributes
    ----------
    ids : the id of each special token, 0 for a text.
    type_ids : token types.
    slots : 0 or 1 where the first or second text belongs, else `SPECIAL`.
    """

    ids: Int64[np.ndarray, " part"]
    type_ids: Int64[np.ndarray, " part"]
    slots: Int64[np.ndarray, " part"]

    @property
    def n_special(self) -> int:
        """Number of special tokens."""
        return int((self.slots == SPECIAL).sum())

    def surround(
        self, texts: Sequence[np.ndarray], special: Shaped[np.ndarray, "row part"]
    ) -> Shaped[np.ndarray, "row pos"]:
        """Join texts and special tokens, in the template's order.

        Parameters
        ----------
        texts : one array [row, token] for each slot.
        special : what to write for each part that is a special token; its other columns are unread.
        """
        parts = [
            special[:, i : i + 1] if s == SPECIAL else texts[s] for i, s in enumerate(self.slots)
        ]
        return np.concatenate(parts, axis=1)

    def token_types(self, texts: Sequence[np.ndarray]) -> Int64[np.ndarray, " pos"]:
        """Give the token types of the sequence that `surround` makes of the same texts."""
        times = [1 if s == SPECIAL else texts[s].shape[1] for s in self.slots]
        return np.repeat(self.type_ids, times)


def read_template(tokenizer: Any, *, n_sequences: int) -> Template:
    """Read a tokenizer's template off its encoding of a short text, or of a pair of them.

    Raises
    ------
    ValueError
        If the tokenizer makes no token of the letter "a", or does not write each text once.
    """
    probe = tokenizer(*["a"] * n_sequences, truncation=False, padding=False)
    slots = np.array([SPECIAL if s is None else s for s in probe.sequence_ids(0)], dtype=np.int64)
    types = np.array(probe.get("token_type_ids", np.zeros_like(slots)), dtype=np.int64)
    # A text is one part, even if it has several word pieces.
    is_part = np.append(True, (slots[1:] == SPECIAL) | (slots[1:] != slots[:-1]))
    ids = np.where(slots == SPECIAL, np.array(probe["input_ids"], dtype=np.int64), 0)
    if sorted(slots[is_part & (slots != SPECIAL)]) != list(range(n_sequences)):
        raise ValueError(
            f"needed a tokenizer that writes each of {n_sequences} texts once, got "
            f"{probe.tokens(0)} for the letter a as each text"
        )
    return Template(ids[is_part], types[is_part], slots[is_part])
