"""What sentence-transformers stores beside a model, and which of it is obeyed.

Versions 2 to 6 of that library write ``modules.json``, ``config_sentence_transformers.json``, a
``sentence_bert_config.json`` (or a name of the model's family) and a ``config.json`` for every
module. Each key of each file stands in a table here: it is obeyed, it cannot change a score, or
only the listed values are taken. Any other key must be empty, and is refused by name if it is not.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from mechir_edu.rankers.checkpoint.stored import (
    EMPTY,
    Rule,
    obey,
    read_list,
    read_object,
    shown,
    whole,
)

OBEYED, NO_MATTER = "obeyed", "cannot change a score"
ONLY_WHOLE = (None, "sentence_embedding")  # a module that reads and writes the pooled embedding
MODEL_FILE = "config_sentence_transformers.json"
# The first that holds anything is read, as sentence-transformers does.
TRANSFORMER_FILES = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
MODEL: dict[str, Rule] = {
    "model_type": OBEYED,
    "__version__": NO_MATTER,
    "prompts": OBEYED,
    "default_prompt_name": OBEYED,
    "requirements": EMPTY,
}
MODULE: dict[str, Rule] = {
    "idx": NO_MATTER,
    "name": NO_MATTER,
    "path": OBEYED,
    "type": OBEYED,
    "kwargs": EMPTY,
}
POOLING_RULES: dict[str, Rule] = {
    "pooling_mode": OBEYED,
    "embedding_dimension": NO_MATTER,  # the encoder's width, which its weights say
    "word_embedding_dimension": NO_MATTER,
    "include_prompt": (True,),
}
DENSE: dict[str, Rule] = {
    "in_features": OBEYED,
    "out_features": OBEYED,
    "bias": OBEYED,
    "activation_function": OBEYED,
    "module_input_name": ONLY_WHOLE,
    "module_output_name": ONLY_WHOLE,
    "use_residual": (False,),
}
LAYER_NORM: dict[str, Rule] = {"dimension": OBEYED}
NORMALIZE: dict[str, Rule] = {
    "module_input_name": ONLY_WHOLE,
    "module_output_name": ONLY_WHOLE,
}
TRANSFORMER: dict[str, Rule] = {
    "max_seq_length": OBEYED,
    "do_lower_case": OBEYED,
    "unpad_inputs": NO_MATTER,
    "backend": ("torch",),
}


def transformer_rules(task: str, output: str, module_output: str) -> dict[str, Rule]:
    """What is taken of an encoder's settings, given what it is read for."""
    reads = {"method": "forward", "method_output_name": output}
    return TRANSFORMER | {
        "transformer_task": (task,),
        "modality_config": ({"text": reads},),
        "module_output_name": (module_output,),
    }


class Reads(NamedTuple):
    """What a kind of ranker takes from sentence-transformers."""

    model: Mapping[str, Rule]
    transformer: Mapping[str, Rule]


BI_ENCODER = Reads(
    MODEL | {"similarity_fn_name": OBEYED, "truncate_dim": OBEYED},
    transformer_rules("feature-extraction", "last_hidden_state", "token_embeddings"),
)
CROSS_ENCODER = Reads(
    # Everything is float32 here.
    MODEL | {"activation_fn": OBEYED, "keep_in_fp32_modules": NO_MATTER},
    transformer_rules("sequence-classification", "logits", "scores"),
)
MODULAR = CROSS_ENCODER._replace(transformer=BI_ENCODER.transformer)  # a head of modules behind it
_LOGITS = {"method": "forward", "method_output_name": "logits"}
ANSWERING = CROSS_ENCODER._replace(  # a language model, see `mechir_edu.rankers.yes_no`
    transformer=TRANSFORMER
    | {
        "transformer_task": ("text-generation",),
        "modality_config": (
            {"text": _LOGITS},
            {"text": _LOGITS, "message": {**_LOGITS, "format": "flat"}},
        ),
        "module_output_name": ("causal_logits",),
        "processing_kwargs": OBEYED,
    }
)

SPARSE_ENCODER = Reads(
    MODEL | {"similarity_fn_name": (None, "dot"), "max_active_dims": (None,)},
    transformer_rules("fill-mask", "logits", "token_embeddings"),
)
SPLADE_POOLING: dict[str, Rule] = {
    "pooling_strategy": ("max",),
    "activation_function": ("relu", "log1p_relu"),
    "embedding_dimension": NO_MATTER,  # the size of the vocabulary
    "word_embedding_dimension": NO_MATTER,
    "chunk_size": NO_MATTER,
}


class Module(NamedTuple):
    """An entry of ``modules.json``: the name of a module's class, and the folder of its files."""

    name: str
    folder: Path
    path: str  # of its class, as stated


def stated_modules(folder: Path) -> list[Module]:
    """Modules of a checkpoint, in order; none for a checkpoint of plain Hugging Face.

    Raises
    ------
    ValueError
        For a list that is damaged or missing, a module that is not sentence-transformers' own, or
        a path that leaves the folder.
    """
    entries = read_list(folder / "modules.json")
    if not entries:
        _refuse_parts(folder)
        return []
    where = f"modules.json of {folder.name}"
    modules = []
    for number, entry in enumerate(entries):
        stated = entry if isinstance(entry, dict) else {}
        kind, path = stated.get("type"), stated.get("path")
        if not (isinstance(kind, str) and isinstance(path, str)):
            raise ValueError(
                f"{where}, entry {number}: needed an object with a type and a path, both text, "
                f"got {shown(entry)}"
            )
        obey(f"{where}, entry {number},", stated, MODULE)
        modules.append(Module(_own_class(where, kind), _inside(where, folder, path), kind))
    return modules


def _refuse_parts(folder: Path) -> None:
    """Refuse a folder that is part of a sentence-transformers checkpoint."""
    parts = [file.parent.name for file in folder.glob("[0-9]_*/config.json")]
    parts += [MODEL_FILE] if (folder / MODEL_FILE).exists() else []
    if parts:
        raise ValueError(
            f"{folder.name} holds {', '.join(sorted(parts))} but no modules.json, so nothing says "
            "how its embedding is made; download the whole checkpoint"
        )


def _own_class(where: str, kind: str) -> str:
    name = kind.rsplit(".", 1)[-1]
    if not kind.startswith(("sentence_transformers.", "pylate.")):
        raise ValueError(
            f"{where} names {kind}, code of its own that is not run here; needed modules of "
            "sentence-transformers"
        )
    return name


def _inside(where: str, folder: Path, path: str) -> Path:
    parts = PurePosixPath(path.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts:
        raise ValueError(f"{where} has the path {path!r}; needed a folder inside the checkpoint's")
    return folder / parts


def encoder_folder(folder: Path) -> Path:
    """Folder of a checkpoint's encoder and tokenizer: the first module's, or the whole."""
    modules = stated_modules(folder)
    if modules and not modules[0].folder.is_dir():
        raise ValueError(
            f"modules.json of {folder.name} keeps the encoder in {modules[0].folder.name}, which "
            "is not there; download the whole checkpoint"
        )
    return modules[0].folder if modules else folder


def weight_folders(folder: Path) -> list[Path]:
    """Folders of the modules behind the encoder that have weights, in order."""
    parts = stated_modules(folder)
    return [part.folder for part in parts[1:] if part.name in ("Dense", "LayerNorm")]


def transformer_settings(folder: Path) -> dict[str, Any]:
    """What is stored about an encoder's texts, by whichever of the seven file names.

    Raises
    ------
    ValueError
        For a ``max_seq_length`` that is no positive whole number.
    """
    name, stated = _transformer_file(folder)
    if (length := stated.get("max_seq_length")) is not None:
        whole(length, f"max_seq_length in {name} of {folder.name}")
    if not isinstance(stated.get("do_lower_case", False), bool):
        raise ValueError(
            f"do_lower_case in {name} of {folder.name} must be true or false, got "
            f"{shown(stated['do_lower_case'])}"
        )
    return stated


def _transformer_file(folder: Path) -> tuple[str, dict[str, Any]]:
    read = ((name, read_object(folder / name)) for name in TRANSFORMER_FILES)
    return next(((name, content) for name, content in read if content), (TRANSFORMER_FILES[0], {}))


def read_model(folder: Path, kind: Reads) -> dict[str, Any]:
    """Settings of the whole model, after every key of it and of its encoder was checked.

    Raises
    ------
    ValueError
        For a setting that is not obeyed.
    """
    settings = read_object(folder / MODEL_FILE)
    obey(f"{MODEL_FILE} of {folder.name}", settings, kind.model)
    encoder = encoder_folder(folder)
    name, stated = _transformer_file(encoder)
    obey(f"{name} of {folder.name}", stated, kind.transformer)
    return settings


def stored_prompts(
    folder: Path, settings: Mapping[str, Any], *, always: tuple[str, ...] = ()
) -> dict[str, str]:
    """Prompts by their names, those that are null left out; ``always`` names those of every model.

    Raises
    ------
    ValueError
        For prompts that are no text, or a default prompt that is not among them.
    """
    where = f"{MODEL_FILE} of {folder.name}"
    prompts = settings.get("prompts") or {}
    is_text = isinstance(prompts, dict) and all(
        isinstance(text, str | None) for text in prompts.values()
    )
    if not is_text:
        raise ValueError(f"prompts in {where} must be texts by name, got {shown(prompts)}")
    default = settings.get("default_prompt_name")
    if default is not None and default not in {*always, *prompts}:
        raise ValueError(
            f"default_prompt_name in {where} is {shown(default)}; needed one of its prompts, "
            f"{', '.join(prompts) or 'of which there are none'}"
        )
    return {name: text for name, text in prompts.items() if text is not None}


def prompts_of_sides(folder: Path, settings: Mapping[str, Any]) -> tuple[str, str]:
    """Prompts of a bi-encoder, before queries and before documents.

    Raises
    ------
    ValueError
        For a prompt of another name that would be put before documents, or before all texts,
        depending on the version and the function of sentence-transformers.
    """
    prompts = stored_prompts(folder, settings, always=("query", "document"))
    default = settings.get("default_prompt_name")
    unclear = [] if default in (None, "query", "document") else [str(default)]
    unclear += [] if "document" in prompts else ["passage", "corpus"]
    if unclear := [name for name in unclear if prompts.get(name)]:
        raise ValueError(
            f"{MODEL_FILE} of {folder.name} has the prompt {unclear[0]!r}, which "
            "sentence-transformers puts before a text or not, depending on its version and "
            "function; needed prompts called 'query' and 'document': rename it, or remove it"
        )
    return prompts.get("query", ""), prompts.get("document", "")


def prompt_of_pairs(folder: Path, settings: Mapping[str, Any]) -> str:
    """Prompt of a cross-encoder: the default one, put before the query."""
    default = settings.get("default_prompt_name")
    return stored_prompts(folder, settings).get(default, "") if default else ""
