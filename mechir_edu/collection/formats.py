"""Read queries, passages, judgments and runs from files: the embedded collection's, or your own.

Every file is opened alike (`mechir_edu.collection.lines`): UTF-8, a record a line, gzipped or not;
blank lines are skipped. What cannot be read for certain is an error that names file and line.

Queries and passages are tables (``id<TAB>text``, `mechir_edu.collection.tables`) or JSON lines
(`mechir_edu.collection.json_lines`). Judgments are TREC's four columns, or the columns that a
header names; runs are TREC's six. An id is what stands in its place without white space at its
ends. What is said twice must be the same; in a run it must not be said twice (as in trec_eval).
"""

import math
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from mechir_edu.collection.json_lines import read_objects
from mechir_edu.collection.lines import read_lines
from mechir_edu.collection.records import column_name, keep_once, read_id
from mechir_edu.collection.tables import read_table

LARGEST_GRADE = 1_000_000
_JSON_SUFFIXES = {".json", ".jsonl", ".jsonlines", ".ndjson"}
_COLUMN = re.compile(r"[^ \t\r\v\f]+")  # what C takes for white space, and so trec_eval
_GRADE = re.compile(r"([+-]?\d{1,9})(?:\.0*)?", re.ASCII)
_SCORE = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_RANK = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_UNUSED = re.compile(r"[Qq]?[\dOo]+", re.ASCII)  # TREC's second column, "0" or "Q0"
_ROLES = {
    "query": {"query_id", "qid", "q_id", "topic", "topic_id"},
    "unused": {"iteration", "iter", "q0", "unused"},
    "doc": {"doc_id", "docid", "did", "docno", "corpus_id", "document_id", "pid", "passage_id"},
    "relevance": {"relevance", "rel", "score", "label", "grade", "relevance_score"},
}


def read_texts(path: str | Path, what: str = "texts") -> dict[str, str]:
    """Read queries or passages: id -> text.

    Parameters
    ----------
    path : read as JSON lines if its name says so (``.jsonl``, ``.jsonl.gz``, ...) or its first
        line begins with ``{"``; as a table otherwise.
    what : what they are, for messages.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line cannot be read, or an id has two texts; names the file and the line.
    """
    _, first = next(read_lines(path, what))
    is_json = _JSON_SUFFIXES & set(Path(path).suffixes) or first.lstrip().startswith('{"')
    read = read_objects if is_json else read_table
    return keep_once(lambda: read(path, what))


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Read TREC qrels: query_id -> doc_id -> relevance.

    The columns are ``query_id 0 doc_id relevance``, or those that a first line names, such as
    BEIR's ``query-id corpus-id score``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line does not hold these columns and a whole number as its relevance, or a pair has
        two grades; names the file and the line.
    """
    qrels: dict[str, dict[str, int]] = {}
    for (query_id, doc_id), grade in keep_once(lambda: _judgments(path)).items():
        qrels.setdefault(query_id, {})[doc_id] = grade
    return qrels


def read_run_file(path: str | Path) -> dict[str, dict[str, float]]:
    """Read a run in TREC's six columns, ``query_id Q0 doc_id rank score tag``.

    The score decides, as in trec_eval; the ranks must not contradict it, because scores that grow
    with the rank are distances.

    Returns
    -------
    dict
        query_id -> doc_id -> score.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line does not hold these columns, a score is not finite, a passage occurs twice for
        one query, or ranks contradict scores; names the file and the line.
    """
    run: dict[str, dict[str, tuple[int, float]]] = {}
    for (query_id, doc_id), entry in keep_once(lambda: _entries(path), may_repeat=False).items():
        run.setdefault(query_id, {})[doc_id] = entry
    for query_id, entries in run.items():
        ordered = sorted(entries.items(), key=lambda item: (item[1][0], -item[1][1]))
        for (doc, (rank, score)), (later, (later_rank, higher)) in pairwise(ordered):
            if rank < later_rank and score < higher:
                raise ValueError(
                    f"{path}: needed scores that fall with the rank, got for query {query_id!r} "
                    f"rank {rank} with {score} ({doc!r}) and rank {later_rank} with {higher} "
                    f"({later!r}); write scores of which larger is better (for distances: minus "
                    "the distance), and ranks that follow them or 0 everywhere"
                )
    return {q: {doc: score for doc, (_, score) in docs.items()} for q, docs in run.items()}


def _judgments(path: str | Path) -> Iterator[tuple[str, tuple[str, str], int]]:
    order = {"query": 0, "unused": 1, "doc": 2, "relevance": 3}
    needed = "query_id 0 doc_id relevance"
    is_first = True
    for place, line in read_lines(path, "judgments (qrels)"):
        columns = _COLUMN.findall(line)
        header = _header(columns) if is_first else None
        is_first = False
        if header:
            order, needed = header, line
            continue
        if len(columns) == len(order):
            of = {role: columns[at] for role, at in order.items()}
            grade = _GRADE.fullmatch(of["relevance"])
            if grade and _UNUSED.fullmatch(of.get("unused", "0")):
                if abs(int(grade[1])) > LARGEST_GRADE:
                    raise ValueError(
                        f"{place}: needed a grade of at most {LARGEST_GRADE}, got {grade[1]}"
                    )
                yield place, (read_id(of["query"], place), read_id(of["doc"], place)), int(grade[1])
                continue
        raise ValueError(
            f"{place}: needed {needed!r} with a whole number for the relevance, got "
            f"{line[:80]!r}; see the TREC qrels format, or name the columns in the first line"
        )


def _header(columns: list[str]) -> dict[str, int] | None:
    """Place of each role, where all columns are names of different roles; None otherwise."""
    names = [column_name(column) for column in columns]
    roles = [next((role for role, known in _ROLES.items() if n in known), None) for n in names]
    order = {role: at for at, role in enumerate(roles) if role}
    is_whole = order.keys() | {"unused"} == _ROLES.keys() and len(order) == len(columns)
    return order if is_whole else None


def _entries(path: str | Path) -> Iterator[tuple[str, tuple[str, str], tuple[int, float]]]:
    for place, line in read_lines(path, "ranked passages (a run)"):
        columns = _COLUMN.findall(line)
        if len(columns) != 6:
            raise ValueError(
                f"{place}: needed six columns, 'query_id Q0 doc_id rank score tag', got "
                f"{len(columns)}: {line[:80]!r}; see the TREC run format"
            )
        query_id, unused, doc_id, rank, score, _ = columns
        if not (_UNUSED.fullmatch(unused) and _RANK.fullmatch(rank) and _SCORE.fullmatch(score)):
            raise ValueError(
                f"{place}: needed 'query_id Q0 doc_id rank score tag' with a whole number for the "
                f"rank and a finite one for the score, got {line[:80]!r}"
            )
        if math.isinf(float(score)):
            raise ValueError(f"{place}: needed a finite score, got {score}")
        yield place, (read_id(query_id, place), read_id(doc_id, place)), (int(rank), float(score))
