"""Numbers that are asked for: whole where they count something, and never silently rounded."""

from collections.abc import Iterable
from typing import Any

from mechir_edu.collection.given import as_whole
from mechir_edu.rankers.hook_names import Head


def whole_number(name: str, value: Any, *, least: int | None = None) -> int:
    """A whole number as Python's own; numpy's are taken, floats and truth values are not.

    Raises
    ------
    TypeError
        For another type.
    ValueError
        For a number below the least.
    """
    if (number := as_whole(value)) is None:
        raise TypeError(f"{name} needs a whole number, got {value!r}")
    if least is not None and number < least:
        raise ValueError(f"{name} needs a number of at least {least}, got {number}")
    return number


def plain_heads(heads: Any) -> tuple[Head, ...]:
    """Heads as pairs of Python's own whole numbers.

    Raises
    ------
    TypeError
        For anything but (layer, head), naming the first that is not.
    """
    if isinstance(heads, str) or not isinstance(heads, Iterable):
        raise TypeError(f"needed heads such as [(0, 1), (2, 3)], got {heads!r}")
    return tuple(_head(head) for head in heads)


def _head(head: Any) -> Head:
    try:
        layer, number = head
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"needed each head as (layer, head), got {head!r}; a single head is [(layer, head)]"
        ) from error
    if isinstance(head, str):
        raise TypeError(f"needed each head as (layer, head), got the text {head!r}")
    # Whether the ranker has it is said with the ranker's own layers and heads.
    return whole_number("a head's layer", layer), whole_number("a head's number", number)
