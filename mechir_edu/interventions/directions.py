"""What heads say on average, and what an edit adds to it: vectors for interventions.

A *direction* is a vector to steer along. Pairs are aligned token for token, so the mean over all
tokens of the perturbed versions minus that of the baselines is what the edit adds at an average
position. Adding it once everywhere (`mechir_edu.Steer` with strength 1) tells a ranker on average
what the edit would have told it: for TFC1, "there is one more query term here".
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mechir_edu.alignment.aligned import AlignedPairs
from mechir_edu.patching.batches import SIDES, make_batches
from mechir_edu.patching.engines.means import mean_activations
from mechir_edu.patching.entry import takes_turn
from mechir_edu.patching.numbers import plain_heads
from mechir_edu.patching.scoring import align_for, token_limit
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.hook_names import require_heads, require_layer


@takes_turn
def head_direction(
    ranker: Ranker,
    pairs: Sequence[Pair] | AlignedPairs,
    heads: Sequence[tuple[int, int]],
    *,
    filler: str = "a",
) -> Float[np.ndarray, "head d_head"]:
    """Mean z of the perturbed versions minus that of the baselines, for each head.

    Parameters
    ----------
    ranker, pairs, filler : as in `mechir_edu.patch`. Of a bi-encoder only the side that was edited
        is read.
    heads : the (layer, head) to read; rows come in this order.

    Raises
    ------
    ValueError
        If there is no such head, or no pair can be aligned.

    Examples
    --------
    >>> import mechir_edu as me
    >>> ranker, collection = me.Cat("planted"), me.load_collection("embedded")
    >>> pairs = me.make_pairs(collection, "TFC1", n=4, seed=0)
    >>> head_direction(ranker, pairs, [(0, 1), (2, 3)]).shape
    (2, 48)
    """
    heads = plain_heads(heads)
    require_heads(heads, ranker.n_layers, ranker.n_heads)
    names = [ranker.stack.hook_name("head", layer) for layer, _ in heads]
    difference = _mean_difference(ranker, pairs, names, filler)
    rows = [difference[name][head] for name, (_, head) in zip(names, heads, strict=True)]
    return np.stack([row.cpu().numpy() for row in rows])


@takes_turn
def residual_direction(
    ranker: Ranker, pairs: Sequence[Pair] | AlignedPairs, layer: int, *, filler: str = "a"
) -> Float[np.ndarray, " d_model"]:
    """Mean ``resid_pre`` of the perturbed versions minus that of the baselines, in one layer.

    Parameters and errors as for `head_direction`.
    """
    require_layer(layer, ranker.n_layers)
    name = ranker.stack.hook_name("resid_pre", layer)
    return _mean_difference(ranker, pairs, [name], filler)[name].cpu().numpy()


def _mean_difference(
    ranker: Ranker, pairs: Sequence[Pair] | AlignedPairs, names: list[str], filler: str
) -> dict[str, Tensor]:
    aligned = align_for(ranker, pairs, filler).aligned
    batches = list(make_batches(ranker, aligned, max_tokens=token_limit(ranker)))
    sides = ([batch.side(side) for batch in batches] for side in SIDES)
    before, after = (mean_activations(ranker, runs, names) for runs in sides)
    return {name: after[name] - before[name] for name in names}
