"""How every check works: try the answer, name the mistake, say it in one sentence.

A check is a function that judges an answer and returns the sentence that names its mistake, or
None where there is none; `checker` makes the public check of it::

    @checker("recovery is a ratio of means, 0 for no effect and 1 for the donor's score.")
    def check_recovery(answer):
        \"\"\"Check a function recovery(patched, recipient, donor).\"\"\"
        given = attempt(answer, PATCHED, RECIPIENT, DONOR)
        return mistake_in(given, RIGHT, {"a sentence that names the mistake": WHAT_IT_GIVES})

Nothing here stops a notebook: an untouched stub and a wrong answer print a sentence and go on,
unless ``strict=True`` or the environment says ``MECHIR_EDU_STRICT=1``.
"""

import os
from collections.abc import Callable, Mapping
from functools import update_wrapper
from typing import Any

import numpy as np

from mechir_edu.checks._record import write

Judge = Callable[[Any], str | None]


class NotAttempted(Exception):
    """There is nothing to judge yet; its message says what to do."""


class WrongAnswer(Exception):
    """An answer that is not right, in strict mode; its message is the check's sentence."""


def checker(right: str, *, trying: str = "") -> Callable[[Judge], Callable[..., None]]:
    """Make a public check of a judge.

    Parameters
    ----------
    right : the sentence for a right answer, printed after "Right: "; the point of the exercise.
    trying : on what the answer is tried, printed first; for checks that take a second or more.

    Returns
    -------
    decorator
        Of ``judge(answer) -> sentence or None``; makes ``check(answer, strict=None) -> None``,
        which prints one sentence and keeps the verdict for `tutorial.progress`. Strict, it raises
        `WrongAnswer` for anything that is not right;
        where ``strict`` is None the environment decides.
    """

    def decorate(judge: Judge) -> Callable[..., None]:
        def check(answer: Any, strict: bool | None = None) -> None:
            if trying:
                print(f"Checking {trying} ...", flush=True)
            sentence = _judged(judge, answer)
            write(judge.__name__, sentence is None)
            if sentence is None:
                print(f"Right: {right}")
            elif _is_strict(strict):
                raise WrongAnswer(f"{judge.__name__}: {sentence}")
            else:
                print(sentence)

        update_wrapper(check, judge)
        del check.__wrapped__  # or help() would show the judge's signature, without strict
        return check

    return decorate


def _is_strict(strict: bool | None) -> bool:
    return os.environ.get("MECHIR_EDU_STRICT") == "1" if strict is None else strict


class Mistake(Exception):
    """What a learner did wrong, seen while an answer was tried; the sentence as in `mistake_in`."""


def _judged(judge: Judge, answer: Any) -> str | None:
    """Give the judge's sentence, or say how the answer failed before it could be judged."""
    try:
        mistake = judge(answer)
    except NotAttempted as stopped:
        return f"Not attempted yet: {stopped} and run it and this one again."
    except Mistake as seen:
        return f"Not yet: {seen}"
    except Exception as error:  # whatever a learner's function may raise
        return f"Not yet: your answer stopped with {type(error).__name__}: {error}"
    return None if mistake is None else f"Not yet: {mistake}"


def attempt(answer: Any, *arguments: Any, **options: Any) -> Any:
    """Call an answer that is a function, or take one that is a value, as it is.

    Raises
    ------
    NotAttempted
        For a stub: it raises NotImplementedError, or gives None or ``...``.
    """
    try:
        given = answer(*arguments, **options) if callable(answer) else answer
    except NotImplementedError:
        raise NotAttempted("fill in the cell above") from None
    if given is None and callable(answer):
        raise NotAttempted("the function above gives back nothing; end it with return")
    if given is None or given is ...:
        raise NotAttempted("fill in the cell above")
    return given


def mistake_in(
    given: Any,
    right: Any,
    mistakes: Mapping[str, Any],
    *,
    otherwise: str = "",
    tolerance: float = 1e-4,
) -> str | None:
    """Name the mistake in an answer by what it gives, or None for the right answer.

    Parameters
    ----------
    given, right : the answer and the right one: numbers, arrays, tensors, or anything with ``==``.
    mistakes : sentence -> what the answer gives that makes this mistake, or a function that tells
        whether an answer makes it. They are tried in order; a sentence is put behind
        "Not yet: ", so it starts in lower case.
    otherwise : the sentence for a wrong answer that is not in the catalogue. When omitted, it says
        whether the shape or the numbers are wrong, or shows what was given; never the right answer.
    tolerance : largest difference of numbers that counts as equal, absolute.
    """
    if same(given, right, tolerance):
        return None
    for sentence, wrong in mistakes.items():
        if wrong(given) if callable(wrong) else same(given, wrong, tolerance):
            return sentence
    return otherwise or _unlike(given, right, tolerance)


def same(given: Any, other: Any, tolerance: float = 1e-4) -> bool:
    """Whether two answers are equal: shape and numbers where they are numeric, else ``==``."""
    given, other = _plain(given), _plain(other)
    if not (_is_numeric(given) and _is_numeric(other)):
        return _is_numeric(given) == _is_numeric(other) and bool(np.all(given == other))
    return np.shape(given) == np.shape(other) and bool(_close(given, other, tolerance).all())


def _close(given: Any, other: Any, tolerance: float) -> np.ndarray:
    """Which numbers are equal."""
    return np.asarray(np.isclose(given, other, rtol=0, atol=tolerance, equal_nan=True))


def _unlike(given: Any, right: Any, tolerance: float) -> str:
    """Say how an answer differs, without giving the right one away."""
    given, right = _plain(given), _plain(right)
    if isinstance(given, set) and isinstance(right, set):
        wrong, missing = len(given - right), len(right - given)
        return f"of the {len(given)} that you list, {wrong} are wrong; {missing} are missing."
    if not (_is_numeric(given) and _is_numeric(right)) or np.shape(given) == np.shape(right) == ():
        plain = given.item() if isinstance(given, np.generic) else given
        return f"{repr(plain)[:80]} is not the answer; read the exercise once more."
    if np.shape(given) != np.shape(right):
        return f"the shape is {np.shape(given)}, and should be {np.shape(right)}."
    differs = ~_close(given, right, tolerance)
    first = [int(i) for i in np.argwhere(differs)[0]]
    return (
        f"the shape is right, the numbers are not: {differs.sum()} of {differs.size} differ, "
        f"first at {first}."
    )


def _plain(value: Any) -> Any:
    """Turn tensors into arrays, and lists of numbers too."""
    if hasattr(value, "detach"):  # a tensor; torch is not imported for it
        return value.detach().cpu().numpy()
    if isinstance(value, list | tuple) and value:
        try:
            array = np.asarray([_plain(item) for item in value], dtype=object)
        except ValueError:  # lists of unequal lengths
            return value
        return array.astype(float) if all(map(_is_numeric, array.ravel())) else value
    return value


def _is_numeric(value: Any) -> bool:
    return isinstance(value, int | float | np.ndarray | np.generic) and (
        np.asarray(value).dtype.kind in "biuf"
    )
