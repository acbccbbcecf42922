"""What a ranker, or an intervention in it, does to rankings, and so to people who search.

Patching says what a head does to scores; this module says what it does to rankings. A ranker
re-ranks passages (those judged, or a first stage's), the rankings are compared with the judgments
(`mechir_edu.interventions.evaluation`), and the effect of an intervention is the mean difference
per query.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from mechir_edu.collection.collection import Collection
from mechir_edu.collection.given import checked_kind
from mechir_edu.collection.judged import Skipped
from mechir_edu.collection.progress import bar
from mechir_edu.interventions.candidates import Run, Scorer, choose
from mechir_edu.interventions.evaluation import Comparison, Evaluation, evaluate_run
from mechir_edu.interventions.intervened import Intervened, Intervention, intervene
from mechir_edu.interventions.measures import MEASURES, Named, parse_measures
from mechir_edu.rankers.base import Ranker


def evaluate(
    ranker: Scorer,
    collection: Collection,
    *,
    run: Run | str | Path | None = None,
    intervention: Intervention | None = None,
    measures: Sequence[Named] = MEASURES,
    query_ids: Iterable[str] | None = None,
    progress: bool = True,
) -> Evaluation:
    """Let a ranker put passages in order, and measure how good the order is.

    Parameters
    ----------
    ranker : of any kind, one ``.under(intervention)``, or any `Scorer`.
    collection : queries, passages, and judgments to measure by.
    run : what to re-rank (`mechir_edu.interventions.candidates.choose`): the passages judged for
        the query when omitted, "pool", a run, or a file or id to read a run from.
    intervention : a `Knockout`, `Scale`, `Steer`, `SteerResidual` or `Cut`; none when omitted.
    measures : names as ir_measures writes them, such as "nDCG@10", "RR(rel=2)@10", "AP(rel=2)".
    query_ids : only these queries; all judged ones by default.
    progress : show a bar.

    Raises
    ------
    TypeError
        For an argument of the wrong kind, such as two that were exchanged.
    ValueError
        For no or an unknown measure or query, a run of other queries, a score that is not finite,
        or what `Ranker.under` refuses.

    Examples
    --------
    >>> import mechir_edu as me
    >>> ranker, collection = me.Cat("planted"), me.load_collection("embedded")
    >>> evaluation = evaluate(ranker, collection, query_ids=["q01", "q02"], progress=False)
    >>> evaluation.values["nDCG@10"].shape
    (2,)
    """
    # All that can be refused is refused before anything that takes time.
    checked_kind(collection, Collection, "collection", "what load_collection gives", ranker=ranker)
    checked_kind(ranker, Scorer, "ranker", "a ranker", intervention=intervention)
    parse_measures(measures, collection.qrels)
    scorer = ranker if intervention is None else _changed(ranker, intervention)
    wanted = choose(collection, run, query_ids)
    scored, skipped = rerank(scorer, collection, wanted, progress=progress)
    return evaluate_run(
        collection, scored, measures=measures, what=repr(scorer), query_ids=wanted, skipped=skipped
    )


def compare(
    ranker: Ranker,
    collection: Collection,
    intervention: Intervention,
    *,
    run: Run | str | Path | None = None,
    measures: Sequence[Named] = MEASURES,
    query_ids: Iterable[str] | None = None,
    progress: bool = True,
) -> Comparison:
    """Evaluate a ranker without and with an intervention, on the same queries and passages.

    Parameters and errors as for `evaluate`. To compare many interventions with one baseline, call
    `evaluate` for each and pair them: ``Comparison(plain, intervened)``.

    Examples
    --------
    >>> import mechir_edu as me
    >>> ranker, collection = me.Cat("planted"), me.load_collection("embedded")
    >>> once = me.Scale(ranker.planted_heads, 1.0)
    >>> effect = compare(ranker, collection, once, query_ids=["q01", "q02"], progress=False)
    >>> effect.difference("nDCG@10").value
    0.0
    """
    checked_kind(collection, Collection, "collection", "a collection", intervention=intervention)
    _changed(ranker, intervention)
    options = {"run": run, "measures": measures, "query_ids": query_ids, "progress": progress}
    before = evaluate(ranker, collection, **options)
    return Comparison(before, evaluate(ranker, collection, intervention=intervention, **options))


def _changed(ranker: Any, intervention: Intervention) -> Intervened:
    needed = "a ranker as it was loaded, to intervene in"
    checked_kind(ranker, Ranker, "ranker", needed, intervention=intervention)
    return intervene(ranker, intervention)


def rerank(
    ranker: Scorer,
    collection: Collection,
    wanted: Mapping[str, Iterable[str]],
    *,
    progress: bool = True,
) -> tuple[dict[str, dict[str, float]], list[Skipped]]:
    """Score passages anew; a bi-encoder encodes each once, however many queries want it.

    Parameters
    ----------
    ranker, collection, progress : as for `evaluate`.
    wanted : doc_ids for each query; a run will do.

    Returns
    -------
    run, skipped
        query_id -> doc_id -> score, and the passages that the collection lacks.

    Raises
    ------
    ValueError
        For a score that is not finite.
    """
    scored, skipped = {}, []
    score = _scorer(ranker)
    with bar(len(wanted), "ranking", unit="queries", shown=progress) as shown:
        for query_id, doc_ids in wanted.items():
            texts = collection.texts(doc_ids)
            skipped += [
                Skipped(query_id, doc_id, "passage not in the collection")
                for doc_id in doc_ids
                if doc_id not in texts
            ]
            if texts:
                scores = _finite(score(collection.queries[query_id], texts), query_id)
                scored[query_id] = dict(zip(texts, scores.tolist(), strict=True))
            else:
                skipped.append(Skipped(query_id, "", "no passage to rank"))
            shown.update(1)
    return scored, skipped


def _scorer(ranker: Scorer) -> Callable[[str, dict[str, str]], Any]:
    """Score texts, given by doc_id, for a query; a bi-encoder remembers what it has encoded."""
    is_ours = isinstance(ranker, Ranker | Intervened)
    if not (is_ours and "document" in ranker.sides and ranker.keeps_documents):
        return lambda query, texts: ranker.score(query, list(texts.values()))
    encoded = {}

    def score(query: str, texts: dict[str, str]) -> Float[np.ndarray, " text"]:
        new = [doc_id for doc_id in texts if doc_id not in encoded]
        if new:
            embeddings = ranker.encode_documents([texts[doc_id] for doc_id in new])
            encoded.update(zip(new, embeddings, strict=True))
        documents = torch.stack([encoded[doc_id] for doc_id in texts])
        return ranker.compare(ranker.encode_query(query), documents)

    return score


def _finite(scores: Any, query_id: str) -> np.ndarray:
    scores = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(scores).all():
        raise ValueError(
            f"needed finite scores, got NaN or infinity for query {query_id}; is an intervention "
            "too strong?"
        )
    return scores
