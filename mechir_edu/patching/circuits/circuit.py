"""Which heads are enough: take them up one after another, and ask both questions of each circuit.

::

    circuit ─> align, choose the direction ─┬─ some queries ──> order of the heads
                                            └─ the others ────> restored, survives ─> CircuitResult
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mechir_edu.alignment.aligned import AlignedPairs
from mechir_edu.collection.progress import Progress, bar
from mechir_edu.patching.circuits.folder import Kept, kept_in
from mechir_edu.patching.circuits.measure import Measure, Tried, room_for_runs, set_job
from mechir_edu.patching.circuits.options import FEWEST_DRAWS, CircuitOptions
from mechir_edu.patching.circuits.orders import SEARCHES, by_effect, n_sets, shuffled
from mechir_edu.patching.circuits.result import CircuitResult
from mechir_edu.patching.circuits.sets import HeadSet, all_heads
from mechir_edu.patching.entry import takes_turn
from mechir_edu.patching.long_runs.folder import describe_pairs
from mechir_edu.patching.options import ChosenDirection, Direction, PatchOptions
from mechir_edu.patching.scoring import align_for, provenance_of, score_runs
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.hook_names import Head


@takes_turn
def circuit(
    ranker: Ranker,
    pairs: Sequence[Pair] | AlignedPairs,
    *,
    order: str | Sequence[Head] = "exact",
    sizes: Sequence[int | float] | None = None,
    ablation: str = "other run",
    direction: Direction = "auto",
    filler: str = "a",
    n_random: int = FEWEST_DRAWS,
    ranked_on: float = 0.5,
    seed: int = 0,
    memory: int | None = None,
    progress: Progress = True,
) -> CircuitResult:
    """Measure what the first heads of an order restore alone, and what survives without the rest.

    Parameters
    ----------
    ranker, pairs, direction, filler, memory, progress : as in `mechir_edu.patch`.
    order : "exact", "exact_magnitude", "gradient", "gradient_magnitude", "greedy", "backward",
        "pruning" or "random" (`mechir_edu.patching.circuits.orders`), or a list of (layer, head).
    sizes : ascending; whole numbers are numbers of heads, fractions are shares of all heads,
        rounded down. MIB's 0.1 to 100 % when omitted, or each number of a list of some heads.
    ablation : what stands for everything outside the circuit: "other run", the recipient's;
        "mean" or "resample", as in `mechir_edu.ablate`, in both runs
        (`mechir_edu.patching.circuits.measure`).
    n_random : random orders measured beside, at least 20, or 0.
    ranked_on : share of the queries on which heads are ranked; the others are measured. A list and
        a random order need no ranking, and are measured on all queries.
    seed : of the queries ranked on, of random orders, and of resampling.

    Returns
    -------
    CircuitResult
        ``restored()`` and ``survives()`` with intervals over queries, CPR and CMD, each pair's
        share, and the band of random circuits. Formulas and sources are in
        `mechir_edu.patching.circuits.result`.

    Raises
    ------
    ValueError
        For an unknown option, sizes that cannot be filled, fewer than two queries to rank on one
        and measure on another, or what `mechir_edu.patch` refuses.
    TypeError
        For what is no ranker, pair, head or number.
    """
    options = CircuitOptions(
        order=order,
        sizes=sizes,
        ablation=ablation,
        direction=direction,
        filler=filler,
        n_random=n_random,
        ranked_on=ranked_on,
        seed=seed,
        memory=memory,
    )
    return circuit_with(options, ranker, pairs, progress=progress)


@takes_turn
@torch.no_grad()
def circuit_with(
    options: CircuitOptions,
    ranker: Ranker,
    pairs: Sequence[Pair] | AlignedPairs,
    *,
    progress: Progress = True,
    kept: Kept | None = None,
) -> CircuitResult:
    """`circuit`, with its options as one value, and what was kept of a run that was stopped."""
    kept = kept or Kept()
    sized = options.shares_and_numbers(ranker.n_layers, ranker.n_heads)
    aligned = align_for(ranker, pairs, options.filler)
    ranked, measured, ranked_queries = split(aligned, options)
    job = set_job(ranker, aligned, options.memory)
    n_pairs = len(job.lengths)
    direction, recipient, donor = score_runs(job.model, job.batches, n_pairs, options.direction)
    order = kept.order()
    if order is None:
        change = (donor[ranked].astype(np.float64) - recipient[ranked]).mean()
        _require_change(change)
        numbers = [number for _, number in sized]
        part = _part(aligned, ranked)
        order = _order(options, ranker, part, direction, float(change), numbers, kept, progress)
        kept.keep_order(order)
    measure = Measure(
        set_job(ranker, _part(aligned, measured), options.memory),
        direction,
        options.ablation,
        options.seed,
    )
    heads = all_heads(ranker)
    orders = [order, *(shuffled(heads, options.seed, k + 1) for k in range(options.n_random))]
    sets = [
        frozenset(heads if number == len(heads) else of_heads[:number])
        for of_heads in orders
        for _, number in sized
    ]
    effects = _measured(measure, sets, kept, progress)
    effects = effects.reshape(2, len(orders), len(sized), -1).swapaxes(0, 1)
    return CircuitResult(
        effects=effects[0],
        random_effects=effects[1:],
        recipient=recipient[measured],
        donor=donor[measured],
        shares=np.array([share for share, _ in sized]),
        numbers=np.array([number for _, number in sized]),
        order=order,
        ordered_by=options.order if isinstance(options.order, str) else "list",
        ablation=options.ablation,
        direction=direction,
        filler=aligned.filler,
        pairs=tuple(aligned.aligned[i].pair for i in measured),
        ranked_queries=ranked_queries,
        skipped=tuple(aligned.skipped),
        provenance=_provenance(options, ranker, measure),
    )


def circuit_into_folder(
    ranker: Ranker,
    pairs: Sequence[Pair],
    folder: str | Path,
    options: CircuitOptions | None = None,
    *,
    asked: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> CircuitResult:
    """Measure a circuit into a folder that `CircuitResult.load` reads; the same call resumes it.

    Parameters
    ----------
    ranker, pairs : as for `mechir_edu.circuit`.
    folder : new, empty, or that of the same run.
    options : what is asked; heads by exact effects when omitted.
    asked : what else the pairs depend on (collection, seed, ...); only what JSON can hold.
    progress : show a bar.

    Raises
    ------
    ValueError
        As `mechir_edu.circuit`; when the folder holds a run that was made of something else.
    OSError
        If the folder is in use, holds other files, or cannot be written.
    """
    options = options or CircuitOptions()
    options.shares_and_numbers(ranker.n_layers, ranker.n_heads)
    made_of = dict(asked or {}) | asdict(options) | dict(ranker.settings)
    made_of |= provenance_of(ranker, PatchOptions().sweep(ranker)) | describe_pairs(pairs)
    with kept_in(Path(folder), made_of) as kept:
        result = circuit_with(options, ranker, pairs, progress=progress, kept=kept)
        kept.keep_result(result)
    return result


def split(
    aligned: AlignedPairs, options: CircuitOptions
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Pairs to rank heads on, pairs to measure on (by their places), and the former's queries.

    Raises
    ------
    ValueError
        For fewer than two queries, where heads have to be ranked.
    """
    query_ids = np.array([pair.pair.query_id for pair in aligned.aligned])
    everything = np.arange(len(query_ids))
    if not options.is_ranked:
        return everything, everything, ()
    queries = np.unique(query_ids)
    if len(queries) < 2:
        raise ValueError(
            "needed at least two queries, to rank heads on one and measure on another, got "
            f"{len(queries)}; give the order as a list of heads, or more queries"
        )
    n_ranked = min(max(1, round(options.ranked_on * len(queries))), len(queries) - 1)
    chosen = np.random.default_rng([options.seed, 0]).permutation(queries)[:n_ranked]
    is_ranked = np.isin(query_ids, chosen)
    ranked_queries = tuple(sorted(map(str, chosen)))
    return everything[is_ranked], everything[~is_ranked], ranked_queries


def _part(aligned: AlignedPairs, places: np.ndarray) -> AlignedPairs:
    return replace(aligned, aligned=tuple(aligned.aligned[i] for i in places))


def _require_change(change: float) -> None:
    if change == 0:
        raise ValueError(
            "heads are ranked by the score change that they carry, but the mean score change of "
            "the pairs is exactly 0; give the order as a list of heads, or other pairs"
        )


def _order(
    options: CircuitOptions,
    ranker: Ranker,
    aligned: AlignedPairs,
    direction: ChosenDirection,
    change: float,
    numbers: Sequence[int],
    kept: Kept,
    progress: Progress,
) -> tuple[Head, ...]:
    """Order heads on the pairs to rank them on."""
    if not isinstance(options.order, str):
        return tuple(options.order)
    heads = all_heads(ranker)
    if options.order == "random":
        return shuffled(heads, options.seed, 0)
    if options.order not in SEARCHES:
        return by_effect(ranker, aligned, options.order, direction)
    job = set_job(ranker, aligned, options.memory)
    room = room_for_runs(job)
    measure = Measure(job, direction, options.ablation, options.seed, room)
    # How the heads behind the largest circuit stand does not matter.
    until = max(number for number in (0, *numbers) if number < len(heads))
    total = n_sets(options.order, heads, until)
    with bar(
        total, f"ordering heads, {options.order}", unit="sets", shown=progress is True
    ) as seen:
        tried = Tried(measure, change, kept.tried(), kept.keep_tried, seen.update)
        return SEARCHES[options.order](tried, heads, until)


def _measured(measure: Measure, sets: list[HeadSet], kept: Kept, progress: Progress) -> np.ndarray:
    """Effects of all sets on all pairs, [protocol, set, pair], batch by batch."""
    effects = np.zeros((2, len(sets), measure.n_pairs), dtype=np.float32)
    missing = []
    for k, batch in enumerate(measure.job.batches):
        if (of_batch := kept.effects(k)) is None:
            missing.append(k)
        else:
            effects[:, :, batch.index] = of_batch
    for k, of_batch in measure.by_batch(missing, sets, sets, progress=progress):
        kept.keep_effects(k, of_batch)
        effects[:, :, measure.job.batches[k].index] = of_batch
    return effects


def _provenance(options: CircuitOptions, ranker: Ranker, measure: Measure) -> dict[str, Any]:
    code = measure.job.choice.record(ranker, "exact", is_fast=measure.is_fast)
    return provenance_of(ranker, measure.job.sweep) | {
        **code,
        "n_layers": ranker.n_layers,
        "n_heads": ranker.n_heads,
        "reads_first_position_only": ranker.reads_first_position_only,
        "seed": options.seed,
        "ranked_on": options.ranked_on,
    }
