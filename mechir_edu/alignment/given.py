"""Check what `align` is given, before any work starts."""

from typing import Any

from mechir_edu.alignment.encoding import SPECIAL, Template
from mechir_edu.collection.given import checked_kind, checked_text, described
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.checkpoint.lengths import is_whole


def is_tokenizer(thing: Any) -> bool:
    """Whether something is a tokenizer of Hugging Face's, or looks like one."""
    return callable(thing) and hasattr(thing, "is_fast")


def check_given(pairs: Any, tokenizer: Any, filler: Any, prompts: Any) -> list[Pair]:
    """Read the pairs that are to be aligned; check the tokenizer, the filler and the prompts.

    Raises
    ------
    TypeError
        For a thing of the wrong kind, saying what was needed and whether two were exchanged.
    ValueError
        For a tokenizer without character offsets, or its padding token as a word that fills gaps.
    """
    if not is_tokenizer(tokenizer):
        if is_tokenizer(pairs):
            raise TypeError("pairs is a tokenizer; did you exchange pairs and tokenizer?")
        own = getattr(tokenizer, "tokenizer", None)
        hint = "; pass ranker.tokenizer" if is_tokenizer(own) else ""
        raise TypeError(
            f"tokenizer is {described(tokenizer)}; needed a fast tokenizer of transformers{hint}"
        )
    if not tokenizer.is_fast:
        raise ValueError(
            f"alignment needs a fast tokenizer (one with character offsets), got "
            f"{type(tokenizer).__name__}; load it with AutoTokenizer.from_pretrained(...)"
        )
    checked_text(filler, "filler")
    if tokenizer.pad_token and tokenizer.pad_token in filler:
        raise ValueError(
            f"filler={filler!r} would put padding tokens where attention sees them; take "
            "filler='pad', which it does not see, or a word"
        )
    if not isinstance(prompts, tuple | list) or len(prompts) not in (2, 3):
        raise TypeError(
            f"prompts is {described(prompts)}; needed two texts, (before queries, before documents)"
        )
    sides = ("before queries", "before documents", "behind queries")
    for prompt, side in zip(prompts, sides, strict=False):
        checked_text(prompt, f"the prompt {side}")
    return _checked_pairs(pairs)


def _checked_pairs(pairs: Any) -> list[Pair]:
    if hasattr(pairs, "aligned"):
        raise TypeError(f"pairs is {described(pairs)}; they are aligned already")
    hint = ", in a list" if isinstance(pairs, Pair) else ""
    # Text, a dictionary and a table can be gone through, too.
    if not hasattr(pairs, "__iter__") or isinstance(pairs, str | bytes) or hasattr(pairs, "keys"):
        raise TypeError(f"pairs is {described(pairs)}; needed a list of Pair{hint}")
    given = list(pairs)
    for i, pair in enumerate(given):
        checked_kind(pair, Pair, f"pairs[{i}]", "a Pair")
    return given


def check_room(max_length: Any, template: Template) -> None:
    """Check that a maximal length leaves each text room for a token beside the special ones.

    Raises
    ------
    ValueError
        For anything but a whole number that does; names the least.
    """
    least = template.n_special + int((template.slots != SPECIAL).sum())
    if not (is_whole(max_length) and max_length >= least):
        raise ValueError(
            f"max_length is {described(max_length)}; needed a whole number of at least {least}: "
            f"{template.n_special} special tokens, and a token of each text"
        )
