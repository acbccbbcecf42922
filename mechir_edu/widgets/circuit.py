"""Panel: which heads are enough, for one size after another."""

from collections.abc import Mapping

import ipywidgets

from mechir_edu import plots
from mechir_edu.patching.circuits.result import PROTOCOLS, CircuitResult
from mechir_edu.widgets.controls import dropdown, labelled, slider
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
        Controls ``order``, ``protocol``, ``size``, the place in ``result.numbers``. The static twin
        is `plots.plot_circuit`.

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
    size = slider("size", len(first.numbers), "the measured sizes, the smallest is 0")
    controls = {
        "order": dropdown("order", [(label, label) for label in results], "how heads were ordered"),
        "protocol": labelled(protocol, "protocol", "which of the two questions"),
        "size": size,
    }

    def offer(change: dict) -> None:
        size.max = len(results[change["new"]].numbers) - 1  # a larger value is lowered to it

    controls["order"].observe(offer, names="value")

    def draw(order: str, protocol: str, size: int) -> Drawing:
        result = results[order]
        wanted = [name for name in PROTOCOLS if protocol in (_BOTH, name)]
        ax = plots.plot_circuit(result, protocols=wanted)
        ax.axvline(result.numbers[size], color="#e69f00", linewidth=2, zorder=0)
        return Drawing(ax.figure, f"{_chosen(result, size)} {plots.circuit_in_words(result)}")

    return Panel("explore_circuit", controls, draw)


def _chosen(result: CircuitResult, size: int) -> str:
    """The circuit at the line: what it does, and its heads."""
    number = int(result.numbers[size])
    shares = zip(PROTOCOLS, (result.restored(), result.survives()), strict=True)
    told = ", ".join(f"{name} {curve.value[size]:z.2f}" for name, curve in shares)
    if number > len(result.order):
        heads = "all heads"
    else:
        heads = ", ".join(f"{layer}.{head}" for layer, head in result.heads(number)) or "no head"
    return f"At the line, {number} heads: {told} ({heads})."
