"""Show how far a long computation is: one bar, tqdm's, that becomes plain lines off a terminal."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from tqdm.asyncio import tqdm_asyncio
from tqdm.auto import tqdm

SECONDS_BETWEEN_LINES = 15.0
# One line of a log, with its own end: off a terminal nothing can be drawn over.
LINE = "{desc}: {n_fmt} of {total_fmt}{unit}, {remaining} left\n"

Item = TypeVar("Item")
# Show a bar (True) or nothing (False), or tell a function how many more pairs are done.
Progress = bool | Callable[[int], object]


def bar(total: int, label: str = "", *, unit: str = "pairs", shown: bool = True) -> Any:
    """Make a bar; off a terminal and a notebook it prints a line every fifteen seconds.

    Parameters
    ----------
    total : units of work in all.
    label, unit : what is worked on, and what a unit is called.
    shown : False makes a bar that says nothing.
    """
    options = {"total": total, "desc": label, "unit": f" {unit}", "leave": False}
    is_notebook = tqdm is not tqdm_asyncio  # what tqdm.auto takes where there is no notebook
    if not is_notebook and not sys.stderr.isatty():
        options |= {"bar_format": LINE, "mininterval": SECONDS_BETWEEN_LINES, "delay": 1e-9}
        options |= {"maxinterval": SECONDS_BETWEEN_LINES, "miniters": 1}
    return tqdm(disable=not shown, **options)


def counted(
    items: Iterable[Item], sizes: Iterable[int], label: str, progress: Progress
) -> Iterator[Item]:
    """Hand on items of some sizes (in pairs), and show, or tell, how many pairs are done."""
    sizes = list(sizes)
    with bar(sum(sizes), label, shown=progress is True) as shown:
        tell = progress if callable(progress) else shown.update
        for item, size in zip(items, sizes, strict=True):
            yield item
            tell(size)
