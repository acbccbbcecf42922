"""Say which weights of a checkpoint the model built from it lacks, or does not use.

A ranker is the trained one only if every weight has its place. Heads of known training tasks are
the exception: no score is made of them.
"""

import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

# Numbers that older versions stored and newer ones compute.
BUFFERS = re.compile(r"(.*\.)?(position_ids|token_type_ids|(original_)?inv_freq)")
LOOKS_LIKE = {  # part of a name: what the weight is of, and what to do
    r"lora_|\.ia3|adapter|base_layer|modules_to_save|prefix_encoder|\bhada_|\boft_|prompt_embed": (
        "an adapter that was not merged. Merge it first, with peft's merge_and_unload() or its own "
        "library's merge_adapter(), and save the merged model"
    ),
    r"distance_embedding|relative|rel_pos|alibi|rotary": (
        "relative positions, which this version of transformers does not compute"
    ),
    r"^(linear|colbert_linear|dim_reduction|custom_text_proj)\.": (
        "a projection of every token, as in ColBERT: a multi-vector ranker, which me.MultiVector "
        "reads"
    ),
    r"splade|sparse|term_": (
        "a learned-sparse ranker; me.Sparse reads those that score by their head for masked words"
    ),
    r"^(pre_)?classifier\.": (
        "the head of a classifier. If it ranks, me.Cat reads it; to look at its encoder as a "
        "bi-encoder, pass pooling="
    ),
    r"^qa_outputs\.": "the head of a reader that finds answers, not of a ranker",
    r"^(embeddinghead|norm|proj|projection|pooling|pooler|head|dense|mlp)\b": (
        "a projection or a head behind the encoder, which the score was made of"
    ),
    r"decoder": "the decoder of a model that has an encoder, too",
    r"crossattention": "cross-attention, as in a decoder",
    r"layers?\.\d+\.": "layers beyond those that config.json counts",
}
TASK_HEADS = ("classifier", "pre_classifier", "qa_outputs", "sequence_summary")
PREDICTS_WORDS = ("cls.predictions.", "lm_head.", "vocab_", "generator_", "decoder.")


def check_weights(
    model: nn.Module,
    info: Mapping[str, Any],
    folder: Path,
    *,
    trained_as: str,
    heads: Iterable[str] = (),
    unused: Iterable[str] = (),
) -> None:
    """Refuse a checkpoint whose weights are not the model's, all of them.

    Parameters
    ----------
    model : as transformers loaded it.
    info : its report, with missing, unexpected and mismatched keys.
    trained_as : in the message, what the checkpoint should have been trained as.
    heads : modules that the model does not have and needs for no score; a checkpoint may.
    unused : modules that the model has and needs for no score; a checkpoint may lack them.

    Raises
    ------
    ValueError
        Naming the first five weights, and what they look like.
    """
    name, prefix = type(model).__name__, f"{model.base_model_prefix}."
    ours, theirs = (tuple(f"{part}." for part in parts) for parts in (unused, heads))
    mismatched = sorted(key for key in info["mismatched_keys"] if not key[0].startswith(ours))
    if mismatched:
        shapes = [f"{key} {_shape(got)} for {_shape(needed)}" for key, got, needed in mismatched]
        raise ValueError(
            f"the weights in {folder.name} cannot be loaded: their shapes do not fit config.json: "
            f"{_first(shapes)}"
        )
    unexpected = sorted(
        key
        for key in info["unexpected_keys"]
        if not key.removeprefix(prefix).startswith(theirs) and not BUFFERS.fullmatch(key)
    )
    missing = sorted(
        key for key in info["missing_keys"] if not key.removeprefix(prefix).startswith(ours)
    )
    known = _looks_like(key.removeprefix(prefix) for key in unexpected)
    if missing and not known:
        beside = f" It has others instead: {_first(unexpected)}." if unexpected else ""
        raise ValueError(
            f"{folder.name} lacks weights of {name}: {_first(missing)}. They would be random; "
            f"needed a checkpoint trained as {trained_as}.{beside}"
        )
    if unexpected:
        raise ValueError(
            f"{folder.name} has weights that {name} does not use: {_first(unexpected)}. "
            f"They look like {known or 'a part of another model'}. Without them the scores would "
            f"not be the trained model's; needed a checkpoint trained as {trained_as}"
        )


def warn_of_word_prediction(info: Mapping[str, Any], folder: Path) -> None:
    """Warn that a checkpoint predicts words, and says nothing of how it ranks.

    Raises
    ------
    ValueError
        For a learned-sparse ranker, which only its name gives away.
    """
    if not any(key.startswith(PREDICTS_WORDS) for key in info["unexpected_keys"]):
        return
    if "splade" in str(folder).lower():
        raise ValueError(
            f"{folder.name} looks like a learned-sparse ranker (SPLADE), which me.Sparse reads; "
            "to look at its encoder as a bi-encoder, pass pooling="
        )
    warnings.warn(
        f"{folder.name} predicts words and does not say how it ranks: [CLS] and the dot product "
        "are taken, and its head is left out. A learned-sparse ranker (SPLADE) would score by "
        "that head; me.Sparse reads it. Pass pooling= to say how an embedding is made",
        stacklevel=2,
    )


def _looks_like(keys: Iterable[str]) -> str:
    keys = list(keys)
    return next(
        (
            text
            for part, text in LOOKS_LIKE.items()
            if any(re.search(part, key.lower()) for key in keys)
        ),
        "",
    )


def _first(names: list[str], most: int = 5) -> str:
    return f"{', '.join(names[:most])}{' ...' if len(names) > most else ''}"


def _shape(size: Iterable[int]) -> str:
    return str(tuple(size))
