"""Panel: which heads are enough, for one size after another."""

from collections.abc import Mapping

import ipywidgets

from mechir_edu import plots
from mechir_edu.patching.circuits.result import PROTOCOLS, CircuitResult
from mechir_edu.widgets.controls import dropdown, labelled
from mechir_edu.widgets.panel import Drawing, Panel

_BOTH = "both"


def explore_circuit(results: Mapping[str, CircuitResult] | CircuitResult) -> Panel:
    """Choose an order, a protocol and a size: see the curves, and the heads of that circuit.

    Parameters
    ----------
    results : of `mechir_edu.circuit`, one, or several by a label such as ``"greedy"``.

    Returns
    -------
    Panel
        Controls ``order``, ``protocol``, ``size``, whose value is the place in ``result.numbers``
        and which starts in the middle. The static twin is `plots.plot_circuit`.

    Raises
    ------
    ValueError
        If there is no result.
    """
    results = {"circuit": results} if isinstance(results, CircuitResult) else dict(results)
    if not results:
        raise ValueError("needed at least one result, got none; make one with mechir_edu.circuit")
    first = next(iter(results.values()))
    protocol = ipywidgets.ToggleButtons(options=[_BOTH, *PROTOCOLS])
    size = ipywidgets.SelectionSlider(
        options=_sizes(first), index=len(first.numbers) // 2, continuous_update=False
    )
    controls = {
        "order": dropdown("order", [(label, label) for label in results], "how heads were ordered"),
        "protocol": labelled(protocol, "protocol", "which of the two questions"),
        "size": labelled(size, "size", "one of the sizes that were measured"),
    }

    def offer(change: dict) -> None:
        place, options = size.index, _sizes(results[change["new"]])
        size.options = options  # which goes back to the first
        size.index = min(place, len(options) - 1)

    controls["order"].observe(offer, names="value")

    def draw(order: str, protocol: str, size: int) -> Drawing:
        result = results[order]
        wanted = [name for name in PROTOCOLS if protocol in (_BOTH, name)]
        ax = plots.plot_circuit(result, protocols=wanted)
        ax.axvline(result.numbers[size], color="#e69f00", linewidth=2, zorder=0)
        words = plots.circuit_in_words(result, protocols=wanted)
        return Drawing(ax.figure, f"{_chosen(result, size)} {words}")

    return Panel("explore_circuit", controls, draw)


def _sizes(result: CircuitResult) -> list[tuple[str, int]]:
    """Name each size; the value is its place in ``result.numbers``."""
    return [(_heads(number), place) for place, number in enumerate(result.numbers.tolist())]


def _heads(number: int) -> str:
    return "1 head" if number == 1 else f"{number} heads"


def _chosen(result: CircuitResult, size: int) -> str:
    """The circuit at the line: what it does, and its heads."""
    number = int(result.numbers[size])
    shares = zip(PROTOCOLS, (result.restored(), result.survives()), strict=True)
    told = ", ".join(f"{name} {curve.value[size]:z.2f}" for name, curve in shares)
    if number > len(result.order):
        heads = "all heads"
    else:
        heads = ", ".join(f"{layer}.{head}" for layer, head in result.heads(number)) or "no head"
    return f"At the line, {_heads(number)}: {told} ({heads})."
