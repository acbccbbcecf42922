"""What a cross-encoder is loaded from, and what sentence-transformers stores of it."""

from pathlib import Path
from typing import NamedTuple

from torch import nn
from transformers import PreTrainedTokenizerBase

from mechir_edu.rankers.base import Prompts, Ranker
from mechir_edu.rankers.checkpoint import loading
from mechir_edu.rankers.checkpoint.labels import check_activation
from mechir_edu.rankers.checkpoint.settings import (
    CROSS_ENCODER,
    MODEL_FILE,
    NO_MATTER,
    OBEYED,
    encoder_folder,
    prompt_of_pairs,
    read_model,
    require_kind,
    stated_modules,
)
from mechir_edu.rankers.checkpoint.stored import Rule, obey, read_object, shown
from mechir_edu.rankers.checkpoint.tokenizer import load_tokenizer

# Versions 4 and 5 keep their settings in config.json, under the library's name; 2 and 3 a single
# one, the activation.
IN_CONFIG: dict[str, Rule] = {"activation_fn": OBEYED, "version": NO_MATTER}
BEFORE = "sbert_ce_default_activation_function"


class Parts(NamedTuple):
    """Model, tokenizer, checksum, the planted heads where there are any, and prompts."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    checksum: str
    planted_heads: frozenset[tuple[int, int]] = frozenset()
    prompts: Prompts = Prompts()


def load_parts(name: str) -> Parts:
    """Load what a cross-encoder is made of, from a folder or the hub."""
    folder = loading.model_folder(name)
    require_kind(folder, CROSS_ENCODER)
    encoder = encoder_folder(folder)
    model, tokenizer = loading.load_classifier(encoder), load_tokenizer(encoder)
    prompts = read_prompts(folder, n_labels=model.config.num_labels)
    return Parts(model, tokenizer, loading.weights_sha256(encoder), prompts=prompts)


def read_prompts(folder: Path, *, n_labels: int) -> Prompts:
    """Prompt before a cross-encoder's queries, after all its stored settings were checked.

    Raises
    ------
    ValueError
        For modules other than one Transformer, an activation that could change the order of scores,
        or any other setting that is not obeyed; names it and its file.
    """
    modules = [module.name for module in stated_modules(folder)]
    settings = read_model(folder, CROSS_ENCODER)
    if modules not in ([], ["Transformer"]):
        raise ValueError(
            f"{folder.name} has the sentence-transformers modules {', '.join(modules)}; a "
            "cross-encoder needs a Transformer alone, which gives the score"
        )
    config = read_object(encoder_folder(folder) / "config.json")
    where = f"config.json of {folder.name}"
    own = config.get("sentence_transformers") or {}
    if not isinstance(own, dict):
        raise ValueError(f"sentence_transformers in {where} must be an object, got {shown(own)}")
    obey(f"{where}, under sentence_transformers,", own, IN_CONFIG)
    for stated, place in (
        (settings.get("activation_fn"), f"activation_fn in {MODEL_FILE} of {folder.name}"),
        (own.get("activation_fn"), f"sentence_transformers.activation_fn in {where}"),
        (config.get(BEFORE), f"{BEFORE} in {where}"),
    ):
        check_activation(stated, n_labels, place)
    return Prompts(query=prompt_of_pairs(folder, settings))


def require_room(ranker: Ranker, query: str) -> None:
    """Refuse a length into which a short query and one token of a document do not fit.

    Raises
    ------
    ValueError
        Naming the shortest length that would do.
    """
    least = len(ranker.tokenizer(ranker.prompts.query + query, "a")["input_ids"])
    if ranker.max_length < least:
        raise ValueError(
            f"max_length of a cross-encoder must leave room for a short query and a document: "
            f"needed {least} or more for this checkpoint, got {ranker.max_length}"
        )
