"""Where a test collection comes from: an ir_datasets id, the embedded files, or your own files.

Whatever the origin, a source is read into the same three parts: queries, qrels and passages. The
passages stay where they are (millions of them may be on disk) and are looked up by id.
"""

import contextlib
import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import ir_datasets

from mechir_edu.collection import mini
from mechir_edu.collection.formats import read_qrels, read_texts
from mechir_edu.collection.given import checked_by_id, checked_text, described


@runtime_checkable
class Passages(Protocol):
    """A passage collection: look up by id, iterate over all texts."""

    def lookup(self, doc_ids: list[str]) -> dict[str, str]:
        """Give the texts of those ids that are there."""

    def __iter__(self) -> Iterator[str]:
        """Read every text once."""

    def count(self) -> int:
        """Count the passages."""

    def head(self) -> Iterable[str]:
        """Give enough ids and texts to tell this collection from another of the same size."""


@dataclass(frozen=True)
class Source:
    """What one id or one set of files supplies."""

    name: str
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    passages: Passages


@dataclass(frozen=True)
class PassagesInMemory:
    """Passages read from a file, all at once."""

    by_id: Mapping[str, str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_id", checked_by_id(self.by_id, "passages", checked_text))

    def lookup(self, doc_ids: list[str]) -> dict[str, str]:  # noqa: D102
        return {doc_id: self.by_id[doc_id] for doc_id in doc_ids if doc_id in self.by_id}

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_id.values())

    def count(self) -> int:  # noqa: D102
        return len(self.by_id)

    def head(self) -> Iterable[str]:  # noqa: D102
        # All of them: your own file may be edited in the middle, and reading it costs as much.
        return itertools.chain.from_iterable(self.by_id.items())


@dataclass(frozen=True)
class PassagesOfIrDatasets:
    """Passages in an ir_datasets document store.

    Attributes
    ----------
    handler : the documents' handler; datasets that share their passages share it, so that two of
        these compare equal.
    name : an ir_datasets id that uses it, for messages.
    """

    handler: Any
    name: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PassagesOfIrDatasets) and self.handler == other.handler

    __hash__ = None  # type: ignore[assignment]  # Python's own way to say unhashable

    @cached_property
    def store(self) -> Any:
        """The document store, opened once."""
        return self.handler.docs_store()

    def lookup(self, doc_ids: list[str]) -> dict[str, str]:  # noqa: D102
        with _explaining(self.name):
            docs = self.store.get_many(doc_ids)
        return {doc_id: doc.default_text() for doc_id, doc in docs.items()}

    def __iter__(self) -> Iterator[str]:
        return (doc.default_text() for doc in self.handler.docs_iter())

    def count(self) -> int:  # noqa: D102
        with _explaining(self.name):
            if hasattr(self.store, "build"):
                self.store.build()  # lookups need it anyway, and it knows the count
            known = self.handler.docs_count()
        return sum(1 for _ in self) if known is None else known

    def head(self) -> Iterable[str]:  # noqa: D102
        docs = itertools.islice(self.handler.docs_iter(), 10_000)
        return (part for doc in docs for part in (doc.doc_id, doc.default_text()))


def read_files(queries: str | Path, docs: str | Path, qrels: str | Path) -> Source:
    """Read a source from files; see `mechir_edu.collection.formats`.

    Raises
    ------
    ValueError
        Also if none of the judged queries, or none of the judged passages, is in its file.
    """
    passages = PassagesInMemory(read_texts(docs, "docs"))
    read = Source(Path(queries).stem, read_texts(queries, "queries"), read_qrels(qrels), passages)
    judged = {doc_id for of_query in read.qrels.values() for doc_id in of_query}
    for what, ids, known, path in (
        ("queries", read.qrels.keys(), read.queries.keys(), queries),
        ("docs", judged, passages.by_id.keys(), docs),
    ):
        if not ids & known:
            raise ValueError(
                f"needed {what} that are judged in {qrels}, got none in {path}: its ids are such "
                f"as {next(iter(known))!r}, the judgments' such as {min(ids)!r}; were files or "
                "columns swapped?"
            )
    return read


def read_source(name: str) -> Source:
    """Read ``"embedded"`` or an ir_datasets id.

    Raises
    ------
    ValueError
        If the id is unknown, or lacks queries, passages or judgments.
    OSError
        If its files can be neither found nor downloaded.
    """
    if not isinstance(name, str):
        raise TypeError(
            f'needed "embedded" or an ir_datasets id, got {described(name)}; give several ids one '
            "after another, and your own files by queries=, docs= and qrels="
        )
    mini.register()
    if name in ("embedded", mini.ID):
        # Straight from the package's files: works where no folder can be written.
        passages = PassagesInMemory(read_texts(mini.DOCS))
        return Source("embedded", read_texts(mini.QUERIES), read_qrels(mini.QRELS), passages)
    dataset = _dataset(name)
    with _explaining(name):
        queries = {query.query_id: query.default_text() for query in dataset.queries_iter()}
        qrels = dataset.qrels_dict()
    return Source(name, queries, qrels, PassagesOfIrDatasets(dataset.docs_handler(), name))


def _dataset(name: str) -> Any:
    """Find a dataset that has all three parts."""
    try:
        dataset = ir_datasets.load(name)
    except KeyError:
        known = ["embedded", *ir_datasets.registry]
        is_path = bool(Path(name).suffix) or (bool(name) and Path(name).exists())
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
        raise ValueError(
            f"no collection is called {name!r}; "
            + (f"near it are {', '.join(near)}" if near else 'try "embedded"')
            + ("; give your own files by queries=, docs= and qrels=" if is_path else "")
            + (" (as a command: --queries, --docs and --qrels)" if is_path else "")
        ) from None
    if not _is_whole(dataset):
        raise ValueError(
            f"needed queries, passages and judgments, got {dataset!r}; "
            f"ids that have all three: {', '.join(_whole_relatives(name))}"
        )
    return dataset


def _is_whole(dataset: Any) -> bool:
    return dataset.has_queries() and dataset.has_qrels() and dataset.has_docs()


def _whole_relatives(name: str) -> list[str]:
    """List up to eight ids of the same family that can be sampled, deeply judged ones first."""
    family = [i for i in ir_datasets.registry if i.split("/")[0] == name.split("/")[0]]
    whole = [i for i in family if _is_whole(ir_datasets.load(i))]
    return sorted(whole, key=lambda i: ("trec" not in i, not i.endswith("judged"), i))[:8] or [
        "embedded"
    ]


@contextlib.contextmanager
def _explaining(name: str) -> Iterator[None]:
    """Say what to do when data can be neither read nor downloaded."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"could not read {name}: {str(error)[:200]}. It is downloaded once and needs a network "
            'for that. Without one: load_collection("embedded"); or your own files by queries=, '
            "docs= and qrels=; or copy the ir_datasets folder of a machine that has the data and "
            "set IR_DATASETS_HOME to the copy"
        ) from error
