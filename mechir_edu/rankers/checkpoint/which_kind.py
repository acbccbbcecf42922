"""Which kind of ranker a checkpoint is, by what its files say; and who reads that kind.

The first of these that says something decides:

1. a module in ``modules.json`` that one kind alone has;
2. ``model_type`` beside ``modules.json`` (a bi-encoder where there is none);
3. ``architectures`` in ``config.json`` of a checkpoint without modules.
"""

from pathlib import Path
from typing import NamedTuple

from mechir_edu.rankers.checkpoint.saved_by import READERS, said_of
from mechir_edu.rankers.checkpoint.settings import (
    MODEL_FILE,
    Module,
    encoder_folder,
    stated_modules,
)
from mechir_edu.rankers.checkpoint.stored import read_object, shown

MODEL_TYPES = {  # of sentence-transformers and PyLate
    "SentenceTransformer": "dot",
    "CrossEncoder": "cat",
    "SparseEncoder": "sparse",
    "MultiVectorEncoder": "multi-vector",
    "ColBERT": "multi-vector",
}
MODULES = {
    "MLMTransformer": "sparse",
    "SpladePooling": "sparse",
    "SparseStaticEmbedding": "sparse",
    "SparseAutoEncoder": "sparse",
    "MultiVectorMask": "multi-vector",
    "LogitScore": "cat",
}


class Told(NamedTuple):
    """What a checkpoint says of its kind.

    Attributes
    ----------
    kinds : that it may be, keys of `mechir_edu.rankers.kinds.KINDS`.
    because : the file that says so and what it says.
    what : in words, with the class that reads it.
    is_stored : whether the ranker's own library says so, and not only the class of its encoder.
    """

    kinds: tuple[str, ...]
    because: str
    what: str
    is_stored: bool


def told_kind(folder: Path) -> Told | None:
    """What a checkpoint's files say of its kind; None where they say nothing."""
    modules = stated_modules(folder)
    if modules:
        return _by_modules(folder, modules)
    config = read_object(encoder_folder(folder) / "config.json")
    names = config.get("architectures")
    known = [n for n in names if isinstance(n, str)] if isinstance(names, list) else []
    for name in known:
        if (said := said_of(name, config)) is not None:
            return Told(said[0], f"{folder.name} was saved by {name}", said[1], is_stored=False)
    return None


def _by_modules(folder: Path, modules: list[Module]) -> Told:
    where = f"modules.json of {folder.name}"
    for module in modules:
        is_pylate = module.path.startswith("pylate.")
        kind = "multi-vector" if is_pylate else MODULES.get(module.name)
        if kind is not None:
            because = f"{where} names {module.path}"
            return Told((kind,), because, _how_to_load(kind), is_stored=True)
    stated = read_object(folder / MODEL_FILE).get("model_type")
    if not stated and [module.name for module in modules] == ["Transformer", "Dense"]:
        kinds, because = ("multi-vector",), f"{where} has a Dense for every token"
        return Told(kinds, because, _how_to_load(kinds[0]), is_stored=True)
    stated = stated or "SentenceTransformer"
    kind = MODEL_TYPES.get(str(stated))
    what = _how_to_load(kind) if kind else "a model of a kind that this toolkit does not read"
    because = f"model_type in {MODEL_FILE} of {folder.name} is {shown(stated)}"
    return Told((kind,) if kind else (), because, what, is_stored=True)


def _how_to_load(kind: str) -> str:
    what, reader = READERS[kind]
    return f"{what}; load it with {reader}"


def require_kind(folder: Path, kind: str, *, says_how: bool = False) -> None:
    """Refuse a checkpoint of another kind of ranker, and say which class reads it.

    Parameters
    ----------
    kind : that is wanted, such as "dot".
    says_how : whether the caller says how an embedding is made of an encoder's hidden states; then
        the class that the encoder was saved by does not matter.

    Raises
    ------
    ValueError
        Naming the file that says so and the class that reads it.
    """
    told = told_kind(folder)
    if told is None or kind in told.kinds or (says_how and not told.is_stored):
        return
    instead = " To look at its encoder as a bi-encoder, pass pooling=" * (kind == "dot")
    instead = "" if told.is_stored else "." * bool(instead) + instead
    raise ValueError(f"{told.because}: {told.what}{instead}")


def guessed_kind(folder: Path) -> str:
    """The kind that a checkpoint most likely is, from what it says and, if that is not all, a name.

    A model that predicts words is taken for a bi-encoder, as `mechir_edu.Dot` takes it, unless it
    is called splade.

    Raises
    ------
    ValueError
        Where nothing says which it is.
    """
    told = told_kind(folder)
    if told is not None and len(told.kinds) == 1:
        return told.kinds[0]
    if told is not None and "sparse" in told.kinds:
        return "sparse" if "splade" in str(folder).lower() else "dot"
    if told is not None and not told.kinds:
        raise ValueError(f"{told.because}: {told.what}")
    raise ValueError(
        f"nothing in {folder.name} says which kind of ranker it is; name it "
        "(--kind on the command line)"
    )
