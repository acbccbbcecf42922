"""The ranker on which checks try answers: small, with a known circuit, and loaded once."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from mechir_edu.checks._report import Mistake
from mechir_edu.models import Cat

QUERY = "why does salt melt ice on roads"
TEXT = "Salt lowers the freezing point of water, so ice on roads can melt below zero."

ON_THE_PLANTED = "on the planted ranker"
LEFT_A_HOOK = (
    "your function leaves the ranker changed: its plain score is another one afterwards. "
    "run_with_hooks takes its hooks off again; use it, and write to no weight."
)
HOOKS_BY_NAME = (
    "hand the hooks over by name, run_with_hooks(..., fwd_hooks=hooks); without the name they "
    "are taken for another text."
)


@cache
def _loaded() -> tuple[Cat, float]:
    ranker = Cat("planted", verify=False, device="cpu")
    return ranker, float(ranker.forward(QUERY, TEXT))


def planted_ranker() -> Cat:
    """Give the planted ranker, loaded anew where an answer changed it."""
    if not is_untouched():
        _loaded.cache_clear()
    return _loaded()[0]


def is_untouched() -> bool:
    """Whether the ranker still gives the score that it gave when it was loaded."""
    ranker, plain = _loaded()
    return abs(float(ranker.forward(QUERY, TEXT)) - plain) < 1e-5


@contextmanager
def trying() -> Iterator[None]:
    """Name what an answer does wrong while it is tried on the planted ranker, by a `Mistake`."""
    try:
        yield
    except TypeError as error:
        if _gave_hooks_by_position(error):
            raise Mistake(HOOKS_BY_NAME) from None
        raise
    if not is_untouched():
        raise Mistake(LEFT_A_HOOK)


def _gave_hooks_by_position(error: TypeError) -> bool:
    """Whether hooks were handed to ``run_with_hooks`` without their name."""
    called = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    return "run_with_hooks" in called and "positional argument" in str(error)
