"""A ranker as a PyTerrier transformer, so that it can stand in any pipeline and experiment.

PyTerrier (Macdonald et al., CIKM 2021) composes retrieval systems with ``>>`` and compares them in
``pt.Experiment``. Its data frames have names of their own: ``qid``, ``query``, ``docno``, ``text``.
Re-ranking a frame needs no Java; only PyTerrier's own index and BM25 do::

    first = pt.terrier.TerrierIndex("my-index").bm25() % 100 >> pt.get.get_text(dataset)   # Java
    plain, changed = ranker.as_pyterrier(), ranker.as_pyterrier(me.Knockout([(2, 3)]))
    pt.Experiment([first >> plain, first >> changed], topics, qrels, ["ndcg_cut_10"], baseline=0)

Needs the extra ``pyterrier``.
"""

import numpy as np
import pandas as pd

from mechir_edu.collection.given import checked_id, checked_text
from mechir_edu.interventions.candidates import Scorer

try:
    import pyterrier as pt
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'needed PyTerrier, found none; pip install "mechir-edu[pyterrier]"'
    ) from error

NEEDED = ["qid", "query", "docno", "text"]


class Reranker(pt.Transformer):
    """Re-ranks a data frame of results by a ranker's scores.

    Takes the columns qid, query, docno and text, and gives them back (and all others) with
    ``score`` and ``rank``, 0 for the best, each query's passages in order of rank. Equal scores
    are ordered by docno, descending, as in `mechir_edu.interventions.candidates`.

    Parameters
    ----------
    scorer : a ranker of any kind, or one ``.under(intervention)``;
        `mechir_edu.Dot.as_pyterrier` makes both.

    Raises
    ------
    pyterrier.validate.InputValidationError
        When a column is missing; ``pt.get.get_text`` supplies ``text``.
    TypeError, ValueError
        When a row lacks an id or a text, or a query id stands for two queries; names the row.
    """

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer

    def __repr__(self) -> str:
        return f"Reranker({self.scorer!r})"

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Score and rank the passages of each query."""
        pt.validate.columns(inp, includes=NEEDED, context=self)
        results = inp.drop(columns=["score", "rank"], errors="ignore")
        if results.empty:
            return results.assign(score=pd.Series(dtype=float), rank=pd.Series(dtype=int))
        _check_rows(results)
        groups = results.groupby("qid", sort=False)
        return pd.concat([self._rerank(group) for _, group in groups], ignore_index=True)

    def _rerank(self, results: pd.DataFrame) -> pd.DataFrame:
        """Score and rank the passages of one query."""
        scores = self.scorer.score(results["query"].iloc[0], results["text"].tolist())
        scored = results.assign(score=scores)
        if not np.isfinite(scored["score"].to_numpy(dtype=float)).all():
            raise ValueError(
                f"needed finite scores, got NaN or infinity for qid {results['qid'].iloc[0]}; is "
                "an intervention too strong?"
            )
        scored = scored.sort_values(["score", "docno"], ascending=False, kind="stable")
        return scored.assign(rank=range(len(scored)))


def _check_rows(results: pd.DataFrame) -> None:
    """Refuse rows that cannot be scored; a group of pandas leaves those without a qid out."""
    queries: dict[str, str] = {}
    for i, (qid, query, docno, text) in enumerate(results[NEEDED].itertuples(index=False)):
        qid = checked_id(qid, f"qid of row {i}")
        row = f"row {i} (qid {qid}, docno {checked_id(docno, f'docno of row {i}')})"
        checked_text(text, f"text of {row}")
        if queries.setdefault(qid, checked_text(query, f"query of {row}")) != query:
            raise ValueError(
                f"qid {qid} stands for two queries, {queries[qid]!r} and, in row {i}, {query!r}; "
                "needed one query for each qid"
            )
