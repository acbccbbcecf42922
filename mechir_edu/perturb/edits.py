"""Change a text in one place and say where: insert words, replace a word, exchange two words.

Conventions
-----------
A *span* is ``[start, end)`` in characters. Words never merge with their neighbours: what is
inserted comes with a space, and a replacement keeps the characters around it.
"""

from dataclasses import dataclass
from typing import Literal

Place = Literal["end", "start"]
Span = tuple[int, int]


@dataclass(frozen=True)
class Edit:
    """Where two versions of a text differ, as character spans ``[start, end)``.

    The text before and after the spans is equal in both versions. The space that goes with an
    inserted word belongs to the span; so does the text between two words that change places.
    """

    baseline: Span
    perturbed: Span


@dataclass(frozen=True)
class Change:
    """What an axiom makes of a document.

    Attributes
    ----------
    text : the perturbed document.
    edit : where it differs from the baseline.
    term : the word that was added or moved, where the axiom is about one.
    query : the perturbed query, for an axiom that changes the query and leaves the document.
    """

    text: str
    edit: Edit
    term: str | None = None
    query: str | None = None


def insert(document: str, words: str, place: Place = "end", *, term: str | None = None) -> Change:
    """Insert words at the end or the start of a document, never merging them with a neighbour.

    Parameters
    ----------
    document, words : the text, and the words to insert into it.
    place : ``"end"`` or ``"start"``.
    term : what to call the words in ``Change.term``; themselves when omitted.

    Examples
    --------
    >>> insert("Coral reefs are home to a quarter of sea life-", "bleaching").text
    'Coral reefs are home to a quarter of sea life- bleaching'
    >>> change = insert("Reefs.", "coral", "start")
    >>> change.text, change.edit
    ('coral Reefs.', Edit(baseline=(0, 0), perturbed=(0, 6)))
    """
    term = words if term is None else term
    if place == "start":
        added = words if document[:1].isspace() else f"{words} "
        return Change(added + document, Edit((0, 0), (0, len(added))), term)
    added = words if document[-1:].isspace() else f" {words}"
    end = len(document)
    return Change(document + added, Edit((end, end), (end, end + len(added))), term)


def replace(document: str, span: Span, word: str) -> Change:
    """Replace the text at a span by a word.

    Examples
    --------
    >>> change = replace("A reef, here.", (2, 6), "coral")
    >>> change.text, change.edit
    ('A coral, here.', Edit(baseline=(2, 6), perturbed=(2, 7)))
    """
    start, end = span
    text = document[:start] + word + document[end:]
    return Change(text, Edit(span, (start, start + len(word))), word)


def exchange(document: str, first: Span, second: Span) -> Change:
    """Let the words at two spans change places; all between them stays.

    Parameters
    ----------
    first, second : spans that do not overlap, in either order. ``Change.term`` is the word that
        stood at ``second``.

    Examples
    --------
    >>> exchange("Fish love the reef.", (0, 4), (14, 18)).text
    'reef love the Fish.'
    """
    (start, stop), (begin, end) = sorted([first, second])
    swapped = document[begin:end] + document[stop:begin] + document[start:stop]
    text = document[:start] + swapped + document[end:]
    return Change(text, Edit((start, end), (start, end)), document[slice(*second)])
