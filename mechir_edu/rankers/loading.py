"""Find a checkpoint's files and load its model, or say clearly why not.

A name is a local folder, a hub id (downloaded once, then read from the hub's cache), or
``"embedded"``: the weights that travel with our packages.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import model_info, snapshot_download
from huggingface_hub.errors import HFValidationError, HTTPError
from safetensors import SafetensorError
from tokenizers import normalizers
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from mechir_edu.files import embedded_folder, read_json, sha256
from mechir_edu.rankers.adapters import EncoderAdapter
from mechir_edu.rankers.families import FAMILIES
from mechir_edu.rankers.quiet import quietly

WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")  # the first that is there is taken
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
# Everything but the encoder's weights; sentence-transformers keeps Dense modules in "2_Dense".
SMALL_FILES = ["*.json", "*.txt", "*.model", "[0-9]_*/*.safetensors", "[0-9]_*/*.bin"]
SECONDS_TO_ANSWER = 5
# Of the hub's client: no such name, no network or none allowed, an answer that is not one.
NO_ANSWER = (HFValidationError, OSError, HTTPError)


def model_folder(name: str) -> Path:
    """Local folder of a checkpoint: itself, the embedded one, or a hub id's snapshot.

    A hub id may name a commit, tag or branch, ``OWNER/NAME@COMMIT``; else it is the newest.

    Raises
    ------
    FileNotFoundError
        When the name is no folder and the hub neither has it nor can be reached, or when there
        are no weights.
    ImportError, ValueError
        As `embedded_folder` and `find_family`.
    """
    if name == "embedded":
        return embedded_folder()
    folder = Path(name) if Path(name).is_dir() else _hub_folder(name)
    find_family(folder)
    if not weight_files(folder):
        raise FileNotFoundError(f"{name!r} has no weights: needed {' or '.join(WEIGHTS)}")
    return folder


def _hub_folder(name: str) -> Path:
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
    find_family(folder)  # before gigabytes of a generative model are downloaded
    for pattern in WEIGHTS:
        if not weight_files(folder):
            get(allow_patterns=[pattern])
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


def weights_sha256(folder: Path) -> str:
    """SHA-256 of a checkpoint's weights, for provenance; of several files, of their hashes."""
    sums = [sha256(file) for file in weight_files(folder)]
    return sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Fast tokenizer of a checkpoint (alignment needs its character offsets).

    A maximal length or lower case that sentence-transformers stored is applied.

    Raises
    ------
    FileNotFoundError
        When the folder has no vocabulary.
    ValueError
        When transformers has only a slow tokenizer for it.
    """
    # Without one transformers makes a tokenizer of five special tokens that knows no word.
    if not any(any(folder.glob(name)) for name in VOCABULARIES):
        raise FileNotFoundError(
            f"{folder.name} has no tokenizer: needed one of {', '.join(VOCABULARIES)}"
        )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if not tokenizer.is_fast:
        raise ValueError(
            f"{folder.name} has a slow tokenizer, {type(tokenizer).__name__}; needed one that "
            "gives offsets: save it as tokenizer.json first"
        )
    stated = read_json(folder / "sentence_bert_config.json")
    tokenizer.model_max_length = stated.get("max_seq_length") or tokenizer.model_max_length
    if stated.get("do_lower_case"):
        backend = tokenizer.backend_tokenizer
        steps = [normalizers.Lowercase(), *filter(None, [backend.normalizer])]
        backend.normalizer = normalizers.Sequence(steps)
    return tokenizer


def load_encoder(folder: Path) -> nn.Module:
    """Bare encoder in evaluation mode, without what a bi-encoder does not use, such as a pooler.

    Raises
    ------
    ValueError
        For a generative or unsupported architecture, or missing or unreadable weights.
    """
    unused = find_family(folder).unused_by_bi_encoders
    model = _load(AutoModel, folder, "an encoder", unused)
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
    find_family(folder)
    return _load(AutoModelForSequenceClassification, folder, "a cross-encoder")


def _load(
    auto_class: Any, folder: Path, trained_as: str, unused: tuple[str, ...] = ()
) -> nn.Module:
    try:
        with quietly():
            model, info = auto_class.from_pretrained(folder, output_loading_info=True)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"the weights in {folder.name} cannot be loaded: {error}") from error
    missing = sorted(key for key in info["missing_keys"] if key.split(".")[0] not in unused)
    if missing:
        raise ValueError(
            f"{folder.name} lacks weights of {type(model).__name__}: {', '.join(missing[:5])}"
            f"{' ...' if len(missing) > 5 else ''}. They would be random; needed a checkpoint "
            f"trained as {trained_as}"
        )
    return model.eval()


def find_family(folder: Path) -> type[EncoderAdapter]:
    """Adapter of a checkpoint, which has to be an encoder of one of our families.

    Raises
    ------
    FileNotFoundError
        When there is no ``config.json``.
    ValueError
        For a generative or unsupported architecture, naming those that are supported.
    """
    config = read_json(folder / "config.json")
    if not config:
        raise FileNotFoundError(f"{folder} is no checkpoint: it has no config.json")
    model_type = config.get("model_type")
    is_generative = config.get("is_decoder") or config.get("is_encoder_decoder")
    if model_type not in FAMILIES or is_generative:
        raise ValueError(
            f"{folder.name} is a {model_type} model; needed an encoder, one of "
            f"{', '.join(sorted(FAMILIES))}. Generative models cannot be a Dot or a Cat"
        )
    return FAMILIES[model_type]
