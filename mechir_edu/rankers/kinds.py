"""The kinds of ranker, by the names that commands, files and results use.

A kind is a subclass of `mechir_edu.rankers.base.Ranker` in its own file, and an entry in `KINDS`.
"""

from pathlib import Path
from typing import Any

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


def load_ranker(kind: str, name: str, *, device: str = "auto") -> Ranker:
    """Load a ranker of a kind, such as "dot", by its name.

    Raises
    ------
    ValueError
        For another kind.
    FileNotFoundError, ImportError
        As the kind's class does.
    """
    load: Any = find_kind(kind)  # a kind's class has more parameters than the base's
    return load(name, device=device)
