"""Find a checkpoint's files and load its model, or say clearly why not.

Three kinds of names: a local folder, a hub id (downloaded once, then read from the hub's cache),
and ``"embedded"``, the weights that travel with our packages.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import model_info, snapshot_download
from safetensors import SafetensorError
from tokenizers import normalizers
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from mechir_edu.files import embedded_folder, sha256
from mechir_edu.rankers.adapters import FAMILIES

WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")  # the first that is there is taken
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
# Everything but the encoder's weights; sentence-transformers keeps Dense modules in "2_Dense".
SMALL_FILES = ["*.json", "*.txt", "*.model", "[0-9]_*/*.safetensors", "[0-9]_*/*.bin"]
SECONDS_TO_ANSWER = 5


def model_folder(name: str) -> Path:
    """Local folder of a checkpoint: itself, the embedded one, or a hub id's snapshot.

    A hub id may name a commit, tag or branch, ``OWNER/NAME@COMMIT``; else it is the newest.

    Raises
    ------
    FileNotFoundError
        When the name is no folder and the hub neither has it nor can be reached, or when there
        are no weights.
    ImportError, ValueError
        As `embedded_folder` and `require_encoder`.
    """
    if name == "embedded":
        return embedded_folder()
    folder = Path(name) if Path(name).is_dir() else _hub_folder(name)
    require_encoder(folder)
    if not weight_files(folder):
        raise FileNotFoundError(f"{name!r} has no weights: needed {' or '.join(WEIGHTS)}")
    return folder


def _hub_folder(name: str) -> Path:
    hub_id, _, revision = name.partition("@")
    chosen = {"revision": revision} if revision else {}
    # Asked first and with a time limit: on a network that is up but dead a download never ends.
    try:
        model_info(hub_id, timeout=SECONDS_TO_ANSWER, **chosen)
    except Exception as error:  # the hub's client also raises what its HTTP library does
        return _cached_folder(name, error)
    folder = Path(snapshot_download(hub_id, allow_patterns=SMALL_FILES, **chosen))
    require_encoder(folder)  # before gigabytes of a generative model are on their way
    for pattern in WEIGHTS:
        if not weight_files(folder):
            snapshot_download(hub_id, allow_patterns=[pattern], **chosen)
    return folder


def _cached_folder(name: str, problem: Exception) -> Path:
    hub_id, _, revision = name.partition("@")
    chosen = {"revision": revision} if revision else {}
    cached = {"allow_patterns": SMALL_FILES, "local_files_only": True}
    try:
        return Path(snapshot_download(hub_id, **cached, **chosen))
    except Exception:
        raise FileNotFoundError(
            f"no model {name!r}: it is not a folder here, and the hub could not give it "
            f"({type(problem).__name__}). Check the spelling; offline, use a downloaded folder, "
            'fetch it where there is a network, or take "embedded"'
        ) from problem


def weight_files(folder: Path) -> list[Path]:
    """Weight files of a checkpoint, in the one format that is loaded (safetensors first)."""
    found = (sorted(folder.glob(pattern)) for pattern in WEIGHTS)
    return next((files for files in found if files), [])


def weights_sha256(folder: Path) -> str:
    """SHA-256 of a checkpoint's weights, for provenance; of several files, of their hashes."""
    sums = [sha256(file) for file in weight_files(folder)]
    return sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Fast tokenizer of a checkpoint (alignment needs its character offsets).

    Where sentence-transformers stored a maximal length or lower case, they hold.

    Raises
    ------
    FileNotFoundError
        When the folder has no vocabulary.
    ValueError
        When only a slow tokenizer can be made of it.
    """
    # transformers would make a tokenizer of five special tokens, to which all text is unknown.
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


def read_json(path: Path) -> Any:
    """Content of a JSON file; an empty dictionary where there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def load_encoder(folder: Path) -> nn.Module:
    """Bare encoder in evaluation mode, without the pooler, which a bi-encoder does not use.

    Raises
    ------
    ValueError
        For a generative or unsupported architecture, or missing or unreadable weights.
    """
    model = _load(AutoModel, folder, "an encoder", unused=("pooler.",))
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def load_classifier(folder: Path) -> nn.Module:
    """``*ForSequenceClassification`` model in evaluation mode.

    Raises
    ------
    ValueError
        As `load_encoder`, and when the checkpoint has no trained classification head
        (transformers would fill in random weights).
    """
    return _load(AutoModelForSequenceClassification, folder, "a cross-encoder")


def _load(
    auto_class: Any, folder: Path, trained_as: str, unused: tuple[str, ...] = ()
) -> nn.Module:
    require_encoder(folder)
    try:
        with quietly():
            model, info = auto_class.from_pretrained(folder, output_loading_info=True)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"the weights in {folder.name} cannot be loaded: {error}") from error
    missing = sorted(key for key in info["missing_keys"] if not key.startswith(unused))
    if missing:
        raise ValueError(
            f"{folder.name} lacks weights of {type(model).__name__}: {', '.join(missing[:5])}"
            f"{' ...' if len(missing) > 5 else ''}. They would be random; needed a checkpoint "
            f"trained as {trained_as}"
        )
    return model.eval()


@contextmanager
def quietly() -> Iterator[None]:
    """Silence transformers' bar and report of loaded weights; its settings come back after."""
    verbosity = logging.get_verbosity()
    hook = logging.set_tqdm_hook(lambda bar, args, kwargs: bar(*args, **kwargs | {"disable": True}))
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        logging.set_tqdm_hook(hook)


def require_encoder(folder: Path) -> None:
    """Refuse a checkpoint that is not an encoder of a family that we have an adapter for.

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
    kind = config.get("model_type")
    if kind not in FAMILIES or config.get("is_decoder") or config.get("is_encoder_decoder"):
        raise ValueError(
            f"{folder.name} is a {kind} model; needed an encoder, one of "
            f"{', '.join(sorted(FAMILIES))}. Generative models cannot be a Dot or a Cat"
        )
