"""Which query token's best match an edit moved: the read-out of a multi-vector ranker.

The score of such a ranker is a sum over query tokens, of each one's largest cosine with a document
token. So a score change is a sum over query tokens, too, and each part has a reason: the token
found a better match in the edit, another token became its match, or its match was changed by the
context that the edit made.
"""

from collections.abc import Sequence

import numpy as np
import torch

from mechir_edu.alignment.aligned import AlignedPair, AlignedPairs, Role
from mechir_edu.patching.batches import SIDES, make_batches
from mechir_edu.patching.entry import takes_turn
from mechir_edu.patching.scoring import align_for, token_limit
from mechir_edu.patching.token_matches import MatchesMoved, TokenMatches
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.multi_vector import MultiVectorEncoder


@takes_turn
@torch.no_grad()
def matches_moved(
    ranker: Ranker,
    pairs: Sequence[Pair] | AlignedPairs,
    *,
    filler: str = "a",
    memory: int | None = None,
) -> MatchesMoved:
    """Compare the best matches in both versions of each pair, aligned as `patch` aligns them.

    Parameters
    ----------
    ranker : a `MultiVector`, or one ``.under(intervention)``.
    pairs, filler, memory : as in `mechir_edu.patch`.

    Raises
    ------
    TypeError
        For a ranker that has no vectors of tokens.
    ValueError
        As `mechir_edu.score_pairs`.
    """
    if not isinstance(ranker, MultiVectorEncoder):
        raise TypeError(
            f"needed a ranker with a vector for each token, me.MultiVector(...); got a "
            f"{ranker.kind_name}"
        )
    aligned, limit = align_for(ranker, pairs, filler), token_limit(ranker, memory)
    read: dict[int, TokenMatches] = {}
    for batch in make_batches(ranker, aligned.aligned, max_tokens=limit):
        cosines, places = [], []
        for side in SIDES:
            inputs = batch.side(side)
            matches = ranker.match(ranker.hidden(inputs), ranker.counts(inputs), batch.fixed)
            cosines.append(matches.cosine.cpu().numpy())
            places.append(matches.place.cpu().numpy())
        for row, index in enumerate(batch.index):
            of_pair = ([c[row] for c in cosines], [p[row] for p in places])
            read[int(index)] = _read(ranker, aligned.aligned[index], *of_pair)
    return MatchesMoved(tuple(read[i] for i in range(len(read))), aligned.skipped)


def _read(
    ranker: MultiVectorEncoder,
    aligned: AlignedPair,
    cosines: list[np.ndarray],
    places: list[np.ndarray],
) -> TokenMatches:
    names, query = ranker.tokenizer.convert_ids_to_tokens, aligned.fixed_ids
    tokens = ranker.query_tokens([] if query is None else query.tolist())
    n = len(tokens)  # behind it stands the padding of a shorter query
    before, after = (of_side[:n] for of_side in cosines)
    place, new_place = (of_side[:n] for of_side in places)
    return TokenMatches(
        pair=aligned.pair,
        query_tokens=tuple(names(tokens)),
        baseline=before,
        perturbed=after,
        baseline_match=tuple(names(aligned.baseline_ids[place].tolist())),
        perturbed_match=tuple(names(aligned.perturbed_ids[new_place].tolist())),
        moved=place != new_place,
        in_edit=aligned.roles[new_place] == Role.EDIT,
    )
