"""Reduce text to terms, and count how rare each term is in a collection.

Everything that compares words uses the reduction of this module: queries, documents and document
frequencies alike. That sameness matters more than the details. A query word looked up unstemmed
in a stemmed vocabulary counts as never seen, so it looks rarer than any real term and wins every
contest for "most discriminative".

The reduction is for English: lower case, words and numbers, stop words out, Porter's stemmer. Where
words are, in any script and Unicode form, `mechir_edu.collection.words` says.

Conventions
-----------
A *term* (or *stem*) is the reduced form, a *surface word* is the word as written. *df* is the
number of documents that hold a term at least once; *idf* is in natural-log units, larger is rarer.
"""

import gzip
import hashlib
import json
import math
import os
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from snowballstemmer import stemmer

from mechir_edu.collection.given import checked_text
from mechir_edu.collection.words import is_letters, plain, readable, reduction
from mechir_edu.files import write_whole

_CLITIC = re.compile(r"['\u2019](?:s|d|m|ll|re|ve)$")

# Our own list of English function words, a line or two for each class: determiners, pronouns,
# question words, auxiliaries, conjunctions, prepositions, adverbs, and what is left of
# contractions. Single letters stay in: they carry the meaning of "vitamin c". A published list such
# as SMART's drops them, and content words too ("appreciate", "welcome").
STOP_WORDS = frozenset(
    """
    a an the this that these those such same other another each every either neither both all any
    some no none not nor only own few more most much many less least
    i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his
    himself she her hers herself it its itself they them their theirs themselves one ones
    who whom whose which what when where why how whether
    am is are was were be been being have has had having do does did doing done
    can could may might must shall should will would cannot ought
    and or but if then else than so because as while until since though although unless
    of at by for with without within about against between among into onto through during before
    after above below to from up down in out on off over under upon per via toward towards across
    again further once here there now just also very too quite rather ever yet still already
    don doesn didn isn aren wasn weren hasn haven hadn won wouldn couldn shouldn
    """.split()
)


def surface_terms(text: str) -> list[tuple[str, str]]:
    """List each content word of a text with its term, in order of appearance.

    Parameters
    ----------
    text : any text; English is assumed.

    Returns
    -------
    list of (stem, surface word)
        The surface word is as written, without a possessive ``'s``. Stop words are left out. Words
        that differ in their Unicode form alone have one stem.

    Examples
    --------
    >>> surface_terms("What is Aphasia's cause?")
    [('aphasia', 'Aphasia'), ('caus', 'cause')]
    """
    return [(stem, text[start:end]) for stem, (start, end) in term_spans(text)]


def term_spans(text: str) -> list[tuple[str, tuple[int, int]]]:
    """List each content word of a text as its term and its character span ``[start, end)``.

    As `surface_terms`: in order, without stop words, a possessive ``'s`` not part of the span.

    Examples
    --------
    >>> term_spans("The reef's end")
    [('reef', (4, 8)), ('end', (11, 14))]
    """
    if not isinstance(text, str):
        checked_text(text, "text")
    seen, pattern, at = readable(text)
    words = ((match.start(), _reduce(match.group())) for match in pattern.finditer(seen))
    spans = [(term[0], (start, start + len(term[1]))) for start, term in words if term is not None]
    if at is None:
        return spans
    return [(stem, (at[start], at[end - 1] + 1)) for stem, (start, end) in spans]


def terms(text: str) -> list[str]:
    """Reduce a text to its terms, in order, with repetitions.

    Examples
    --------
    >>> terms("The causes of coral bleaching")
    ['caus', 'coral', 'bleach']
    """
    return [stem for stem, _ in surface_terms(text)]


@lru_cache(maxsize=2**17)
def _reduce(word: str) -> tuple[str, str] | None:
    """Reduce one word to (stem, surface word); None for a stop word."""
    surface = _CLITIC.sub("", word)
    lower = plain(surface).lower().replace("\u2019", "'")
    if lower in STOP_WORDS or lower.endswith("n't"):
        return None
    if len(lower) < 3:  # as in Porter's paper; this implementation stems "s" to nothing
        return lower, surface
    # A stemmer holds the word it works on, so one shared by two threads mixes their words up.
    return stemmer("porter").stemWord(lower), surface


@dataclass(frozen=True)
class TermStatistics:
    """How many documents hold each term.

    Attributes
    ----------
    n_docs : number of documents that were counted (of a sample, its size).
    df : stem -> number of those documents that hold it.
    surface : stem -> its commonest surface word in lower case, in the Unicode form NFC, for stems
        seen in at least two documents and made of letters only (a word seen once is often a
        misspelling).
    """

    n_docs: int
    df: Mapping[str, int]
    surface: Mapping[str, str] = field(default_factory=dict)

    def idf(self, stem: str) -> float:
        """Give the inverse document frequency of a stem, ``log((n_docs + 1) / (df + 0.5))``.

        Always positive, and largest for a stem that no document holds. Natural logarithm.

        Examples
        --------
        >>> statistics = TermStatistics(n_docs=9, df={"coral": 1, "sea": 6})
        >>> statistics.idf("coral") > statistics.idf("sea") > 0
        True
        """
        return math.log((self.n_docs + 1) / (self.df.get(stem, 0) + 0.5))


def count_terms(texts: Iterable[str]) -> TermStatistics:
    """Count document frequencies over texts, reading them once.

    Examples
    --------
    >>> count_terms(["corals bleach", "a coral reef"]).df["coral"]
    2
    """
    n_docs, df, words = 0, Counter[str](), Counter[tuple[str, str]]()
    for text in texts:
        in_text = surface_terms(text)
        n_docs += 1
        df.update({stem for stem, _ in in_text})
        words.update({(stem, plain(word).lower()) for stem, word in in_text})
    # Ascending count, so that the commonest word is written last; ties go to the alphabet.
    ranked = sorted(words, key=lambda pair: (words[pair], pair))
    surface = {stem: word for stem, word in ranked if df[stem] > 1 and is_letters(word)}
    return TermStatistics(n_docs=n_docs, df=dict(df), surface=surface)


def cache_folder() -> Path:
    """Name the folder in which costly results are kept.

    ``MECHIR_EDU_CACHE`` where set, else ``mechir-edu`` under ``XDG_CACHE_HOME`` or ``~/.cache``.
    The folder need not exist yet.
    """
    if own := os.environ.get("MECHIR_EDU_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mechir-edu"


def fingerprint(parts: Iterable[str]) -> str:
    """Digest texts into 16 hexadecimal digits, together with the reduction that is in force."""
    # The stop words and the pattern are part of it: a cache made by an older reduction must miss.
    digest = hashlib.sha256(" ".join([reduction(), *sorted(STOP_WORDS)]).encode())
    for part in parts:
        digest.update(hashlib.sha256(part.encode(errors="surrogatepass")).digest())
    return digest.hexdigest()[:16]


def read_statistics(path: Path) -> TermStatistics | None:
    """Read term statistics from a file, or None where there is no sound one."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return TermStatistics(**json.load(file))
    except (OSError, EOFError, zlib.error, ValueError, TypeError):
        return None  # absent or damaged: the caller counts again


def write_statistics(statistics: TermStatistics, path: Path) -> None:
    """Write term statistics to a file, whole or not at all; warn where that is impossible."""
    record = {"n_docs": statistics.n_docs, "df": statistics.df, "surface": statistics.surface}
    try:
        write_whole(path, gzip.compress(json.dumps(record).encode(), compresslevel=5))
    except OSError as error:
        warnings.warn(
            f"term statistics could not be kept in {path.parent} ({error}); they will be counted "
            "again next time. Set MECHIR_EDU_CACHE to a folder that can be written",
            stacklevel=2,
        )
