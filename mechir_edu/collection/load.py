"""Load a test collection: by id, from your own files, or both together."""

from collections.abc import Mapping
from pathlib import Path

from mechir_edu.collection.collection import Collection
from mechir_edu.collection.sources import Passages, Source, read_files, read_source


def load_collection(
    *sources: str,
    queries: str | Path | None = None,
    docs: str | Path | None = None,
    qrels: str | Path | None = None,
) -> Collection:
    """Load a test collection by id, from your own files, or both together.

    Parameters
    ----------
    sources : ``"embedded"`` (the small collection in this package, no network needed) and ids of
        ir_datasets, such as ``"msmarco-passage/trec-dl-2019/judged"``. Queries and judgments of
        several sources are merged under their own ids; a passage collection that they share is
        read once.
    queries, docs, qrels : your own files, all three or none, in UTF-8, gzipped or not. Queries and
        docs are tables (``id<TAB>text``) or JSON lines, qrels TREC's four columns or BEIR's three
        with their header; `mechir_edu.collection.formats` has the rules.

    Raises
    ------
    ValueError
        If an id is unknown (the nearest known ones are named) or has no judgments (related ones
        that have some are named), if sources contradict each other, if a file has a bad line, or
        if the judgments are of other queries or docs.
    TypeError
        If an id or a path is none.
    OSError
        If data cannot be read or downloaded; the message says how to work without a network.

    Examples
    --------
    >>> collection = load_collection("embedded")
    >>> collection.grades()
    (3, 2, 1, 0)
    """
    parts = [read_source(source) for source in sources]
    files = {"queries": queries, "docs": docs, "qrels": qrels}
    missing = [what for what, path in files.items() if path is None]
    if queries is not None and docs is not None and qrels is not None:
        parts.append(read_files(queries, docs, qrels))
    elif len(missing) < 3:
        raise ValueError(
            f"needed queries, docs and qrels together, got no {' and no '.join(missing)}"
        )
    if not parts:
        raise ValueError(
            'needed at least one collection, got none; pass "embedded", an ir_datasets id such as '
            '"msmarco-passage/trec-dl-2019/judged", or queries=, docs= and qrels='
        )
    return _merge(parts)


def _merge(parts: list[Source]) -> Collection:
    """Join sources under their own ids; if two contradict each other, neither of them wins."""
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for part in parts:
        _join(queries, part.queries, f"query_id of {part.name}")
        for query_id, judged in part.qrels.items():
            _join(qrels.setdefault(query_id, {}), judged, f"judgment for query {query_id}")
    passages: list[Passages] = []
    for part in parts:
        if part.passages not in passages:
            passages.append(part.passages)
    return Collection(" + ".join(part.name for part in parts), queries, qrels, tuple(passages))


def _join(whole: dict, more: Mapping, what: str) -> None:
    for key, value in more.items():
        if whole.setdefault(key, value) != value:
            raise ValueError(
                f"{what}: {key!r} has two values, {whole[key]!r} and {value!r}; "
                "load these sources one at a time"
            )
