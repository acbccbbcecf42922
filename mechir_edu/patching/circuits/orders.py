"""Put heads in the order in which a circuit takes them up.

``exact``, ``gradient``
    By the mean effect of each head patched alone, exactly or by the gradient's estimate, signed:
    heads that move the score as the donor did come first. With ``_magnitude``, by its size.
``greedy``
    Grown from the read-out backwards, by exact measurement. Alone, a head of the last layers
    survives with nothing, as what it reads is taken away; so a candidate of layer L is measured
    while all heads of the layers before L are still there, and of the layers from L on only the
    circuit and the candidate. The largest gain is taken up, and all are measured again. (EAP-IG's
    ``apply_greedy`` grows from the logits upward as well, by estimates; Hanna, Pezzelle and
    Belinkov, Have faith in faithfulness, COLM 2024.)
``backward``
    Backward elimination as in ACDC (Conmy et al., Towards automated circuit discovery for
    mechanistic interpretability, NeurIPS 2023): from the last layer to the first, a head is dropped
    if what survives moves away from 1 by less than a threshold. When a sweep is done, the threshold
    is doubled and the heads that are left are tried again, so the heads that are dropped last come
    first in the order.
``pruning``
    Heads are dropped one at a time: of all that are left, the head without which most survives, by
    exact measurement (greedy backward elimination; iterative pruning of heads in Michel, Levy and
    Neubig, Are sixteen heads really better than one?, NeurIPS 2019). The head dropped last comes
    first. It measures n (n + 1) / 2 - 1 sets of n heads, 4,655 of 96.
``random``
    Shuffled.

On the embedded cross-encoder (``docs/study/orders.md``: searched on 40 pairs of TREC DL 2019,
measured on 80 of 2020) most survives with ``pruning``, at every size shown and under both axioms.
With ``greedy`` more survives than with ``exact`` from 24 heads on and no more with 8 or 16, perhaps
because a candidate is judged while all earlier heads are still there, which a small circuit lacks.
All three searches restore less than ``exact`` with few heads. More than 1 can survive, for heads
that work against the change are dropped first, or come last.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from mechir_edu.alignment.aligned import AlignedPairs
from mechir_edu.patching.activation import patch_with
from mechir_edu.patching.circuits.sets import HeadSet, all_heads
from mechir_edu.patching.options import ChosenDirection, PatchOptions
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.hook_names import Head

FIRST_THRESHOLD = 0.001  # of the score change

Value = Callable[[Sequence[HeadSet]], list[float]]  # share of the score change that survives


def by_effect(
    ranker: Ranker, aligned: AlignedPairs, how: str, direction: ChosenDirection
) -> tuple[Head, ...]:
    """Order heads by the effect of each alone, on these pairs."""
    method, _, size = how.partition("_")
    options = PatchOptions(direction=direction, filler=aligned.filler, method=method)
    result = patch_with(options, ranker, aligned, progress=False)
    effect = result.effect().mean(axis=-1, dtype=np.float64).ravel()
    effect = effect * np.sign((result.donor - result.recipient).mean())
    falling = np.argsort(-(np.abs(effect) if size else effect), kind="stable")
    heads = all_heads(ranker)
    return tuple(heads[i] for i in falling)


def shuffled(heads: Iterable[Head], seed: int, draw: int) -> tuple[Head, ...]:
    """A random order; each seed and draw has its own."""
    heads = list(heads)
    return tuple(heads[i] for i in np.random.default_rng([seed, draw]).permutation(len(heads)))


def grow(value: Value, heads: Sequence[Head], until: int) -> tuple[Head, ...]:
    """Order heads by growing from the read-out backwards; those after ``until`` by the last gains.

    Parameters
    ----------
    value : share that survives of each set.
    heads : all heads of the ranker.
    until : how many heads are taken up one by one.
    """
    grown: list[Head] = []
    left = sorted(heads, key=lambda head: (-head[0], head[1]))
    while left:
        layers = sorted({layer for layer, _ in left})
        kept = {
            layer: frozenset(grown) | {head for head in heads if head[0] < layer}
            for layer in layers
        }
        sets = [kept[layer] for layer in layers] + [kept[head[0]] | {head} for head in left]
        values = value(sets)
        before = dict(zip(layers, values, strict=False))
        gains = [v - before[h[0]] for v, h in zip(values[len(layers) :], left, strict=True)]
        falling = np.argsort(-np.array(gains), kind="stable")
        if len(grown) >= until:
            return (*grown, *(left[i] for i in falling))
        grown.append(left.pop(falling[0]))
    return tuple(grown)


def prune(value: Value, heads: Sequence[Head], until: int = 0) -> tuple[Head, ...]:
    """Order all heads by dropping that without which most survives; ``value`` as for `grow`."""
    kept, dropped = list(heads), list[Head]()
    while len(kept) > 1:
        without = value([frozenset(kept) - {head} for head in kept])
        dropped.append(kept.pop(int(np.argmax(without))))
    return (*kept, *reversed(dropped))


def eliminate(value: Value, heads: Sequence[Head], until: int = 0) -> tuple[Head, ...]:
    """Order all heads by backward elimination with a rising threshold; ``value`` as for `grow`."""
    kept, dropped, threshold = list(heads), list[Head](), FIRST_THRESHOLD
    (now,) = value([frozenset(kept)])
    while kept:
        for head in sorted(kept, key=lambda head: (-head[0], head[1])):
            (without,) = value([frozenset(kept) - {head}])
            if abs(1 - without) - abs(1 - now) < threshold:
                kept.remove(head)
                dropped.append(head)
                now = without
        threshold *= 2
    return tuple(reversed(dropped))


SEARCHES = {"greedy": grow, "backward": eliminate, "pruning": prune}


def n_sets(how: str, heads: Sequence[Head], until: int) -> int | None:
    """How many sets a search of `SEARCHES` measures: at most, for "greedy"; None where it depends.

    Parameters
    ----------
    how, heads, until : name and input of the search.
    """
    n = len(heads)
    if how == "pruning":
        return n * (n + 1) // 2 - 1
    if how == "greedy":
        n_layers = len({layer for layer, _ in heads})
        return sum(n - taken + min(n_layers, n - taken) for taken in range(until + 1))
    return None
