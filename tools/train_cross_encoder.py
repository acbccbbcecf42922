"""Train the cross-encoder that travels with the package, from a seed, on a CPU or a GPU.

The recipe, in the order of this file:

1. **Data.** A folder with queries, passages, first-stage scores and relevance grades, or any
   ir_datasets id with qrels (then the pool is its judged documents).
2. **Lists.** Each query gets candidates from the pool and a teacher's score for each of them (see
   `teachers.py`). Judged queries add their grades; many more queries without grades, and pieces of
   passages used as queries, keep the model from learning the judged ones by heart.
3. **Model.** all-MiniLM-L6-v2 as a cross-encoder. Base weights stay frozen; low-rank changes of
   the linear layers, biases, layer norms, pooler and head are trained.
4. **Training.** Lists of passages per query: the Kullback-Leibler divergence from the teacher's
   distribution, plus a pairwise logistic loss wherever two grades differ.
5. **Early stopping.** The checkpoint that ranks the held-out queries best is written.

Run it (about an hour on one core with AVX512-BF16, minutes on a GPU)::

    python tools/train_cross_encoder.py --data FOLDER --out FOLDER

A stopped run resumes from its last checkpoint when the same command is given again.
"""

import argparse
import csv
import gzip
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import teachers
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoTokenizer, BertForSequenceClassification, BertModel

from mechir_edu.crossencoder import base_model, read_adapter
from mechir_edu.loading import embedded_folder

# ---------------------------------------------------------------------------------- 1. data


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
    with gzip.open(folder / "passages.tsv.gz", "rt", encoding="utf-8") as file:
        passages = dict(_two_columns(file))
    with (folder / "queries.tsv").open(encoding="utf-8") as file:
        queries = dict(_two_columns(file))
    with (folder / "extra_queries.tsv").open(encoding="utf-8") as file:
        extra = [text for _, text in _two_columns(file)]
    qrels = {q: {d: int(g) for d, g in row.items()} for q, row in tables["relevance"].items()}
    return Data(queries, passages, qrels, tables["bm25"], tables["splade"], extra)


def _two_columns(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        key, _, text = line.rstrip("\n").partition("\t")
        yield key, text


def read_ir_dataset(name: str) -> Data:
    """Read an ir_datasets id; the pool is its judged documents."""
    import ir_datasets

    dataset = ir_datasets.load(name)
    if not dataset.has_qrels():
        raise ValueError(f"training needs qrels, {name!r} has none; try an id such as {name}/train")
    queries = {q.query_id: q.default_text() for q in dataset.queries_iter()}
    qrels: dict[str, dict[str, int]] = {}
    for qrel in dataset.qrels_iter():
        qrels.setdefault(qrel.query_id, {})[qrel.doc_id] = qrel.relevance
    wanted = sorted({doc_id for row in qrels.values() for doc_id in row})
    found = dataset.docs_store().get_many(wanted)
    passages = {d: found[d].default_text() for d in wanted if d in found}
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


def snippets(passages: Sequence[str], n: int, rng: np.random.Generator) -> list[str]:
    """Cut passages into pieces of 12 to 30 words, at sentences, and draw n of them.

    Two short texts are compared in a third of the time that a query and a passage take, and
    MiniLM, which was trained on sentences, knows most about them.
    """
    pieces: list[str] = []
    for passage in passages:
        words: list[str] = []
        for sentence in re.split(r"(?<=[.!?])\s+", passage):
            words += sentence.split()
            if len(words) >= 12:
                pieces.append(" ".join(words[:30]))
                words = []
    return [pieces[i] for i in np.sort(rng.permutation(len(pieces))[:n])]


# --------------------------------------------------------------------------------- 2. lists


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
    kind : "judged" (has grades or first-stage scores), "extra", "pseudo" or "snippet" (then the
        candidates are pieces of passages).
    replaced : passage texts that differ from the pool's, by index.
    """

    query: str
    docs: np.ndarray
    teacher: np.ndarray
    grade: np.ndarray
    bm25: np.ndarray
    kind: str
    replaced: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lists:
    """Everything that training reads: passages, pieces of them, and ranked lists by their use."""

    passages: list[str]
    pieces: list[str]
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
    pool = teachers.make_pool(texts, encode_cached(texts, model, tokenizer, options.out))

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
    pieces, train["snippet"] = snippet_lists(
        texts, [*(data.queries[q] for q in train_ids), *extra_texts], model, tokenizer, options
    )
    return Lists(texts, pieces, judged[len(train_ids) :], train, about)


def snippet_lists(
    passages: Sequence[str], queries: Sequence[str], model, tokenizer, options: argparse.Namespace
) -> tuple[list[str], list[RankedList]]:
    """Rank pieces of passages for queries by MiniLM's cosine alone: the pieces, and the lists.

    Candidates are the nearest pieces and those that share most words, which are often about
    something else: what the words say and what the cosine says come apart.
    """
    if not options.snippets:
        return [], []
    pieces = snippets(passages, options.snippets, np.random.default_rng([options.seed, 4]))
    pool = teachers.make_pool(pieces, teachers.encode(pieces, model, tokenizer, max_length=48))
    made = []
    for text, query in zip(
        queries, teachers.encode_queries(queries, pool, model, tokenizer), strict=True
    ):
        docs = teachers.retrieve(query, pool, n_bm25=60, n_cosine=200)
        teacher = options.sharpness * (pool.encoded.pooled[docs] @ query.pooled)
        order = np.argsort(-teacher, kind="stable")
        unknown = np.full(len(docs), np.nan, np.float32)
        every = np.ones(len(docs), bool)
        made.append(RankedList(text, docs[order], teacher[order], unknown, every, "snippet"))
    return pieces, made


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
        ~np.isnan(known.bm25[order]), "judged",
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
    teacher = teachers.features(encoded, pool, docs) @ weights
    if source is not None:
        docs = np.concatenate([[source], docs[docs != source]]).astype(int)
        teacher = teachers.features(encoded, pool, docs) @ weights
        teacher[0] = max(teacher[0], teacher[1:].max() + 0.5)
    order = np.argsort(-teacher, kind="stable")
    unknown = np.full(len(docs), np.nan, np.float32)
    return RankedList(
        query, docs[order], teacher[order], unknown, np.ones(len(docs), bool),
        "extra" if source is None else "pseudo",
        {} if source is None else {source: replaced},
    )  # fmt: skip


# --------------------------------------------------------------------------------- 3. model


class _LowRankLinear(torch.autograd.Function):
    """A linear layer whose weight is already merged; gradients go to the two factors only.

    Running the merged weight costs one matrix product each way, where running base and factors
    apart costs three and keeps their outputs.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, a, b, scale):
        x = x.to(weight.dtype)
        ctx.save_for_backward(x, weight, a, b)
        ctx.scale = scale
        return functional.linear(x, weight, bias.to(weight.dtype))

    @staticmethod
    def backward(ctx, grad):
        x, weight, a, b = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        x_rows, grad_rows = x.flatten(0, -2), grad.flatten(0, -2)
        low = grad_rows @ b.to(weight.dtype)
        grad_a = ctx.scale * (low.T @ x_rows).float()
        grad_b = ctx.scale * (grad_rows.T @ (x_rows @ a.to(weight.dtype).T)).float()
        return grad @ weight, None, grad_rows.float().sum(0), grad_a, grad_b, None


class LowRankLinear(nn.Module):
    """A frozen linear layer plus a trainable change of low rank; call `merge` after each update."""

    def __init__(self, base: nn.Linear, rank: int, scale: float):
        super().__init__()
        self.register_buffer("base", base.weight.detach(), persistent=False)
        self.bias = nn.Parameter(base.bias.detach().clone())
        self.A = nn.Parameter(torch.empty(rank, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.A, a=5**0.5)
        self.scale = scale
        self.merge()

    @torch.no_grad()
    def merge(self) -> None:
        """Recompute the weight that the forward pass uses."""
        self.weight = torch.addmm(self.base, self.B, self.A, alpha=self.scale).bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the merged layer, in bfloat16."""
        return _LowRankLinear.apply(x, self.weight, self.bias, self.A, self.B, self.scale)


def build_student(rank: int, scale: float, device: str) -> BertForSequenceClassification:
    """MiniLM as a cross-encoder, its encoder's linear layers made low-rank trainable."""
    model = base_model()
    # On a CPU, bfloat16 attention spelled out runs four times faster than the fused kernel.
    model.set_attn_implementation("eager")
    model.bert.embeddings.requires_grad_(False)
    model.bert.embeddings.LayerNorm.requires_grad_(True)
    model.bert.embeddings.token_type_embeddings.requires_grad_(True)
    for block in model.bert.encoder.layer:
        attention = block.attention
        for parent in (attention.self, attention.output, block.intermediate, block.output):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(parent, name, LowRankLinear(child, rank, scale))
    return model.eval().to(device)  # eval: no dropout, most lists are seen only a few times


def merge_all(model: nn.Module) -> None:
    """Bring every low-rank layer's weight up to date."""
    for module in model.modules():
        if isinstance(module, LowRankLinear):
            module.merge()


@torch.no_grad()
def start_from(model: nn.Module, path: Path) -> None:
    """Put an adapter's tensors where training goes on from them."""
    tensors, _ = read_adapter(path)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.copy_(tensors[name])
    merge_all(model)


def adapter_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Collect what was trained, float16, under the names that `crossencoder.merge` expects."""
    return {
        name: parameter.detach().half().cpu().contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


# ------------------------------------------------------------------------------ 4. training


def draw_batch(lists: Lists, step: int, options: argparse.Namespace) -> list[tuple]:
    """Draw the queries of one step and, for each, a few passages: (texts, teacher, grade).

    Everything depends on the seed and the step alone, so that a resumed run draws what an
    uninterrupted one would have drawn.
    """
    rng = np.random.default_rng([options.seed, 3, step])
    kinds = [kind for kind in options.mix if lists.train[kind]]
    share = np.array([options.mix[kind] for kind in kinds])
    batch = []
    for kind in rng.choice(kinds, options.lists_per_step, p=share / share.sum()):
        ranked = lists.train[kind][rng.integers(len(lists.train[kind]))]
        is_short = kind == "snippet"
        texts = lists.pieces if is_short else lists.passages
        batch.append(draw_list(ranked, texts, options.list_size * (1 + is_short), rng))
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


def list_loss(scores: Tensor, teacher: Tensor, grade: Tensor) -> Tensor:
    """Kullback-Leibler divergence from the teacher, plus a pairwise loss where grades differ.

    Parameters
    ----------
    scores, teacher, grade : [passage], one query's list; grade is NaN where unknown.
    """
    target = torch.softmax(teacher, 0)
    loss = functional.kl_div(torch.log_softmax(scores, 0), target, reduction="sum")
    better = grade[:, None] - grade[None, :]
    pairs = better > 0  # False where either grade is NaN
    if pairs.any():
        gap = (scores[:, None] - scores[None, :])[pairs]
        loss = loss + 0.5 * (better[pairs] * functional.softplus(-gap)).sum() / better[pairs].sum()
    return loss


def score_texts(model, tokenizer, texts: Sequence[tuple[str, str]], *, chunk=8, max_length=128):
    """Score (query, passage) pairs, [pair]; chunks of equal length waste little on padding."""
    device = next(model.parameters()).device
    queries, passages = zip(*texts, strict=True)
    encoded = tokenizer(
        list(queries), list(passages), truncation="only_second", max_length=max_length
    )
    order = sorted(range(len(texts)), key=lambda i: len(encoded["input_ids"][i]))
    scores = []
    for start in range(0, len(order), chunk):
        part = [{k: v[i] for k, v in encoded.items()} for i in order[start : start + chunk]]
        inputs = tokenizer.pad(part, return_tensors="pt").to(device)
        with torch.autocast(device.type, torch.bfloat16):
            scores.append(model(**inputs).logits[:, 0].float())
    # argsort of a permutation is its inverse
    return torch.cat(scores)[torch.tensor(np.argsort(order), device=device)]


def learning_rate(step: int, options: argparse.Namespace) -> float:
    """Warm up, stay, then fall to zero over the last share of the steps."""
    warm = min(1.0, (step + 1) / options.warmup)
    left = (options.steps - step) / max(1, options.steps * options.decay)
    return options.lr * min(warm, 1.0, left)


def make_optimizer(model: nn.Module, options: argparse.Namespace) -> torch.optim.AdamW:
    """AdamW on whatever is trainable."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trainable, lr=options.lr, betas=(0.9, 0.98), weight_decay=0.01)


def train_step(model, tokenizer, optimizer, batch: list[tuple], lr: float) -> float:
    """Make one update, and return the mean loss of its lists."""
    device = next(model.parameters()).device
    scores = score_texts(model, tokenizer, [pair for texts, *_ in batch for pair in texts])
    losses, at = [], 0
    for texts, teacher, grade in batch:
        labels = [torch.tensor(x, dtype=torch.float32, device=device) for x in (teacher, grade)]
        losses.append(list_loss(scores[at : at + len(texts)], *labels))
        at += len(texts)
    loss = torch.stack(losses).mean()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad()
    merge_all(model)
    return loss.item()


# ------------------------------------------------------------------------ 5. early stopping


@torch.no_grad()
def held_out_ndcg(model, tokenizer, lists: Lists) -> float:
    """Mean nDCG@10 of re-ranking BM25's top 100 for the held-out queries, by ir_measures.

    A held-out query without grades is judged by its teachers: grade 1 for the ten best passages.
    """
    import ir_measures

    qrels, run = [], []
    for number, ranked in enumerate(lists.held_out):
        known = ~np.isnan(ranked.grade)
        grade = ranked.grade if known.any() else (np.arange(len(ranked.docs)) < 10).astype(float)
        known = known if known.any() else np.ones(len(grade), bool)
        qid = str(number)
        qrels += [
            ir_measures.Qrel(qid, str(d), int(g))
            for d, g in zip(ranked.docs[known], grade[known], strict=True)
        ]
        docs = ranked.docs[ranked.bm25] if ranked.bm25.any() else ranked.docs
        scores = score_texts(
            model, tokenizer, [(ranked.query, lists.passages[d]) for d in docs], chunk=32
        )
        run += [
            ir_measures.ScoredDoc(qid, str(d), s)
            for d, s in zip(docs, scores.tolist(), strict=True)
        ]
    return ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)[ir_measures.nDCG @ 10]


@dataclass
class Progress:
    """Where a run stands: all that a checkpoint holds beside weights and optimizer."""

    step: int = 0
    best: float = -1.0
    best_step: int = 0
    seconds: float = 0.0


def train(lists: Lists, options: argparse.Namespace) -> Progress:
    """Train, evaluate on the held-out queries now and then, keep the best; resume if possible."""
    torch.manual_seed(options.seed)
    model = build_student(options.rank, options.scale, options.device)
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder())
    tokenizer.model_max_length = 512
    if options.start:
        start_from(model, options.start)
    optimizer = make_optimizer(model, options)
    progress = restore(model, optimizer, options.out)
    losses, started, before = [], time.time(), progress.seconds
    while progress.step < options.steps:
        lr = learning_rate(progress.step, options)
        batch = draw_batch(lists, progress.step, options)
        losses.append(train_step(model, tokenizer, optimizer, batch, lr))
        progress.step += 1
        progress.seconds = before + time.time() - started
        if progress.step % options.log_every == 0:
            report(progress, loss=float(np.mean(losses)), lr=lr)
            losses = []
        if progress.step % options.eval_every == 0 or progress.step == options.steps:
            value = held_out_ndcg(model, tokenizer, lists)
            # Of equals (to three digits) the later one, which has seen more and at lower rates.
            if round(value, 3) >= round(progress.best, 3):
                progress.best, progress.best_step = value, progress.step
                save_adapter(model, options.out / "best.safetensors", options)
            report(progress, held_out=value)
            save_checkpoint(model, optimizer, progress, options.out)
    save_adapter(model, options.out / "last.safetensors", options)
    return progress


def report(progress: Progress, **values: float) -> None:
    """Print one line of progress."""
    shown = " ".join(f"{name} {value:.4g}" for name, value in values.items())
    print(f"step {progress.step} {progress.seconds:.0f} s {shown}", flush=True)


def save_adapter(model: nn.Module, path: Path, options: argparse.Namespace) -> None:
    """Write the adapter file that `mechir_edu.crossencoder.load` reads."""
    # One entry only: safetensors writes several in random order, and the file would differ.
    save_file(adapter_tensors(model), path, metadata={"scale": str(options.scale)})


def save_checkpoint(model, optimizer, progress: Progress, folder: Path) -> None:
    """Write everything a resumed run needs, whole or not at all."""
    state = {
        "model": {n: p.detach() for n, p in model.named_parameters() if p.requires_grad},
        "optimizer": optimizer.state_dict(),
        "progress": vars(progress),
    }
    torch.save(state, folder / "checkpoint.tmp")
    (folder / "checkpoint.tmp").replace(folder / "checkpoint.pt")


def restore(model, optimizer, folder: Path) -> Progress:
    """Continue from the folder's checkpoint, if it has one."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return Progress()
    state = torch.load(path, weights_only=True)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(state["model"][name])
    optimizer.load_state_dict(state["optimizer"])
    merge_all(model)
    return Progress(**state["progress"])


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--data", required=True, help="a training folder, or an ir_datasets id with qrels")
    add("--out", type=Path, required=True, help="folder for checkpoints and the adapter")
    add("--seed", type=int, default=0)
    add("--steps", type=int, default=6000)
    add("--queries", type=int, default=7000, help="extra unjudged queries to use at most")
    add("--snippets", type=int, default=0, help="pieces of passages to rank by cosine, in all")
    add("--sharpness", type=float, default=20.0, help="logits for a cosine of 1, for snippets")
    add("--start", type=Path, help="adapter to start from, of the same rank and scale")
    add(
        "--mix",
        type=float,
        nargs=4,
        default=[0.3, 0.55, 0.15, 0.0],
        metavar="SHARE",
        help="shares of judged, extra, pseudo and snippet lists",
    )
    add("--pseudo", type=int, default=3000, help="pseudo-queries to make from passages")
    add("--held-out", type=int, default=20, help="queries held out for early stopping")
    add("--forbidden", nargs="*", default=[], help="ir_datasets ids whose queries are test queries")
    add("--lists-per-step", type=int, default=4)
    add("--list-size", type=int, default=8)
    add("--rank", type=int, default=24)
    add("--scale", type=float, default=2.0, help="factor of the low-rank change")
    add("--lr", type=float, default=6e-4)
    add("--warmup", type=int, default=150, help="steps")
    add("--decay", type=float, default=0.3, help="share of the steps over which lr falls to 0")
    add("--eval-every", type=int, default=500)
    add("--log-every", type=int, default=50)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    options.mix = dict(zip(("judged", "extra", "pseudo", "snippet"), options.mix, strict=True))
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare the lists, train, and say where the adapter is."""
    options = parse_arguments(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.device == "cpu":
        torch.set_num_threads(1)  # sums in a fixed order: the same bits from the same seed
    started = time.time()
    lists = make_lists(read_data(options.data), options)
    print(json.dumps(lists.about), f"prepared in {time.time() - started:.0f} s", flush=True)
    progress = train(lists, options)
    summary = lists.about | vars(progress) | {k: str(v) for k, v in vars(options).items()}
    (options.out / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    print(f"best held-out nDCG@10 {progress.best:.4f} at step {progress.best_step}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
