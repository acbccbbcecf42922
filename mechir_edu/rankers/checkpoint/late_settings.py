"""What is stored of a multi-vector ranker: by Stanford's ColBERT, PyLate, or sentence-transformers.

============================  ======================================================================
Stanford's ColBERT            ``artifact.metadata``; the projection is ``linear.weight`` among the
                              encoder's weights
PyLate (up to 3)              ``modules.json`` with Transformer and Dense; markers, lengths and
                              skipped words in ``config_sentence_transformers.json``
sentence-transformers 6       ``modules.json`` with Transformer, Dense, MultiVectorMask, Normalize;
                              lengths in ``sentence_bert_config.json``
============================  ======================================================================
"""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mechir_edu.rankers.checkpoint.settings import (
    DENSE,
    MODEL,
    OBEYED,
    Reads,
    encoder_folder,
    stated_modules,
    transformer_rules,
    transformer_settings,
)
from mechir_edu.rankers.checkpoint.stored import Rule, obey, read_object, shown, whole

MODEL_FILE = "config_sentence_transformers.json"
METADATA = "artifact.metadata"
LENGTH = 32  # of queries, in tokens, where a checkpoint of ColBERT does not say
EXPANSION: dict[str, Rule] = {
    "strategy": ("fixed", "min"),
    "attend": (True, False),
    "token": OBEYED,
    "length": OBEYED,
}
PYLATE: dict[str, Rule] = {
    "query_prefix": OBEYED,
    "document_prefix": OBEYED,
    "query_length": OBEYED,
    "document_length": OBEYED,
    "do_query_expansion": (True, False),
    "attend_to_expansion_tokens": (True, False),
    "attend_to_mask_tokens": (True, False),
    "skiplist_words": OBEYED,
}
MULTI_VECTOR = Reads(
    MODEL | PYLATE | {"similarity_fn_name": (None, "maxsim", "MaxSim")},
    transformer_rules("feature-extraction", "last_hidden_state", "token_embeddings")
    | {"query_length": OBEYED, "document_length": OBEYED, "query_expansion": OBEYED},
)
OF_TOKENS = (None, "token_embeddings")
TOKEN_DENSE = DENSE | {"module_input_name": OF_TOKENS, "module_output_name": OF_TOKENS}
MASK: dict[str, Rule] = {
    "skiplist_words": OBEYED,
    "skiplist_tasks": (["document"],),
    "keep_only_token_ids": (None,),
}


@dataclass(frozen=True)
class Expansion:
    """How a query is lengthened by tokens that count in the score: ColBERT's query augmentation.

    Attributes
    ----------
    length : in tokens, to which queries are filled up.
    attends : whether attention sees the added tokens.
    cuts : whether a longer query is cut to ``length``.
    token : the added token; None for the tokenizer's mask.
    """

    length: int
    attends: bool = False
    cuts: bool = True
    token: str | None = None


@dataclass(frozen=True)
class LateSettings:
    """How a multi-vector ranker reads queries and documents.

    Attributes
    ----------
    query, document : marker and prompt before each.
    has_markers : whether these begin with a marker, one token wherever it stands.
    query_length, document_length : most tokens; None where nothing is said.
    expansion : of queries; None for none.
    skipped : words of a document that do not count in the score.
    """

    query: str = ""
    document: str = ""
    has_markers: bool = False
    query_length: int | None = None
    document_length: int | None = None
    expansion: Expansion | None = None
    skipped: tuple[str, ...] = ()


def is_stanford(folder: Path) -> bool:
    """Whether a folder was saved by Stanford's ColBERT."""
    names = read_object(encoder_folder(folder) / "config.json").get("architectures") or []
    return not stated_modules(folder) and "HF_ColBERT" in names


def read_late_settings(folder: Path) -> LateSettings:
    """Read markers, lengths, expansion and skipped words, by whoever saved them.

    Raises
    ------
    ValueError
        For a checkpoint of another kind (names the class that reads it), or a setting that is not
        obeyed.
    """
    if is_stanford(folder):
        return _stanford(read_object(folder / METADATA), f"{METADATA} of {folder.name}")
    names = [module.name for module in stated_modules(folder)]
    late = (["Transformer", "Dense"], ["Transformer", "Dense", "MultiVectorMask", "Normalize"])
    if names not in late:
        what = f"the modules {', '.join(names)}" if names else "no modules.json"
        raise ValueError(
            f"{folder.name} has {what}; a multi-vector ranker (ColBERT) has a Transformer, a Dense "
            "for every token and, saved by sentence-transformers, MultiVectorMask and Normalize, "
            "or was saved by Stanford's ColBERT as HF_ColBERT"
        )
    settings = read_object(folder / MODEL_FILE)
    where = f"{MODEL_FILE} of {folder.name}"
    obey(where, settings, MULTI_VECTOR.model)
    stated = transformer_settings(encoder_folder(folder))
    obey(f"the Transformer's settings of {folder.name}", stated, MULTI_VECTOR.transformer)
    return _sentence_transformers(folder, settings, stated, where)


def _stanford(stated: Mapping[str, Any], where: str) -> LateSettings:
    length = whole(stated.get("query_maxlen") or LENGTH, f"query_maxlen in {where}")
    longest = stated.get("doc_maxlen")
    return LateSettings(
        query=(stated.get("query_token_id") or "[unused0]") + " ",
        document=(stated.get("doc_token_id") or "[unused1]") + " ",
        has_markers=True,
        document_length=None if longest is None else whole(longest, f"doc_maxlen in {where}"),
        expansion=Expansion(length, attends=bool(stated.get("attend_to_mask_tokens"))),
        skipped=tuple(string.punctuation) if stated.get("mask_punctuation", True) else (),
    )


def _sentence_transformers(
    folder: Path, settings: Mapping[str, Any], stated: Mapping[str, Any], where: str
) -> LateSettings:
    is_pylate = any(key in settings for key in PYLATE)
    said = {**stated, **{key: settings[key] for key in PYLATE if key in settings}}
    prompts = settings.get("prompts") or {}
    prefixes = [settings.get(f"{side}_prefix") or "" for side in ("query", "document")]
    texts = [
        prefix + (prompts.get(side) or "").removeprefix(prefix)
        for side, prefix in zip(("query", "document"), prefixes, strict=True)
    ]
    lengths = {
        key: whole(said[key], f"{key} in {where}")
        for key in ("query_length", "document_length")
        if said.get(key) is not None
    }
    expansion = _expansion(said, is_pylate, where)
    if expansion is not None and is_pylate:
        lengths.pop("query_length", None)  # it is the expansion's
    return LateSettings(
        query=texts[0],
        document=texts[1],
        has_markers=any(prefixes),
        expansion=expansion,
        skipped=_skipped(folder, settings, where),
        **lengths,
    )


def _expansion(said: Mapping[str, Any], is_pylate: bool, where: str) -> Expansion | None:
    if (stated := said.get("query_expansion")) is not None:
        if not isinstance(stated, dict):
            raise ValueError(f"query_expansion in {where} must be an object, got {shown(stated)}")
        obey(f"query_expansion in {where}", stated, EXPANSION)
        length = whole(stated.get("length"), f"the length of query_expansion in {where}")
        cuts = stated.get("strategy") == "fixed"
        return Expansion(length, bool(stated.get("attend")), cuts, stated.get("token"))
    if not is_pylate or said.get("do_query_expansion") is False:
        return None
    attends = said.get("attend_to_expansion_tokens", said.get("attend_to_mask_tokens"))
    return Expansion(said.get("query_length") or LENGTH, attends=bool(attends))


def _skipped(folder: Path, settings: Mapping[str, Any], where: str) -> tuple[str, ...]:
    masks = [part.folder for part in stated_modules(folder) if part.name == "MultiVectorMask"]
    if masks:
        stated = read_object(masks[0] / "config.json")
        obey(f"{masks[0].name}/config.json of {folder.name}", stated, MASK)
        words = stated.get("skiplist_words")
    else:  # PyLate leaves punctuation out unless told otherwise
        words = settings.get("skiplist_words")
        words = list(string.punctuation) if words is None else words
    words = words or []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"skiplist_words in {where} must be a list of texts, got {shown(words)}")
    return tuple(words)
