"""The kinds of ranker, by the names that commands, files and results use.

A kind is a subclass of `mechir_edu.rankers.base.Ranker` in its own file, and an entry in `KINDS`.
"""

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any, get_args

from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.bi_encoder import BiEncoder
from mechir_edu.rankers.checkpoint.loading import checked_name, model_folder
from mechir_edu.rankers.checkpoint.which_kind import guessed_kind
from mechir_edu.rankers.cross_encoder import CrossEncoder
from mechir_edu.rankers.mono_t5 import MonoT5Encoder
from mechir_edu.rankers.multi_vector import MultiVectorEncoder
from mechir_edu.rankers.sparse import SparseEncoder

KINDS: dict[str, type[Ranker]] = {
    kind.kind: kind
    for kind in (BiEncoder, CrossEncoder, SparseEncoder, MultiVectorEncoder, MonoT5Encoder)
}


def find_kind(kind: str) -> type[Ranker]:
    """Look a kind up by its name.

    Raises
    ------
    ValueError
        For another kind; lists those that there are.
    """
    if kind not in KINDS:
        known = " or ".join(f"{name!r} ({of.kind_name})" for name, of in KINDS.items())
        raise ValueError(f"kind must be {known}, got {kind!r}")
    return KINDS[kind]


def guess_kind(name: str | Path) -> str:
    """Kind of a checkpoint, as its files say: "dot" of the embedded ones, "cat" of "planted".

    Raises
    ------
    ValueError
        Where nothing says which kind it is, or one that is not read here.
    FileNotFoundError
        When there is no such checkpoint.
    """
    name = checked_name(name)
    own = {"embedded": "dot", "planted": "cat"}
    return own[name] if name in own else guessed_kind(model_folder(name))


def read_settings(kind: str, settings: Sequence[str]) -> dict[str, str | int]:
    """Arguments of a kind's class, given as texts such as ``"true_token=▁true"``.

    A value is a text; a whole number where the class takes numbers: ``max_length=128``, or a
    token's id in ``true_token=1176``. There a text in quotes is a word (``true_token="1"``).

    Raises
    ------
    ValueError
        For what is no ``NAME=VALUE``, an argument that the kind lacks or that comes twice, or a
        value that should be a whole number.

    Examples
    --------
    >>> read_settings("dot", ["pooling=mean", "max_length=128"])
    {'pooling': 'mean', 'max_length': 128}
    >>> read_settings("monot5", ["true_token=1176", 'false_token="0"'])
    {'true_token': 1176, 'false_token': '0'}
    """
    of_kind: Any = find_kind(kind)
    arguments = signature(of_kind).parameters.values()
    taken = {argument.name: argument.annotation for argument in arguments}
    names = sorted(set(taken) - {"name", "device", "verify"})
    read: dict[str, str | int] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or name not in names or name in read:
            raise ValueError(
                f"{of_kind.kind_name} ({kind}) takes {', '.join(names)}, each as NAME=VALUE and "
                f"once; got {setting!r}"
            )
        types, is_number = get_args(taken[name]), value.isascii() and value.isdecimal()
        if str not in types and not is_number:
            raise ValueError(f"{name} needs a whole number, got {value!r}")
        takes_both = str in types and int in types
        if takes_both and len(value) > 2 and value[0] == value[-1] == '"':
            value = value[1:-1]
        read[name] = int(value) if int in types and is_number else value
    return read


def load_ranker(
    kind: str, name: str, *, device: str = "auto", settings: Sequence[str] = ()
) -> Ranker:
    """Load a ranker of a kind, such as "dot", by its name.

    Parameters
    ----------
    settings : further arguments of the kind's class, see `read_settings`.

    Raises
    ------
    ValueError
        For another kind, or a setting that it lacks.
    FileNotFoundError, ImportError
        As the kind's class does.
    """
    load: Any = find_kind(kind)  # a kind's class has more parameters than the base's
    return load(name, device=device, **read_settings(kind, settings))
