"""A test collection: queries, passages and relevance judgments, and samples of judged pairs.

Conventions
-----------
*relevance* is the grade that an assessor gave (TREC DL: 3 perfectly relevant, 2 highly relevant,
1 related, 0 irrelevant). A *judged pair* is one query with one passage that has a grade. Nothing
is dropped silently: what a sample could not use is in its list of `Skipped`, with the reason.

Sampling is even over grades, and within a grade even over queries, because a sample in which one
query supplies a fifth of the pairs is a study of that query.
"""

import hashlib
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from mechir_edu.collection import given
from mechir_edu.collection.judged import Judged, Sample, Skipped
from mechir_edu.collection.progress import bar
from mechir_edu.collection.sources import Passages
from mechir_edu.collection.terms import (
    TermStatistics,
    cache_folder,
    count_terms,
    fingerprint,
    read_statistics,
    write_statistics,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Collection:
    """Queries, passages and judgments.

    Attributes
    ----------
    name : the sources it was loaded from, for captions.
    queries : query_id -> text.
    qrels : query_id -> doc_id -> relevance.
    passages : the passage collections, each once.
    """

    name: str
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    passages: tuple[Passages, ...]
    # Term statistics by (at_most, seed): they depend on nothing else, and are asked for often.
    _counted: dict[tuple[int, int], TermStatistics] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for name, check in (("queries", given.checked_text), ("qrels", given.checked_grades)):
            object.__setattr__(self, name, given.checked_by_id(getattr(self, name), name, check))

    def texts(self, doc_ids: Iterable[str]) -> dict[str, str]:
        """Look passages up: doc_id -> text. Passages that are not there are absent.

        Raises
        ------
        TypeError, ValueError
            For ids that are none, a passage that is no text, or one id with two texts.
        """
        wanted = given.checked_ids(doc_ids, "doc_ids")
        texts: dict[str, str] = {}
        for passages in self.passages:
            for doc_id, text in passages.lookup(wanted).items():
                text = given.checked_text(text, f"passage {doc_id!r} of {self.name}")
                if texts.setdefault(doc_id, text) != text:
                    raise ValueError(
                        f"doc_id {doc_id!r} names two different passages in {self.name}; "
                        "load these collections one at a time"
                    )
        return texts

    def grades(self) -> tuple[int, ...]:
        """List the grades that occur in the judgments, highest first."""
        return tuple(sorted({g for docs in self.qrels.values() for g in docs.values()})[::-1])

    def sample(self, n: int, *, seed: int = 0, grades: Iterable[int] | None = None) -> Sample:
        """Draw judged pairs, evenly over grades and, within a grade, evenly over queries.

        Parameters
        ----------
        n : pairs wanted; fewer are returned where the judgments do not supply as many.
        seed : one seed, one sample. A smaller sample is the beginning of a larger one.
        grades : the grades to draw from; all that occur when omitted.

        Returns
        -------
        Sample
            Its ``skipped`` lists every query without judgments, and each judged passage that was
            drawn but is not in the collection.

        Raises
        ------
        ValueError
            If n is not positive or a grade does not occur.
        """
        return Sample(*self.draw(n, lambda judged: judged, seed=seed, grades=grades))

    def draw(
        self,
        n: int,
        use: Callable[[Judged], T | Skipped],
        *,
        seed: int = 0,
        grades: Iterable[int] | None = None,
    ) -> tuple[list[T], list[Skipped]]:
        """Make n things out of judged pairs, drawn as `sample` draws them.

        Parameters
        ----------
        n, seed, grades : as in `sample`.
        use : makes the thing, or returns a `Skipped` to say that this pair is unfit; then the next
            pair of the same grade takes its place.

        Returns
        -------
        made : list of what ``use`` made, the grades taking turns, highest first.
        skipped : list of Skipped.
        """
        seed = given.checked_number(seed, "seed")
        streams = deque(self._stream(grade, seed) for grade in self._wanted(n, grades))
        made: list[T] = []
        skipped = self._unusable_queries()
        while streams and len(made) < n:
            stream = streams.popleft()
            for item in stream:
                result = use(item) if isinstance(item, Judged) else item
                if not isinstance(result, Skipped):
                    made.append(result)
                    streams.append(stream)
                    break
                skipped.append(result)
        return made, skipped

    def statistics(self, *, at_most: int = 1_000_000, seed: int = 0) -> TermStatistics:
        """Count in how many passages each term occurs; from the disk where it was done before.

        The passages are read once, with a progress bar. Of more than ``at_most`` passages a
        random sample of about that size is counted, drawn by ``seed``. The result is kept in
        `mechir_edu.collection.terms.cache_folder`, and by the collection itself.
        """
        at_most = given.checked_number(at_most, "at_most", least=1)
        key = (at_most, given.checked_number(seed, "seed"))
        if key not in self._counted:
            self._counted[key] = self._count(*key)
        return self._counted[key]

    def _count(self, at_most: int, seed: int) -> TermStatistics:
        n_docs = sum(passages.count() for passages in self.passages)
        sampling = f"{n_docs} {at_most} {seed}"
        heads = (passages.head() for passages in self.passages)
        key = fingerprint(itertools.chain([sampling], *heads))
        path = cache_folder() / f"df-{key}.json.gz"
        if kept := read_statistics(path):
            return kept
        every = itertools.chain.from_iterable(self.passages)
        # iter: a bar has a length, so a type checker would peek into it and lose a text.
        texts: Iterator[str] = iter(bar(n_docs, "counting terms", unit="passages", items=every))
        if n_docs > at_most:
            rng, share = random.Random(seed), at_most / n_docs
            texts = (text for text in texts if rng.random() < share)
        statistics = count_terms(texts)
        write_statistics(statistics, path)
        return statistics

    def _wanted(self, n: int, grades: Iterable[int] | None) -> list[int]:
        """Check the request and list the grades to draw from, highest first."""
        if given.checked_number(n, "n") < 1:
            raise ValueError(f"needed a positive number of pairs, got n={n}")
        known = self.grades()
        asked = known if grades is None else given.checked_numbers(grades, "grades")
        wanted = sorted(set(asked))[::-1]
        if unknown := set(wanted) - set(known):
            raise ValueError(
                f"no passage of {self.name} has grade {sorted(unknown)}; it has grades "
                f"{list(known)}"
            )
        return list(wanted)

    def _unusable_queries(self) -> list[Skipped]:
        """List queries without judgments and judgments without a query."""
        unjudged = [q for q in self.queries if not self.qrels.get(q)]
        unasked = [q for q in self.qrels if q not in self.queries]
        return [Skipped(q, "", "query without judgments") for q in unjudged] + [
            Skipped(q, "", "judgments without a query") for q in unasked
        ]

    def _order(self, grade: int, seed: int) -> list[tuple[str, str]]:
        """Put the (query_id, doc_id) of one grade in drawing order."""
        # Every query's first passage comes before any query's second. Ordering by digests rather
        # than by shuffling keeps a pair's place when other queries or grades come or go.
        turns = []
        for query_id in self.qrels.keys() & self.queries.keys():
            docs = [d for d, relevance in self.qrels[query_id].items() if relevance == grade]
            drawn = sorted((_digest(seed, query_id, doc_id), doc_id) for doc_id in docs)
            for turn, (_, doc_id) in enumerate(drawn):
                turns.append((turn, _digest(seed, grade, query_id, turn), query_id, doc_id))
        return [(query_id, doc_id) for *_, query_id, doc_id in sorted(turns)]

    def _stream(self, grade: int, seed: int) -> Iterator[Judged | Skipped]:
        """Yield the pairs of one grade in drawing order, reading passages as they are needed."""
        order = iter(self._order(grade, seed))
        while batch := list(itertools.islice(order, 64)):
            texts = self.texts(doc_id for _, doc_id in batch)
            for query_id, doc_id in batch:
                if doc_id in texts:
                    yield Judged(query_id, doc_id, self.queries[query_id], texts[doc_id], grade)
                else:
                    yield Skipped(query_id, doc_id, "passage not in the collection")


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
