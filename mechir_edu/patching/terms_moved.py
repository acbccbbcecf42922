"""Which vocabulary terms an edit moved: the read-out of a learned-sparse ranker.

Such a ranker makes of a text one weight for each term, and of two texts a sum over terms. So a
score change is a sum, too, exactly::

    score(perturbed) - score(baseline) = sum over terms of (w_perturbed - w_baseline) * w_query

The terms with the largest parts say what the ranker took the edit for; those that moved without
being in the query say how the document was *expanded*.
"""

from collections.abc import Sequence

import numpy as np
import torch

from mechir_edu.alignment.aligned import AlignedPairs
from mechir_edu.patching.batches import make_batches
from mechir_edu.patching.entry import takes_turn
from mechir_edu.patching.scoring import align_for, token_limit
from mechir_edu.patching.term_changes import TermsMoved
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.sparse import SparseEncoder


@takes_turn
@torch.no_grad()
def terms_moved(
    ranker: Ranker,
    pairs: Sequence[Pair] | AlignedPairs,
    *,
    filler: str = "a",
    memory: int | None = None,
) -> TermsMoved:
    """Compare the term weights of both versions of each pair, aligned as `patch` aligns them.

    Parameters
    ----------
    ranker : a `Sparse`, or one ``.under(intervention)``.
    pairs, filler, memory : as in `mechir_edu.patch`.

    Raises
    ------
    TypeError
        For a ranker that has no weights of terms.
    ValueError
        As `mechir_edu.score_pairs`.
    """
    if not isinstance(ranker, SparseEncoder):
        raise TypeError(
            f"needed a ranker that weighs the terms of a vocabulary, me.Sparse(...); got a "
            f"{ranker.kind_name}"
        )
    aligned, limit = align_for(ranker, pairs, filler), token_limit(ranker, memory)
    n_terms = len(ranker.decoder.bias)
    weight, score = np.zeros((2, n_terms, len(aligned.aligned)), dtype=np.float32)
    for batch in make_batches(ranker, aligned.aligned, max_tokens=limit):
        before, after = (
            ranker.output(ranker.hidden(inputs), ranker.counts(inputs))
            for inputs in (batch.baseline, batch.perturbed)
        )
        moved = after - before
        weight[:, batch.index] = moved.T.cpu().numpy()
        score[:, batch.index] = (moved * batch.fixed).T.cpu().numpy()
    places = np.flatnonzero(weight.any(axis=1))
    return TermsMoved(
        terms=tuple(ranker.tokenizer.convert_ids_to_tokens(places.tolist())),
        weight=weight[places],
        score=score[places],
        pairs=tuple(pair.pair for pair in aligned.aligned),
        skipped=aligned.skipped,
    )
