"""Compare what ``config.json`` says with what the model that is built from it obeys.

transformers drops settings between versions and keeps unknown ones without a word, so that a model
can load, run and not be the one that was trained. Each key has to be known to the model's class, or
to stand in a table here.
"""

import inspect
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers
from transformers import PretrainedConfig
from transformers.activations import ACT2FN

from mechir_edu.rankers.adapters import ADAPTERS
from mechir_edu.rankers.checkpoint.saved_by import said_of
from mechir_edu.rankers.checkpoint.stored import (
    EMPTY,
    Rule,
    obey,
    read_object,
    shown,
    small_positive,
    whole,
)

NOTHING: tuple[object, ...] = (None, {}, [])
# Known or not to the model's class: the only values at which it is what was trained.
ONLY: dict[str, Rule] = {
    "add_cross_attention": (None, False),
    "auto_map": NOTHING,  # code of the checkpoint's own, which is not run
    "custom_pipelines": NOTHING,
    "pruned_heads": NOTHING,
    "quantization_config": NOTHING,
}
WHOLE = (
    *("num_hidden_layers", "n_layers", "num_attention_heads", "n_heads", "hidden_size", "dim"),
    *("intermediate_size", "hidden_dim", "vocab_size", "max_position_embeddings"),
    *("type_vocab_size", "embedding_size", "relative_attention_num_buckets"),
    *("num_key_value_heads", "head_dim"),
    *("global_attn_every_n_layers", "local_attention"),
)
WHOLE_OR_NONE = ("num_key_value_heads", "head_dim", "sliding_window")
EPSILONS = ("layer_norm_eps", "norm_eps", "rms_norm_eps")
ACTIVATIONS = ("hidden_act", "activation", "hidden_activation", "classifier_activation")
# Settings that no class of ours has and that change no score: of training, of writing text, of
# saving, and of a pooler that only its training used.
HARMLESS = re.compile(
    r".*(dropout|token_id|token_ids|version|batch_size|_json_file|suppress_tokens|loss.*)"
    r"|.*no_repeat_ngram_size|(_|pooler_|unsloth|initializer|summary_|return_dict).*"
    r"|gradient_checkpointing|directionality|output_past|tie_weights_|finetuning_task|language"
    r"|tokenizer_class|model_max_length|name|vocab_type|use_bfloat16|torchscript|xla_device"
    r"|torch_dtype|reference_compile|repad_logits_with_grad|attn_implementation|use_cache"
    r"|use_return_dict|output_(scores|attentions|hidden_states)|is_composition|is_decoder|prefix"
    r"|keys_to_ignore_at_inference|task_specific_params|do_sample|early_stopping|length_penalty"
    r"|m(ax|in)_length|num_(beams|beam_groups|return_sequences|labels)|repetition_penalty"
    r"|diversity_penalty|temperature|top_[kp]|typical_p|remove_invalid_values|label_smoothing"
    r"|exponential_decay_length_penalty|cell|structure|pre_trained|training"
    r"|sentence_transformers|sbert_ce_default_activation_function"  # read with a cross-encoder
)
# Parts of names of settings that change what a model computes.
COMPUTES = re.compile(
    r"position|rotary|rope|alibi|att(entio)?n|causal|window|pool|norm|activation|act_fn|scal|mlp"
    r"|glu|ffn|residual|project|embed|bias|mask|expert|moe|adapter|lora|quant|layer|head|forward"
    r"|dim|size"
)
NO_RANKERS = {  # by the end of a class's name: what a checkpoint is that is no ranker
    "ForTokenClassification": "a classifier of tokens, not a ranker",
    "ForQuestionAnswering": "a reader that finds answers, not a ranker",
    "ForMultipleChoice": "a chooser between answers, not a ranker",
    "ForNextSentencePrediction": "a classifier of neighbouring sentences, not a ranker",
}


def read_config(folder: Path) -> dict[str, Any]:
    """Content of a checkpoint's ``config.json``, its values possible and none of them disobeyed.

    Raises
    ------
    FileNotFoundError
        When there is none.
    ValueError
        For a damaged file, an impossible number, an unknown activation, or a setting under which
        the model would not be the one that was trained; names the file and the key.
    """
    if (folder / "adapter_config.json").exists():
        raise ValueError(
            f"{folder.name} holds an adapter (adapter_config.json), which is not in its weights; "
            "merge it first, with peft's merge_and_unload(), and save the merged model"
        )
    config = read_object(folder / "config.json")
    if not config:
        raise FileNotFoundError(f"{folder} is no checkpoint: it has no config.json")
    where = f"config.json of {folder.name}"
    obey(where, {key: config[key] for key in ONLY if key in config}, ONLY)
    for key in WHOLE:
        if key in config:
            whole(config[key], f"{key} in {where}")
    for key in WHOLE_OR_NONE:
        if config.get(key) is not None:
            whole(config[key], f"{key} in {where}")
    for key in EPSILONS:
        if key in config:
            small_positive(config[key], f"{key} in {where}")
    for key in ACTIVATIONS:
        if key in config and config[key] not in list(ACT2FN):
            raise ValueError(
                f"{key} in {where} is {shown(config[key])}; transformers has no such activation, "
                f"needed one of {', '.join(sorted(ACT2FN))}"
            )
    return config


def check_unknown(
    stated: Mapping[str, Any],
    config: PretrainedConfig,
    folder: Path,
    *,
    passed_over: tuple[str, ...] = (),
) -> None:
    """Refuse, or warn of, settings that the model's class does not know.

    ``passed_over`` are those that it rightly does not.

    Raises
    ------
    ValueError
        For one that by its name changes what the model computes.
    """
    sizes = {config.hidden_size, config.hidden_size // config.num_attention_heads}
    known = {*type(config)().to_dict(), *type(config).attribute_map, *ONLY}
    source = inspect.getsource(type(config))
    unknown = {
        key: value
        for key, value in stated.items()
        if key not in known
        and key in vars(config)
        and f'"{key}"' not in source  # else its class makes something of it
        and not HARMLESS.fullmatch(key)
        and key not in passed_over
        and value not in EMPTY
    }
    for key, value in unknown.items():
        if _says_the_same(key, value, config, sizes):
            continue
        if COMPUTES.search(key):
            raise ValueError(
                f"config.json of {folder.name} sets {key} to {shown(value)}, which transformers "
                f"{transformers.__version__} does not obey in a {type(config).__name__}: the "
                "scores would not be the trained model's. Remove the key if it was trained "
                "without it"
            )
        warnings.warn(
            f"config.json of {folder.name} sets {key} to {shown(value)}, which transformers "
            f"{transformers.__version__} does not know; it is passed over",
            stacklevel=2,
        )


def _says_the_same(key: str, value: object, config: PretrainedConfig, sizes: set[int]) -> bool:
    """Whether an unknown setting is another name of what the model does anyway."""
    if key == "position_embedding_type":  # a model with rotary positions never had another kind
        return value == "absolute" or hasattr(config, "rope_parameters")
    if key in EPSILONS:
        return value in {getattr(config, name, None) for name in EPSILONS}
    is_size = key.endswith(("size", "dim", "dimension"))
    return is_size and not isinstance(value, bool) and value in sizes


def check_bi_encoder(stated: Mapping[str, Any], folder: Path, *, says_how: bool) -> None:
    """Refuse a checkpoint that was trained as something else than a bi-encoder.

    Parameters
    ----------
    says_how : whether the caller, or ``modules.json``, says how an embedding is made.

    Raises
    ------
    ValueError
        For a classifier, or a class of the checkpoint's own.
    """
    for name in () if says_how else _architectures(stated, folder):
        if what := _what(name, stated, "dot"):
            raise ValueError(
                f"{folder.name} was saved by {name}: {what}. To look at its encoder as a "
                "bi-encoder, pass pooling="
            )
        if not _is_known(name):
            raise ValueError(
                f"{folder.name} was saved by {name}, a class of its own, and does not say how an "
                "embedding is made of its hidden states; pass pooling="
            )


def check_cross_encoder(stated: Mapping[str, Any], folder: Path) -> None:
    """Refuse a checkpoint that was trained as something else than a classifier.

    Raises
    ------
    ValueError
        Naming the class that saved it.
    """
    _require_class(
        *(stated, folder, "cat", "ForSequenceClassification"),
        needed="one trained as a cross-encoder",
        decoder="a decoder; if it ranks by its answer, pass true_token= and false_token=, and any "
        'decoder may rank by readout="query likelihood"',
    )


def check_language_model(stated: Mapping[str, Any], folder: Path) -> None:
    """Refuse a checkpoint that was trained as something else than a decoder of texts.

    Raises
    ------
    ValueError
        Naming the class that saved it.
    """
    for name in _architectures(stated, folder):
        if not (name.endswith("ForCausalLM") and name in ADAPTERS):
            raise ValueError(
                f"{folder.name} was saved by {name}; a ranker that answers needs a language model, "
                "saved by a ...ForCausalLM; if it is a classifier, leave true_token out"
            )


def check_word_predictor(stated: Mapping[str, Any], folder: Path) -> None:
    """Refuse a checkpoint that was trained as something else than a predictor of masked words.

    Raises
    ------
    ValueError
        Naming the class that saved it, and the ranker that reads it where there is one.
    """
    needed = "a learned-sparse ranker (SPLADE)"
    _require_class(stated, folder, "sparse", "ForMaskedLM", needed=needed)


def check_encoder_decoder(stated: Mapping[str, Any], folder: Path) -> None:
    """Refuse a checkpoint that was trained as something else than a predictor of words.

    Raises
    ------
    ValueError
        Naming the class that saved it.
    """
    for name in _architectures(stated, folder):
        if name not in ADAPTERS:
            raise ValueError(
                f"{folder.name} was saved by {name}. Needed a ranker like MonoT5, saved by a "
                "...ForConditionalGeneration"
            )


def _require_class(
    stated: Mapping[str, Any],
    folder: Path,
    kind: str,
    ending: str,
    *,
    needed: str,
    decoder: str | None = None,
) -> None:
    """Refuse what was saved by other classes than those of an ending; say what it is instead.

    ``decoder`` is said of a language model of which nothing else is known.
    """
    for name in _architectures(stated, folder):
        if name.endswith(ending) and _is_known(name):
            continue
        what = _what(name, stated, kind)
        if what is None and name.endswith("ForCausalLM") and _is_known(name):
            what = decoder
        raise ValueError(
            f"{folder.name} was saved by {name}: {what or 'a class of its own, which is not run'}. "
            f"Needed {needed}, saved by a ...{ending}"
        )


def _what(name: str, stated: Mapping[str, Any], kind: str) -> str | None:
    """What a model is by the class that saved it, if that is not what a kind of ranker reads."""
    if (
        no_ranker := next((w for end, w in NO_RANKERS.items() if name.endswith(end)), None)
    ) is None:
        said = said_of(name, stated) if _is_known(name) or name == "HF_ColBERT" else None
        return None if said is None or kind in said[0] else said[1]
    return no_ranker


def _architectures(stated: Mapping[str, Any], folder: Path) -> list[str]:
    names = stated.get("architectures") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"architectures in config.json of {folder.name} must be a list of classes' names, got "
            f"{shown(names)}"
        )
    return names


def _is_known(name: str) -> bool:
    return name in ADAPTERS or hasattr(transformers, name)
