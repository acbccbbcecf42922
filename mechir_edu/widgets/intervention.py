"""Panel: turn a head up or down, and see one query's passages change places."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import ipywidgets
import numpy as np

from mechir_edu import plots
from mechir_edu.collection.collection import Collection
from mechir_edu.interventions.heads import Scale
from mechir_edu.plots.rankings import ranks
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.hook_names import Head
from mechir_edu.widgets.controls import dropdown, head_sliders, labelled
from mechir_edu.widgets.panel import Drawing, Panel

_MOST_PASSAGES = 12
Heads = tuple[Head, ...]


def explore_intervention(
    ranker: Ranker, collection: Collection, heads: Sequence[Head] | None = None
) -> Panel:
    """Scale a head by a slider and watch the ranking of one query's judged passages.

    Parameters
    ----------
    ranker : of any kind.
    collection : supplies queries, and the passages judged for each; of more than twelve, the
        twelve that the ranker puts on top.
    heads : the (layer, head) to choose from, alone or all together; without them, two sliders
        reach every head.

    Returns
    -------
    Panel
        Controls ``query``, ``factor``, and ``layer`` and ``head``, or ``heads``. The static twin is
        `plots.plot_ranking`.

    Raises
    ------
    ValueError
        If no query has judged passages, or ``heads`` is empty.
    """
    queries = [(text, q) for q, text in collection.queries.items() if collection.qrels.get(q)]
    if not queries:
        raise ValueError(
            f"needed at least one query with judged passages, {collection.name} has none"
        )
    rank = lru_cache(maxsize=128)(lambda query_id: _rank(ranker, collection, query_id))

    @lru_cache(maxsize=512)
    def rank_scaled(query_id: str, chosen: Heads, factor: float) -> np.ndarray:
        plain = rank(query_id)
        return ranker.under(Scale(chosen, factor)).score(plain.query, plain.texts)

    def draw(query: str, factor: float, **head: int | Heads) -> Drawing:
        chosen = head["heads"] if "heads" in head else ((head["layer"], head["head"]),)
        before, after = rank(query), rank_scaled(query, chosen, factor)
        ax = plots.plot_ranking(before.scores, after, before.texts, relevance=before.grades)
        said = f"{_spell(chosen)} scaled by {factor:g}"
        ax.set_title(said, fontsize=10)
        return Drawing(ax.figure, f"With {said}: {_in_words(before, after)}")

    controls = {"query": dropdown("query", queries, "whose passages are ranked", width="34em")}
    controls |= _head_controls(ranker, heads) | {"factor": _factor_slider()}
    return Panel("explore_intervention", controls, draw)


@dataclass(frozen=True, eq=False)
class _Ranking:
    """A query's top passages, their grades, and the scores that the ranker gives them."""

    query: str
    texts: list[str]
    grades: list[int]
    scores: np.ndarray


def _rank(ranker: Ranker, collection: Collection, query_id: str) -> _Ranking:
    query, judged = collection.queries[query_id], collection.qrels[query_id]
    texts = collection.texts(judged)
    if not texts:
        raise ValueError(f"none of the passages judged for {query!r} is in the collection")
    scores = ranker.score(query, list(texts.values()))
    top = np.argsort(-scores, kind="stable")[:_MOST_PASSAGES]
    doc_ids = [list(texts)[i] for i in top]
    chosen, grades = [texts[d] for d in doc_ids], [judged[d] for d in doc_ids]
    return _Ranking(query, chosen, grades, scores[top])


def _head_controls(ranker: Ranker, heads: Sequence[Head] | None) -> dict[str, ipywidgets.Widget]:
    if heads is None:
        return head_sliders(ranker.n_layers, ranker.n_heads)
    heads = [(int(layer), int(head)) for layer, head in heads]
    if not heads:
        raise ValueError(
            "needed at least one (layer, head) to choose from, got none; leave heads= out for all"
        )
    options = [(_spell((head,)), (head,)) for head in heads]
    if len(heads) > 1:
        options.append((f"all {len(heads)} together", tuple(heads)))
    return {"heads": dropdown("head", options, "which head is scaled")}


def _factor_slider() -> ipywidgets.FloatSlider:
    scale = {"value": 0.0, "min": -1.0, "max": 3.0, "step": 0.25, "readout_format": ".2f"}
    tooltip = "what the head's output is multiplied by: 0 silences it, 1 leaves it as it is"
    return labelled(ipywidgets.FloatSlider(**scale, continuous_update=False), "factor", tooltip)


def _spell(heads: Heads) -> str:
    return ", ".join(f"layer {layer} head {head}" for layer, head in heads)


def _in_words(before: _Ranking, after: np.ndarray) -> str:
    first, second = ranks(before.scores), ranks(after)
    moved = np.flatnonzero(first != second)
    moves = [
        f"“{before.texts[i][:40].rstrip()}…” (grade {before.grades[i]}) from rank {first[i]} to "
        f"{second[i]}"
        for i in moved[np.argsort(second[moved])][:5]
    ]
    n_tied = len(after) - len(np.unique(after))
    ties = f" {n_tied} scores equal another one; ties keep their order." if n_tied else ""
    if not moves:
        return f"no passage of {len(first)} changes its rank.{ties}"
    return f"{len(moved)} of {len(first)} passages change their rank: {'; '.join(moves)}.{ties}"
