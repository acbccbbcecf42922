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
from jaxtyping import Int8, Int64

from mechir_edu.alignment.aligned import AlignedPair, AlignedPairs, Role
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
    ids = np.flatnonzero(weight.any(axis=1))
    return TermsMoved(
        terms=tuple(ranker.tokenizer.convert_ids_to_tokens(ids.tolist())),
        weight=weight[ids],
        score=score[ids],
        place=np.stack([_places(ids, pair) for pair in aligned.aligned], axis=1),
        pairs=tuple(pair.pair for pair in aligned.aligned),
        skipped=aligned.skipped,
    )


def _places(ids: Int64[np.ndarray, " term"], pair: AlignedPair) -> Int8[np.ndarray, " term"]:
    """Where each term stands in a pair, an index of `mechir_edu.patching.term_changes.PLACES`."""
    is_edited = pair.roles == Role.EDIT
    edited = np.concatenate([pair.baseline_ids[is_edited], pair.perturbed_ids[is_edited]])
    other: list[int] = [] if pair.fixed_ids is None else pair.fixed_ids.tolist()
    in_other = np.isin(ids, other)
    return np.where(np.isin(ids, edited), 0, np.where(in_other, 1, 2)).astype(np.int8)
