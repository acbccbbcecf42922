"""What there is to learn from: a folder, or any ir_datasets id that has qrels."""

import csv
import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mechir_edu.collection import mini
from mechir_edu.collection.formats import read_texts


@dataclass(frozen=True)
class Data:
    """What there is to learn from.

    Attributes
    ----------
    queries : query_id -> text, the queries with grades or first-stage scores.
    passages : doc_id -> text.
    qrels, bm25, splade : query_id -> {doc_id: grade or score}; empty where there is none.
    extra : texts of more queries, unjudged.
    """

    queries: dict[str, str]
    passages: dict[str, str]
    qrels: dict[str, dict[str, int]]
    bm25: dict[str, dict[str, float]] = field(default_factory=dict)
    splade: dict[str, dict[str, float]] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)


def read_data(source: str) -> Data:
    """Read a training folder, or an ir_datasets id that has qrels."""
    if not Path(source).is_dir():
        return read_ir_dataset(source)
    folder = Path(source)
    tables = {"relevance": {}, "bm25": {}, "splade": {}}
    with gzip.open(folder / "candidates.tsv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            for name, table in tables.items():
                if row[name]:
                    table.setdefault(row["query_id"], {})[row["doc_id"]] = float(row[name])
    passages = read_texts(folder / "passages.tsv.gz")
    queries = read_texts(folder / "queries.tsv")
    extra = [*read_texts(folder / "extra_queries.tsv").values()]
    qrels = {q: {d: int(g) for d, g in row.items()} for q, row in tables["relevance"].items()}
    return Data(queries, passages, qrels, tables["bm25"], tables["splade"], extra)


def read_ir_dataset(name: str) -> Data:
    """Read an ir_datasets id; the pool is its judged documents."""
    import ir_datasets

    mini.register()  # ours is an id like any other
    dataset = ir_datasets.load(name)
    if not dataset.has_qrels():
        raise ValueError(f"training needs qrels, {name!r} has none; try an id such as {name}/train")
    queries = {q.query_id: q.default_text() for q in dataset.queries_iter()}
    qrels: dict[str, dict[str, int]] = {}
    for qrel in dataset.qrels_iter():
        qrels.setdefault(qrel.query_id, {})[qrel.doc_id] = qrel.relevance
    wanted = sorted({doc_id for row in qrels.values() for doc_id in row})
    stored = dataset.docs_store().get_many(wanted)
    passages = {d: stored[d].default_text() for d in wanted if d in stored}
    return Data({q: queries[q] for q in qrels if q in queries}, passages, qrels)


def normalised(text: str) -> str:
    """Reduce a query to lower-case words, to tell whether two queries are the same."""
    return " ".join(re.findall(r"\w+", text.lower()))


def pseudo_queries(
    passages: Sequence[str], n: int, rng: np.random.Generator
) -> list[tuple[str, int, str]]:
    """Make queries from passages: a few words of one sentence (the inverse cloze task).

    Half of the time the sentence is cut out of the passage, so that words alone do not give the
    answer away (Lee et al., "Latent Retrieval for Weakly Supervised Open Domain Question
    Answering", ACL 2019).

    Returns
    -------
    list of (query, index of its passage, text of that passage to learn from)
    """
    made: list[tuple[str, int, str]] = []
    for index in rng.permutation(len(passages)):
        if len(made) == n:
            break
        sentences = re.split(r"(?<=[.!?])\s+", passages[index])
        which = int(rng.integers(len(sentences)))
        words = re.findall(r"[\w'-]+", sentences[which])
        if len(words) < 4 or len(sentences) < 3:
            continue
        size = int(rng.integers(3, 9))
        start = 0 if rng.random() < 0.5 else int(rng.integers(max(1, len(words) - size)))
        rest = [s for i, s in enumerate(sentences) if i != which or rng.random() < 0.5]
        made.append((" ".join(words[start : start + size]), int(index), " ".join(rest)))
    return made
