"""How good rankings are, query by query, and how much better or worse than others.

Conventions
-----------
nDCG@10 takes the grades as gains. RR(rel=2)@10 is one over the rank of the first passage of grade 2
or above in the first ten, and 0 if there is none: TREC DL counts grade 1 ("related, but does not
answer") as not relevant in binary measures. A passage without a judgment counts as grade 0;
a judged query for which nothing was ranked has the value 0. Differences are after minus before:
below 0 things got worse. Intervals resample queries (`mechir_edu.stats.clusters`); a difference is
paired, so what makes a query hard for both sides cancels out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ir_measures
import numpy as np
import pandas as pd
from jaxtyping import Float

from mechir_edu.collection.collection import Collection
from mechir_edu.collection.given import checked_kind
from mechir_edu.collection.judged import Skipped
from mechir_edu.interventions.candidates import Run, judged_queries, require_run, without_ties
from mechir_edu.interventions.measures import MEASURES, Named, parse_measures
from mechir_edu.stats.estimates import Estimate, mean_change


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well queries were answered, one value per measure and query.

    Attributes
    ----------
    what : what made the ranking, for captions.
    query_ids : the queries, in the order of the values.
    values : measure -> [query].
    run : the ranking itself, query_id -> doc_id -> score.
    skipped : passages that the collection lacks, and queries for which nothing was ranked.
    """

    what: str
    query_ids: tuple[str, ...]
    values: Mapping[str, Float[np.ndarray, " query"]]
    run: Run = field(repr=False)
    skipped: tuple[Skipped, ...] = field(default=(), repr=False)

    def mean(self, measure: str = MEASURES[0], **options: Any) -> Estimate:
        """Mean over queries with its interval; options as in `mechir_edu.stats.mean_change`."""
        return mean_change(self.values[measure], query_ids=self.query_ids, **options)

    def to_dataframe(self) -> pd.DataFrame:
        """One row per measure and query: query_id, measure, value."""
        parts = [
            pd.DataFrame({"query_id": self.query_ids, "measure": measure, "value": values})
            for measure, values in self.values.items()
        ]
        return pd.concat(parts, ignore_index=True)

    def summary(self) -> pd.DataFrame:
        """One row per measure: mean, low, high, n_queries."""
        return pd.DataFrame([_row(measure, self.mean(measure)) for measure in self.values])


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two evaluations of the same queries, such as without and with an intervention.

    Raises
    ------
    ValueError
        If queries or measures differ.
    """

    before: Evaluation
    after: Evaluation

    def __post_init__(self) -> None:
        queries = (self.before.query_ids, self.after.query_ids)
        measures = ([*self.before.values], [*self.after.values])
        for what, (before, after) in (("queries", queries), ("measures", measures)):
            if before != after:
                raise ValueError(
                    f"a paired comparison needs the same {what} on both sides, got {before} and "
                    f"{after}"
                )

    def change(self, measure: str = MEASURES[0]) -> Float[np.ndarray, " query"]:
        """After minus before, for each query."""
        return self.after.values[measure] - self.before.values[measure]

    def difference(self, measure: str = MEASURES[0], **options: Any) -> Estimate:
        """Mean change with a paired interval; options as in `mechir_edu.stats.mean_change`."""
        return mean_change(self.change(measure), query_ids=self.before.query_ids, **options)

    def to_dataframe(self) -> pd.DataFrame:
        """One row per measure and query: query_id, measure, before, after, difference."""
        before, after = (e.to_dataframe() for e in (self.before, self.after))
        frame = before.rename(columns={"value": "before"}).assign(after=after["value"])
        return frame.assign(difference=frame["after"] - frame["before"])

    def summary(self) -> pd.DataFrame:
        """One row per measure: before, after, difference with low, high and p, n_queries."""
        rows = [
            {
                "measure": measure,
                "before": self.before.values[measure].mean(),
                "after": self.after.values[measure].mean(),
                **_row(measure, estimate, "difference"),
                "p": estimate.p,
            }
            for measure, estimate in ((m, self.difference(m)) for m in self.before.values)
        ]
        return pd.DataFrame(rows)


def evaluate_run(
    collection: Collection,
    run: Run,
    *,
    measures: Sequence[Named] = MEASURES,
    query_ids: Iterable[str] | None = None,
    what: str = "run",
    skipped: Iterable[Skipped] = (),
) -> Evaluation:
    """Measure existing rankings, such as a first stage's.

    Parameters
    ----------
    collection : the judgments, all of which count.
    run : query_id -> doc_id -> score.
    measures : names as ir_measures writes them, such as "nDCG@10", "RR(rel=2)@10", "AP(rel=2)".
    query_ids : the queries to measure; every judged one by default.
    what, skipped : handed on to the `Evaluation`.

    Raises
    ------
    ValueError
        For an unknown measure or query, one that cannot be computed
        (`mechir_edu.interventions.measures`), a run of other queries, or a score that is not
        finite.
    TypeError
        For anything but a collection, or a run that is no dictionary of scores by id.
    """
    checked_kind(collection, Collection, "collection", "a collection", run=run)
    queries = tuple(judged_queries(collection, query_ids))
    parsed = parse_measures(measures, queries)
    require_run(run, queries, collection.name)
    qrels = {q: dict(collection.qrels[q]) for q in queries}
    value_of = {(str(m.measure), m.query_id): m.value for m in _calculate(parsed, qrels, run)}
    values = {str(m): np.array([value_of[str(m), q] for q in queries], float) for m in parsed}
    return Evaluation(what, queries, values, run, tuple(skipped))


def _calculate(parsed: list, qrels: dict, run: Run) -> Iterable[ir_measures.Metric]:
    asked = {query_id: run[query_id] for query_id in qrels if query_id in run}
    return ir_measures.iter_calc(parsed, qrels, without_ties(asked))


def _row(measure: str, estimate: Estimate, name: str = "mean") -> dict[str, Any]:
    return {
        "measure": measure,
        name: estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "n_queries": estimate.n_queries,
    }
