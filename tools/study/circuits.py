"""Measure the circuit of each axiom: heads are ordered on one collection, tested on the other.

::

    DIR/dot/circuits/
      TFC1-signed/         a run of `mechir_edu.circuit`, which resumes
      TFC1-signed.npz      its result, without the passages' texts
      ranking-TFC1-14.json the second collection ranked by the first 14 heads alone

The order comes from the study's effects of single heads on the pairs of the first collection, at
the end of the document: *signed* (heads that move the score as the added word did come first), or
by *magnitude*. All sizes are then measured on the pairs of the second collection, so that no query
both chooses heads and tests them. As in MIB, CPR belongs to the signed order and CMD, which asks
for the whole ranker's behaviour, to that by magnitude; so do rankings by a circuit alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mechir_edu.collection.collection import Collection
from mechir_edu.interventions.circuits import rank_faithfulness
from mechir_edu.patching.circuits.circuit import circuit_into_folder
from mechir_edu.patching.circuits.options import FEWEST_DRAWS, CircuitOptions
from mechir_edu.patching.circuits.result import CircuitResult
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.hook_names import Head
from study.folder import Folder
from study.part import Part, read_part
from study.plan import BY, END, FEWEST_QUERIES, RANKED_BY, STUDIED, Condition, Versions

MEASURE = "nDCG@10"
MEAN_OF = 64  # queries and passages over which the mean of a head that is left out is taken


def measure_circuits(
    ranker: Ranker, folder: Folder, versions: Versions, collections: Mapping[str, Collection]
) -> None:
    """Measure what is left of a ranker's circuits; nothing where there are no two collections.

    Parameters
    ----------
    ranker, folder : all blocks of the folder have to be complete.
    versions : the pairs of each edit.
    collections : by name; the first orders the heads, the second tests them.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    part = read_part(folder)
    places = [np.flatnonzero(mask) for mask in part.collections.values()]
    if len(places) != 2 or min(len({*part.query_ids[at]}) for at in places) < FEWEST_QUERIES:
        return
    chosen, tested = places
    for axiom in STUDIED:
        pairs = [versions[axiom, END][i] for i in tested]
        for by in BY:
            if folder.circuit(axiom, by) is None:
                order = order_heads(part, axiom, by, chosen)
                result = _measure(ranker, folder, pairs, axiom, by, order)
                folder.keep_circuit(axiom, by, without_texts(result))
    _rank(ranker, folder, *collections.values())


def order_heads(part: Part, axiom: str, by: str, rows: Sequence[int]) -> tuple[Head, ...]:
    """Order all heads by their mean effects on some pairs, the first of a circuit first."""
    condition = Condition(axiom, END)
    effect = part.effect(condition)[..., rows].mean(axis=-1)
    value = effect * np.sign(part.change_with_filler(condition)[rows].mean())
    falling = np.argsort(-(np.abs(value) if by == "magnitude" else value), axis=None, kind="stable")
    layers, heads = np.unravel_index(falling, effect.shape)
    return tuple(zip(layers.tolist(), heads.tolist(), strict=True))


def _measure(
    ranker: Ranker,
    folder: Folder,
    pairs: Sequence[Pair],
    axiom: str,
    by: str,
    order: tuple[Head, ...],
) -> CircuitResult:
    condition = Condition(axiom, END)
    options = CircuitOptions(
        order=order,
        direction=condition.direction,
        filler=condition.filler,
        # Random circuits of a size are the same for both orders.
        n_random=FEWEST_DRAWS if by == BY[0] else 0,
        seed=folder.made_of["seed"],
    )
    path = folder.path / "circuits" / f"{axiom}-{by}"
    return circuit_into_folder(ranker, pairs, path, options, asked={"study": folder.digest})


def _rank(ranker: Ranker, folder: Folder, first: Collection, second: Collection) -> None:
    """Rank the second collection by circuits alone; means are those of the first."""
    over = first.sample(MEAN_OF).judged
    for axiom in STUDIED:
        result = folder.circuit(axiom, BY[1])
        for number in sorted({int(share * len(result.order)) for share in RANKED_BY}):
            if folder.ranking(axiom, number) is None:
                heads = result.heads(number)
                measured = rank_faithfulness(ranker, second, heads, over=over, measures=(MEASURE,))
                sides = (measured.comparison.before, measured.comparison.after)
                full, circuit = (side.values[MEASURE].tolist() for side in sides)
                columns = {"query_id": list(sides[0].query_ids), "tau": measured.taus.tolist()}
                folder.keep_ranking(axiom, number, columns | {"full": full, "circuit": circuit})


def without_texts(result: CircuitResult) -> CircuitResult:
    """The same result, small, and without what belongs to the collection.

    Of random circuits the mean over the pairs is kept, which is all that their band is made of.
    """
    drawn = result.random_effects.mean(axis=-1, keepdims=True, dtype=np.float64)
    drawn = np.broadcast_to(drawn.astype(np.float32), result.random_effects.shape)
    pairs = tuple(
        replace(pair, query="", baseline="", perturbed="", term=None, edit=None)
        for pair in result.pairs
    )
    return replace(result, random_effects=drawn, pairs=pairs)
