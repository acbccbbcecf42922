"""From final hidden states to an embedding and to a relevance score, as a checkpoint says.

A bi-encoder pools its hidden states into one embedding, perhaps projects and normalises it, and
compares it with the query's. This stands apart from the encoder, so that patching can run the last
blocks of an encoder alone and score what comes out.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from mechir_edu.rankers.base import Prompts
from mechir_edu.rankers.checkpoint.settings import (
    BI_ENCODER,
    DENSE,
    MODEL_FILE,
    NORMALIZE,
    OBEYED,
    POOLING_RULES,
    prompts_of_sides,
    read_model,
    stated_modules,
)
from mechir_edu.rankers.checkpoint.stored import obey, read_object, refuse_pointers, shown, whole
from mechir_edu.rankers.pooling import POOLING, ROWS, Embedding, Hidden, Mask, RowsRead

FLAGS = {  # older checkpoints' names of poolings: today's
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
MODULE_RULES = {
    "Pooling": POOLING_RULES | dict.fromkeys(FLAGS, OBEYED),
    "Dense": DENSE,
    "Normalize": NORMALIZE,
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
    truncate_dim : keep only the first so many dimensions, after scaling; None keeps all.
    """

    pooling: str = "cls"
    projections: tuple[nn.Module, ...] = ()
    normalise: bool = False
    similarity: str = "dot"
    prompts: Prompts = Prompts()
    truncate_dim: int | None = None

    def __post_init__(self):
        if self.pooling not in POOLING:
            raise ValueError(f"pooling must be one of {sorted(POOLING)}, got {self.pooling!r}")
        if self.similarity not in SIMILARITIES:
            raise ValueError(f"similarity must be one of {SIMILARITIES}, got {self.similarity!r}")

    @property
    def rows(self) -> RowsRead:
        """Which final hidden states the score depends on."""
        return ROWS.get(self.pooling, "all")

    @property
    def reads_first_position_only(self) -> bool:
        """Whether the score depends on the final hidden state of position 0 alone."""
        return self.rows == "first"

    def embed(self, hidden: Hidden, mask: Mask) -> Embedding:
        """Pool, project, normalise and cut: [pair, pos, d_model] to [pair, d_embedding]."""
        embedding = POOLING[self.pooling](hidden, mask)
        for project in self.projections:
            embedding = project(embedding)
        embedding = F.normalize(embedding, dim=-1) if self.normalise else embedding
        return embedding[:, : self.truncate_dim]

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
        For modules, a pooling, a similarity or any other setting that is not supported, naming it
        and its file (`mechir_edu.rankers.checkpoint.settings`).
    """
    modules = stated_modules(folder)
    if not modules:
        read_model(folder, BI_ENCODER)
        return EmbeddingHead(pooling=pooling or "cls", similarity=similarity or "dot")
    settings = read_model(folder, BI_ENCODER)
    kinds = [module.name for module in modules]
    if not re.fullmatch("Transformer Pooling( Dense)*( Normalize)?", " ".join(kinds)):
        raise ValueError(
            f"{folder.name} has the sentence-transformers modules {', '.join(kinds)}; supported "
            "are Transformer, Pooling, any number of Dense, and at the end Normalize"
        )
    for module in modules[1:]:
        stated = read_object(module.folder / "config.json")
        obey(
            f"{module.folder.name}/config.json of {folder.name}", stated, MODULE_RULES[module.name]
        )
    return EmbeddingHead(
        pooling=pooling or read_pooling(modules[1].folder),
        projections=tuple(read_dense(part.folder) for part in modules if part.name == "Dense"),
        normalise=kinds[-1] == "Normalize",
        truncate_dim=_truncate_dim(folder, settings),
        similarity=similarity or settings.get("similarity_fn_name") or "cosine",
        prompts=Prompts(*prompts_of_sides(folder, settings)),
    )


def _truncate_dim(folder: Path, settings: dict) -> int | None:
    wanted = settings.get("truncate_dim")
    if wanted is None:
        return None
    return whole(wanted, f"truncate_dim in {MODEL_FILE} of {folder.name}")


def read_pooling(folder: Path) -> str:
    """Name of the pooling that sentence-transformers' Pooling module states.

    Raises
    ------
    ValueError
        For none, several, or one that is not supported.
    """
    config = read_object(folder / "config.json")
    modes = config.get("pooling_mode")
    if modes is None:  # older checkpoints have one flag for each mode, and mean where none is set
        flags = {name: on for name, on in config.items() if name in FLAGS}
        modes = [FLAGS[name] for name, on in flags.items() if on] or ["mean"] * bool(flags)
    modes = [modes] if isinstance(modes, str) else modes
    if not isinstance(modes, list) or len(modes) != 1 or modes[0] not in POOLING:
        raise ValueError(
            f"{folder.name}/config.json: needed one pooling mode of {sorted(POOLING)}, got "
            f"{shown(modes)}; pass pooling= to choose one"
        )
    return modes[0]


def read_dense(folder: Path) -> nn.Module:
    """Load a projection from the folder of sentence-transformers' Dense module."""
    where = f"{folder.name}/config.json"
    config = read_object(folder / "config.json")
    sizes = [whole(config.get(key), f"{key} in {where}") for key in ("in_features", "out_features")]
    if not isinstance(bias := config.get("bias", True), bool):
        raise ValueError(f"bias in {where} must be true or false, got {shown(bias)}")
    linear = nn.Linear(*sizes, bias=bias)
    activation = _activation(where, config.get("activation_function", "torch.nn.Tanh"))
    fill(linear, folder, "linear.", "in_features, out_features or bias")
    return nn.Sequential(linear, activation).eval().requires_grad_(False)


def read_layer_norm(folder: Path) -> nn.Module:
    """Load a norm from the folder of sentence-transformers' LayerNorm module."""
    stated = read_object(folder / "config.json").get("dimension")
    norm = nn.LayerNorm(whole(stated, f"dimension in {folder.name}/config.json"))
    fill(norm, folder, "norm.", "dimension")
    return norm.eval().requires_grad_(False)


def fill(module: nn.Module, folder: Path, prefix: str, sizes: str) -> None:
    """Give a module the weights in a folder, whose names begin with a prefix.

    ``sizes`` names the settings that state their shapes.

    Raises
    ------
    ValueError
        For weights that are missing, damaged, or of another shape than ``config.json`` states.
    """
    weights = {name.removeprefix(prefix): x for name, x in read_tensors(folder).items()}
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"the weights in {folder.name} do not fit {sizes} in {folder.name}/config.json: {error}"
        ) from error


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Weights in a folder's one file of them.

    Raises
    ------
    ValueError
        For a file that is missing or damaged.
    """
    files = [folder / name for name in ("model.safetensors", "pytorch_model.bin")]
    stored = next((file for file in files if file.exists()), None)
    if stored is None:
        raise ValueError(f"{folder.name} has no weights: needed {files[0].name} or {files[1].name}")
    refuse_pointers([stored])
    try:
        if stored.suffix == ".safetensors":
            return load_file(stored)
        return torch.load(stored, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes of it
        raise ValueError(f"the weights {folder.name}/{stored.name} are damaged: {error}") from error


def _activation(where: str, stated: object) -> nn.Module:
    # The name comes from a file, so it is looked up in torch.nn and never imported.
    name = str(stated).rsplit(".", 1)[-1]
    kind: Any = getattr(nn, name, None)
    is_module = isinstance(kind, type) and issubclass(kind, nn.Module)
    if not is_module or stated not in (f"torch.nn.{name}", f"{kind.__module__}.{name}"):
        raise ValueError(
            f"activation_function in {where} must be a class of torch.nn, got {shown(stated)}"
        )
    try:
        activation = kind()
    except TypeError as error:
        raise ValueError(f"activation_function in {where}: {stated} needs settings") from error
    if any(True for _ in activation.parameters()):
        raise ValueError(f"activation_function in {where}: {stated} has weights of its own")
    return activation
