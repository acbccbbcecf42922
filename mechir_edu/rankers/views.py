"""A ranker as it is while hooks are in place, for whatever asks it for more than scores."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import wraps
from typing import Any, Protocol, runtime_checkable

from mechir_edu.rankers.base import During, Hook, Ranker, Side


@runtime_checkable
class Changed(Protocol):
    """What stands for a ranker that is changed while it reads, as one under an intervention is."""

    def as_ranker(self) -> Ranker:
        """The ranker, changed whatever it is asked to read."""


@contextmanager
def hooked_first(ranker: Ranker, hooks: Sequence[tuple[str, Hook]]) -> Iterator[None]:
    """Add hooks that run before all others at their points, and remove them in the end.

    So what others read there, or put in, is the changed activation.
    """
    points, added = ranker.hook_dict, []
    try:
        for name, hook in reversed(hooks):
            added.append((points[name], points[name].add_hook(hook, prepend=True)))
        yield
    finally:
        for point, handle in added:
            handle.hook.remove()
            point.fwd_hooks.remove(handle)


def changed_ranker(ranker: Ranker, during: During, intervention: str) -> Ranker:
    """A ranker that shares the model of another, and reads each side in a context.

    Parameters
    ----------
    ranker : stays as it is.
    during : gives the context in which a side is read. What is edited is the last side.
    intervention : says what is changed.
    """
    changed: Any = copy(ranker)
    changed.intervention = intervention
    changed.hidden = _within(during, ranker.sides[-1], ranker.hidden)
    changed.encode_fixed = _within(during, ranker.sides[0], ranker.encode_fixed)
    return changed


def at_stack(ranker: Ranker, stack: str | None) -> Ranker:
    """A ranker that shares the model of another, and of which another stack is patched.

    Parameters
    ----------
    ranker : stays as it is.
    stack : one of its stacks, by its title; None leaves the first.

    Raises
    ------
    ValueError
        For a stack that it does not have; lists those that it has.
    """
    titles = [of.title for of in ranker.stacks]
    if stack is None or stack == ranker.stack.title:
        return ranker
    if titles == [""]:
        raise ValueError(f"a {ranker.kind_name} has one stack, so stack= does not go with it")
    if stack not in titles:
        known = ", ".join(map(repr, titles))
        raise ValueError(f"stack must be one of {known} for a {ranker.kind_name}, got {stack!r}")
    chosen: Any = copy(ranker)
    chosen.chosen_stack = titles.index(stack)
    return chosen


def _within(during: During, side: Side, method: Callable) -> Callable:
    @wraps(method)
    def within(*args: Any, **kwargs: Any) -> Any:
        with during(side):
            return method(*args, **kwargs)

    return within
