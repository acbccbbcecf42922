"""Teachers for the cross-encoder: what a query and a passage look like to cheap, strong scorers.

A cross-encoder learns little from a hundred judged queries, and a great deal from the ordering
that other rankers give to thousands of unjudged ones. This module computes those rankers' scores
for any query over one pool of passages:

* ``cosine``: all-MiniLM-L6-v2 as a bi-encoder (mean pooling, cosine);
* ``bm25``: BM25 over the pool, and ``coverage``, the share of the query's idf that a passage holds;
* late interaction of the same model's token vectors (Khattab and Zaharia, "ColBERT", SIGIR 2020):
  for each query token its best cosine with a passage token, averaged with idf weights (``maxsim``),
  the worst of them (``minsim``), and a plain average with a soft maximum (``softsim``);
* ``top10``: the ten passage tokens nearest to the whole query.

`fit_weights` then learns how much each one counts, listwise, from queries that have better labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from transformers import BertModel, PreTrainedTokenizerFast

from distillation.precision import autocast
from mechir_edu.collection.terms import terms

FEATURES = ("cosine", "bm25", "coverage", "maxsim", "minsim", "softsim", "top10")


@dataclass(frozen=True)
class Encoded:
    """Texts as MiniLM sees them.

    Attributes
    ----------
    pooled : float32 [text, d_model], unit length.
    tokens : float16 [token, d_model], unit length, the texts' word pieces one after another.
    ids : int32 [token], the word pieces themselves.
    starts : int64 [text + 1]; text i owns ``tokens[starts[i]:starts[i + 1]]``.
    """

    pooled: np.ndarray
    tokens: np.ndarray
    ids: np.ndarray
    starts: np.ndarray


def encode(
    texts: Sequence[str],
    model: BertModel,
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_length: int = 160,
    tokens_per_batch: int = 4096,
) -> Encoded:
    """Encode texts with a mean-pooling bi-encoder; bf16 inside, longest texts first."""
    ids = tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]
    lengths = np.array([len(i) for i in ids])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    d_model = model.config.hidden_size
    pooled = np.empty((len(ids), d_model), np.float32)
    tokens = np.empty((starts[-1], d_model), np.float16)
    order = np.argsort(-lengths, kind="stable")
    at = 0
    while at < len(order):
        batch = order[at : at + max(1, tokens_per_batch // lengths[order[at]])]
        hidden, means = _hidden(model, [ids[i] for i in batch])
        pooled[batch] = means
        for row, i in zip(hidden, batch, strict=True):
            tokens[starts[i] : starts[i + 1]] = row[: lengths[i]]
        at += len(batch)
    return Encoded(pooled, tokens, np.concatenate(ids).astype(np.int32), starts)


@torch.inference_mode()
def _hidden(model: BertModel, ids: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Last hidden states and their means over real tokens, each of unit length."""
    device = next(model.parameters()).device
    width = max(map(len, ids))
    mask = torch.tensor([[1] * len(i) + [0] * (width - len(i)) for i in ids], device=device)
    padded = torch.tensor([i + [0] * (width - len(i)) for i in ids], device=device)
    with autocast(device):
        hidden = model(padded, attention_mask=mask).last_hidden_state.float()
    means = (hidden * mask[..., None]).sum(1)
    unit = torch.nn.functional.normalize
    return unit(hidden, dim=-1).half().cpu().numpy(), unit(means, dim=-1).cpu().numpy()


@dataclass(frozen=True)
class Pool:
    """The passages that a query is matched against, with everything the teachers need.

    Attributes
    ----------
    texts : the passages.
    encoded : the passages as MiniLM sees them.
    vocabulary : stem to column of `impact`.
    idf : float32 [term], BM25's inverse document frequency in this pool.
    impact : float32 [passage, term], sparse by column: each term's BM25 contribution.
    piece_idf : float32 [word piece], for the model's own vocabulary.
    """

    texts: list[str]
    encoded: Encoded
    vocabulary: dict[str, int]
    idf: np.ndarray
    impact: sparse.csc_array
    piece_idf: np.ndarray


def make_pool(texts: Sequence[str], encoded: Encoded, *, k1: float = 0.9, b: float = 0.4) -> Pool:
    """Index passages for BM25 (defaults of Anserini for MS MARCO passages)."""
    vocabulary: dict[str, int] = {}
    rows, columns = [], []
    for row, text in enumerate(texts):
        for stem in terms(text):
            rows.append(row)
            columns.append(vocabulary.setdefault(stem, len(vocabulary)))
    shape = (len(texts), len(vocabulary))
    tf = sparse.coo_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape).tocsc()
    df = np.diff(tf.indptr)
    idf = np.log1p((len(texts) - df + 0.5) / (df + 0.5)).astype(np.float32)
    length = np.bincount(rows, minlength=len(texts))
    norm = k1 * (1 - b + b * length / length.mean())
    tf.data *= np.repeat(idf, df) * (k1 + 1) / (tf.data + norm[tf.indices])
    return Pool(list(texts), encoded, vocabulary, idf, tf, _piece_idf(encoded))


def _piece_idf(encoded: Encoded, n_pieces: int = 30522) -> np.ndarray:
    """Log inverse document frequency of each word piece, float32 [word piece]."""
    n_texts = len(encoded.starts) - 1
    text = np.repeat(np.arange(n_texts), np.diff(encoded.starts))
    seen = np.unique(np.stack([text, encoded.ids]), axis=1)
    df = np.bincount(seen[1], minlength=n_pieces)
    return np.log((n_texts + 1) / (df + 0.5)).astype(np.float32)


@dataclass(frozen=True)
class Query:
    """One query as the teachers see it.

    Attributes
    ----------
    pooled : float32 [d_model].
    tokens : float16 [token, d_model], without [CLS] and [SEP].
    weights : float32 [token], idf of the word pieces, sums to 1.
    columns : int [term], its stems' columns in the pool's vocabulary.
    """

    pooled: np.ndarray
    tokens: np.ndarray
    weights: np.ndarray
    columns: np.ndarray


def encode_queries(texts: Sequence[str], pool: Pool, model, tokenizer) -> list[Query]:
    """Prepare queries for `retrieve` and `features`."""
    encoded = encode(texts, model, tokenizer, max_length=48)
    return [_query(i, text, encoded, pool) for i, text in enumerate(texts)]


def _query(i: int, text: str, encoded: Encoded, pool: Pool) -> Query:
    # [CLS] and [SEP] match in every passage, so they say nothing about relevance.
    inside = slice(encoded.starts[i] + 1, encoded.starts[i + 1] - 1)
    weights = pool.piece_idf[encoded.ids[inside]]
    columns = {pool.vocabulary[term] for term in terms(text) if term in pool.vocabulary}
    return Query(
        encoded.pooled[i],
        encoded.tokens[inside],
        weights / max(weights.sum(), 1e-6),
        np.array(sorted(columns), int),
    )


def bm25(query: Query, pool: Pool) -> np.ndarray:
    """BM25 of every passage, float32 [passage]."""
    return np.asarray(pool.impact[:, query.columns].sum(axis=1), np.float32).ravel()


def retrieve(query: Query, pool: Pool, *, n_bm25: int = 50, n_cosine: int = 30) -> np.ndarray:
    """Passages that BM25 or the cosine ranks high, int [passage], sorted by index."""
    lexical, semantic = bm25(query, pool), pool.encoded.pooled @ query.pooled
    top = [
        np.argsort(-scores, kind="stable")[:n]
        for scores, n in ((lexical, n_bm25), (semantic, n_cosine))
    ]
    return np.unique(np.concatenate(top))


def features(query: Query, pool: Pool, docs: np.ndarray) -> np.ndarray:
    """Score passages by every teacher: float32 [passage, feature], z-scored over the passages."""
    impact = pool.impact[:, query.columns][docs]
    idf = pool.idf[query.columns]
    columns = [
        pool.encoded.pooled[docs] @ query.pooled,
        np.asarray(impact.sum(axis=1)).ravel(),
        (impact > 0) @ idf / max(idf.sum(), 1e-6),
        *_late_interaction(query, pool.encoded, docs),
    ]
    table = np.stack(columns, axis=1).astype(np.float32)
    return (table - table.mean(0)) / (table.std(0) + 1e-6)


def _late_interaction(query: Query, encoded: Encoded, docs: np.ndarray) -> list[np.ndarray]:
    """Four ways to compare token vectors, each [passage]: maxsim, minsim, softsim, top10."""
    spans = [encoded.tokens[encoded.starts[d] : encoded.starts[d + 1]] for d in docs]
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in spans])])
    vectors = np.concatenate(spans).astype(np.float32)
    similarity = vectors @ query.tokens.T.astype(np.float32)
    best = np.maximum.reduceat(similarity, offsets[:-1], axis=0)
    soft = np.log(np.add.reduceat(np.exp(20 * (similarity - 1)), offsets[:-1], axis=0))
    whole = vectors @ query.pooled
    nearest = [np.sort(whole[a:b])[-10:].mean() for a, b in zip(offsets, offsets[1:], strict=False)]
    return [best @ query.weights, best.min(axis=1), soft.mean(axis=1), np.array(nearest)]


def fit_weights(
    tables: Sequence[np.ndarray], targets: Sequence[np.ndarray], *, l2: float = 1e-3
) -> np.ndarray:
    """Learn how much each feature counts, listwise.

    Parameters
    ----------
    tables : per list, float32 [passage, feature].
    targets : per list, float32 [passage], a distribution over its passages (sums to 1).
    l2 : strength of the pull towards 0.

    Returns
    -------
    float32 [feature]; ``table @ weights`` are the logits of the distribution.
    """
    data = [
        (torch.from_numpy(x), torch.from_numpy(y)) for x, y in zip(tables, targets, strict=True)
    ]
    weights = torch.zeros(data[0][0].shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = l2 * (weights**2).sum()
        for x, y in data:
            loss = loss - (y * torch.log_softmax(x @ weights, 0)).sum() / len(data)
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach().numpy()
