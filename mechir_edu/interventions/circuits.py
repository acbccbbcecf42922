"""Rank by a circuit alone, and compare with the ranking that people see.

Faithfulness of a circuit is measured on score changes elsewhere (`mechir_edu.circuit`). Here all
heads outside the circuit are knocked out for every text, and the ranking that is left is compared
with the full ranker's, by its quality and by its order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import kendalltau

from mechir_edu.collection.collection import Collection
from mechir_edu.collection.given import checked_kind
from mechir_edu.collection.judged import Judged
from mechir_edu.interventions.candidates import Run
from mechir_edu.interventions.evaluation import Comparison
from mechir_edu.interventions.heads import Knockout
from mechir_edu.interventions.measures import Named
from mechir_edu.interventions.reranking import evaluate
from mechir_edu.patching.numbers import plain_heads
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.hook_names import Head, require_heads
from mechir_edu.stats.estimates import Estimate, mean_change

MEASURES = ("nDCG@10", "RR(rel=2)@10")


@dataclass(frozen=True, eq=False)
class RankFaithfulness:
    """The ranking by a circuit beside that of the full ranker.

    Attributes
    ----------
    heads : the circuit.
    comparison : measures of the full ranker (before) and of the circuit (after), by query.
    taus : Kendall's tau-b of the two orders of each query's passages, [query]: 1 the same order, 0
        unrelated, -1 reversed; 0 where either side gives all passages one score.
    """

    heads: tuple[Head, ...]
    comparison: Comparison
    taus: Float[np.ndarray, " query"]

    def tau(self, **options: Any) -> Estimate:
        """Mean tau over queries, with its interval; options of `mechir_edu.stats.mean_change`."""
        return mean_change(self.taus, query_ids=self.comparison.before.query_ids, **options)

    def to_dataframe(self) -> pd.DataFrame:
        """One row per measure, and one for tau: full, circuit, difference, low, high.

        ``difference`` is circuit minus full; of tau it is the mean itself, and low to high its
        interval over queries.
        """
        rows = []
        for measure in self.comparison.before.values:
            full, circuit = (
                side.mean(measure).value for side in (self.comparison.before, self.comparison.after)
            )
            rows.append((measure, full, circuit, self.comparison.difference(measure)))
        rows.append(("Kendall's tau", 1.0, self.tau().value, self.tau()))
        return pd.DataFrame(
            {
                "measure": name,
                "full": full,
                "circuit": circuit,
                "difference": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
            }
            for name, full, circuit, estimate in rows
        )


def rank_faithfulness(
    ranker: Ranker,
    collection: Collection,
    heads: Iterable[Head],
    *,
    to: Literal["zero", "mean"] = "mean",
    over: Sequence[Judged] | None = None,
    run: Run | str | Path | None = None,
    measures: Sequence[Named] = MEASURES,
    query_ids: Iterable[str] | None = None,
    progress: bool = True,
) -> RankFaithfulness:
    """Knock out all heads outside a circuit, and compare the ranking with the full ranker's.

    Parameters
    ----------
    ranker : a `Dot` or `Cat`.
    heads : the (layer, head) of the circuit; it may be empty, or all heads.
    to, over : what stands for the others, as in `mechir_edu.Knockout`; with "mean", the mean over
        64 queries and passages of the collection when ``over`` is omitted.
    collection, run, measures, query_ids, progress : as in `mechir_edu.evaluate`.

    Raises
    ------
    TypeError, ValueError
        For a head that the ranker lacks, and as `mechir_edu.evaluate`.
    """
    checked_kind(ranker, Ranker, "ranker", "a ranker as it was loaded")
    checked_kind(collection, Collection, "collection", "what load_collection gives")
    circuit = plain_heads(heads)
    require_heads(circuit, ranker.n_layers, ranker.n_heads)
    everything = product(range(ranker.n_layers), range(ranker.n_heads))
    outside = [head for head in everything if head not in circuit]
    knockout = None
    if outside:
        if to == "mean" and over is None:
            over = collection.sample(64).judged
        knockout = Knockout(outside, to=to, over=tuple(over or ()))
    options = {"run": run, "measures": measures, "query_ids": query_ids, "progress": progress}
    full = evaluate(ranker, collection, **options)
    left = evaluate(ranker, collection, intervention=knockout, **options)
    taus = np.array([_tau(full.run.get(q, {}), left.run.get(q, {})) for q in full.query_ids])
    return RankFaithfulness(circuit, Comparison(full, left), taus)


def _tau(full: dict[str, float], left: dict[str, float]) -> float:
    tau = kendalltau([full[d] for d in full], [left[d] for d in full]).statistic
    return float(np.nan_to_num(tau))  # none where all scores are equal
