"""Fill the gap that an edit leaves on the shorter side of a pair.

Activation patching needs both versions of a document to be equally long, so where one has a word
that the other lacks, a *filler* takes its place. The filler is part of the experiment: head maps
agree closely between some fillers and less between others, so a result always names its own.

=========== ====================================================================================
``"pad"``   the padding token with an attention mask of 0: no other token can see it
``"mask"``  the tokenizer's mask token, seen by all
``"neutral"`` everyday words that neither query nor document holds, of exactly the gap's length
a word      that word, repeated and cut to the gap's length in word pieces; ``"a"`` is customary
=========== ====================================================================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

from mechir_edu.collection.terms import terms

# One to five word pieces each in BERT's vocabulary. Content words, so that they are comparable
# with a query term, but without a subject of their own.
NEUTRAL_WORDS = (
    "thing matter item manner instance aspect sort portion "
    "gadget whatnot oddment trinket sundries miscellany paraphernalia knickknack"
).split()


@dataclass(frozen=True)
class Filler:
    """What fills a gap.

    Attributes
    ----------
    name : as the user gave it.
    pieces : token ids that are repeated and cut to length; empty for neutral words.
    attended : False where the attention mask hides the filler.
    words : neutral word -> its token ids, in order of preference.
    """

    name: str
    pieces: tuple[int, ...] = ()
    attended: bool = True
    words: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def fill(self, length: int, texts: Sequence[str] = ()) -> list[int]:
        """Give `length` token ids; neutral words avoid every term of `texts`.

        Raises
        ------
        LookupError
            If no neutral words that are left add up to `length` exactly.
        """
        if self.pieces:
            return list(islice(cycle(self.pieces), length))
        taken = {term for text in texts for term in terms(text)}
        free = (ids for word, ids in self.words.items() if taken.isdisjoint(terms(word)))
        return _exactly(length, list(free))


def make_filler(name: str, tokenizer: Any) -> Filler:
    """Make a filler for a tokenizer.

    Parameters
    ----------
    name : ``"pad"``, ``"mask"``, ``"neutral"``, or any word.
    tokenizer : a fast Hugging Face tokenizer.

    Raises
    ------
    ValueError
        If the tokenizer has no such special token, or splits the word into nothing.
    """
    if name == "neutral":
        return Filler(name, words={word: _pieces(word, tokenizer) for word in NEUTRAL_WORDS})
    if name in ("pad", "mask"):
        return Filler(name, (_special(name, tokenizer),), attended=name != "pad")
    pieces = _pieces(name, tokenizer)
    if not pieces:
        raise ValueError(
            f"filler needs 'pad', 'mask', 'neutral' or a word, got {name!r}, of which the "
            "tokenizer makes no token; 'a' is customary"
        )
    return Filler(name, pieces)


def _special(name: str, tokenizer: Any) -> int:
    token_id = {"pad": tokenizer.pad_token_id, "mask": tokenizer.mask_token_id}[name]
    if token_id is None:
        raise ValueError(
            f"filler={name!r} needs a tokenizer with a {name} token, and this one has none; "
            "take a word, for example filler='a'"
        )
    return token_id


def _pieces(word: str, tokenizer: Any) -> tuple[int, ...]:
    # With a space before it, because byte-level tokenizers give a word different ids inside a text
    # and at its very start.
    return tuple(tokenizer(f" {word}", add_special_tokens=False)["input_ids"])


def _exactly(length: int, words: Sequence[tuple[int, ...]]) -> list[int]:
    """Join words to exactly `length` ids, as few words as possible, earlier ones preferred."""
    best: dict[int, list[tuple[int, ...]]] = {0: []}
    for total in range(1, length + 1):
        ways = [[*best[total - len(w)], w] for w in words if total - len(w) in best]
        if ways:
            best[total] = min(ways, key=len)
    if length not in best:
        raise LookupError(f"no neutral words of {length} word pieces together")
    return [token_id for word in best[length] for token_id in word]
