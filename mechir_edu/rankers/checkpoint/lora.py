"""Checkpoints that are a LoRA adapter of another one: merged by peft, then read as any other.

An adapter's folder has ``adapter_config.json``, which names the base, and the low-rank changes of
the base's weights (Hu et al., "LoRA", ICLR 2022), and maybe a trained head (``modules_to_save``).
What sentence-transformers saves of a ranker with an adapter is such a folder, with ``modules.json``
and what that names; these come along.
"""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from mechir_edu.files import sha256
from mechir_edu.rankers.checkpoint.settings import encoder_folder
from mechir_edu.rankers.checkpoint.stored import read_object, refuse_pointers, shown

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TASKS = {
    "SEQ_CLS": AutoModelForSequenceClassification,
    "FEATURE_EXTRACTION": AutoModel,
    "CAUSAL_LM": AutoModelForCausalLM,
}
HEAD = re.compile(r"base_model\.model\.(classifier|score)(\.out_proj)?\.weight")
TOKENIZER = (
    *("tokenizer*", "vocab.*", "merges.txt", "special_tokens_map.json", "*.model"),
    *("chat_template*", "additional_chat_templates"),
)
MODULES = "modules.json"
BESIDE = ("*.json", "[0-9]*_*")  # settings and modules of sentence-transformers
OURS = "tokenizer_config.json"
CLOSE = 1e-3  # of the largest output, between the adapter applied and merged


def merged(
    folder: Path, find_base: Callable[[str], Path], base_sha256: Callable[[Path], str]
) -> Path:
    """Folder of a checkpoint with its adapter merged; the folder itself where there is none.

    Parameters
    ----------
    find_base : finds the folder of a checkpoint by its name.
    base_sha256 : gives the checksum of its weights.

    Raises
    ------
    FileNotFoundError
        When the base is not at hand.
    ImportError
        Without peft.
    ValueError
        For an adapter that is not LoRA, or weights that have no place; names them.
    """
    settings = read_object(folder / CONFIG)
    if not (folder / CONFIG).exists() or (folder / "config.json").exists():
        return folder  # beside a whole model, `read_config` refuses an adapter
    if (kind := settings.get("peft_type")) != "LORA":
        raise ValueError(
            f"{CONFIG} of {folder.name} sets peft_type to {shown(kind)}; needed 'LORA'. Merge it "
            "with its own library, and save the merged model"
        )
    if (task := settings.get("task_type")) not in TASKS:
        raise ValueError(
            f"{CONFIG} of {folder.name} sets task_type to {shown(task)}; needed one of "
            f"{', '.join(TASKS)}. Merge it with peft's merge_and_unload(), and save what it gives"
        )
    if not (folder / WEIGHTS).exists():
        raise FileNotFoundError(f"{folder.name} has no weights of its adapter: needed {WEIGHTS}")
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{folder.name} is a LoRA adapter, and merging it needs peft: pip install "
            "'mechir-edu[lora]', or merge it elsewhere with merge_and_unload()"
        ) from error
    name, revision = settings.get("base_model_name_or_path"), settings.get("revision")
    if not isinstance(name, str) or not name:
        raise ValueError(f"{CONFIG} of {folder.name} names no base_model_name_or_path")
    try:
        base = find_base(f"{name}@{revision}" if revision else name)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder.name} is a LoRA adapter of {name!r}, which is not at hand: {error}. Download "
            f"it, and name its folder as base_model_name_or_path in {CONFIG}"
        ) from error
    if (base / MODULES).exists() and not (folder / MODULES).exists():
        raise ValueError(
            f"{folder.name} is a LoRA adapter of {name!r}, which has {MODULES} and it has none; "
            "merge it in sentence-transformers, and save the whole model"
        )
    refuse_pointers([folder / WEIGHTS])
    changes = "".join(sha256(folder / name) for name in (CONFIG, WEIGHTS))  # its scale is in CONFIG
    base = encoder_folder(base)
    sums = (base_sha256(base), hashlib.sha256(changes.encode()).hexdigest())
    return Path(_merge(folder, base, sums, _beside(folder, base)).name)


def merged_from(folder: Path) -> dict[str, str]:
    """SHA-256 of the base and of the adapter that a folder was merged from; else nothing."""
    return _MERGED_FROM.get(folder, {})


def sha256_of_all(told: dict[str, str], *behind: str) -> str:
    """Checksum of a merged checkpoint: of the hashes of base, adapter, and modules behind."""
    hashes = (told["base"], told["adapter"], *behind)
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


_MERGED_FROM: dict[Path, dict[str, str]] = {}


@lru_cache(maxsize=1)  # the last one alone stays, until the process ends
def _merge(
    folder: Path, base: Path, sums: tuple[str, str], beside: tuple[tuple[Path, Path, str], ...]
) -> tempfile.TemporaryDirectory:
    from peft import PeftModel, get_peft_model_state_dict

    task, tensors = read_object(folder / CONFIG)["task_type"], load_file(folder / WEIGHTS)
    options: dict[str, Any] = {"output_loading_info": True, "dtype": torch.float32}
    head = next((tensor for key, tensor in tensors.items() if HEAD.fullmatch(key)), None)
    if task == "SEQ_CLS" and head is not None:
        options |= {"num_labels": len(head)}
    model, info = TASKS[task].from_pretrained(base, **options)
    theirs = {key.removeprefix("base_model.model.") for key in tensors}
    # A pooler that the library makes up is used by no bi-encoder, and `load_encoder` drops it.
    lacks = set(info["missing_keys"]) - theirs if task != "FEATURE_EXTRACTION" else set()
    if lacks:
        raise ValueError(
            f"neither {base.name} nor its adapter {folder.name} has "
            f"{', '.join(sorted(lacks)[:5])}: they would be random; "
            "needed an adapter whose modules_to_save holds its head"
        )
    adapted = PeftModel.from_pretrained(model, folder).eval()
    known = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    if differing := set(known) ^ set(tensors):
        raise ValueError(
            f"{WEIGHTS} of {folder.name} does not fit {base.name}: without a place or missing are "
            f"{', '.join(sorted(differing)[:5])}"
        )
    ids = torch.arange(1, min(17, model.config.vocab_size)).unsqueeze(0)
    before = _output(adapted, ids)
    whole = adapted.merge_and_unload(safe_merge=True)
    bound = CLOSE * float(before.abs().max())
    if not torch.allclose(before, _output(whole, ids), rtol=0, atol=bound):
        raise ValueError(f"the adapter {folder.name} cannot be merged: its outputs change by it")
    scratch = tempfile.TemporaryDirectory(prefix=f"{folder.name}-merged-")
    room = Path(scratch.name)
    whole.save_pretrained(room)
    for of, name, _ in beside:
        (room / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(of / name, room / name)
    _MERGED_FROM[room] = dict(zip(("base", "adapter"), sums, strict=True))
    return scratch


def _beside(folder: Path, base: Path) -> tuple[tuple[Path, Path, str], ...]:
    """What comes along with merged weights: of each file its home, its place there, its SHA-256."""
    home = folder if any(folder.glob(OURS)) else base
    wanted = [(home, pattern) for pattern in TOKENIZER]
    if (folder / MODULES).exists():
        wanted += [(folder, pattern) for pattern in BESIDE]
    files = {
        file.relative_to(of): of
        for of, pattern in wanted
        for path in of.glob(pattern)
        for file in (path.rglob("*") if path.is_dir() else [path])
        if file.is_file()
    }
    own = {name for name in files if name.parent == Path() and name.suffix == ".safetensors"}
    own |= {Path(CONFIG), Path("config.json")}  # a merged model has its own
    return tuple((files[name], name, sha256(files[name] / name)) for name in sorted({*files} - own))


@torch.no_grad()
def _output(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    return model(input_ids=ids)[0]
