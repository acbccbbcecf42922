"""Ask whether a circuit, with a part knocked out, does as the whole ranker without that part.

A circuit that survives alone may still lack heads that do the same as its own; they show when some
of its heads are knocked out. With K a random part of the circuit C, and f what survives
(`mechir_edu.patching.circuits.result`), the gap of K is

    f(C without K) - f(all heads without K)

and a complete circuit has none for any K (Wang et al., Interpretability in the wild: a circuit for
indirect object identification in GPT-2 small, ICLR 2023, section 4.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from mechir_edu import stats
from mechir_edu.alignment.aligned import AlignedPairs
from mechir_edu.collection.progress import Progress
from mechir_edu.patching.circuits.measure import Measure, set_job
from mechir_edu.patching.circuits.options import CircuitOptions
from mechir_edu.patching.circuits.sets import all_heads
from mechir_edu.patching.entry import takes_turn
from mechir_edu.patching.numbers import plain_heads, whole_number
from mechir_edu.patching.options import Direction
from mechir_edu.patching.scoring import align_for, score_runs
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.hook_names import Head, require_heads


# Compared by identity: arrays have no single answer to ==.
@dataclass(frozen=True, eq=False)
class Completeness:
    """What survives in a circuit, and in the whole ranker, with the same heads knocked out.

    Attributes
    ----------
    knocked_out : the heads of each knock-out K, all of the circuit.
    circuit, whole : f of the circuit without K, and of all heads without K, [knockout].
    gap : ``circuit - whole`` of each knock-out, with an interval over queries, [knockout].
    """

    knocked_out: tuple[tuple[Head, ...], ...]
    circuit: Float[np.ndarray, " knockout"]
    whole: Float[np.ndarray, " knockout"]
    gap: stats.Recovery

    @property
    def mean(self) -> float:
        """Mean absolute gap; 0 for a complete circuit."""
        return float(np.abs(self.gap.value).mean())

    @property
    def worst(self) -> float:
        """Largest absolute gap."""
        return float(np.abs(self.gap.value).max())

    def to_dataframe(self) -> pd.DataFrame:
        """One row per knock-out: knocked_out, n_heads, circuit, whole, gap, low, high."""
        names = [", ".join(f"{layer}.{head}" for layer, head in out) for out in self.knocked_out]
        return pd.DataFrame(
            {
                "knocked_out": names,
                "n_heads": [len(out) for out in self.knocked_out],
                "circuit": self.circuit,
                "whole": self.whole,
                "gap": self.gap.value,
                "low": self.gap.low,
                "high": self.gap.high,
            }
        )


@takes_turn
@torch.no_grad()
def completeness(
    ranker: Ranker,
    pairs: Sequence[Pair] | AlignedPairs,
    heads: Sequence[Head],
    *,
    n_knockouts: int = 20,
    ablation: str = "other run",
    direction: Direction = "auto",
    filler: str = "a",
    seed: int = 0,
    memory: int | None = None,
    progress: Progress = True,
) -> Completeness:
    """Knock random parts of a circuit out of it and out of the whole ranker, and compare.

    Parameters
    ----------
    ranker, pairs, ablation, direction, filler, memory, progress : as in `mechir_edu.circuit`.
    heads : the circuit.
    n_knockouts : how many parts are drawn: first a size from 1 to that of the circuit, each as
        likely, then the heads.
    seed : of the draws, and of resampling.

    Raises
    ------
    ValueError, TypeError
        For no head, a head twice or one that the ranker lacks, and as `mechir_edu.circuit`.
    """
    heads, n_knockouts = plain_heads(heads), whole_number("n_knockouts", n_knockouts, least=1)
    if not heads:
        raise ValueError("heads needs at least one head of a circuit to knock out, got none")
    options = CircuitOptions(
        order=heads, ablation=ablation, direction=direction, filler=filler, seed=seed, memory=memory
    )
    require_heads(heads, ranker.n_layers, ranker.n_heads)
    job = set_job(ranker, align_for(ranker, pairs, filler), memory)
    chosen, recipient, donor = score_runs(job.model, job.batches, len(job.lengths), direction)
    knocked_out = _draw(heads, n_knockouts, options.seed)
    everything = frozenset(all_heads(ranker))
    sets = [frozenset(heads).difference(out) for out in knocked_out]
    sets += [everything.difference(out) for out in knocked_out]
    measure = Measure(job, chosen, ablation, options.seed)
    _, effects = measure.effects([], sets, progress=progress)
    effects = effects.astype(np.float64)
    recipient, donor = recipient.astype(np.float64), donor.astype(np.float64)
    query_ids = [pair.pair.query_id for pair in job.aligned.aligned]
    in_circuit, in_whole = effects[:n_knockouts], effects[n_knockouts:]
    gap = stats.recovery(
        recipient + in_circuit - in_whole, recipient, donor, query_ids=query_ids, axes=("knockout",)
    )
    change = (donor - recipient).mean()
    return Completeness(
        knocked_out,
        circuit=in_circuit.mean(axis=-1) / change,
        whole=in_whole.mean(axis=-1) / change,
        gap=gap,
    )


def _draw(heads: tuple[Head, ...], n: int, seed: int) -> tuple[tuple[Head, ...], ...]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, len(heads) + 1, size=n)
    drawn = (rng.permutation(len(heads))[:size] for size in sizes)
    return tuple(tuple(sorted(heads[i] for i in places)) for places in drawn)
