"""What a circuit restores and what survives with it alone, over its size; in words, too."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from mechir_edu.patching.circuits.result import PROTOCOLS, CircuitResult, Protocol
from mechir_edu.patching.options import require_known
from mechir_edu.stats.recovered import Recovery

# Told apart by shape and dash as well, and at least 3 : 1 against white and against black paper.
LINES: dict[str, dict[str, Any]] = {
    "restored": {"color": "#0072b2", "marker": "o", "linestyle": "-"},
    "survives": {"color": "#d55e00", "marker": "s", "linestyle": "--"},
}
_MEANING = {"restored": "restored by them alone", "survives": "survives without the rest"}


def plot_circuit(
    result: CircuitResult,
    *,
    protocols: Sequence[Protocol] = PROTOCOLS,
    ax: Axes | None = None,
) -> Axes:
    """Both curves of a circuit over its number of heads, with intervals and random circuits.

    Dots with a line are *restored*, squares with a dashed line *survives*, with the interval over
    queries as a bar. A pale band in the same colour is where nine of ten random circuits lie, their
    mean dotted; it is missing where no random order was measured.

    Parameters
    ----------
    result : of `mechir_edu.circuit`.
    protocols : which curves are drawn, "restored", "survives" or both.
    ax : drawn on in place and returned; a new figure is made when omitted.

    Raises
    ------
    ValueError
        If no protocol is asked for, or an unknown one.
    """
    for protocol in protocols:
        require_known("protocol", protocol, PROTOCOLS)
    if not protocols:
        raise ValueError(f"protocols needs at least one of {', '.join(PROTOCOLS)}, got none")
    if ax is None:
        _, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for end in (0, 1):
        ax.axhline(end, color="0.5", linewidth=0.8, linestyle=":", zorder=0)
    are_bounded = True
    for protocol in protocols:
        style = LINES[protocol]
        curve = _curve(result, protocol)
        label, bounded = _MEANING[protocol], _is_bounded(curve)
        # At the ends a ratio of means may lie outside its interval by a rounding error.
        sides = np.array([curve.value - curve.low, curve.high - curve.value]).clip(0)
        bars = np.where(bounded, sides, np.nan)
        ax.errorbar(result.numbers, curve.value, bars, capsize=3, label=label, **style)
        are_bounded &= bool(bounded.all())
        if len(result.random_effects):
            band, colour = result.random(protocol), style["color"]
            ax.fill_between(result.numbers, band.low, band.high, color=colour, alpha=0.25, lw=0)
            ax.plot(result.numbers, band.value, ":", color=colour, label=f"{label}, random heads")
    meaning = f"bars: {100 * curve.interval:g} % intervals"
    ax.set_xlabel(
        f"heads in the circuit, of {_n_all(result)}; ordered by: {result.ordered_by}\n"
        f"{_measured_on(result)}; {meaning}{'' if are_bounded else ', where they are bounded'}",
        parse_math=False,
    )
    ax.set_ylabel("share of the score change\n0 = none, 1 = as the whole ranker")
    ax.legend(fontsize=8, frameon=False)
    return ax


def circuit_in_words(result: CircuitResult, *, protocols: Sequence[Protocol] = PROTOCOLS) -> str:
    """Say in a few sentences what `plot_circuit` shows; ``result.to_dataframe()`` is its table."""
    sizes = ", ".join(str(number) for number in result.numbers)
    said = [
        f"{'One curve' if len(protocols) == 1 else 'Two curves'} over the number of heads in the "
        f"circuit ({sizes} of {_n_all(result)}, ordered by: {result.ordered_by}), "
        f"{_measured_on(result)}."
    ]
    for protocol in protocols:
        curve = _curve(result, protocol)
        points = [
            f"{number} heads {value:z.2f}" + (f" ({low:z.2f} to {high:z.2f})" if is_bounded else "")
            for number, value, low, high, is_bounded in zip(
                result.numbers, curve.value, curve.low, curve.high, _is_bounded(curve), strict=True
            )
        ]
        said.append(f"{_MEANING[protocol].capitalize()}: {'; '.join(points)}.")
        if len(result.random_effects):
            values = result.random(protocol).value
            means = ", ".join(f"{value:z.2f}" for value in values)
            said.append(f"Random heads: {means}.")
    return " ".join(said)


def _curve(result: CircuitResult, protocol: str) -> Recovery:
    return result.restored() if protocol == "restored" else result.survives()


def _is_bounded(curve: Recovery) -> np.ndarray:
    return np.isfinite(curve.low) & np.isfinite(curve.high)


def _measured_on(result: CircuitResult) -> str:
    return f"{result.effects.shape[-1]} pairs of {len(set(result.query_ids))} queries"


def _n_all(result: CircuitResult) -> int:
    return result.provenance["n_layers"] * result.provenance["n_heads"]
