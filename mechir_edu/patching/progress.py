"""Show how far a long computation is: one bar, tqdm's, that becomes plain lines off a terminal."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from tqdm.asyncio import tqdm_asyncio
from tqdm.auto import tqdm

SECONDS_BETWEEN_LINES = 15.0
LINE = "{desc}{n_fmt} of {total_fmt}{unit}, {remaining} left"

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
    # With the colon that `set_description` adds, or the two would look different.
    desc = f"{label}: " if label else ""
    options: dict[str, Any] = {"total": total, "desc": desc, "unit": f" {unit}"}
    is_notebook = tqdm is not tqdm_asyncio  # what tqdm.auto takes where there is no notebook
    if not is_notebook and not sys.stderr.isatty():
        options |= {"file": _Log(sys.stderr), "bar_format": LINE, "miniters": 1, "delay": 1e-9}
        options |= dict.fromkeys(("mininterval", "maxinterval"), SECONDS_BETWEEN_LINES)
    return tqdm(disable=not shown, leave=False, **options)


class _Log:
    """A stream on which nothing can be drawn over: what tqdm draws becomes lines of text."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        # Carriage returns, and spaces to blot out what was drawn before.
        if line := text.strip():
            self.stream.write(f"{line}\n")

    def flush(self) -> None:
        self.stream.flush()


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
