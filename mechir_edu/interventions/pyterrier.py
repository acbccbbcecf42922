"""A ranker as a PyTerrier transformer, so that it can stand in any pipeline and experiment.

PyTerrier (Macdonald et al., CIKM 2021) composes retrieval systems with ``>>`` and compares them in
``pt.Experiment``. Its data frames have names of their own: ``qid``, ``query``, ``docno``, ``text``.
Re-ranking a frame needs no Java; only PyTerrier's own index and BM25 do::

    first = pt.terrier.TerrierIndex("my-index").bm25() % 100 >> pt.get.get_text(dataset)   # Java
    plain, changed = ranker.as_pyterrier(), ranker.as_pyterrier(me.Knockout([(2, 3)]))
    pt.Experiment([first >> plain, first >> changed], topics, qrels, ["ndcg_cut_10"], baseline=0)

Needs the extra ``pyterrier``.
"""

import pandas as pd

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
    scorer : a `Dot` or `Cat`, or one of them ``.under(intervention)``;
        `mechir_edu.Dot.as_pyterrier` makes both.

    Raises
    ------
    pyterrier.validate.InputValidationError
        When a column is missing; ``pt.get.get_text`` supplies ``text``.
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
        groups = results.groupby("qid", sort=False)
        return pd.concat([self._rerank(group) for _, group in groups], ignore_index=True)

    def _rerank(self, results: pd.DataFrame) -> pd.DataFrame:
        """Score and rank the passages of one query."""
        scores = self.scorer.score(results["query"].iloc[0], results["text"].tolist())
        scored = results.assign(score=scores)
        scored = scored.sort_values(["score", "docno"], ascending=False, kind="stable")
        return scored.assign(rank=range(len(scored)))
