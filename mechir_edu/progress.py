"""Show how far a long computation is: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Counts units of work; a context manager.

    Parameters
    ----------
    total : units in all.
    unit : what a unit is called, such as "pairs".
    """

    def __init__(self, total: int, unit: str) -> None:
        self.total, self.unit, self.done, self.label = total, unit, 0, ""
        self._is_terminal = sys.stderr.isatty()
        self._first = self._last = (0.0, 0)  # when, and how many were done
        self._bar = tqdm(total=total, unit=f" {unit}", leave=False, disable=not self._is_terminal)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def describe(self, label: str) -> None:
        """Say what is being worked on."""
        self.label = label
        self._bar.set_description(label)

    def update(self, n: int) -> None:
        """Count n more units."""
        self.done += n
        self._bar.update(n)
        if not self._is_terminal:
            self._print_sometimes(time.monotonic())

    def _print_sometimes(self, now: float) -> None:
        if self._first == (0.0, 0):  # what came before the first unit says nothing of the rest
            self._first = self._last = (now, self.done)
        if now - self._last[0] >= SECONDS_BETWEEN_LINES:
            self._last = (now, self.done)
            rate = (self.done - self._first[1]) / (now - self._first[0])
            left = spell((self.total - self.done) / rate)
            line = f"{self.label}: {self.done} of {self.total} {self.unit}, {left} left"
            print(line, file=sys.stderr, flush=True)


def spell(seconds: float) -> str:
    """Write a duration.

    Examples
    --------
    >>> spell(72.0), spell(3000.0)
    ('72 s', '50 min')
    """
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
