"""Panel: which heads carry the score change, and what one head does to each pair."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from mechir_edu import plots
from mechir_edu.patching.result import PatchingResult
from mechir_edu.plots.head_pairs import describe_head, need_all_heads
from mechir_edu.rankers.hook_names import Head
from mechir_edu.stats.recovered import Recovery
from mechir_edu.widgets.controls import ALL, dropdown, head_sliders
from mechir_edu.widgets.head_grid import HeadGrid
from mechir_edu.widgets.panel import Drawing, Panel

_STATISTICS = [("ratio of means", "ratio_of_means"), ("mean of ratios", "mean_of_ratios")]


def explore_heads(results: Mapping[str, PatchingResult] | PatchingResult) -> Panel:
    """Choose a result, axiom, grade and statistic, then a head: see its map and its pairs.

    The panel starts with the head of largest effect. A head is chosen by a click on its cell of the
    map, or by the two sliders.

    Parameters
    ----------
    results : one result, or several by a label such as ``"Dot"``; all heads of a head site.

    Returns
    -------
    Panel
        Controls ``result``, ``axiom``, ``grade``, ``statistic``, ``layer``, ``head``. The static
        twins are `plots.plot_heads` and `plots.plot_head_pairs`.

    Raises
    ------
    ValueError
        If there is no result, or one does not hold every head.
    """
    results = {"result": results} if isinstance(results, PatchingResult) else dict(results)
    if not results:
        raise ValueError("needed at least one result, got none; make one with mechir_edu.patch")
    for result in results.values():
        need_all_heads(result)

    @lru_cache(maxsize=256)
    def analyse(
        label: str, axiom: str | None, grade: int | None, how: str
    ) -> tuple[PatchingResult, Recovery]:
        whole = results[label]
        is_wanted = np.array([axiom in (None, pair.axiom) for pair in whole.pairs])
        part = whole.select(is_wanted, grade=grade)
        return part, part.recovery(how)

    controls = _controls(results)
    grid = HeadGrid(controls["layer"], controls["head"])

    def draw(
        result: str, axiom: str | None, grade: int | None, statistic: str, layer: int, head: int
    ) -> Drawing:
        part, recovery = analyse(result, axiom, grade, statistic)
        grid.show(recovery, layer, head)
        largest = float(np.abs(part.effect()).max())
        ax = plots.plot_head_pairs(part, layer, head, recovery=recovery, limit=1.05 * largest)
        chosen = describe_head(recovery, layer, head)
        return Drawing(ax.figure, f"{plots.alt_text(recovery)} Chosen, in the picture: {chosen}.")

    return Panel("explore_heads", controls, draw, below=grid.widget)


def leading(result: PatchingResult) -> Head:
    """The head of largest absolute mean effect."""
    size = np.abs(result.effect().mean(axis=-1))
    layer, head = np.unravel_index(int(size.argmax()), size.shape)
    return int(layer), int(head)


def _controls(results: Mapping[str, PatchingResult]) -> dict[str, Any]:
    first = next(iter(results.values()))
    controls = {
        "result": dropdown("result", [(label, label) for label in results], "what was patched"),
        "axiom": dropdown("axiom", _axioms(first), "only the pairs of one axiom"),
        "grade": dropdown("grade", _grades(first), "only documents of one relevance grade"),
        "statistic": dropdown("statistic", _STATISTICS, "how pairs are put together"),
        **head_sliders(*first.scores.shape[:2], leading(first)),
    }

    def offer(change: dict) -> None:
        """Offer what the newly chosen result has."""
        chosen = results[change["new"]]
        for name, options in (("axiom", _axioms(chosen)), ("grade", _grades(chosen))):
            if list(controls[name].options) != options:
                controls[name].options = options
        for name, n in zip(("layer", "head"), chosen.scores.shape, strict=False):
            controls[name].max = n - 1

    controls["result"].observe(offer, names="value")
    return controls


def _axioms(result: PatchingResult) -> list[tuple[str, Any]]:
    names = list(dict.fromkeys(pair.axiom for pair in result.pairs))
    return [(name, name) for name in names] if len(names) == 1 else _with_all(names)


def _grades(result: PatchingResult) -> list[tuple[str, Any]]:
    return _with_all(sorted({pair.relevance for pair in result.pairs} - {None}, reverse=True))


def _with_all(values: list) -> list[tuple[str, Any]]:
    return [ALL, *((str(value), value) for value in values)]
