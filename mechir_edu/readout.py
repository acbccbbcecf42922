"""From final hidden states to a relevance score.

A bi-encoder pools its hidden states into one embedding, perhaps projects and normalises it, and
compares it with the query's. A cross-encoder classifies its first position. Both are kept apart
from the encoder, so that patching can run a part of the encoder and score what comes out.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn

Hidden = Float[Tensor, "pair pos d_model"]
Mask = Int[Tensor, "pair pos"]
Embedding = Float[Tensor, "pair d_embedding"]


def first_token(hidden: Hidden, mask: Mask) -> Embedding:
    """Take the hidden state of the first position, [CLS]."""
    return hidden[:, 0]


def last_token(hidden: Hidden, mask: Mask) -> Embedding:
    """Take the hidden state of the last real token."""
    last = mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def _weighted_sum(hidden: Hidden, weights: Tensor) -> Embedding:
    return (hidden * weights.to(hidden.dtype).unsqueeze(-1)).sum(dim=1)


def mean_pool(hidden: Hidden, mask: Mask) -> Embedding:
    """Average the hidden states of real tokens."""
    # Padding still has hidden states (attention ignores it as a key, not as a query), so a plain
    # .mean(dim=1) would let the batch's composition change the embedding.
    return _weighted_sum(hidden, mask) / mask.sum(dim=1, keepdim=True)


def mean_sqrt_pool(hidden: Hidden, mask: Mask) -> Embedding:
    """Sum the real tokens and divide by the root of their number."""
    return _weighted_sum(hidden, mask) / mask.sum(dim=1, keepdim=True).sqrt()


def weighted_mean_pool(hidden: Hidden, mask: Mask) -> Embedding:
    """Average with weights that grow with the position (SGPT)."""
    weights = mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return _weighted_sum(hidden, weights) / weights.sum(dim=1, keepdim=True)


def max_pool(hidden: Hidden, mask: Mask) -> Embedding:
    """Take each dimension's maximum over real tokens."""
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)


# Names as sentence-transformers writes them.
POOLING: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": first_token,
    "mean": mean_pool,
    "max": max_pool,
    "lasttoken": last_token,
    "mean_sqrt_len_tokens": mean_sqrt_pool,
    "weightedmean": weighted_mean_pool,
}
SIMILARITIES = ("dot", "cosine")


@dataclass(frozen=True)
class EmbeddingHead:
    """How a bi-encoder turns hidden states into an embedding and compares two of them.

    Attributes
    ----------
    pooling : a key of `POOLING`.
    projections : modules applied to the pooled vector in order (sentence-transformers' Dense).
    normalise : scale the embedding to unit length.
    similarity : "dot" or "cosine".
    query_prompt, document_prompt : text that the checkpoint wants before every query or document.
    """

    pooling: str = "cls"
    projections: tuple[nn.Module, ...] = ()
    normalise: bool = False
    similarity: str = "dot"
    query_prompt: str = ""
    document_prompt: str = ""

    def __post_init__(self):
        if self.pooling not in POOLING:
            raise ValueError(f"pooling must be one of {sorted(POOLING)}, got {self.pooling!r}")
        if self.similarity not in SIMILARITIES:
            raise ValueError(f"similarity must be one of {SIMILARITIES}, got {self.similarity!r}")

    @property
    def reads_first_position_only(self) -> bool:
        """Whether the score depends on the final hidden state of position 0 alone."""
        return self.pooling == "cls"

    def embed(self, hidden: Hidden, mask: Mask) -> Embedding:
        """Pool, project and normalise: [pair, pos, d_model] to [pair, d_embedding]."""
        embedding = POOLING[self.pooling](hidden, mask)
        for project in self.projections:
            embedding = project(embedding)
        return F.normalize(embedding, dim=-1) if self.normalise else embedding

    def compare(self, queries: Embedding, documents: Embedding) -> Float[Tensor, " pair"]:
        """Relevance score of each document for the query in the same row."""
        if self.similarity == "cosine":
            queries, documents = F.normalize(queries, dim=-1), F.normalize(documents, dim=-1)
        return (queries * documents).sum(dim=-1)


def read_embedding_head(folder: Path) -> EmbeddingHead:
    """Read pooling, projections and similarity as sentence-transformers stores them.

    A folder without ``modules.json`` says nothing about pooling; then [CLS] and the dot product
    are taken, as MechIR does and as TAS-B needs.

    Raises
    ------
    ValueError
        For a module or pooling that is not supported, naming it.
    """
    if not (folder / "modules.json").exists():
        return EmbeddingHead()
    pooling, projections, normalise = "mean", [], False
    for module in _read(folder / "modules.json"):
        kind, place = module["type"].rsplit(".", 1)[-1], folder / module["path"]
        if kind == "Pooling":
            pooling = _pooling_mode(_read(place / "config.json"))
        elif kind == "Dense":
            projections.append(_dense(place))
        elif kind == "Normalize":
            normalise = True
        elif kind != "Transformer":
            raise ValueError(
                f"{folder.name} has a sentence-transformers module {kind!r}; supported are "
                "Transformer, Pooling, Dense and Normalize"
            )
    settings_file = folder / "config_sentence_transformers.json"
    settings = _read(settings_file) if settings_file.exists() else {}
    prompts = settings.get("prompts") or {}
    return EmbeddingHead(
        pooling=pooling,
        projections=tuple(projections),
        normalise=normalise,
        similarity=settings.get("similarity_fn_name") or "cosine",
        query_prompt=prompts.get("query", ""),
        document_prompt=prompts.get("document", ""),
    )


def _read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def _pooling_mode(config: dict) -> str:
    if "pooling_mode" in config:
        modes = config["pooling_mode"]
        modes = [modes] if isinstance(modes, str) else list(modes)
    else:  # before sentence-transformers 5: one flag for each mode
        flags = [name for name, on in config.items() if name.startswith("pooling_mode_") and on]
        renamed = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"}
        modes = [name.removeprefix("pooling_mode_") for name in flags]
        modes = [renamed.get(mode, mode) for mode in modes]
    if len(modes) != 1:
        raise ValueError(f"needed one pooling mode, got {modes}; pass pooling= to choose one")
    return modes[0]


def _dense(folder: Path) -> nn.Module:
    config = _read(folder / "config.json")
    linear = nn.Linear(config["in_features"], config["out_features"], bias=config["bias"])
    weights = load_file(folder / "model.safetensors")
    linear.load_state_dict({name.removeprefix("linear."): w for name, w in weights.items()})
    module, name = config.get("activation_function", "torch.nn.modules.linear.Identity").rsplit(
        ".", 1
    )
    if not module.startswith("torch.nn"):
        raise ValueError(f"Dense activation must be of torch.nn, got {module}.{name}")
    return nn.Sequential(linear, getattr(import_module(module), name)()).eval()


def classify(hf_model: nn.Module, hidden: Hidden, mask: Mask) -> Float[Tensor, "pair label"]:
    """Logits of a ``*ForSequenceClassification`` model from its encoder's final hidden states.

    ``hidden`` may hold position 0 alone, [pair, 1, d_model], unless the model pools by mean
    (ModernBERT with ``classifier_pooling="mean"``; see `classifies_first_position`).
    """
    match hf_model.config.model_type:
        case "bert":
            return hf_model.classifier(hf_model.bert.pooler(hidden))
        case "distilbert":
            return hf_model.classifier(torch.relu(hf_model.pre_classifier(hidden[:, 0])))
        case "modernbert":
            first = classifies_first_position(hf_model)
            pooled = hidden[:, 0] if first else mean_pool(hidden, mask)
            return hf_model.classifier(hf_model.head(pooled))
        case _:  # RoBERTa, XLM-R, ELECTRA, MPNet: the classifier picks position 0 itself
            return hf_model.classifier(hidden)


def classifies_first_position(hf_model: nn.Module) -> bool:
    """Whether a classifier reads the final hidden state of position 0 alone."""
    return getattr(hf_model.config, "classifier_pooling", "cls") == "cls"


def relevant_label(config) -> int:
    """Index of the logit that means "relevant".

    The only logit, or of two the last, unless ``id2label`` names one of them so ("relevant",
    "true", "yes", "positive" without a negation).

    Raises
    ------
    ValueError
        For more than two labels.
    """
    if config.num_labels > 2:
        raise ValueError(
            f"a cross-encoder needs one or two labels, got {config.num_labels}: "
            f"{list(config.id2label.values())}; this checkpoint is a classifier of another kind"
        )
    positive = {"relevant", "true", "yes", "positive", "1"}
    named = [i for i, name in config.id2label.items() if str(name).lower() in positive]
    return int(named[0]) if len(named) == 1 else config.num_labels - 1
