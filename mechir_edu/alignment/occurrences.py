"""Find every place where a text holds a term, as tokens.

A ranker that has learnt to match query terms should treat an added term like the occurrences that
were there before. To test that, we need the tokens of the *other* occurrences.
"""

import numpy as np
from jaxtyping import Bool

from mechir_edu.alignment.encoding import Pieces
from mechir_edu.collection.terms import term_spans, terms
from mechir_edu.collection.words import stands_alone


def find_occurrences(
    text: str, pieces: Pieces, term: str, spellings: tuple[list[int], ...] = ()
) -> Bool[np.ndarray, " token"]:
    """Mark the tokens of each word that has a term of `term`, or is spelled with the same ids.

    Parameters
    ----------
    text : the text to look in, and `pieces`, its tokens.
    term : one word, or several, of which each counts.
    spellings : token ids that also count as an occurrence, where they make up whole words. They
        find what the stemmer misses: stop words, and words that only the tokenizer takes for equal.

    Examples
    --------
    >>> pieces = Pieces(ids=[4, 5, 6], spans=[(0, 5), (5, 6), (7, 12)])
    >>> find_occurrences("Reefs, coral", pieces, "reef").tolist()
    [True, False, False]
    """
    # held[i] counts the characters before place i that belong to an occurrence, so that a token
    # lies on one exactly where the count rises within its span.
    marks = np.zeros(len(text) + 1, dtype=np.int64)
    for start, end in _same_stem(text, term):
        marks[start + 1 : end + 1] = 1
    held = marks.cumsum()
    is_held = np.array([held[end] > held[start] for start, end in pieces.spans], dtype=bool)
    for start, end in _same_ids(text, pieces, spellings):
        is_held[start:end] = True
    return is_held


def _same_stem(text: str, term: str) -> list[tuple[int, int]]:
    """Character spans of the words that share a term with `term`."""
    wanted = set(terms(term))
    return [span for stem, span in term_spans(text) if stem in wanted]


def _same_ids(text: str, pieces: Pieces, spellings: tuple[list[int], ...]) -> list[tuple[int, int]]:
    """Token spans that hold one of `spellings` as whole words."""
    spans = []
    for ids in filter(None, spellings):
        for start in (i for i, token_id in enumerate(pieces.ids) if token_id == ids[0]):
            end = start + len(ids)
            if pieces.ids[start:end] == ids and _is_word(text, pieces, start, end):
                spans.append((start, end))
    return spans


def _is_word(text: str, pieces: Pieces, start: int, end: int) -> bool:
    before, after = pieces.spans[start][0], pieces.spans[end - 1][1]
    # A byte-level token may hold the space before its word; then any character may precede it.
    opens = before if not text[before : before + 1].isspace() else before + 1
    return stands_alone(text, opens, after)
