"""What an axiom is, what it may look at, and how it chooses the words it adds.

Conventions
-----------
All comparisons of words use `mechir_edu.collection.terms`. Draws are seeded per (seed, query_id,
doc_id): a pair stays the same whatever else is drawn.
"""

import bisect
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeVar

from mechir_edu.collection.judged import Judged
from mechir_edu.collection.terms import TermStatistics, surface_terms, terms
from mechir_edu.collection.words import plain
from mechir_edu.perturb.edits import Change, Place

T = TypeVar("T")

# Two words count as equally rare when their idf differs by at most this much (natural log): one
# occurs in at most about 1.4 times as many passages as the other.
SAME_RARITY = 0.35

# What several groups of axioms cite and need, in the words that tables show.
FANG = (
    "Fang, Tao and Zhai, A formal study of information retrieval heuristics, SIGIR 2004; "
    "Diagnostic evaluation of information retrieval models, ACM TOIS 29(2), 2011"
)
HAS_TERM = "the query has a term besides stop words"
HAS_NEUTRAL = "the collection has such a word"


class NotApplicable(ValueError):
    """An axiom's precondition fails for a pair; the message is a fixed phrase for counting."""


def letters_in_threes(word: str) -> int:
    """Guess a word's length in word pieces without a tokenizer: its letters, in threes."""
    return (len(plain(word)) + 2) // 3


@dataclass(frozen=True)
class AxiomContext:
    """What axioms may look at besides the pair.

    Attributes
    ----------
    count : gives the collection's term statistics; called only by axioms that need them.
    seed : the seed of all draws.
    place : ``"end"`` or ``"start"``: where words are inserted, and which of a word's occurrences
        (the last or the first) is replaced. Axioms about the order of words ignore it.
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
    name : the key in `mechir_edu.AXIOMS`.
    statement : what it says, in one line.
    source : where it was published.
    precondition : which pairs it can be applied to; the others are skipped and counted.
    expected_sign : sign of the score change that it predicts; 0 for a control, which predicts
        none.
    apply : makes the edit, or raises `NotApplicable`.
    control : the name of its control; None for a control.
    """

    name: str
    statement: str
    source: str
    precondition: str
    expected_sign: Literal[1, -1, 0]
    apply: Callable[[Judged, AxiomContext], Change] = field(repr=False)
    control: str | None = None


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


def random_query_word(judged: Judged, context: AxiomContext) -> str:
    """Choose one of the query's terms at random, each equally likely."""
    return pick(list(query_words(judged.query).values()), context.draws(judged, "query term"))


def held_query_words(judged: Judged) -> dict[str, str]:
    """List the query's terms that the document holds, as `query_words` does.

    Raises
    ------
    NotApplicable
        If there is none.
    """
    held = set(terms(judged.text))
    words = {stem: word for stem, word in query_words(judged.query).items() if stem in held}
    if not words:
        raise NotApplicable("document holds no query term")
    return words


def neutral_word(like: str, judged: Judged, context: AxiomContext) -> str:
    """Choose a word that has nothing to do with the pair but resembles a given word.

    Parameters
    ----------
    like : the word to resemble in `AxiomContext.length` and in idf (within `SAME_RARITY`). A word
        that fewer than two passages hold counts as one that two passages hold.
    judged : the pair; no word is chosen whose stem is in its query or its document.
    context : supplies vocabulary, seed and length.

    Raises
    ------
    NotApplicable
        If a thousand draws among the words of that rarity find none of that length.
    """
    idfs = context.by_rarity
    rarity = min(context.statistics.idf(terms(like)[0]), idfs[-1][0] if idfs else 0.0)
    first = bisect.bisect_left(idfs, (rarity - SAME_RARITY,))
    last = bisect.bisect_right(idfs, (rarity + SAME_RARITY,))
    taken = {*terms(judged.query), *terms(judged.text)}
    rng = context.draws(judged, "neutral word")
    # Draws rather than a search through all words: with a real tokenizer, lengths cost time.
    for _ in range(1000 if first < last else 0):
        _, stem, word = pick(idfs, rng, first, last)
        if stem not in taken and context.length(word) == context.length(like):
            return word
    raise NotApplicable("no neutral word of this length and rarity")


def pick(items: Sequence[T], rng: random.Random, first: int = 0, last: int | None = None) -> T:
    """Pick one of ``items[first:last]``, each equally likely."""
    # By random() alone, which Python promises to keep the same from version to version.
    return items[first + int(rng.random() * ((len(items) if last is None else last) - first))]
