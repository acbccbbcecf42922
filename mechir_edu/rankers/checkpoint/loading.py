"""Find a checkpoint's files and load its model, or say clearly why not.

A name is a local folder, a hub id (downloaded once, then read from the hub's cache), or
``"embedded"``: the weights that travel with our packages.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path, PurePath
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub import model_info, snapshot_download
from huggingface_hub.errors import HFValidationError, HTTPError
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

import mechir_edu.rankers.decoders  # noqa: F401  # registers its families
import mechir_edu.rankers.encoder_decoders  # noqa: F401  # registers its families
from mechir_edu.files import embedded_folder, sha256
from mechir_edu.rankers.adapters import EncoderAdapter
from mechir_edu.rankers.checkpoint import lora
from mechir_edu.rankers.checkpoint.labels import relevant_label
from mechir_edu.rankers.checkpoint.settings import encoder_folder, weight_folders
from mechir_edu.rankers.checkpoint.stated_config import (
    check_bi_encoder,
    check_cross_encoder,
    check_encoder_decoder,
    check_language_model,
    check_unknown,
    check_word_predictor,
    read_config,
)
from mechir_edu.rankers.checkpoint.stored import read_object, refuse_pointers, small_files
from mechir_edu.rankers.checkpoint.weights import TASK_HEADS, check_weights, warn_of_word_prediction
from mechir_edu.rankers.checkpoint.which_kind import require_kind
from mechir_edu.rankers.families import FAMILIES
from mechir_edu.rankers.quiet import quietly

WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")  # the first that is there is taken
# Everything but the encoder's weights; sentence-transformers keeps Dense modules in "2_Dense".
SMALL_FILES = ["*.json", "*.txt", "*.model", "[0-9]_*/*.safetensors", "[0-9]_*/*.bin"]
SECONDS_TO_ANSWER = 5
# Of the hub's client: no such name, no network or none allowed, an answer that is not one.
NO_ANSWER = (HFValidationError, OSError, HTTPError)


def model_folder(name: str, kind: str | None = None, *, says_how: bool = False) -> Path:
    """Local folder of a checkpoint: itself, the embedded one, or a hub id's snapshot.

    A hub id may name a commit, tag or branch, ``OWNER/NAME@COMMIT``; else it is the newest.

    Parameters
    ----------
    name : of the checkpoint.
    kind, says_how : of ranker that it must be, as for `require_kind`; any where omitted.

    Raises
    ------
    FileNotFoundError
        When the name is no folder and the hub neither has it nor can be reached, or when there
        are no weights.
    ImportError, ValueError
        As `embedded_folder`, `find_family` and `require_kind`.
    """
    if name == "embedded":
        return embedded_folder()

    def require(folder: Path) -> None:
        find_family(encoder_folder(folder))
        if kind is not None:
            require_kind(folder, kind, says_how=says_how)
            find_family(encoder_folder(folder), with_decoder=kind == "monot5")

    folder = Path(name) if Path(name).is_dir() else _hub_folder(name, require)
    folder = lora.merged(folder, model_folder, weights_sha256)
    require(folder)
    encoder = encoder_folder(folder)
    if not weight_files(encoder):
        raise FileNotFoundError(f"{name!r} has no weights: needed {' or '.join(WEIGHTS)}")
    return folder


def checked_name(name: object) -> str:
    """Name of a checkpoint, which is a text or a path.

    Raises
    ------
    TypeError, ValueError
        For anything else, such as a model that was loaded already; for an empty text or a file.
    """
    if not isinstance(name, str | PurePath):
        raise TypeError(
            f'needed the name of a checkpoint (a folder, a hub id or "embedded"), got '
            f"{type(name).__name__}; save a model of your own with save_pretrained(folder), its "
            "tokenizer, too, and give the folder"
        )
    if not (text := str(name)).strip():
        raise ValueError('needed the name of a checkpoint, got ""; "." is the current folder')
    if Path(text).is_file():
        raise ValueError(f"{text} is a file; needed the folder that it lies in")
    return text


def _hub_folder(name: str, require: Callable[[Path], None]) -> Path:
    hub_id, _, commit = name.partition("@")
    revision = commit or None
    get = partial(snapshot_download, hub_id, revision=revision)
    # `snapshot_download` reads the cache by itself where the hub is out of reach; but it asks first
    # without a time limit, and so hangs on a network that is up but dead.
    try:
        model_info(hub_id, revision=revision, timeout=SECONDS_TO_ANSWER)
    except NO_ANSWER as problem:
        return _cached_folder(name, partial(get, local_files_only=True), problem)
    folder = Path(get(allow_patterns=SMALL_FILES))
    require(folder)  # before gigabytes of another model are downloaded
    encoder = encoder_folder(folder)
    for pattern in WEIGHTS:
        if not weight_files(encoder):
            get(allow_patterns=[pattern if encoder == folder else f"{encoder.name}/{pattern}"])
    return folder


def _cached_folder(name: str, get: Callable[..., str], problem: Exception) -> Path:
    try:
        return Path(get(allow_patterns=SMALL_FILES))
    except NO_ANSWER:
        raise FileNotFoundError(
            f"no model {name!r}: it is not a folder here, and the hub could not give it "
            f"({type(problem).__name__}). Check the spelling; offline, use a downloaded folder, "
            'download it where there is a network, or take "embedded"'
        ) from problem


def weight_files(folder: Path) -> list[Path]:
    """Weight files of a checkpoint, in the one format that is loaded (safetensors first)."""
    candidates = (sorted(folder.glob(pattern)) for pattern in WEIGHTS)
    return next((files for files in candidates if files), [])


def weights_sha256(*folders: Path) -> str:
    """SHA-256 of the weights in folders, for provenance; of several files, of their hashes."""
    sums = [sha256(file) for folder in folders for file in weight_files(folder)]
    return sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()


def checkpoint_sha256(folder: Path) -> str:
    """SHA-256 of all weights of a checkpoint: its encoder's, and those of modules behind it."""
    if told := lora.merged_from(folder):
        return lora.sha256_of_all(told, *map(weights_sha256, weight_folders(folder)))
    return weights_sha256(encoder_folder(folder), *weight_folders(folder))


def load_encoder(
    folder: Path, *, says_how: bool = False, beside: tuple[str, ...] = ()
) -> nn.Module:
    """Bare encoder in evaluation mode, without what a bi-encoder does not use, such as a pooler.

    Parameters
    ----------
    folder : of the encoder itself, see `mechir_edu.rankers.checkpoint.settings.encoder_folder`.
    says_how : whether the caller, or the checkpoint, says how an embedding is made of its hidden
        states; else one that was trained as something else is refused.
    beside : modules whose weights lie beside the encoder's, and that the caller reads.

    Raises
    ------
    ValueError
        For an unsupported architecture, settings that are not obeyed, weights that are
        missing, unreadable or not used.
    """
    stated = read_config(folder)
    family = _family_of(stated, folder)
    check_bi_encoder(stated, folder, says_how=says_how)
    unused = family.unused_by_bi_encoders
    heads = (*family.pretraining_heads, *(TASK_HEADS if says_how else ()), *beside)
    model, info = _load(AutoModel, folder)
    check_unknown(stated, model.config, folder)
    check_weights(model, info, folder, trained_as="an encoder", heads=heads, unused=unused)
    if not says_how:
        warn_of_word_prediction(info, folder)
    for name in unused:
        setattr(model, name, None)
    return model


def load_classifier(folder: Path) -> nn.Module:
    """``*ForSequenceClassification`` model in evaluation mode.

    Raises
    ------
    ValueError
        As `load_encoder`, and when the checkpoint has no trained classification head
        (transformers would fill in random weights).
    """

    def check(stated: Mapping[str, Any], folder: Path) -> None:
        check_cross_encoder(stated, folder)
        relevant_label(stated)

    return _load_trained(AutoModelForSequenceClassification, folder, check, "a cross-encoder")


def load_language_model(folder: Path) -> nn.Module:
    """``*ForCausalLM`` model in evaluation mode.

    Raises
    ------
    ValueError
        As `load_encoder`, and when the checkpoint has no trained head that predicts the next word.
    """
    check, kept = check_language_model, ("lm_head",)
    return _load_trained(AutoModelForCausalLM, folder, check, "a language model", kept=kept)


def load_word_predictor(folder: Path) -> nn.Module:
    """``*ForMaskedLM`` model in evaluation mode.

    Raises
    ------
    ValueError
        As `load_encoder`, and when the checkpoint has no trained head that predicts words.
    """
    trained_as = "a learned-sparse ranker (SPLADE)"
    return _load_trained(AutoModelForMaskedLM, folder, check_word_predictor, trained_as)


def load_encoder_decoder(folder: Path) -> nn.Module:
    """``*ForConditionalGeneration`` model in evaluation mode.

    Raises
    ------
    ValueError
        As `load_encoder`, and when the checkpoint has no decoder or no head that predicts words.
    """
    check, trained_as = check_encoder_decoder, "a ranker like MonoT5"
    return _load_trained(AutoModelForSeq2SeqLM, folder, check, trained_as, with_decoder=True)


def _load_trained(
    auto_class: Any,
    folder: Path,
    check: Callable[[Mapping[str, Any], Path], object],
    trained_as: str,
    *,
    kept: Iterable[str] = (),
    with_decoder: bool = False,
) -> nn.Module:
    """Load a class with its trained head; of the heads of pre-training it keeps ``kept``."""
    stated = read_config(folder)
    family = _family_of(stated, folder, with_decoder=with_decoder)
    check(stated, folder)
    model, info = _load(auto_class, folder)
    check_unknown(stated, model.config, folder, passed_over=family.passed_over)
    heads = [name for name in family.pretraining_heads if name not in kept]
    check_weights(model, info, folder, trained_as=trained_as, heads=heads)
    return model


def _load(auto_class: Any, folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    refuse_pointers([*weight_files(folder), *small_files(folder)])
    for file in folder.glob("*.index.json"):
        read_object(file)
    try:
        with quietly():
            model, info = auto_class.from_pretrained(
                folder,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # so that the report names them
                trust_remote_code=False,
                dtype=torch.float32,  # as stored, whatever config.json says
            )
    except (OSError, RuntimeError, SafetensorError, UnpicklingError) as error:
        raise ValueError(f"the weights in {folder.name} cannot be loaded: {error}") from error
    except Exception as error:  # of any class: config.json may hold anything
        raise ValueError(
            f"no model can be built from config.json of {folder.name} and its weights "
            f"({type(error).__name__}: {error}); correct the file, or download it anew"
        ) from error
    model.merged_from = lora.merged_from(folder)
    return model.eval(), info


def find_family(folder: Path, *, with_decoder: bool | None = None) -> type[EncoderAdapter]:
    """Adapter of a checkpoint, which has to be of one of our families.

    ``with_decoder`` says whether an encoder with a decoder is wanted; either where omitted.

    Raises
    ------
    FileNotFoundError
        When there is no ``config.json``.
    ValueError
        For an unsupported architecture, naming those that are supported; for a
        setting that is not obeyed, see `mechir_edu.rankers.checkpoint.stated_config`.
    """
    config = read_config(folder)
    if with_decoder is None:
        family = FAMILIES.get(str(config.get("model_type")), EncoderAdapter)
        with_decoder = family.is_encoder_decoder
    return _family_of(config, folder, with_decoder=with_decoder)


def _family_of(
    config: dict[str, Any], folder: Path, *, with_decoder: bool = False
) -> type[EncoderAdapter]:
    model_type = config.get("model_type")
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    is_generative = config.get("is_decoder") or config.get("is_encoder_decoder")
    if family is not None and family.is_encoder_decoder == with_decoder:
        if with_decoder or not is_generative:
            return family
        model_type = f"{model_type} model that writes texts"
    else:
        model_type = f"{model_type} model"
    needed = "an encoder with a decoder" if with_decoder else "an encoder or a decoder"
    known = sorted(name for name in FAMILIES if FAMILIES[name].is_encoder_decoder == with_decoder)
    instead = ""
    if family is not None and family.is_encoder_decoder and not with_decoder:
        instead = ". A model with both, if it ranks, is read by me.MonoT5"
    raise ValueError(
        f"{folder.name} is a {model_type}; needed {needed}, one of {', '.join(known)}{instead}"
    )
