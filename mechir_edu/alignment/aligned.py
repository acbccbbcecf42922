"""Pairs whose two versions are equally long, and what each of their positions is there for."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Int8, Int64

from mechir_edu.alignment.made_for import MadeFor
from mechir_edu.collection.judged import Skipped
from mechir_edu.perturb.pair import Pair


class Role(IntEnum):
    """What a position is there for.

    ``EDIT`` is where baseline and perturbed differ, filled gaps included. ``OCCURRENCE`` is a
    document token of another occurrence of the edited term: the same stem, or the same token ids.
    ``PROMPT`` is text that the ranker wants before query or document, ``END`` what stands behind
    the document and is no `SEP`.
    """

    CLS = 0
    QUERY = 1
    SEP = 2
    DOCUMENT = 3
    EDIT = 4
    OCCURRENCE = 5
    PROMPT = 6
    END = 7


ROLE_NAMES = (
    "[CLS]",
    "query",
    "[SEP]",
    "other document",
    "edited span",
    "other occurrences",
    "prompt",
    "end",
)
N_ROLES = 6  # of a ranker without prompts and ends: the first ones


def role_names(prompts: tuple[str, ...], *, ends: bool = False) -> tuple[str, ...]:
    """Names of the roles that occur under a ranker's prompts, or if it `ends` texts, by `Role`."""
    return ROLE_NAMES if any(prompts) or ends else ROLE_NAMES[:N_ROLES]


# Compared by identity: arrays have no single answer to ==.
@dataclass(frozen=True, eq=False)
class AlignedPair:
    """Both versions of a pair as token sequences of equal length.

    Attributes
    ----------
    pair : what was aligned.
    baseline_ids, perturbed_ids : token ids, special tokens included.
    baseline_mask, perturbed_mask : attention masks, 0 only at a filler that must not be seen.
    token_type_ids : as the tokenizer writes them; 0 throughout where it writes none.
    roles : the `Role` of each position, the same for both versions.
    fixed_ids : for a bi-encoder, the text that does not change, encoded with its special tokens
        (no filler, token types 0); None for a cross-encoder.
    fixed_is_query : True where the document was edited, False where the query was.
    """

    pair: Pair
    baseline_ids: Int64[np.ndarray, " pos"]
    perturbed_ids: Int64[np.ndarray, " pos"]
    baseline_mask: Int64[np.ndarray, " pos"]
    perturbed_mask: Int64[np.ndarray, " pos"]
    token_type_ids: Int64[np.ndarray, " pos"]
    roles: Int8[np.ndarray, " pos"]
    fixed_ids: Int64[np.ndarray, " fixed_pos"] | None
    fixed_is_query: bool


@dataclass(frozen=True)
class AlignedPairs:
    """Pairs ready to be run, and those that could not be aligned.

    Attributes
    ----------
    aligned : in the order of the pairs they were made from.
    skipped : one entry for each pair that is missing from `aligned`, with the reason.
    filler : what fills the gaps.
    kind : of the ranker that they are aligned for, such as ``"dot"``.
    made_for : with which tokenizer, up to which length and with which prompts they were aligned.
    """

    aligned: tuple[AlignedPair, ...]
    skipped: tuple[Skipped, ...]
    filler: str
    kind: str
    made_for: MadeFor
