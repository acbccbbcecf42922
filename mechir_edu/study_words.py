"""Put estimates into words: numbers with their interval, verdicts that the interval decides."""

from collections.abc import Iterable, Sequence

import numpy as np

from mechir_edu.demo_summary import with_interval
from mechir_edu.plots.words import top_heads
from mechir_edu.stats import Estimate
from mechir_edu.study_effects import Heads, Interval, ScoreRow, is_down, is_up


def show(found: Interval, digits: int = 3) -> str:
    """Write an estimate with its interval.

    Examples
    --------
    >>> show(Estimate(0.1234, 0.1, 0.15, 0.001, 10, 5))
    '+0.123 [+0.100, +0.150]'
    """
    return show_interval(found.value, found.low, found.high, digits)


def show_interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """Write a number with its interval, where that has bounds."""
    if not np.isfinite([low, high]).all():
        return f"{value:+.{digits}f} (no bounded interval)"
    return with_interval(value, low, high, digits)


def show_share(found: Estimate) -> str:
    """Write a share of documents with its interval."""
    return f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}]"


def one_of(found: Interval, up: str, down: str, neither: str) -> str:
    """Choose the words that the interval allows: above zero, below zero, or neither."""
    return up if is_up(found) else down if is_down(found) else neither


def listed(items: Iterable[str]) -> str:
    """Join as one writes.

    Examples
    --------
    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last


def name_heads(places: Iterable[Iterable[int]]) -> str:
    """Name heads as layer.head."""
    return ", ".join(f"{layer}.{head}" for layer, head in places)


def verdict_on_axiom(axiom: str, rows: Sequence[ScoreRow]) -> str:
    """Say whether a ranker obeys an axiom, from what it does beyond the control at each place."""
    ups = [row.place for row in rows if is_up(row.beyond)]
    downs = [row.place for row in rows if is_down(row.beyond)]
    if len(ups) == len(rows):
        return f"obeys {axiom} at both places"
    if ups:
        other = "goes against it" if downs else "could not be shown to obey it"
        (place,) = {row.place for row in rows} - set(ups)
        return f"obeys {axiom} at the {ups[0]} of a document; at the {place} it {other}"
    if downs:
        return f"goes against {axiom} at the {listed(downs)}"
    return f"could not be shown to obey {axiom}, nor to go against it"


def strongest(heads: Heads, k: int = 3) -> list[dict]:
    """Rows of the k heads of largest recovery, in size."""
    return top_heads(heads.recovery, k).to_dict("records")
