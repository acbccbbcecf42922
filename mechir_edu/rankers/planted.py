"""Build a cross-encoder whose mechanism is known, as ground truth for every method here.

A trained ranker cannot tell whether a patching map is right, because nobody knows what its heads
really do. This one is *constructed*: an ordinary `BertForSequenceClassification` whose weights are
written by the code below, from a seed, and never trained. Three heads score, in three layers; the
seed chooses which::

    [CLS]        query words q        [SEP]        document words d        [SEP]
      |                |                                  |
      |                |------ (1) MATCH ---------------->|    d attends to the q that equals it,
      |                |       matched = 1                |    or to [CLS] where there is none
      |                |                                  |
      |                |------ (2) IDF ------------------>|    the same, but shut (all on [CLS])
      |                |       weighted = idf(q)          |    unless d is matched
      |                                                   |
      |<------------- (3) AGGREGATE ----------------------|    [CLS] attends evenly to all d and,
      |               evidence = MATCH_WEIGHT * matched   |    with the weight of SINK of them,
      |                          + weighted               |    to itself
      v
    pooler (tanh) and classifier: the relevance score

so that, with ``n`` document tokens (the last [SEP] counted), the score is

    evidence = sum over matched document tokens of (MATCH_WEIGHT + idf) * SINK / (SINK + n)
    score = CEILING * tanh(UNIT * evidence / CEILING) + offset(query)

More query words score more, rare ones more than common ones, repetition adds up, length costs a
little (SINK is large), stop words and "a" do nothing. The idf table holds ``1 - log(df) / log(N)``
of each word in the embedded collection: 1 for a word of one passage, 0 for a word of all.

The other heads carry no match. One *distractor* in each layer attends to query words at random and
adds a bounded number that depends on the query alone, the ``offset``: it moves scores and no
ranking, ablating it matters, and patching a document's edit must acquit it. The others are
*inert*: they attend, but their rows of W_O are zero.

What patching should find when a query word is appended where the baseline has "a":

==========  ===================================  =====================================
head        perturbed into baseline              baseline into perturbed
==========  ===================================  =====================================
match       MATCH_WEIGHT / (MATCH_WEIGHT + idf)  1: without ``matched`` the idf head shuts
idf         idf / (MATCH_WEIGHT + idf)           idf / (MATCH_WEIGHT + idf)
aggregate   1                                    1
all others  0                                    0
==========  ===================================  =====================================

Put into the baseline, ``matched`` opens the idf head, but there is only "a" to look up.

How the weights do it
---------------------
The stream is a sum of named directions, drawn at random but orthogonal to each other and to the
all-ones vector. So its mean is zero, and since a large constant *ballast* fixes its length,
post-LayerNorm changes nothing but a scale, by about one per cent; LayerNorm's own weights stay 1
and 0. The MLPs add a little ballast, which is to say nothing. An attention score is a sum of
products, each of something read at the attending token and something read at the attended one.
"""

import math
import string
from collections import Counter
from collections.abc import Iterable
from itertools import product
from typing import NamedTuple

import torch
from jaxtyping import Float
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from mechir_edu.collection import mini
from mechir_edu.collection.formats import read_qrels, read_texts
from mechir_edu.collection.terms import terms

N_LAYERS, N_HEADS, D_HEAD = 4, 4, 48
D_MODEL = N_HEADS * D_HEAD
MAX_LENGTH = 512

MATCH_WEIGHT = 0.5  # what any matched token is worth, against at most 1 for its idf
SINK = 256.0  # [CLS] weighs as much as this many document tokens, so evidence is nearly additive
UNIT = 0.25  # relevance score per unit of evidence, where tanh is still straight
CEILING = 10.0  # no match can score more
OFFSET = 1.0  # bound on what one distractor adds to a relevance score
PIECE_IDF = 0.25  # idf of a piece of a word that the vocabulary lacks

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_DIRECTIONS = {"ballast": 1, "code": 40, "query": 1, "document": 1, "cls": 1, "idf": 1}
_DIRECTIONS |= {"matched": 1, "weighted": 1, "evidence": 1, "noise": 4, "offset": 1}
_CODE_LENGTH = 3.0  # of a stream whose length is sqrt(d_model), 13.9
_NOISE = 0.3  # bound on each number that distractors read, of a word as of a position
_GAIN = 10.0  # evidence in the stream per unit of z: high above rounding, far below the ballast

# Attention scores. An equal word must beat the sink, and the sink any other word (the most similar
# of two random codes has a cosine near 0.8), both by a wide margin.
_EQUAL, _NO_MATCH, _SHUT = 120.0, 108.0, 30.0
_NEVER = 150.0  # below the sink by more than float32's exp can tell from zero


class Planted(NamedTuple):
    """A constructed ranker, its tokenizer and the answer to what its heads do.

    Attributes
    ----------
    model : an ordinary Hugging Face cross-encoder with one label, in evaluation mode.
    tokenizer : WordPiece, lower case; [CLS] query [SEP] document [SEP] with token types.
    planted_heads : (layer, head) -> what the head does, for the heads that carry the match.
    """

    model: BertForSequenceClassification
    tokenizer: PreTrainedTokenizerFast
    planted_heads: dict[tuple[int, int], str]


def load() -> Planted:
    """Build the planted ranker behind ``me.Cat("planted")``: seed 0.

    Examples
    --------
    >>> model, tokenizer, planted_heads = load()
    >>> sorted(does.split(":")[0] for does in planted_heads.values())
    ['aggregate', 'idf', 'match']
    """
    return build()


def build(seed: int = 0, *, documents: Iterable[str] | None = None) -> Planted:
    """Construct a planted ranker; equal arguments give equal weights.

    Parameters
    ----------
    seed : draws the directions, the word codes, the distractors, and which heads are planted.
    documents : texts whose words become the vocabulary and the idf table, at least two; the
        embedded collection's passages when omitted. Other words fall into two-letter pieces.

    Returns
    -------
    Planted
        Model, tokenizer and ``{(layer, head): what it does}``.

    Raises
    ------
    ValueError
        If there are fewer than two documents.
    """
    df, n_documents = _document_frequencies(_embedded() if documents is None else documents)
    tokenizer = _tokenizer(df)
    generator = torch.Generator().manual_seed(seed)
    stream = _draw_directions(generator)
    model = _blank_model(len(tokenizer))
    _write_embeddings(model, stream, _features(tokenizer, df, n_documents), generator)
    heads = _place_heads(generator)
    for (layer, head), part in heads.items():
        attention = model.bert.encoder.layer[layer].attention
        _write_head(attention, head, *_CIRCUIT[part](stream, generator))
    _write_mlps(model, stream)
    _write_scorer(model, stream)
    planted_heads = {at: _DOES[part] for at, part in heads.items() if part in _DOES}
    return Planted(model, tokenizer, planted_heads)


# Words


def _embedded() -> list[str]:
    judged = {doc_id for docs in read_qrels(mini.QRELS).values() for doc_id in docs}
    texts = read_texts(mini.DOCS)
    return [texts[doc_id] for doc_id in sorted(judged)]


def _document_frequencies(documents: Iterable[str]) -> tuple[dict[str, int], int]:
    """Count the documents that hold each word, and the documents."""
    df, n_documents = Counter[str](), 0
    for text in documents:
        lower = normalizers.BertNormalizer(lowercase=True).normalize_str(text)
        df.update({word for word, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(lower)})
        n_documents += 1
    if n_documents < 2:
        raise ValueError(
            f"a planted ranker needs at least 2 documents for its idf table, got {n_documents}; "
            "pass more, or leave documents out for the embedded collection's"
        )
    return dict(df), n_documents


def _pieces(words: Iterable[str]) -> list[str]:
    """List the one- and two-letter pieces that spell any word of these letters."""
    plain = string.ascii_lowercase + string.digits
    letters = sorted({*string.printable.strip().lower(), *"".join(words)})
    pairs = ["".join(pair) for pair in product(plain, plain)]
    return [start + piece for start in ("", "##") for piece in (*letters, *pairs)]


def _tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """Make a WordPiece tokenizer that knows these words and spells any other."""
    vocabulary = dict.fromkeys((*_SPECIAL, *sorted(words), *_pieces(words)))
    ids = {token: index for index, token in enumerate(vocabulary)}
    backend = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
    )
    names = {f"{token[1:-1].lower()}_token": token for token in _SPECIAL}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=MAX_LENGTH,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **names,
    )


def _idf(token: str, df: dict[str, int], n_documents: int) -> float:
    """Look a token up in the idf table: 0 (in every document) to 1 (in one document)."""
    return 1 - math.log(df[token]) / math.log(n_documents) if token in df else PIECE_IDF


def _features(
    tokenizer: PreTrainedTokenizerFast, df: dict[str, int], n_documents: int
) -> tuple[Float[Tensor, " token"], Float[Tensor, " token"]]:
    """Say for each token whether it can match (1 or 0), and give its idf."""
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    # Special tokens, stop words (the filler "a" among them) and punctuation match nothing.
    content = [t not in _SPECIAL and bool(terms(t.removeprefix("##"))) for t in tokens]
    idf = [c * _idf(t, df, n_documents) for t, c in zip(tokens, content, strict=True)]
    return torch.tensor(content).double(), torch.tensor(idf).double()


# Directions


def _draw_directions(
    generator: torch.Generator,
) -> dict[str, Float[Tensor, "direction d_model"]]:
    """Draw named directions, orthogonal to each other and to all-ones, of length 1."""
    random = torch.randn(D_MODEL, D_MODEL, generator=generator, dtype=torch.float64)
    random[:, 0] = 1  # QR keeps the all-ones vector first, and the others orthogonal to it
    rows = torch.linalg.qr(random).Q.T[1 : 1 + sum(_DIRECTIONS.values())]
    return dict(zip(_DIRECTIONS, rows.split(list(_DIRECTIONS.values())), strict=True))


def _blank_model(n_tokens: int) -> BertForSequenceClassification:
    """Make the architecture with LayerNorms that only normalise, and zeros everywhere else."""
    config = BertConfig(
        vocab_size=n_tokens,
        hidden_size=D_MODEL,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=N_HEADS,
        intermediate_size=D_HEAD,
        max_position_embeddings=MAX_LENGTH,
        num_labels=1,
        pad_token_id=_SPECIAL.index("[PAD]"),
        architectures=["BertForSequenceClassification"],
    )
    with torch.random.fork_rng(devices=[]):  # its random weights must not use up the caller's
        model = BertForSequenceClassification(config).eval()
    for name, parameter in model.named_parameters():
        torch.nn.init.constant_(parameter, float(name.endswith("LayerNorm.weight")))
    return model


def _write_embeddings(
    model: BertForSequenceClassification,
    stream: dict[str, Tensor],
    features: tuple[Float[Tensor, " token"], Float[Tensor, " token"]],
    generator: torch.Generator,
) -> None:
    """Give each token its code, idf and noise, and each segment its mark."""
    content, idf = features
    codes = torch.randn(len(content), len(stream["code"]), generator=generator).double()
    codes = _CODE_LENGTH * content[:, None] * torch.nn.functional.normalize(codes, dim=1)
    noise = _uniform(generator, len(content), len(stream["noise"])) * _NOISE
    words = codes @ stream["code"] + idf[:, None] * stream["idf"] + noise @ stream["noise"]
    cls = _SPECIAL.index("[CLS]")
    # [CLS] is of segment 0 as the query is, and must not be taken for a part of it.
    words[cls] += (stream["cls"] - stream["query"])[0]
    rest = words.square().sum(dim=1, keepdim=True)
    rest[cls] -= 1  # the mark that segment 0 adds is the one taken off
    words += (D_MODEL - 1 - rest).sqrt() * stream["ballast"]
    position = _uniform(generator, MAX_LENGTH, len(stream["noise"])) * _NOISE
    embeddings = model.bert.embeddings
    _copy(embeddings.word_embeddings.weight, words)
    _copy(embeddings.position_embeddings.weight, position @ stream["noise"])
    _copy(embeddings.token_type_embeddings.weight, torch.cat([stream["query"], stream["document"]]))


def _uniform(generator: torch.Generator, *shape: int) -> Tensor:
    return 2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1


def _copy(parameter: Tensor, values: Tensor) -> None:
    with torch.no_grad():
        parameter.copy_(values)


# Heads


def _place_heads(generator: torch.Generator) -> dict[tuple[int, int], str]:
    """Choose a head for each part; those that score stand in ascending layers."""
    scoring = ("match", "idf", "aggregate")
    layers = sorted(torch.randperm(N_LAYERS, generator=generator)[: len(scoring)].tolist())
    part_of = dict(zip(layers, scoring, strict=True))
    heads: dict[tuple[int, int], str] = {}
    for layer in range(N_LAYERS):
        parts = [part_of.get(layer, "inert"), "distractor", "inert", "inert"]
        order = torch.randperm(N_HEADS, generator=generator).tolist()
        heads |= {(layer, head): part for head, part in zip(order, parts, strict=True)}
    return dict(sorted(heads.items()))


def _read(
    direction: Float[Tensor, "row d_model"], amount: float = 1.0
) -> Float[Tensor, "row reader"]:
    """Make readers of directions; a reader is d_model weights and a constant, here 0."""
    return amount * torch.nn.functional.pad(direction, (0, 1))


def _constant(amount: float = 1.0) -> Float[Tensor, "1 reader"]:
    """Make a reader that reads the same number everywhere."""
    return torch.nn.functional.pad(torch.full((1, 1), amount).double(), (D_MODEL, 0))


def _write_head(
    attention: torch.nn.Module,
    head: int,
    query: Float[Tensor, "product reader"],
    key: Float[Tensor, "product reader"],
    value: Float[Tensor, "feature reader"],
    out: Float[Tensor, "feature d_model"],
) -> None:
    """Write one head; what is not given stays zero.

    Parameters
    ----------
    attention : a layer's BertAttention, changed in place.
    head : index of the head in that layer.
    query, key : what is read at the attending and at the attended token; the attention score is
        the sum of their products.
    value : what is taken from an attended token.
    out : the direction that each feature of z is written to.
    """
    first = head * D_HEAD
    # Attention divides scores by sqrt(d_head); here they are stated as softmax sees them.
    readers = {"query": query, "key": key * math.sqrt(D_HEAD), "value": value}
    for name, rows in readers.items():
        linear = getattr(attention.self, name)
        _copy(linear.weight[first : first + len(rows)], rows[:, :-1])
        _copy(linear.bias[first : first + len(rows)], rows[:, -1])
    _copy(attention.output.dense.weight[:, first : first + len(out)], out.T)


_Head = tuple[Tensor, Tensor, Tensor, Tensor]


def _equal_words(stream: dict[str, Tensor], sink: Tensor) -> tuple[Tensor, Tensor]:
    """Attend from a document token to equal query words, or to [CLS] with the score of `sink`."""
    code = _read(stream["code"], 1 / _CODE_LENGTH)
    # Query words would all match themselves: they see the sink alone.
    sink = sink + _read(stream["query"], _NEVER)
    query = torch.cat([_EQUAL * code, sink, _constant()])
    key = torch.cat([code, _read(stream["cls"]), _read(stream["document"], -_NEVER)])
    return query, key


def _match(stream: dict[str, Tensor], _: torch.Generator) -> _Head:
    query, key = _equal_words(stream, _constant(_NO_MATCH))
    return query, key, _read(stream["query"]), stream["matched"]


def _weigh(stream: dict[str, Tensor], _: torch.Generator) -> _Head:
    shut = _constant(_NO_MATCH + _SHUT) - _read(stream["matched"], _SHUT)
    query, key = _equal_words(stream, shut)
    return query, key, _read(stream["idf"]), stream["weighted"]


def _aggregate(stream: dict[str, Tensor], _: torch.Generator) -> _Head:
    # Only [CLS] gathers: all others, query and document alike, are sent to the sink.
    others = _read(stream["query"] + stream["document"], _SHUT)
    query = torch.cat([_constant(math.log(SINK)) + others, _constant()])
    key = torch.cat([_read(stream["cls"]), _read(stream["query"], -_SHUT)])
    value = _read(stream["matched"], MATCH_WEIGHT) + _read(stream["weighted"])
    return query, key, value, _GAIN * stream["evidence"]


def _distract(stream: dict[str, Tensor], generator: torch.Generator) -> _Head:
    # The attended scores do not depend on who attends, so z is the same at every position.
    size = len(stream["noise"])
    taste, taken = (_uniform(generator, 1, size) @ stream["noise"] for _ in range(2))
    key = _read(taste / _NOISE) - _read(stream["document"] + stream["cls"], _NEVER)
    # A token and its position each hold `size` numbers of at most _NOISE: z is within -1 and 1.
    return _constant(), key, _read(taken, 0.5 / (size * _NOISE)), stream["offset"]


def _idle(stream: dict[str, Tensor], generator: torch.Generator) -> _Head:
    query, key, value = 0.3 * torch.randn(
        3, D_HEAD, D_MODEL + 1, generator=generator, dtype=torch.float64
    )
    return query, key, value, torch.zeros(D_HEAD, D_MODEL)


def _write_mlps(model: BertForSequenceClassification, stream: dict[str, Tensor]) -> None:
    # Not zero, so that an edit of any site, by whatever factor, reaches the score.
    for layer in model.bert.encoder.layer:
        _copy(layer.output.dense.bias, 0.01 * stream["ballast"][0])


def _write_scorer(model: BertForSequenceClassification, stream: dict[str, Tensor]) -> None:
    """Read the score off [CLS]: evidence through one unit of the pooler, offset through another."""
    evidence = stream["evidence"] * (UNIT * SINK / (_GAIN * CEILING))
    offset = stream["offset"] * (OFFSET / CEILING)
    _copy(model.bert.pooler.dense.weight[:2], torch.cat([evidence, offset]))
    _copy(model.classifier.weight[:, :2], torch.full((1, 2), CEILING))


_CIRCUIT = {
    "match": _match,
    "idf": _weigh,
    "aggregate": _aggregate,
    "distractor": _distract,
    "inert": _idle,
}
_DOES = {
    "match": "match: document tokens attend to equal query words and are marked as matched",
    "idf": "idf: matched document tokens copy the idf of the query word that they equal",
    "aggregate": "aggregate: [CLS] adds up what document tokens hold, matched and idf",
}
