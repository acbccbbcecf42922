"""Ranked lists: each query's candidates with a teacher's score, and how batches are drawn."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer, BertModel

from distillation import teachers, workers
from distillation.data import Data, normalised, pseudo_queries
from mechir_edu.files import embedded_folder


@dataclass(frozen=True)
class RankedList:
    """One query, its candidates, and what is known about their order.

    Attributes
    ----------
    query : the query's text.
    docs : int [candidate], indices into the passages, best teacher score first.
    teacher : float32 [candidate], the logits to learn.
    grade : float32 [candidate], relevance grade; NaN where not judged.
    bm25 : bool [candidate], in BM25's top 100, which is what is re-ranked for early stopping.
    replaced : passage texts that differ from the pool's, by index.
    """

    query: str
    docs: np.ndarray
    teacher: np.ndarray
    grade: np.ndarray
    bm25: np.ndarray
    replaced: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lists:
    """Everything that training reads: passages, and ranked lists by their use."""

    passages: list[str]
    held_out: list[RankedList]
    train: dict[str, list[RankedList]]
    about: dict


def split_queries(data: Data, n_held_out: int, seed: int) -> tuple[list[str], list[str]]:
    """Hold out queries at random, three in four of them judged: (training, held out)."""
    rng = np.random.default_rng([seed, 1])
    judged = [q for q in sorted(data.queries) if q in data.qrels]
    others = [q for q in sorted(data.queries) if q not in data.qrels]
    n_judged = min(len(judged) // 2, n_held_out - min(len(others), n_held_out // 4))
    held = {*rng.permutation(judged)[:n_judged], *rng.permutation(others)[: n_held_out // 4]}
    return [q for q in sorted(data.queries) if q not in held], sorted(held)


def make_lists(data: Data, options: argparse.Namespace) -> Lists:
    """Find candidates for every query and let the teachers score them."""
    doc_ids = list(data.passages)
    index = {doc_id: i for i, doc_id in enumerate(doc_ids)}
    model = BertModel.from_pretrained(embedded_folder()).eval().to(options.device)
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder())
    texts = [data.passages[d] for d in doc_ids]
    with workers.first_alone():
        encoded = encode_cached(texts, model, tokenizer, options.out)
    pool = teachers.make_pool(texts, encoded)

    def encode_queries(queries):
        return teachers.encode_queries(queries, pool, model, tokenizer) if queries else []

    train_ids, held_ids = split_queries(data, options.held_out, options.seed)
    ids = train_ids + held_ids
    known = [
        judged_features(data, q, encoded, pool, index)
        for q, encoded in zip(ids, encode_queries([data.queries[q] for q in ids]), strict=True)
    ]
    weights = teachers.fit_weights(*zip(*teacher_targets(known[: len(train_ids)]), strict=True))
    judged = [judged_list(data.queries[q], k, weights) for q, k in zip(ids, known, strict=True)]
    rng = np.random.default_rng([options.seed, 2])
    extra_texts, n_dropped = extra_queries(data, options.forbidden, options.queries, rng)
    pseudo = pseudo_queries(texts, options.pseudo, rng)
    train = {
        "judged": judged[: len(train_ids)],
        "extra": [
            unjudged_list(text, q, pool, weights)
            for text, q in zip(extra_texts, encode_queries(extra_texts), strict=True)
        ],
        "pseudo": [
            unjudged_list(text, q, pool, weights, source=source, replaced=replaced)
            for (text, source, replaced), q in zip(
                pseudo, encode_queries([text for text, *_ in pseudo]), strict=True
            )
        ],
    }
    about = {
        "teacher_weights": {
            name: round(float(w), 3) for name, w in zip(teachers.FEATURES, weights, strict=True)
        },
        "held_out_queries": held_ids,
        "extra_queries_dropped": n_dropped,
        **{f"{kind}_lists": len(lists) for kind, lists in train.items()},
        "passages": len(texts),
    }
    return Lists(texts, judged[len(train_ids) :], train, about)


def extra_queries(
    data: Data, forbidden: Sequence[str], n: int, rng: np.random.Generator
) -> tuple[list[str], int]:
    """Draw n extra queries that equal no test query and no judged one; and count those dropped."""
    import ir_datasets

    taken = {normalised(text) for text in data.queries.values()}
    for name in forbidden:
        taken |= {normalised(q.default_text()) for q in ir_datasets.load(name).queries_iter()}
    kept = [text for text in data.extra if normalised(text) not in taken]
    drawn = rng.permutation(len(kept))[:n]
    return [kept[i] for i in drawn], len(data.extra) - len(kept)


def encode_cached(texts, model, tokenizer, folder: Path) -> teachers.Encoded:
    """Encode the pool once and keep it in the output folder: it is the slowest preparation."""
    names = ("pooled", "tokens", "ids", "starts")
    files = [folder / f"{name}.npy" for name in names]
    if all(f.exists() for f in files) and len(np.load(files[-1])) == len(texts) + 1:
        return teachers.Encoded(*(np.load(f) for f in files))
    encoded = teachers.encode(texts, model, tokenizer)
    for name, file in zip(names, files, strict=True):
        np.save(file, getattr(encoded, name))
    return encoded


@dataclass(frozen=True)
class Known:
    """A judged query's candidates: features [candidate, feature], and labels, NaN if unknown."""

    docs: np.ndarray
    features: np.ndarray
    grade: np.ndarray
    bm25: np.ndarray
    splade: np.ndarray


def judged_features(
    data: Data, query_id: str, query: teachers.Query, pool: teachers.Pool, index: dict[str, int]
) -> Known:
    """Gather candidates (retrieved, judged and first-stage ones), features and labels."""
    tables = [t.get(query_id, {}) for t in (data.qrels, data.bm25, data.splade)]
    given = [index[d] for table in tables for d in table if d in index]
    docs = np.unique(np.concatenate([teachers.retrieve(query, pool), given]).astype(int))
    doc_ids = list(index)
    labels = [
        np.array([table.get(doc_ids[d], np.nan) for d in docs], np.float32) for table in tables
    ]
    return Known(docs, teachers.features(query, pool, docs), *labels)


def teacher_targets(known: Sequence[Known]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Lists to fit the teachers' weights on: grades and SPLADE scores, as distributions."""
    for k in known:
        judged = ~np.isnan(k.grade)
        if (k.grade[judged] > 0).any():
            gain = 2 ** k.grade[judged] - 1
            yield k.features[judged], gain / gain.sum()
        scored = ~np.isnan(k.splade)
        if scored.sum() > 1:
            odds = np.exp(2 * standardised(k.splade[scored]))
            yield k.features[scored], odds / odds.sum()


def standardised(values: np.ndarray) -> np.ndarray:
    """Shift and scale to mean 0 and standard deviation 1."""
    return (values - values.mean()) / (values.std() + 1e-6)


def judged_list(query: str, known: Known, weights: np.ndarray) -> RankedList:
    """Rank a judged query's candidates by the average of the teachers and SPLADE."""
    fitted = known.features @ weights
    scored = ~np.isnan(known.splade)
    teacher = fitted.copy()
    if scored.sum() > 1:
        # SPLADE's scores on the fitted teacher's scale; what its top 100 lacks is below its worst.
        splade = standardised(known.splade[scored]) * fitted[scored].std() + fitted[scored].mean()
        teacher[scored] = (fitted[scored] + 2 * splade) / 3
        teacher[~scored] = np.minimum(fitted[~scored], splade.min())
    order = np.argsort(-teacher, kind="stable")
    return RankedList(
        query, known.docs[order], teacher[order], known.grade[order],
        ~np.isnan(known.bm25[order]),
    )  # fmt: skip


def unjudged_list(
    query: str,
    encoded: teachers.Query,
    pool: teachers.Pool,
    weights: np.ndarray,
    *,
    source: int | None = None,
    replaced: str | None = None,
) -> RankedList:
    """Rank a query's retrieved candidates; a pseudo-query's own passage comes first."""
    docs = teachers.retrieve(encoded, pool)
    if source is not None:
        docs = np.concatenate([[source], docs[docs != source]]).astype(int)
    teacher = teachers.features(encoded, pool, docs) @ weights
    if source is not None:
        teacher[0] = max(teacher[0], teacher[1:].max() + 0.5)
    order = np.argsort(-teacher, kind="stable")
    unknown = np.full(len(docs), np.nan, np.float32)
    return RankedList(
        query, docs[order], teacher[order], unknown, np.ones(len(docs), bool),
        {} if source is None else {source: replaced},
    )  # fmt: skip


def draw_batch(
    lists: Lists, step: int, options: argparse.Namespace, *, stream: int = 3
) -> list[tuple]:
    """Draw the queries of one step and, for each, a few passages: (texts, teacher, grade).

    Everything depends on the seed and the step alone, so that a resumed run draws what an
    uninterrupted one would have drawn.
    """
    rng = np.random.default_rng([options.seed, stream, step % 2**32])
    kinds = [kind for kind in options.mix if lists.train[kind]]
    share = np.array([options.mix[kind] for kind in kinds])
    batch = []
    for kind in rng.choice(kinds, options.lists_per_step, p=share / share.sum()):
        ranked = lists.train[kind][rng.integers(len(lists.train[kind]))]
        batch.append(draw_list(ranked, lists.passages, options.list_size, rng))
    return batch


def draw_list(ranked: RankedList, passages: Sequence[str], size: int, rng) -> tuple:
    """Draw passages at ranks spread evenly on a logarithmic scale, and one at random."""
    n = len(ranked.docs)
    log_rank = 1 / (1 + np.arange(n)) ** 0.8
    # Grades are rare and the best labels there are: a judged passage is drawn more often.
    log_rank = log_rank * np.where(np.isnan(ranked.grade), 1, 3)
    ranks = rng.choice(n, min(size - 1, n), replace=False, p=log_rank / log_rank.sum())
    docs = [*ranked.docs[ranks], int(rng.integers(len(passages)))]
    texts = [(ranked.query, ranked.replaced.get(int(d), passages[d])) for d in docs]
    low = ranked.teacher.min() - 1
    return texts, np.append(ranked.teacher[ranks], low), np.append(ranked.grade[ranks], np.nan)
