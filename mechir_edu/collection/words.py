"""Where the words of a text are, in whatever Unicode form it is written.

One word has several spellings in Unicode: "é" is one character or two, marks stand in any order,
and characters that nobody sees (soft hyphens, zero-width spaces and joiners, byte order marks,
marks of direction) may stand anywhere. Tokenizers of the BERT kind read all of them alike. So here
a mark belongs to the word before it (accents, the vowel signs of Hindi, points of Hebrew and
Arabic), what nobody sees is passed over, and two words are compared in the form NFC (`plain`).
Spans always point into the text as it is written.

Numbers keep their points and commas (3.5, 1,000); words keep an inner apostrophe (o'clock).
"""

import re
import unicodedata
from functools import cache
from typing import NamedTuple


def _pattern(word: str) -> str:
    return rf"\d+(?:[.,]\d+)+|{word}(?:['\u2019]{word})*"


# For speed: what is written in ASCII has no marks.
_OF_ASCII = re.compile(_pattern(r"[^\W_]+"))
# Marks that nobody sees either: a joiner of graphemes, and the choice between two shapes of one.
_UNSEEN_MARKS = (0x034F, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
# Unicode has its marks and format characters in these planes only.
_PLANES = (*range(0x20000), *range(0xE0000, 0xE01F0))


class _Characters(NamedTuple):
    word: re.Pattern[str]
    unseen: frozenset[str]


@cache
def _characters() -> _Characters:
    """The pattern of a word with its marks, and every character that is passed over."""
    categories = [(place, unicodedata.category(chr(place))) for place in _PLANES]
    unseen = {place for place, category in categories if category == "Cf"} | {*_UNSEEN_MARKS}
    marks = [place for place, kind in categories if kind[0] == "M" and place not in unseen]
    # Each mark as a span of its own; those that follow on each other are joined for speed.
    spans: list[list[int]] = []
    for mark in marks:
        if spans and spans[-1][1] == mark - 1:
            spans[-1][1] = mark
        else:
            spans.append([mark, mark])
    classed = "".join(f"{chr(first)}-{chr(last)}" for first, last in spans)
    word = re.compile(_pattern(rf"(?:[^\W_]++[{classed}]*+)+"))
    return _Characters(word, frozenset(map(chr, unseen)))


def reduction() -> str:
    """Everything that decides where words are, as a text to tell an older way by."""
    word, unseen = _characters()
    return " ".join(["NFC", word.pattern, *sorted(unseen)])


class Readable(NamedTuple):
    """A text without the characters that nobody sees.

    Attributes
    ----------
    text : what is left, in which `words` finds the words.
    words : the pattern of a word.
    places : of each character left, where it stands in the text as written; None where all are.
    """

    text: str
    words: re.Pattern[str]
    places: list[int] | None


def readable(text: str) -> Readable:
    r"""Pass over what nobody sees in a text.

    Examples
    --------
    >>> seen = readable("co\u00adral")
    >>> seen.text, seen.places
    ('coral', [0, 1, 3, 4, 5])
    """
    if text.isascii():
        return Readable(text, _OF_ASCII, None)
    pattern, unseen = _characters()
    if unseen.isdisjoint(text):
        return Readable(text, pattern, None)
    places = [place for place, character in enumerate(text) if character not in unseen]
    return Readable("".join(text[place] for place in places), pattern, places)


def plain(word: str) -> str:
    r"""Write words in the one form in which they are compared: NFC, nothing unseen.

    Examples
    --------
    >>> plain("re\u0301sume\u0301\u200b") == "résumé"
    True
    """
    return word if word.isascii() else unicodedata.normalize("NFC", readable(word).text)


def is_letters(word: str) -> bool:
    """Whether a word is made of letters, with or without marks."""
    return word.isalpha() or (bool(word) and all(c.isalpha() or _is_mark(c) for c in word))


def stands_alone(text: str, start: int, end: int) -> bool:
    """Whether no word goes on from a span to its left or to its right."""
    unseen = "" if text.isascii() else "".join(_characters().unseen)
    beside = (text[:start].rstrip(unseen)[-1:], text[end:].lstrip(unseen)[:1])
    return not any(c.isalnum() or _is_mark(c) for c in beside if c)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"
