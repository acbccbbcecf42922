"""Which passages a ranker ranks, and in which order scores put them.

Conventions
-----------
A *run* is what a system returned: query_id -> doc_id -> score, larger is better. Passages of equal
score are ordered by doc_id, descending, as trec_eval orders them, so that a ranking never depends
on the order in which passages were read.
"""

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import ir_datasets

from mechir_edu.collection.collection import Collection
from mechir_edu.collection.formats import read_run_file
from mechir_edu.collection.given import (
    checked_ids,
    checked_kind,
    checked_number,
    checked_text,
    described,
)

Run = Mapping[str, Mapping[str, float | int]]


@runtime_checkable
class Scorer(Protocol):
    """Anything that scores texts for a query: a ranker, one under an intervention, or your own."""

    def score(self, query: str, texts: list[str]) -> Any:
        """Give one number for each text, larger for more relevant."""


def rank(docs: Mapping[str, float | int]) -> list[str]:
    """Put the passages of one query in order, best first.

    Examples
    --------
    >>> rank({"a": 1.0, "b": 2.0, "c": 1.0})
    ['b', 'c', 'a']
    """
    return sorted(sorted(docs, reverse=True), key=docs.__getitem__, reverse=True)


def read_run(source: str | Path, *, depth: int | None = None) -> dict[str, dict[str, float]]:
    """Read a first stage's run: query_id -> doc_id -> score.

    Parameters
    ----------
    source : a file in TREC's six columns (``query_id Q0 doc_id rank score tag``), or an
        ir_datasets id that comes with one (``scoreddocs``).
    depth : keep so many of each query, the best ones; all when omitted.

    Raises
    ------
    FileNotFoundError
        For a source that is neither a file nor a known id.
    ValueError
        For a file with a bad line (`mechir_edu.collection.formats`), an id without a run, or a
        depth that is no number of passages, or for which the run has no scores to cut by (the run
        that MS MARCO publishes has none).
    """
    if depth is not None:
        depth = checked_number(depth, "depth", least=1)
    run = read_run_file(source) if Path(source).exists() else _scored_docs(source)
    return run if depth is None else {q: _best(docs, depth, q) for q, docs in run.items()}


def choose(
    collection: Collection, run: Run | str | Path | None, query_ids: Iterable[str] | None = None
) -> dict[str, list[str]]:
    """List for each query the passages to rank.

    Parameters
    ----------
    collection : the queries, passages and judgments.
    run : None for the passages judged for the query; "pool" for those judged for any query (a
        harder task: all 324 passages of the embedded collection); a run; or what `read_run` reads.
    query_ids : only these; every judged query by default.

    Raises
    ------
    ValueError
        For a query that is not judged, a run that has none of the queries, or a score that is not
        finite.
    """
    queries = judged_queries(collection, query_ids)
    if run is None:
        return {q: list(collection.qrels[q]) for q in queries}
    if isinstance(run, str) and run == "pool":
        pool = sorted({doc_id for docs in collection.qrels.values() for doc_id in docs})
        return dict.fromkeys(queries, pool)
    run = run if isinstance(run, Mapping) else read_run(run)
    require_run(run, queries, collection.name)
    return {q: list(run.get(q, ())) for q in queries}


def require_run(run: Run, queries: Sequence[str], name: str) -> None:
    """Refuse a run that is not one, or that is of other queries.

    Parameters
    ----------
    run : query_id -> doc_id -> score.
    queries : the queries that are asked for; the run may lack some of them.
    name : of their collection.

    Raises
    ------
    TypeError
        If it is not a dictionary by query and passage id.
    ValueError
        If it has none of the queries, or a score that is not finite.
    """
    checked_kind(run, Mapping, "run", "query_id -> doc_id -> score")
    if not any(q in run for q in queries):
        raise ValueError(
            f"needed a run for {name}, got one of {len(run)} queries with none of its "
            f"{len(queries)}; its ids are such as {queries[0]!r}, the run's such as "
            f"{next(iter(run), None)!r}"
        )
    for query_id in filter(run.__contains__, queries):
        docs, place = run[query_id], f"run[{query_id!r}]"
        checked_kind(docs, Mapping, place, "doc_id -> score")
        for doc_id, score in docs.items():
            checked_kind(doc_id, str, f"an id of {place}", "a str")
            checked_text(doc_id, f"an id of {place}")
            if isinstance(score, bool) or not isinstance(score, numbers.Real):
                raise TypeError(f"{place}[{doc_id!r}] is {described(score)}; needed a number")
            if not math.isfinite(score):
                raise ValueError(f"{place}[{doc_id!r}] is {score}; needed a finite score")


def judged_queries(collection: Collection, wanted: Iterable[str] | None = None) -> list[str]:
    """List the queries that have judgments, or make sure that those wanted have.

    Parameters
    ----------
    collection : the queries and their judgments.
    wanted : query ids, each kept once, in this order; all judged ones when omitted.

    Raises
    ------
    ValueError
        For a wanted query without judgments, or none wanted.
    """
    judged = [q for q in collection.queries if collection.qrels.get(q)]
    if wanted is None:
        return judged
    wanted = list(dict.fromkeys(checked_ids(wanted, "query_ids")))
    unknown = [q for q in wanted if q not in judged]
    if unknown or not wanted:
        raise ValueError(
            f"needed at least one query, and judged ones of {collection.name} (such as "
            f"{judged[0]!r}); got {unknown or wanted}"
        )
    return wanted


def _scored_docs(source: str | Path) -> dict[str, dict[str, float]]:
    """Read the run that comes with an ir_datasets id."""
    try:
        dataset = ir_datasets.load(str(source))
    except KeyError as error:
        raise FileNotFoundError(
            f"needed a run in TREC format or an ir_datasets id, got {str(source)!r}, which is "
            "neither a file nor a known id"
        ) from error
    if not dataset.has_scoreddocs():
        raise ValueError(f"{source} comes without a run (scoreddocs); pass a file in TREC format")
    run: dict[str, dict[str, float]] = {}
    for line in dataset.scoreddocs_iter():
        run.setdefault(line.query_id, {})[line.doc_id] = line.score
    return run


def _best(docs: Mapping[str, float], depth: int, query_id: str) -> dict[str, float]:
    if len(docs) > depth and len(set(docs.values())) == 1:
        raise ValueError(
            f"needed scores to keep the best {depth} of query {query_id}, got {len(docs)} passages "
            "of equal score; leave depth out to rank all of them"
        )
    return {doc_id: docs[doc_id] for doc_id in rank(docs)[:depth]}


def without_ties(run: Run) -> dict[str, dict[str, float]]:
    """Replace scores by minus the rank (`rank`), so that all measures break ties alike."""
    return {
        query_id: {doc_id: -float(place) for place, doc_id in enumerate(rank(docs))}
        for query_id, docs in run.items()
    }
