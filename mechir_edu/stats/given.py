"""What callers give to a statistic: numbers that make sense, and arrays that fit together.

Everything else would pass through numpy without a word: a query id that is NaN equals no query and
takes its pairs along, arrays of unlike shape are stretched, an interval of 95 is no share.
"""

import operator
from collections.abc import Sized
from typing import Any

import numpy as np

# The ends of an interval are quantiles of the resamples.
FEWEST_RESAMPLES = 10


def checked_whole(value: Any, name: str, *, least: int) -> int:
    """Read a whole number, Python's or numpy's.

    Raises
    ------
    TypeError
        For a bool, a float, a str or None.
    ValueError
        For a number below `least`.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name} is {value!r} ({type(value).__name__}); needed a whole number"
        ) from None
    if number < least:
        raise ValueError(f"{name} needs a whole number of at least {least}, got {number}")
    return number


def check_share(value: Any, name: str = "interval", usual: float = 0.95) -> None:
    """Refuse anything but a number between 0 and 1, both left out.

    Raises
    ------
    TypeError, ValueError
        For anything else.
    """
    if isinstance(value, bool | str) or not isinstance(value, float | int | np.number):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}); needed a number")
    if not 0 < value < 1:
        raise ValueError(f"{name} needs a share such as {usual}, got {value}")


def check_draws(interval: float, n_boot: int) -> None:
    """Refuse an interval that is none, or too few resamples for any.

    Raises
    ------
    TypeError, ValueError
        As said.
    """
    check_share(interval)
    checked_whole(n_boot, "n_boot", least=FEWEST_RESAMPLES)


def checked_sign(sign: Any) -> int | None:
    """Read the sign of a prediction: 1, -1, or 0 or None for no prediction.

    Raises
    ------
    TypeError, ValueError
        For anything else.
    """
    if sign is None:
        return None
    if checked_whole(sign, "expected_sign", least=-1) > 1:
        raise ValueError(f"expected_sign needs 1, -1, or 0 for a control, got {sign}")
    return int(sign)


def numbers_given(values: Any, name: str = "values") -> np.ndarray:
    """Read numbers in double precision.

    Raises
    ------
    TypeError
        For what is no number.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        try:
            if array.dtype.kind in "cSUMmV":
                raise TypeError
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise TypeError(
                f"{name} needs numbers, got {type(values).__name__} of {array.dtype}"
            ) from None
    return np.asarray(array, dtype=np.float64)


def ids_given(query_ids: Any) -> np.ndarray:
    """Read query ids: of str, or of whole numbers.

    Raises
    ------
    ValueError
        For an id that is missing: None or NaN, which equal no query.
    """
    ids = np.asarray(query_ids)
    if isinstance(query_ids, np.ndarray) and ids.dtype.kind in "iuSU":
        return ids
    # In a list, numpy would write a NaN among strings out as one of them.
    plain = list(query_ids) if ids.ndim == 1 else []
    missing = [
        i for i, value in enumerate(plain) if not isinstance(value, str | int | float | np.generic)
    ]
    missing += [
        i
        for i, value in enumerate(plain)
        if isinstance(value, float | np.generic) and value != value
    ]
    if missing:
        raise ValueError(
            f"needed a query id for each pair, got {plain[missing[0]]!r} for pair {missing[0]}"
        )
    return ids.astype(str) if ids.dtype.kind == "O" else ids


def pairs_given(values: Any, query_ids: Any) -> tuple[np.ndarray, np.ndarray]:
    """Read numbers [*cell, pair] and the query of each pair.

    Raises
    ------
    TypeError, ValueError
        If there is no pair, not one query id per pair, or a value is no finite number.
    """
    values, ids = numbers_given(values), ids_given(query_ids)
    if ids.shape != values.shape[-1:] or not ids.size:
        raise ValueError(
            f"needed at least one pair and one query id per pair, got {ids.size} ids "
            f"for values of shape {values.shape}; pairs are the last axis"
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"needed finite numbers, got {np.count_nonzero(~np.isfinite(values))} that are NaN or "
            "infinite; leave out the pairs they belong to and report them as skipped"
        )
    return values, ids


def check_scores(patched: Any, recipient: Any, donor: Any) -> None:
    """Refuse scores that are not of the same pairs; numpy would stretch them.

    Raises
    ------
    TypeError, ValueError
        As said.
    """
    names = ("patched", "recipient", "donor")
    arrays = (patched, recipient, donor)
    shapes = [numbers_given(a, name).shape for a, name in zip(arrays, names, strict=True)]
    if len(shapes[1]) != 1 or shapes[1] != shapes[2] or shapes[0][-1:] != shapes[1]:
        raise ValueError(
            "recovery needs patched [*cell, pair], recipient [pair] and donor [pair] scores of the "
            f"same pairs, got shapes {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )


def checked_mask(mask: Any, pairs: Sized) -> np.ndarray:
    """Read a mask of pairs: True or False for each.

    Raises
    ------
    ValueError
        For anything else, such as places of pairs or a mask of another length.
    """
    keep = np.asarray(mask)
    if keep.dtype != bool or keep.shape != (len(pairs),):
        raise ValueError(
            f"mask needs True or False for each pair, shape ({len(pairs)},); got {keep.dtype} of "
            f"shape {keep.shape}"
        )
    return keep


def check_cells(first: Any, second: Any) -> None:
    """Refuse effects of unlike cells; numpy would stretch them.

    Raises
    ------
    ValueError
        As said.
    """
    cells = [np.shape(effect)[:-1] for effect in (first, second)]
    if cells[0] != cells[1]:
        raise ValueError(
            f"needed effects of the same cells, [*cell, pair], got cells of shape {cells[0]} and "
            f"{cells[1]}"
        )
