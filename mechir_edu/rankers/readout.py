"""From final hidden states to an embedding and to a relevance score, as a checkpoint says.

A bi-encoder pools its hidden states into one embedding, perhaps projects and normalises it, and
compares it with the query's. This stands apart from the encoder, so that patching can run the last
blocks of an encoder alone and score what comes out.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PretrainedConfig

from mechir_edu.files import read_json
from mechir_edu.rankers.base import Prompts
from mechir_edu.rankers.pooling import POOLING, Embedding, Hidden, Mask

RENAMED = {  # older checkpoints' names of poolings: today's
    "cls_token": "cls",
    "mean_tokens": "mean",
    "max_tokens": "max",
    "weightedmean_tokens": "weightedmean",
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
    prompts : text that the checkpoint wants before every query, and before every document.
    """

    pooling: str = "cls"
    projections: tuple[nn.Module, ...] = ()
    normalise: bool = False
    similarity: str = "dot"
    prompts: Prompts = Prompts()

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


def read_embedding_head(
    folder: Path, *, pooling: str | None = None, similarity: str | None = None
) -> EmbeddingHead:
    """Read pooling, projections, similarity and prompts as sentence-transformers stores them.

    A folder without ``modules.json`` says nothing about pooling and gets [CLS] and the dot
    product, as in MechIR and as TAS-B needs. ``pooling`` and ``similarity`` override the folder.

    Raises
    ------
    ValueError
        For modules, a pooling or a similarity that are not supported, naming them.
    """
    modules = read_json(folder / "modules.json")
    if not modules:
        return EmbeddingHead(pooling=pooling or "cls", similarity=similarity or "dot")
    types = [module["type"].rsplit(".", 1)[-1] for module in modules]
    if not re.fullmatch("Transformer Pooling( Dense)*( Normalize)?", " ".join(types)):
        raise ValueError(
            f"{folder.name} has the sentence-transformers modules {', '.join(types)}; supported "
            "are Transformer, Pooling, any number of Dense, and at the end Normalize"
        )
    places = [folder / module["path"] for module in modules]
    settings = read_json(folder / "config_sentence_transformers.json")
    prompts = settings.get("prompts") or {}
    return EmbeddingHead(
        pooling=pooling or _pooling_mode(read_json(places[1] / "config.json")),
        projections=tuple(
            _dense(place) for place, name in zip(places, types, strict=True) if name == "Dense"
        ),
        normalise=types[-1] == "Normalize",
        similarity=similarity or settings.get("similarity_fn_name") or "cosine",
        prompts=Prompts(prompts.get("query") or "", prompts.get("document") or ""),
    )


def _pooling_mode(config: dict) -> str:
    modes = config.get("pooling_mode")
    if modes is None:  # older checkpoints have one flag for each mode
        flags = [name for name, on in config.items() if name.startswith("pooling_mode_") and on]
        modes = [name.removeprefix("pooling_mode_") for name in flags]
        modes = [RENAMED.get(mode, mode) for mode in modes]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1:
        raise ValueError(f"needed one pooling mode, got {modes}; pass pooling= to choose one")
    if not config.get("include_prompt", True):
        raise ValueError("pooling that leaves the prompt out (include_prompt) is not supported")
    return modes[0]


def _dense(folder: Path) -> nn.Module:
    """Load a projection from the folder of sentence-transformers' Dense module."""
    config = read_json(folder / "config.json")
    on_tokens = config.get("module_input_name", "sentence_embedding") != "sentence_embedding"
    if on_tokens or config.get("use_residual"):
        raise ValueError(f"{folder.name}: needed a Dense of the embedding, without residual sum")
    linear = nn.Linear(config["in_features"], config["out_features"], bias=config["bias"])
    if (stored := folder / "model.safetensors").exists():
        weights = load_file(stored)
    else:
        weights = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    linear.load_state_dict({name.removeprefix("linear."): w for name, w in weights.items()})
    module, name = config.get("activation_function", "torch.nn.Tanh").rsplit(".", 1)
    # The name comes from a file, so it is looked up in torch.nn and never imported.
    if not module.startswith("torch.nn") or not hasattr(nn, name):
        raise ValueError(f"the activation of a Dense must be of torch.nn, got {module}.{name}")
    return nn.Sequential(linear, getattr(nn, name)()).float().eval().requires_grad_(False)


def relevant_label(config: PretrainedConfig) -> int:
    """Index of the logit that means "relevant".

    The only logit, or of two the last, unless ``id2label`` calls exactly one of them "relevant",
    "true", "yes", "positive" or "1".

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
