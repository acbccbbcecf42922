"""The retrieval axioms, each as one small edit of a document, with a control of its own.

An axiom says how a ranking score should change when a document changes in one way and in no
other. Here each is a function that makes that change. Its *control* makes a change of the same
shape that the axiom says nothing about, at the same place: where the axiom adds a query term,
the control adds a neutral word of about the same length and rarity. Only what an axiom does
beyond its control is about query terms; the rest is about a document having become longer.

Conventions
-----------
All comparisons of words use `mechir_edu.terms`. What is inserted is the query's word as written,
not its stem, with a space between it and its neighbour. Draws are seeded per
(seed, query_id, doc_id): a pair stays the same whatever else is drawn.

To add an axiom, write a function ``(Judged, Setting) -> Change`` that raises `NotApplicable`
where its precondition fails, and list it in `AXIOMS`.
"""

import bisect
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Literal, TypeVar

from mechir_edu.collection import Judged
from mechir_edu.terms import TermStatistics, surface_terms, terms

Place = Literal["end", "start"]
T = TypeVar("T")

# Two words count as equally rare when their idf differs by at most this much (natural log): one
# occurs in at most about 1.4 times as many passages as the other.
SAME_RARITY = 0.35


class NotApplicable(ValueError):
    """An axiom's precondition fails for a pair; the message is a fixed phrase for counting."""


@dataclass(frozen=True)
class Edit:
    """Where two versions of a text differ, as character spans ``[start, end)``.

    What lies before and behind the spans is equal in both versions. The space that goes with an
    inserted word belongs to the span.
    """

    baseline: tuple[int, int]
    perturbed: tuple[int, int]


@dataclass(frozen=True)
class Change:
    """What an axiom makes of a document.

    Attributes
    ----------
    text : the perturbed document.
    edit : where it differs from the baseline.
    term : the word that was added, where the axiom is about one.
    query : the perturbed query, for an axiom that changes the query and leaves the document.
    """

    text: str
    edit: Edit
    term: str | None = None
    query: str | None = None


def letters_in_threes(word: str) -> int:
    """Guess a word's length in word pieces without a tokenizer: its letters, in threes."""
    return (len(word) + 2) // 3


@dataclass(frozen=True)
class Setting:
    """What axioms may look at besides the pair.

    Attributes
    ----------
    count : gives the collection's term statistics; called only by axioms that need them.
    seed : the seed of all draws.
    place : where words are inserted, ``"end"`` or ``"start"`` of the document.
    length : a word's length in word pieces; control words match the axiom's word in it.
    """

    count: Callable[[], TermStatistics]
    seed: int = 0
    place: Place = "end"
    length: Callable[[str], int] = letters_in_threes

    @cached_property
    def statistics(self) -> TermStatistics:
        """Term statistics of the collection, counted at the first use."""
        return self.count()

    @cached_property
    def by_rarity(self) -> list[tuple[float, str, str]]:
        """The collection's vocabulary as (idf, stem, word), commonest first."""
        words = self.statistics.surface.items()
        return sorted((self.statistics.idf(stem), stem, word) for stem, word in words)

    def draws(self, judged: Judged, use: str) -> random.Random:
        """Give the pair's own random numbers; ``use`` keeps two draws for one pair apart."""
        return random.Random(repr((self.seed, judged.query_id, judged.doc_id, use)))


@dataclass(frozen=True)
class Axiom:
    """One retrieval axiom as an edit.

    Attributes
    ----------
    name : the key in `AXIOMS`.
    statement : what it says, in one line.
    source : where it was published.
    precondition : which pairs it can be applied to; the others are skipped and counted.
    expected_sign : sign of the score change that it predicts; 0 for a control, which predicts
        none.
    apply : makes the edit, or raises `NotApplicable`.
    control : the name of its control, a key in `AXIOMS`; None for a control.
    """

    name: str
    statement: str
    source: str
    precondition: str
    expected_sign: Literal[1, -1, 0]
    apply: Callable[[Judged, Setting], Change] = field(repr=False)
    control: str | None = None


def insert(document: str, word: str, place: Place = "end") -> Change:
    """Insert a word at the end or the start of a document, never merging it with a neighbour.

    Examples
    --------
    >>> insert("Coral reefs are home to a quarter of sea life-", "bleaching").text
    'Coral reefs are home to a quarter of sea life- bleaching'
    >>> insert("Reefs.", "coral", "start")
    Change(text='coral Reefs.', edit=Edit(baseline=(0, 0), perturbed=(0, 6)), term='coral', query=None)
    """  # noqa: E501
    if place == "start":
        added = word if document[:1].isspace() else f"{word} "
        return Change(added + document, Edit((0, 0), (0, len(added))), word)
    added = word if document[-1:].isspace() else f" {word}"
    end = len(document)
    return Change(document + added, Edit((end, end), (end, end + len(added))), word)


def query_words(query: str) -> dict[str, str]:
    """List a query's terms in order: stem -> its first surface word.

    Raises
    ------
    NotApplicable
        If the query has no term besides stop words.
    """
    words = dict(reversed(surface_terms(query)))
    if not words:
        raise NotApplicable("query has no usable term")
    return dict(reversed(words.items()))


def random_query_word(judged: Judged, setting: Setting) -> str:
    """Choose one of the query's terms at random, each equally likely."""
    return pick(list(query_words(judged.query).values()), setting.draws(judged, "query term"))


def rarest_query_word(judged: Judged, setting: Setting) -> str:
    """Choose the query's term of highest idf; of equals, the first."""
    words = query_words(judged.query)
    return words[max(words, key=setting.statistics.idf)]


def neutral_word(like: str, judged: Judged, setting: Setting) -> str:
    """Choose a word that has nothing to do with the pair but resembles a given word.

    Parameters
    ----------
    like : the word to resemble in `Setting.length` and in idf (within `SAME_RARITY`). A word that
        the collection has in fewer than two passages counts as one that it has in two.
    judged : the pair; no word is chosen whose stem is in its query or its document.
    setting : supplies vocabulary, seed and length.

    Raises
    ------
    NotApplicable
        If a thousand draws among the words of that rarity find none of that length.
    """
    idfs = setting.by_rarity
    rarity = min(setting.statistics.idf(terms(like)[0]), idfs[-1][0] if idfs else 0.0)
    first = bisect.bisect_left(idfs, (rarity - SAME_RARITY,))
    last = bisect.bisect_right(idfs, (rarity + SAME_RARITY,))
    taken = {*terms(judged.query), *terms(judged.text)}
    rng = setting.draws(judged, "neutral word")
    # Draws rather than a search through all: with a real tokenizer the length is what costs time.
    for _ in range(1000 if first < last else 0):
        _, stem, word = pick(idfs, rng, first, last)
        if stem not in taken and setting.length(word) == setting.length(like):
            return word
    raise NotApplicable("no neutral word of this length and rarity")


def pick(items: Sequence[T], rng: random.Random, first: int = 0, last: int | None = None) -> T:
    """Pick one of ``items[first:last]``, each equally likely."""
    # By random() alone: it is what Python promises to keep the same from version to version.
    return items[first + int(rng.random() * ((len(items) if last is None else last) - first))]


def _adding(choose: Callable[[Judged, Setting], str]) -> Callable[[Judged, Setting], Change]:
    return lambda judged, setting: insert(judged.text, choose(judged, setting), setting.place)


def _adding_neutral(
    choose: Callable[[Judged, Setting], str],
) -> Callable[[Judged, Setting], Change]:
    return _adding(lambda judged, setting: neutral_word(choose(judged, setting), judged, setting))


_FANG = (
    "Fang, Tao and Zhai, A formal study of information retrieval heuristics, SIGIR 2004; "
    "Diagnostic evaluation of information retrieval models, ACM TOIS 29(2), 2011"
)
_PARRY = "as an edit: Parry, Chen, Eickhoff and MacAvaney, MechIR, ECIR 2025"

_TFC1 = Axiom(
    name="TFC1",
    statement="One more occurrence of a query term raises the score.",
    source=f"{_FANG}; {_PARRY}",
    precondition="the query has a term besides stop words",
    expected_sign=1,
    apply=_adding(random_query_word),
    control="TFC1-control",
)
_TDC = Axiom(
    name="TDC",
    statement="One more occurrence of the query's most discriminative term (the one of highest "
    "idf) raises the score, and more than that of a less discriminative one.",
    source=f"{_FANG}; {_PARRY}",
    precondition="the query has a term besides stop words (with only one, the edit is TFC1's)",
    expected_sign=1,
    apply=_adding(rarest_query_word),
    control="TDC-control",
)


def _neutral_control(of: Axiom, choose: Callable[[Judged, Setting], str]) -> Axiom:
    """Describe the control of an axiom that adds one word."""
    return Axiom(
        name=f"{of.name}-control",
        statement=f"A word that has nothing to do with the query, as long and as rare as the one "
        f"that {of.name} adds and at the same place: no prediction.",
        source="this toolkit",
        precondition=f"that of {of.name}, and the collection has such a word",
        expected_sign=0,
        apply=_adding_neutral(choose),
    )


AXIOMS: Mapping[str, Axiom] = MappingProxyType(
    {
        axiom.name: axiom
        for axiom in (
            _TFC1,
            _TDC,
            _neutral_control(_TFC1, random_query_word),
            _neutral_control(_TDC, rarest_query_word),
        )
    }
)
"""The axioms by name, with their controls."""
