"""One call of a ranker at a time, and under conditions of its own.

Hooks and the settings of a tokenizer belong to a ranker, not to a call: two calls side by side
would see each other's. So every public method that runs the model (`ENTRIES`) waits for its turn.
A thread that has the turn may call further methods, as `score` calls `forward`.

PyTorch has settings around a call, too: autocast, inference mode, a default device, a default
dtype, the precision of products. A ranker is float32 and on its own device whatever they say, so
its numbers are the same inside and outside of them.
"""

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedTokenizerBase

from mechir_edu.collection.progress import stages
from mechir_edu.rankers.unchanged import Made

P = ParamSpec("P")
R = TypeVar("R")
# Methods that run the model or change settings of the tokenizer. `relevance` and `output` are not
# among them: the threads of `mechir_edu.patching.engines.threads` call them, in one call's turn.
RUN_THE_MODEL = (
    *("score", "embed", "encode_query", "encode_documents", "encode_fixed", "compare"),
    *("run_with_hooks", "run_with_cache"),
)
MAY_TRAIN = ("__call__", "forward", "tokenize", "n_pieces", "hidden")  # and so may have dropout on
ENTRIES = (*RUN_THE_MODEL, *MAY_TRAIN)


class Turn:
    """A lock that its holder may take again; ``depth`` says how often it is held."""

    def __init__(self) -> None:
        self.lock, self.depth = threading.RLock(), 0


_TURNS: WeakKeyDictionary[Any, Turn] = WeakKeyDictionary()
_TURNS_LOCK = threading.Lock()


def turn_of(tokenizer: Any) -> Turn:
    """The turn of whatever uses a tokenizer, which cannot encode two texts in two ways at once."""
    with _TURNS_LOCK:
        return _TURNS.setdefault(tokenizer, Turn())


def uses_tokenizer(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function with the parameter ``tokenizer`` wait for whoever else uses that tokenizer."""
    signature = inspect.signature(function)

    @wraps(function)
    def waiting(*args: P.args, **kwargs: P.kwargs) -> R:
        tokenizer = signature.bind(*args, **kwargs).arguments["tokenizer"]
        if not isinstance(tokenizer, PreTrainedTokenizerBase):  # for the function to refuse
            return function(*args, **kwargs)
        with turn_of(tokenizer).lock:
            return function(*args, **kwargs)

    return waiting


class TakesTurns:
    """What runs a model one call at a time: the methods `ENTRIES` of each subclass wait.

    Attributes
    ----------
    turn : held by the call that runs.
    made : the modules as they were at load; None until they are recorded.
    intervention : what is done to the model while it reads, in words; None for nothing.
    engines_agree : whether fast patching was compared with patching through hooks.
    """

    turn: Turn
    made: Made | None = None
    intervention: str | None = None
    engines_agree: bool = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ENTRIES:
            if name in vars(cls):
                setattr(cls, name, _in_turn(vars(cls)[name], may_train=name in MAY_TRAIN))
        if "__init__" in vars(cls):
            setattr(cls, "__init__", _under_own_conditions(vars(cls)["__init__"]))  # noqa: B010

    @contextmanager
    def alone(self, *, may_train: bool = False) -> Iterator[None]:
        """Wait for the turn and keep it, under a ranker's own conditions.

        Parameters
        ----------
        may_train : whether modules may be in training mode.

        Raises
        ------
        RuntimeError
            For a model that was changed so that its numbers or hooks would be wrong.
        """
        with self.turn.lock:
            if self.turn.depth:  # the outermost call has seen to everything
                yield
                return
            self.turn.depth += 1
            try:
                with own_conditions():
                    if self.made is not None:
                        self.made.require_ready(may_train=may_train)
                    yield
            finally:
                self.turn.depth -= 1

    def record_modules(self) -> None:
        """Note the modules as they are; `Made` finds what is done to them from now on."""
        ranker: Any = self
        head = getattr(ranker, "head", None)
        behind, ids = getattr(head, "projections", ()), getattr(head, "shortest", (0, 0))
        self.made = Made.record(
            [ranker.hf_model, ranker.bridge, *behind],
            lambda: ranker.forward(input_ids=torch.tensor([ids])),
            is_attention_chosen=ranker.family.uses_attention_interface,
        )

    def __copy__(self) -> Any:
        # Shares model, hooks and turn.
        view = object.__new__(type(self))
        vars(view).update(vars(self))
        return view

    def __deepcopy__(self, memo: Any) -> Any:
        # Copied hooks would call the original's functions; so the copy is loaded, then its weights.
        ranker: Any = self
        if change := ranker.intervention or ranker.made.change() or ranker.made.gradient_hook():
            raise TypeError(
                f"only a {type(self).__name__} as it was loaded can be copied, but {change}; load "
                "another and change that one"
            )
        device = str(ranker.device)
        found_out = getattr(ranker.hf_model, "merged_from", {})  # by loading, and no argument
        given = {name: ranker.settings[name] for name in ranker.settings if name not in found_out}
        loaded = type(ranker)(ranker.name, device=device, verify=False, **given)
        loaded.hf_model.load_state_dict(ranker.hf_model.state_dict())
        return loaded

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled, because the hooks around its model belong "
            "to this process; load it anew in the other one"
        )


def _in_turn(method: Callable, *, may_train: bool) -> Callable:
    @wraps(method)
    def waiting(self: TakesTurns, *args: Any, **kwargs: Any) -> Any:
        with self.alone(may_train=may_train):
            return method(self, *args, **kwargs)

    return waiting


def _under_own_conditions(method: Callable) -> Callable:
    @wraps(method)
    def loading(self: TakesTurns, *args: Any, **kwargs: Any) -> Any:
        with own_conditions(), stages(type(self).__name__, "loading"):
            return method(self, *args, **kwargs)

    return loading


@contextmanager
def own_conditions() -> Iterator[None]:
    """Compute in float32 and on the CPU unless told where, whatever PyTorch is set to."""
    with ExitStack() as conditions:
        if torch.is_inference_mode_enabled():
            conditions.enter_context(torch.inference_mode(False))
            conditions.enter_context(torch.no_grad())  # which leaving inference mode ends
        for device in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(device):
                conditions.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            conditions.enter_context(torch.device("cpu"))
        conditions.enter_context(_PROCESS_WIDE)
        yield


# What may multiply float32 matrices in fewer bits, where PyTorch lets it be set (from 2.9 on).
_PRODUCTS = [torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)]


class _ProcessWide:
    """PyTorch's settings for all threads, at their defaults while any ranker runs."""

    def __init__(self) -> None:
        self.lock, self.n_inside = threading.Lock(), 0
        self.undo: list[Callable[[], None]] = []

    def __enter__(self) -> None:
        with self.lock:
            if not self.n_inside:
                self.undo = list(self._set())
            self.n_inside += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.n_inside -= 1
            if not self.n_inside:
                for undo in self.undo:
                    undo()

    def _set(self) -> Iterator[Callable[[], None]]:
        """Set what is not at its default; each item sets one thing back."""
        if (dtype := torch.get_default_dtype()) != torch.float32:
            torch.set_default_dtype(torch.float32)
            yield partial(torch.set_default_dtype, dtype)
        for products in _PRODUCTS:
            if (precision := getattr(products, "fp32_precision", "none")) in ("tf32", "bf16"):
                setattr(products, "fp32_precision", "ieee")  # noqa: B010
                yield partial(setattr, products, "fp32_precision", precision)


_PROCESS_WIDE = _ProcessWide()
