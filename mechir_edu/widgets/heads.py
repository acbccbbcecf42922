"""Panel: which heads carry the score change, and what one head does to each pair."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from mechir_edu import plots
from mechir_edu.patching.result import PatchingResult
from mechir_edu.plots.head_pairs import describe_head, need_all_heads
from mechir_edu.stats.recovered import Recovery
from mechir_edu.widgets.controls import ALL, dropdown, head_sliders
from mechir_edu.widgets.panel import Drawing, Panel

_STATISTICS = [("ratio of means", "ratio_of_means"), ("mean of ratios", "mean_of_ratios")]


def explore_heads(results: Mapping[str, PatchingResult] | PatchingResult) -> Panel:
    """Choose a result, axiom, grade and statistic, then a head: see its map and its pairs.

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

    def draw(
        result: str, axiom: str | None, grade: int | None, statistic: str, layer: int, head: int
    ) -> Drawing:
        part, recovery = analyse(result, axiom, grade, statistic)
        return _draw(part, recovery, layer, head)

    return Panel("explore_heads", _controls(results), draw)


def _draw(part: PatchingResult, recovery: Recovery, layer: int, head: int) -> Drawing:
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11.5, 4), width_ratios=(3, 2), gridspec_kw={"wspace": 0.42}
    )
    plots.plot_heads(recovery, ax=left)
    outline = {"facecolor": "none", "edgecolor": "black", "linewidth": 2}
    left.add_patch(Rectangle((head - 0.5, layer - 0.5), 1, 1, **outline))
    plots.plot_head_pairs(part, layer, head, recovery=recovery, ax=right)
    # In one line it is longer than the axis here, and runs into the title.
    right.set_ylabel(right.get_ylabel().replace(": ", ":\n"))
    chosen = describe_head(recovery, layer, head)
    return Drawing(figure, f"{plots.alt_text(recovery)} Chosen, on the right: {chosen}.")


def _controls(results: Mapping[str, PatchingResult]) -> dict[str, Any]:
    first = next(iter(results.values()))
    controls = {
        "result": dropdown("result", [(label, label) for label in results], "what was patched"),
        "axiom": dropdown("axiom", _axioms(first), "only the pairs of one axiom"),
        "grade": dropdown("grade", _grades(first), "only documents of one relevance grade"),
        "statistic": dropdown("statistic", _STATISTICS, "how pairs are put together"),
        **head_sliders(*first.scores.shape[:2]),
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
