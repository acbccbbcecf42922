"""What every public function of patching begins with: the right things, in a ranker's turn."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from mechir_edu.alignment.aligned import AlignedPairs
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.views import Changed

P = ParamSpec("P")
R = TypeVar("R")


def takes_turn(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function of a ranker and pairs (or a pair) check these, and wait for its turn.

    The function has the parameter ``ranker``, and ``pairs`` or ``pair``. It may be given a ranker
    under an intervention, too, and gets a ranker that is so changed.

    Raises
    ------
    TypeError
        For anything that is no ranker or no pair; says what was needed and got.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def waiting(*args: P.args, **kwargs: P.kwargs) -> R:
        call = signature.bind(*args, **kwargs)
        given = call.arguments
        name = "pairs" if "pairs" in given else "pair"
        if is_ranker(given[name]) and not is_ranker(given["ranker"]):
            raise TypeError(
                f"needed a ranker first and then {name}, got {name} first; did you swap them?"
            )
        given["ranker"] = ranker = as_ranker(given["ranker"])
        given[name] = as_pairs(given[name]) if name == "pairs" else as_pair(given[name])
        with ranker.alone():
            return function(*call.args, **call.kwargs)

    return waiting


def is_ranker(value: Any) -> bool:
    """Whether something is a ranker, or stands for one under an intervention."""
    return isinstance(value, Ranker | Changed)


def as_ranker(value: Any) -> Ranker:
    """Take a ranker, or what stands for one under an intervention.

    Raises
    ------
    TypeError
        For anything else.
    """
    if isinstance(value, type) or not is_ranker(value):
        hint = f"; me.Dot({value!r}) loads one" if isinstance(value, str) else ""
        raise TypeError(
            f"needed a ranker, such as me.Dot(...), me.Cat(...) or ranker.under(...), got "
            f"{described(value)}{hint}"
        )
    return value if isinstance(value, Ranker) else value.as_ranker()


def as_pairs(value: Any) -> AlignedPairs | list[Pair]:
    """Take pairs that are aligned, or any number of `Pair`.

    Raises
    ------
    TypeError
        For anything else, naming the first that is no pair.
    """
    if isinstance(value, AlignedPairs):
        return value
    if isinstance(value, Pair):
        raise TypeError("needed a list of pairs, got a single Pair; write [pair]")
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise TypeError(
            f"needed a list of Pair, or what align() gives, got {described(value)}; make_pairs() "
            "makes pairs"
        )
    if hasattr(value, "columns"):
        raise TypeError(
            "needed a list of Pair, got a table; make a Pair of each row: "
            "[me.Pair(**row) for row in table.to_dict('records')]"
        )
    return [as_pair(pair, f"pairs[{i}]") for i, pair in enumerate(value)]


def as_pair(value: Any, name: str = "pair") -> Pair:
    """Take one `Pair`.

    Raises
    ------
    TypeError
        For anything else.
    """
    if not isinstance(value, Pair):
        raise TypeError(f"needed {name} to be a Pair, got {described(value)}")
    return value


def described(value: Any) -> str:
    """A value by its type and, where that is short, its own words."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__} itself"
    words = f" {value!r}" if isinstance(value, str | int | float) else ""
    return f"{type(value).__name__}{words[:60]}"
