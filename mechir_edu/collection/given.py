"""What callers give: texts, ids and whole numbers, read as such or refused with place and type.

One rule for each. A *text* is a str of whole characters. An *id* is a str; a whole number stands
for its digits, so that ``1`` and ``"1"`` are one id. A *whole number* is Python's or numpy's, and
neither a bool nor a float. Whatever is read comes back as Python's own type, because numpy's kinds
of str and int print, hash and save differently. A refusal is a TypeError where a thing is of the
wrong kind, a ValueError where its content is wrong; both begin with the place, such as
``texts[3]``.
"""

import operator
from collections.abc import Callable, Mapping, Set
from numbers import Number
from typing import Any, TypeVar

T = TypeVar("T")


def described(value: Any) -> str:
    """Say in a few words what a value is.

    Examples
    --------
    >>> described(None), described(float("nan")), described(b"reef"), described([1, 2])
    ('None', 'NaN (a float)', "b'reef' (bytes)", 'a list of 2')
    """
    name = type(value).__name__
    if value is None:
        return "None"
    if isinstance(value, float) and value != value:
        return f"NaN (a {name})"
    if isinstance(value, str | bytes | Number):
        shown = str(value) if isinstance(value, Number) else repr(value)
        return f"{shown if len(shown) <= 40 else shown[:30] + '…'} ({name})"
    kind = f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"
    if getattr(value, "shape", ()):
        return f"{kind} of shape {tuple(value.shape)}"
    return f"{kind} of {len(value)}" if isinstance(value, list | tuple | Set | Mapping) else kind


def checked_text(text: Any, place: str) -> str:
    """Read a text.

    Raises
    ------
    TypeError
        For anything but a str.
    ValueError
        For half a surrogate pair, which stands for no character.
    """
    if not isinstance(text, str):
        hint = "; decode it first" if isinstance(text, bytes | bytearray) else ""
        hint = "; give one at a time" if isinstance(text, list | tuple) else hint
        raise TypeError(f"{place} is {described(text)}; needed a str{hint}")
    text = str.__str__(text)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{place} has {text[error.start]!r} at character {error.start}: half of a "
                "surrogate pair, which stands for no character; take it out, or read the text "
                "anew from where it came"
            ) from error
    return text


def checked_texts(texts: Any, place: str = "texts") -> list[str]:
    """Read several texts as a list: a list, tuple, column or array of them, or a single one.

    Raises
    ------
    TypeError
        For a mapping, set or table, which have no texts in a known order, for anything else that
        does not hold texts one after another, and for an entry that is no str.
    ValueError
        As `checked_text`.

    Examples
    --------
    >>> checked_texts(["corals", None])
    Traceback (most recent call last):
    TypeError: texts[1] is None; needed a str
    """
    if isinstance(texts, str):
        return [checked_text(texts, place)]
    return _checked_each(texts, place, checked_text, "texts")


def checked_ids(ids: Any, place: str) -> list[str]:
    """Read several ids as a list; raises as `checked_id`, also for a single str."""
    # The keys of a dictionary are ids, and to look things up, no order is needed.
    ids = list(ids) if isinstance(ids, Mapping | Set) else ids
    return _checked_each(ids, place, checked_id, "ids")


def checked_numbers(values: Any, place: str) -> list[int]:
    """Read several whole numbers as a list; raises as `checked_number`, also for a single one."""
    values = sorted(values) if isinstance(values, Set) else values
    return _checked_each(values, place, checked_number, "whole numbers")


def _checked_each(values: Any, place: str, check: Callable[[Any, str], T], needed: str) -> list[T]:
    """Read things that stand one after another; refuse what holds things otherwise."""
    refusal = f"{place} is {described(values)}; needed a list of {needed}"
    dimensions = getattr(values, "ndim", None)
    if isinstance(values, Mapping) or (dimensions is None and hasattr(values, "keys")):
        raise TypeError(f"{refusal}, in order: list({place}.values())")
    if isinstance(values, Set):
        raise TypeError(f"{refusal}: a set has no order of its own")
    if dimensions not in (None, 1):
        raise TypeError(f"{refusal}: one column, with one dimension")
    is_text = isinstance(values, str | bytes | bytearray | memoryview)
    if is_text or not hasattr(values, "__iter__"):
        raise TypeError(refusal)
    return [check(value, f"{place}[{i}]") for i, value in enumerate(values)]


def as_whole(value: Any) -> int | None:
    """Read a whole number as Python's own; None for anything else, a bool or an array too."""
    if isinstance(value, bool) or bool(getattr(value, "shape", ())):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def checked_number(
    value: Any, place: str, *, least: int | None = None, most: int | None = None
) -> int:
    """Read a whole number, Python's or numpy's.

    Raises
    ------
    TypeError
        For a bool, a float, a str or None.
    ValueError
        For a number below `least` or above `most`.
    """
    if (number := as_whole(value)) is None:
        raise TypeError(f"{place} is {described(value)}; needed a whole number")
    if (least is not None and number < least) or (most is not None and number > most):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{place} is {number}; needed a whole number {span}")
    return number


def checked_id(value: Any, place: str) -> str:
    """Read the id of a query or a document: a str, or a whole number in digits.

    Raises
    ------
    TypeError
        For anything else, such as NaN or 1.0, which a table's column with gaps makes of 1.
    """
    if isinstance(value, str):
        return checked_text(value, place)
    try:
        return str(checked_number(value, place))
    except TypeError:
        raise TypeError(
            f"{place} is {described(value)}; needed an id: a str, or a whole number"
        ) from None


def checked_by_id(values: Any, place: str, check: Callable[[Any, str], T]) -> dict[str, T]:
    """Read what is kept by id: a query's text, a passage's grade.

    Raises
    ------
    TypeError
        For anything but a mapping, for a wrong id, and for what `check` refuses.
    ValueError
        For two ids that are one once they are written out, such as ``1`` and ``"1"``.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"{place} is {described(values)}; needed a dictionary by id")
    read = {
        checked_id(key, f"an id of {place}"): check(value, f"{place}[{key!r}]")
        for key, value in values.items()
    }
    if len(read) < len(values):
        raise ValueError(f"{place} has an id twice, once as a number and once as a str")
    return read


def checked_grades(grades: Any, place: str) -> dict[str, int]:
    """Read the grades of one query's passages by id; raises as `checked_by_id`."""
    return checked_by_id(grades, place, checked_number)


def checked_kind(
    value: Any, kind: type | tuple[type, ...], place: str, needed: str, **others: Any
) -> None:
    """Refuse a value of another kind, and ask whether it was exchanged with another argument.

    Parameters
    ----------
    value, kind : what was given, and what its type must be.
    place, needed : the argument's name, and what it needs in words.
    others : further arguments by name; the first that is of the kind needed here is named.

    Raises
    ------
    TypeError
        For another kind.
    """
    if isinstance(value, kind) and not isinstance(value, type):
        return
    swapped = next((name for name, other in others.items() if isinstance(other, kind)), None)
    hint = f"; did you exchange {place} and {swapped}?" if swapped else ""
    raise TypeError(f"{place} is {described(value)}; needed {needed}{hint}")
