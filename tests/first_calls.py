"""Checks of types and array shapes at the first calls of each function in each test.

jaxtyping's hook checks every call, and decorates an inner function each time it is defined: a third
of the time that patching a small model takes. The hundredth call in a test comes from the line that
the third came from.
"""

import inspect
from collections import Counter
from functools import wraps

import jaxtyping

N_CALLS = 3
_check, _calls = jaxtyping.jaxtyped, Counter()


def install():
    """Make jaxtyping's hook, which decorates what it imports by this name, take the first calls."""
    jaxtyping.jaxtyped = _jaxtyped


def begin_test():
    """Check the first calls of every function again."""
    _calls.clear()


def _jaxtyped(**options):
    def decorate(function):
        if inspect.isfunction(function):
            return _checked_at_first(function, options)
        return _check(function, **options)

    return decorate


def _checked_at_first(function, options):
    code, checked = function.__code__, None  # an inner function is many functions of one code

    @wraps(function)
    def check_first_calls(*args, **kwargs):
        nonlocal checked
        if _calls[code] >= N_CALLS:
            return function(*args, **kwargs)
        _calls[code] += 1
        checked = checked or _check(function, **options)
        return checked(*args, **kwargs)

    return check_first_calls
