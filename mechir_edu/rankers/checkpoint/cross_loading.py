"""What a cross-encoder is loaded from, and what sentence-transformers stores of it."""

from pathlib import Path
from typing import NamedTuple

from torch import nn
from transformers import PreTrainedTokenizerBase

from mechir_edu.rankers import embedded, planted
from mechir_edu.rankers.base import Prompts, PromptsAround, Ranker
from mechir_edu.rankers.checkpoint import loading
from mechir_edu.rankers.checkpoint.labels import check_activation
from mechir_edu.rankers.checkpoint.settings import (
    ANSWERING,
    CROSS_ENCODER,
    MODEL_FILE,
    MODULAR,
    NO_MATTER,
    OBEYED,
    Reads,
    encoder_folder,
    prompt_of_pairs,
    read_model,
)
from mechir_edu.rankers.checkpoint.stored import Rule, obey, read_object, shown
from mechir_edu.rankers.checkpoint.tokenizer import load_tokenizer
from mechir_edu.rankers.likelihood import LIKELIHOOD, LikelihoodHead, take_likelihood
from mechir_edu.rankers.modular import ModularHead, read_modular_head
from mechir_edu.rankers.yes_no import (
    AnswerHead,
    Asked,
    answers_of,
    read_answer_head,
    take_template,
)

# Versions 4 and 5 keep their settings in config.json, under the library's name; 2 and 3 a single
# one, the activation.
IN_CONFIG: dict[str, Rule] = {"activation_fn": OBEYED, "version": NO_MATTER}
BEFORE = "sbert_ce_default_activation_function"


class Parts(NamedTuple):
    """What a cross-encoder is made of.

    Attributes
    ----------
    model, tokenizer, prompts : of the checkpoint.
    checksum : SHA-256 of all weights, those of ``head`` among them.
    planted_heads : where there are any.
    head : modules behind the model, where it is an encoder without a classification head.
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    checksum: str
    planted_heads: frozenset[tuple[int, int]] = frozenset()
    prompts: Prompts | PromptsAround = Prompts()
    head: ModularHead | AnswerHead | LikelihoodHead | None = None


def load_parts(name: str, asked: Asked) -> Parts:
    """Load what a cross-encoder is made of: the embedded or planted one, a folder, or a hub id."""
    if name in ("embedded", "planted") and asked.settings:
        raise ValueError(f"{name!r} is a classifier; it takes no {', '.join(asked.settings)}")
    if name == "embedded":
        return Parts(*embedded.load(), embedded.SHA256)
    if name == "planted":
        model, tokenizer, heads = planted.load()
        return Parts(model, tokenizer, "", frozenset(heads))
    folder = loading.model_folder(name, "cat")
    if asked.readout is not None:
        return _load_likelihood(folder, asked)
    if answers := answers_of(folder, asked):
        return _load_answering(folder, asked, answers)
    encoder, head = encoder_folder(folder), read_modular_head(folder)
    if head is None:
        model = loading.load_classifier(encoder)
        n_labels = model.config.num_labels
    else:
        model, n_labels = loading.load_encoder(encoder, says_how=True), 1
    return Parts(
        model,
        load_tokenizer(encoder),
        loading.checkpoint_sha256(folder),
        prompts=read_prompts(folder, n_labels=n_labels, kind=MODULAR if head else CROSS_ENCODER),
        head=head,
    )


def _load_answering(folder: Path, asked: Asked, answers: tuple[str | int, ...]) -> Parts:
    encoder = encoder_folder(folder)
    model, tokenizer = loading.load_language_model(encoder), load_tokenizer(encoder)
    head = read_answer_head(model, tokenizer, answers)
    instruction = read_prompts(folder, n_labels=1, kind=ANSWERING).query
    prompts = take_template(tokenizer, folder, asked, instruction)
    return Parts(model, tokenizer, loading.checkpoint_sha256(folder), prompts=prompts, head=head)


def _load_likelihood(folder: Path, asked: Asked) -> Parts:
    if asked.readout != LIKELIHOOD or (asked.true_token, asked.false_token) != (None, None):
        raise ValueError(
            f"readout must be {LIKELIHOOD!r}, without true_token and false_token, or be left out; "
            f"got {asked.settings}"
        )
    encoder = encoder_folder(folder)
    model, tokenizer = loading.load_language_model(encoder), load_tokenizer(encoder)
    prompts, head = take_likelihood(model, tokenizer, asked.template)
    return Parts(model, tokenizer, loading.checkpoint_sha256(folder), prompts=prompts, head=head)


def read_prompts(folder: Path, *, n_labels: int, kind: Reads = CROSS_ENCODER) -> Prompts:
    """Prompt before a cross-encoder's queries, after all its stored settings were checked.

    Raises
    ------
    ValueError
        For an activation that could change the order of scores, or any other setting that is not
        obeyed; names it and its file.
    """
    settings = read_model(folder, kind)
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
    ((query, text),) = ranker.texts_read([(query, "a")], "both")
    least = len(ranker.tokenizer(query, text)["input_ids"])
    if ranker.max_length < least:
        raise ValueError(
            f"max_length of a {ranker.kind_name} must leave room for a short query and a document: "
            f"needed {least} or more for this checkpoint, got {ranker.max_length}"
        )
