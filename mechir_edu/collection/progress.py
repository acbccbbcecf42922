"""Say how far a long computation is: by one bar, tqdm's, that becomes plain lines off a terminal.

A bar appears after two seconds, so that what is quick leaves no trace. `stages` shows at once, and
only where it can be wiped out again, what a ranker is doing while it is loaded.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from tqdm.asyncio import tqdm_asyncio
from tqdm.auto import tqdm

SECONDS_BEFORE_A_BAR = 2.0
SECONDS_BETWEEN_LINES = 15.0
LINE = "{desc}{n_fmt} of {total_fmt}{unit}, {remaining} left"

Item = TypeVar("Item")
# Show a bar (True) or nothing (False), or tell a function how many more pairs are done.
Progress = bool | Callable[[int], object]
_STAGES: ContextVar[Any] = ContextVar("bar of the stages", default=None)


def bar(
    total: int | None,
    label: str = "",
    *,
    unit: str = "pairs",
    shown: bool = True,
    items: Iterable | None = None,
) -> Any:
    """Make a bar; off a terminal and a notebook it prints a line every fifteen seconds.

    Parameters
    ----------
    total : units of work in all; None where nobody knows.
    label, unit : what is worked on, and what a unit is called.
    shown : False makes a bar that says nothing.
    items : what to iterate over, a unit each; without it, the bar is told by ``update``.
    """
    # With the colon that `set_description` adds, or the two would look different.
    desc = f"{label}: " if label else ""
    options: dict[str, Any] = {"total": total, "desc": desc, "unit": f" {unit}"}
    options["delay"] = SECONDS_BEFORE_A_BAR
    if not _is_drawn():
        options |= {"file": _Log(sys.stderr), "bar_format": LINE, "miniters": 1, "delay": 1e-9}
        options |= dict.fromkeys(("mininterval", "maxinterval"), SECONDS_BETWEEN_LINES)
    return tqdm(items, disable=not shown, leave=False, **options)


def _is_drawn() -> bool:
    """Whether a bar can be drawn, and wiped out: in a notebook with widgets, and on a terminal."""
    is_notebook = tqdm is not tqdm_asyncio  # what tqdm.auto takes where there is no notebook
    return is_notebook or sys.stderr.isatty()


class _Log:
    """A stream on which nothing can be drawn over: what tqdm draws becomes lines of text."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        # Carriage returns, spaces to blot out what was drawn before, and jumps to the line above.
        if line := text.replace("\x1b[A", "").strip():
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


@contextmanager
def stages(label: str, first: str) -> Iterator[None]:
    """Show what is being done until the end of the block; `next_stage` says what comes next.

    Stages within stages belong to the outermost.
    """
    if _STAGES.get() is not None or not _is_drawn():
        yield
        return
    with tqdm(bar_format="{desc}", leave=False) as shown:
        shown.label = label
        token = _STAGES.set(shown)
        try:
            next_stage(first)
            yield
        finally:
            _STAGES.reset(token)


def next_stage(doing: str) -> None:
    """Say what is being done now, where `stages` are shown."""
    if (shown := _STAGES.get()) is not None:
        shown.set_description_str(f"{shown.label}: {doing}")
