"""The kinds of ranker in words, with the classes that read them; what the class says that saved."""

from collections.abc import Mapping
from typing import Any

READERS: dict[str, tuple[str, str]] = {  # kind: what such a ranker is, and the class that reads it
    "dot": ("a bi-encoder", "me.Dot"),
    "cat": ("a cross-encoder", "me.Cat"),
    "sparse": ("a learned-sparse ranker (SPLADE)", "me.Sparse"),
    "multi-vector": ("a multi-vector ranker (ColBERT)", "me.MultiVector"),
    "monot5": ("an encoder-decoder that answers (MonoT5)", "me.MonoT5"),
}

# By the end of a class's name, the first that fits: the kinds that such a model may be, and what
# is said of it to another one.
CLASSES: dict[str, tuple[tuple[str, ...], str]] = {
    "HF_ColBERT": (
        ("multi-vector",),
        "a multi-vector ranker (ColBERT), which me.MultiVector reads",
    ),
    "ForSequenceClassification": (("cat",), "a classifier; if it ranks, me.Cat reads it"),
    "ForMaskedLM": (
        ("dot", "sparse"),
        "it lacks weights of a classifier, and predicts words; if it is a learned-sparse ranker "
        "(SPLADE), me.Sparse reads it, and its encoder alone me.Dot reads",
    ),
    "ForCausalLM": (
        ("dot", "cat"),
        "a decoder; if it makes embeddings, me.Dot reads it, if it answers yes or no, me.Cat does",
    ),
    "ForConditionalGeneration": (
        ("monot5",),
        "an encoder with a decoder; if it was trained as MonoT5, me.MonoT5 reads it",
    ),
    "Model": (
        ("dot",),
        "it lacks weights of a classifier and has no head that predicts words; if it is a "
        "bi-encoder, me.Dot reads it",
    ),
}


def said_of(name: str, config: Mapping[str, Any]) -> tuple[tuple[str, ...], str] | None:
    """Kinds that a model may be by the class that saved it, and what is said of it to others."""
    if config.get("is_encoder_decoder"):
        return CLASSES["ForConditionalGeneration"]
    # A class of the checkpoint's own may end alike, and says nothing.
    return next((said for end, said in CLASSES.items() if name.endswith(end)), None)
