"""Load a checkpoint's tokenizer.

The tokens are those that the checkpoint was trained on. `tokenizer.json` says what they are, and
where it is there it decides: transformers 5 rebuilds the tokenizers of BERT and RoBERTa from their
vocabulary and a default for everything else, so a step that the file adds would be lost. Without
that file (a `vocab.txt`, a SentencePiece model) the tokenizer is the one that transformers builds.
"""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mechir_edu.rankers.checkpoint.lengths import is_whole
from mechir_edu.rankers.checkpoint.settings import transformer_settings
from mechir_edu.rankers.checkpoint.stored import read_object

VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
SETTINGS = "tokenizer_config.json"
NO_LIMIT = 1e20  # transformers writes 1e30 where there is none
# Settings that a class of tokenizers may put in the place of what tokenizer.json says.
STATED = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
    "add_prefix_space": "add_prefix_space",
}
PARTS = ("normalizer", "pre_tokenizer", "model", "post_processor")
# Case, accents, hyphens, scripts, numbers, control characters, a long word, an unknown character.
PROBES = (
    "State-of-the-art CO-OP reefs, don't they? naïve Café E\u0301cole; Straße ﬁn",
    "1,234.5% of 3×10^8 m/s (e.g. x_i = -2) http://a.b/c?d=e @f #g\nnew\tline  two spaces ",
    "珊瑚礁は海に 산호초 मूंगा चट्टान коралловый риф كرال",
    "a\u200bb\u00adc\x07d\ufeffe \ufffd \U000f1234 \U0001f420",
    "a" * 150,
)
MOST_NAMES = 100  # of added tokens that are tried


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Fast tokenizer of a checkpoint (alignment needs its character offsets).

    A maximal length or lower case that sentence-transformers stored is applied.

    Raises
    ------
    FileNotFoundError
        When the folder has no vocabulary.
    ValueError
        When the tokenizer cannot be read, needs code of its own, has no offsets, or cannot read
        every text; when ``tokenizer_config.json`` contradicts ``tokenizer.json``.
    """
    # Without one transformers makes a tokenizer of five special tokens that knows no word.
    if not any(any(folder.glob(name)) for name in VOCABULARIES):
        raise FileNotFoundError(
            f"{folder.name} has no tokenizer: needed one of {', '.join(VOCABULARIES)}"
        )
    settings = read_object(folder / SETTINGS)
    file = folder / "tokenizer.json"
    _require_plain(settings, file)
    tokenizer = _built(folder, file)
    if not tokenizer.is_fast:
        raise ValueError(
            f"{folder.name} has a slow tokenizer, {type(tokenizer).__name__}; needed one that "
            "gives offsets: save it as tokenizer.json first"
        )
    if file.exists():
        tokenizer = _as_stored(tokenizer, file, settings)
    _require_readable_texts(tokenizer, folder)
    stated = transformer_settings(folder)
    if stated.get("max_seq_length") is not None:
        tokenizer.model_max_length = stated["max_seq_length"]
    if stated.get("do_lower_case"):
        backend = tokenizer.backend_tokenizer
        steps = [normalizers.Lowercase(), *filter(None, [backend.normalizer])]
        backend.normalizer = normalizers.Sequence(steps)
    return tokenizer


def _built(folder: Path, file: Path) -> Any:
    """The tokenizer that transformers builds, by its class or, if that fails, of any class."""
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # of any class: a file may hold anything
        try:
            if file.exists():
                return PreTrainedTokenizerFast.from_pretrained(folder)
        except Exception:
            pass  # the first error says more
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: Exception) -> ValueError:
    return ValueError(
        f"the tokenizer in {folder.name} cannot be read ({type(error).__name__}: {error}); needed "
        "files that AutoTokenizer.from_pretrained reads"
    )


def _require_plain(settings: dict, file: Path) -> None:
    """Refuse settings that transformers passes over, although tokens depend on them."""
    where = f"{SETTINGS} of {file.parent.name}"
    limit = settings.get("model_max_length")
    if not (limit is None or is_whole(limit) or (isinstance(limit, float) and limit >= NO_LIMIT)):
        raise ValueError(f"model_max_length in {where} must be a whole number, got {limit!r}")
    if settings.get("auto_map"):
        raise ValueError(
            f"{where} has auto_map: the tokenizer is code of its own, which is not run; needed a "
            "tokenizer of transformers"
        )
    if settings.get("fast_tokenizer_files"):
        raise ValueError(
            f"{where} has fast_tokenizer_files, one for each version of transformers; keep the one "
            "that the model was trained with as tokenizer.json, and take the setting out"
        )
    if file.exists():
        return
    if any(file.parent.glob("vocab.json")) and not any(file.parent.glob("merges.txt")):
        raise FileNotFoundError(
            f"{file.parent.name} has vocab.json without merges.txt, so that every word would fall "
            "apart into letters; download the whole checkpoint"
        )
    if settings.get("do_basic_tokenize") is False or settings.get("never_split"):
        raise ValueError(
            f"{where} has do_basic_tokenize=false or never_split, which transformers 5 ignores; "
            "save the tokenizer as tokenizer.json with transformers 4"
        )


def _as_stored(
    tokenizer: PreTrainedTokenizerBase, file: Path, settings: dict
) -> PreTrainedTokenizerBase:
    """Tokenizer of a ``tokenizer.json``, with the special tokens of the one that was built."""
    try:
        stored = Tokenizer.from_file(str(file))
    except Exception as error:  # the tokenizers library raises nothing more exact
        raise _unreadable(file.parent, error) from error
    if getattr(stored.model, "dropout", None):
        raise ValueError(
            f"{file.name} of {file.parent.name} has dropout: it would make other tokens of a text "
            "whenever it reads it; set dropout to null"
        )
    stored.no_truncation()
    stored.no_padding()
    stored.encode_special_tokens = tokenizer.split_special_tokens
    if not _equal(stored, tokenizer.backend_tokenizer):
        _require_agreement(file, settings)
        known = {str(token) for token in stored.get_added_tokens_decoder().values()}
        special = tokenizer.special_tokens_map
        options = {name: token for name, token in special.items() if str(token) in known}
        if type(tokenizer) is not PreTrainedTokenizerFast:
            options["model_input_names"] = tokenizer.model_input_names
        tokenizer = PreTrainedTokenizerFast.from_pretrained(file.parent, **options)
    _require_same_tokens(tokenizer, stored, file)
    return tokenizer


def _equal(stored: Tokenizer, built: Tokenizer) -> bool:
    tokens, others = stored.get_added_tokens_decoder(), built.get_added_tokens_decoder()
    return all(repr(others.get(i)) == repr(token) for i, token in tokens.items()) and all(
        pickle.dumps(getattr(stored, part)) == pickle.dumps(getattr(built, part)) for part in PARTS
    )


def _require_agreement(file: Path, settings: dict) -> None:
    """Refuse a setting that `tokenizer.json` contradicts: either may be what was trained with."""
    said = read_object(file)
    for step in _steps([said.get("normalizer"), said.get("pre_tokenizer")]):
        if "strip_accents" in step and step["strip_accents"] is None:
            step = step | {"strip_accents": step.get("lowercase")}  # what the library takes it for
        for setting, name in STATED.items():
            wanted, got = settings.get(setting), step.get(name)
            if None not in (wanted, got) and wanted != got:
                raise ValueError(
                    f"{SETTINGS} of {file.parent.name} says {setting}={wanted}, but {file.name} "
                    f"says {name}={got} in {step.get('type')}; needed two files that agree"
                )


def _steps(part: Any) -> Iterator[dict]:
    """Every object in a piece of JSON, from the outside in."""
    if isinstance(part, dict):
        yield part
    for inner in part.values() if isinstance(part, dict) else part:
        if isinstance(inner, dict | list):
            yield from _steps(inner)


def _require_same_tokens(tokenizer: PreTrainedTokenizerBase, stored: Tokenizer, file: Path) -> None:
    names = [str(token) for token in stored.get_added_tokens_decoder().values()]
    texts = [(text,) for text in PROBES] + [PROBES[:2]]
    texts += [(f"a {name} b{name}c {name}",) for name in names[:MOST_NAMES]]
    types = "token_type_ids" in tokenizer.model_input_names
    for text in texts:
        try:
            needed, got = stored.encode(*text), tokenizer(*text, verbose=False)
        except Exception as error:  # such as an unknown word without a token for it
            raise _unreadable(file.parent, error) from error
        if got["input_ids"] != needed.ids or (types and got["token_type_ids"] != needed.type_ids):
            raise ValueError(
                f"{file.name} of {file.parent.name} makes other tokens of {text[0]!r} than the "
                f"tokenizer that transformers builds with {SETTINGS}; needed two files that agree"
            )


def _require_readable_texts(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    try:
        read = tokenizer(list(PROBES), add_special_tokens=False, verbose=False)["input_ids"]
    except Exception as error:  # such as an unknown word without a token for it
        raise _unreadable(folder, error) from error
    # What transformers builds where a class does not find the file that it looks for.
    if not any(read) or len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
        raise ValueError(
            f"the tokenizer in {folder.name}, a {type(tokenizer).__name__}, knows no word; needed "
            "its vocabulary, tokenizer.json or the file of its class"
        )
