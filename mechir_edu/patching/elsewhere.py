"""What heads say elsewhere: on average over texts, or in another pair that was drawn.

`mechir_edu.ablate` and `mechir_edu.circuit` put it in for a head's own z.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechir_edu.alignment.aligned import AlignedPair
from mechir_edu.patching.batches import Batch, Runs, make_batches
from mechir_edu.patching.engines.hooks import activations
from mechir_edu.patching.engines.means import mean_activations
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker


def mean_z(ranker: Ranker, batches: Sequence[Batch], on: str) -> tuple[Tensor, ...]:
    """Mean z of each layer over the tokens of all pairs, each [1, 1, head, d_head]."""
    names = [ranker.stack.hook_name("head", layer) for layer in range(ranker.n_layers)]
    means = mean_activations(ranker, (batch.side(on) for batch in batches), names)
    return tuple(means[name][None, None] for name in names)


def draw_others(n_pairs: int, seed: int) -> np.ndarray:
    """Draw for each pair the index of another, each pair once: a shuffled circle.

    Raises
    ------
    ValueError
        For fewer than two pairs.
    """
    if n_pairs < 2:
        raise ValueError(f"resample needs at least two pairs to draw from, got {n_pairs}")
    order = np.random.default_rng(seed).permutation(n_pairs)
    others = np.empty(n_pairs, dtype=np.int64)
    others[order] = np.roll(order, 1)
    return others


def draw_among(
    pairs: Sequence[Pair], among: Callable[[Pair], Hashable] | None, seed: int
) -> np.ndarray:
    """Draw for each pair the index of another of its group, each pair once (`draw_others`).

    Raises
    ------
    TypeError
        For ``among`` that is no function, or gives what cannot be compared.
    ValueError
        For a group of fewer than two pairs; names it.
    """
    if among is None:
        return draw_others(len(pairs), seed)
    if not callable(among):
        raise TypeError(f"among needs a function of a pair, got {among!r}")
    groups: dict[Hashable, list[int]] = {}
    for index, pair in enumerate(pairs):
        groups.setdefault(among(pair), []).append(index)
    others = np.empty(len(pairs), dtype=np.int64)
    for number, (value, members) in enumerate(groups.items()):
        if len(members) < 2:
            raise ValueError(
                f"resample needs at least two pairs that agree, got {len(members)} for which among "
                f"gives {value!r} (query {pairs[members[0]].query_id}, document "
                f"{pairs[members[0]].doc_id}); give more pairs, or group them more coarsely"
            )
        of_group = np.array(members)
        others[of_group] = of_group[draw_others(len(members), seed + number)]
    return others


def resampling(
    ranker: Ranker, aligned: Sequence[AlignedPair], others: np.ndarray, on: str
) -> Callable[[Runs], Runs]:
    """Put into a batch's runs each pair's z of the other pair that was drawn for it."""

    def stretched(index: int, n_pos: int) -> list[Float[Tensor, "pos head d_head"]]:
        (other,) = make_batches(ranker, [aligned[others[index]]], max_tokens=1)
        # First to first and last to last, so that [CLS] and the final [SEP] meet their like.
        places = torch.linspace(0, other.n_pos - 1, n_pos, device=ranker.device).round().long()
        return [z[0, places if z.shape[1] > 1 else [0]] for z in _all_z(ranker, other.side(on))]

    def prepare(runs: Runs) -> Runs:
        drawn = [stretched(int(index), runs.batch.n_pos) for index in runs.batch.index]
        return replace(runs, given_z=tuple(map(torch.stack, zip(*drawn, strict=True))))

    return prepare


def _all_z(ranker: Ranker, inputs: dict[str, Tensor]) -> list[Tensor]:
    names = [ranker.stack.hook_name("head", layer) for layer in range(ranker.n_layers)]
    by_name = activations(ranker, inputs, names)
    return [by_name[name] for name in names]
