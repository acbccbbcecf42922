"""How well the held-out queries are ranked."""

import numpy as np
import torch

from distillation.lists import Lists
from distillation.student import score_texts


@torch.no_grad()
def held_out_ndcg(model, tokenizer, lists: Lists) -> float:
    """Mean nDCG@10 of re-ranking BM25's top 100 for the held-out queries, by ir_measures.

    A held-out query without grades is judged by its teachers: grade 1 for the ten best passages.
    """
    import ir_measures

    qrels, run = [], []
    for number, ranked in enumerate(lists.held_out):
        known = ~np.isnan(ranked.grade)
        grade = ranked.grade if known.any() else (np.arange(len(ranked.docs)) < 10).astype(float)
        known = known if known.any() else np.ones(len(grade), bool)
        qid = str(number)
        qrels += [
            ir_measures.Qrel(qid, str(d), int(g))
            for d, g in zip(ranked.docs[known], grade[known], strict=True)
        ]
        docs = ranked.docs[ranked.bm25] if ranked.bm25.any() else ranked.docs
        scores = score_texts(
            model, tokenizer, [(ranked.query, lists.passages[d]) for d in docs], chunk=32
        )
        run += [
            ir_measures.ScoredDoc(qid, str(d), s)
            for d, s in zip(docs, scores.tolist(), strict=True)
        ]
    return ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)[ir_measures.nDCG @ 10]
