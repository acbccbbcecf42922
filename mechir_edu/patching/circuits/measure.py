"""Ask of every pair what a set of heads restores, and what survives with it alone.

Conventions
-----------
With s the score, r the recipient's run, d the donor's, and C a set of heads, an *effect* is how far
the score moves from the recipient's towards the donor's, in score units:

restored
    s(r, z of C from d) - s(r): the circuit alone is put into the recipient's run (denoising).
survives, ``ablation="other run"``
    s(d, z outside C from r) - s(r): everything but the circuit is taken from the recipient's run.
survives, ``ablation="mean"`` or ``"resample"``
    s(d, z outside C ablated) - s(r, z outside C ablated): what is left of the score change when
    both runs hold the same z outside the circuit: each head's mean, or its z in another pair
    (`mechir_edu.patching.elsewhere`), of baseline documents.

Divided by the score change s(d) - s(r), an effect is the share that is restored or survives.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mechir_edu.alignment.aligned import AlignedPairs
from mechir_edu.collection.progress import Progress, counted
from mechir_edu.patching.activation import Job, make_job
from mechir_edu.patching.batches import Runs, make_batches
from mechir_edu.patching.budget import bytes_of_weights, bytes_per_token
from mechir_edu.patching.circuits.sets import (
    BothEffects,
    Effects,
    HeadSet,
    HookedSets,
    KeptRun,
    SuffixSets,
    all_heads,
)
from mechir_edu.patching.elsewhere import draw_others, mean_z, resampling
from mechir_edu.patching.engines.suffix import PostLNStack
from mechir_edu.patching.engines.threads import side_by_side
from mechir_edu.patching.options import ChosenDirection, PatchOptions
from mechir_edu.rankers.base import Ranker

ROOM = 256 * 10**6  # bytes of runs that a search keeps at most
STACKED = 1600  # tokens of sets in one pass without a budget; fewer are up to a fifth slower


def set_job(
    ranker: Ranker, aligned: AlignedPairs, memory: int | None, progress: Progress = False
) -> Job:
    """Pairs in batches that leave room for every layer's z of both runs.

    Raises
    ------
    ValueError
        As `mechir_edu.patch` does for a ranker, or for too little memory.
    """
    job = make_job(PatchOptions(filler=aligned.filler, memory=memory), ranker, aligned, progress)
    share = max(3, ranker.n_layers)
    batches = list(make_batches(ranker, aligned.aligned, max_tokens=job.limit // share))
    batches.reverse()  # the longest first
    return replace(job, batches=batches, at_once=min(job.at_once, len(batches)))


@dataclass(frozen=True, eq=False)
class Begun:
    """A batch's two runs, as they are before any set is put in."""

    recipient: KeptRun
    donor: KeptRun
    runs: Runs

    @property
    def size(self) -> int:
        """Bytes."""
        sides = (self.recipient, self.donor)
        tensors = [t for side in sides for t in (*side.resid_pre, *side.z)]
        return sum(t.nbytes for t in (*tensors, *(self.runs.given_z or ())))


def room_for_runs(job: Job) -> int:
    """Bytes for runs that a search keeps: what a budget leaves beside passes, at most `ROOM`."""
    if job.options.memory is None:
        return ROOM
    passes = job.at_once * job.limit * bytes_per_token(job.ranker)
    return min(ROOM, max(0, int(job.options.memory) - bytes_of_weights(job.ranker) - passes))


@dataclass(frozen=True, eq=False)
class Measure:
    """What measures sets of heads on some pairs.

    Attributes
    ----------
    job : of `set_job`.
    direction : which run gives, "perturbed_to_baseline" or the reverse.
    ablation : one of `mechir_edu.patching.circuits.options.ABLATIONS`.
    seed : of the pairs that "resample" draws.
    room : bytes that may be taken by runs that are kept from one call to the next; a search, which
        asks for a few sets many times, saves most of its time by them.
    """

    job: Job
    direction: ChosenDirection
    ablation: str = "other run"
    seed: int = 0
    room: int = 0
    held: dict[int, "Begun"] = field(default_factory=dict, init=False)

    @property
    def n_pairs(self) -> int:
        """How many pairs are measured."""
        return len(self.job.lengths)

    @cached_property
    def engine(self) -> SuffixSets | HookedSets:
        """The fast engine where weights say all there is to know, else hooks."""
        if isinstance(self.job.model, PostLNStack):
            limit = self.job.limit
            limit = max(limit, STACKED) if self.job.options.memory is None else limit
            return SuffixSets(self.job.model, limit)
        return HookedSets(self.job.ranker, self.job.limit, self.job.choice.may_skip)

    @property
    def is_fast(self) -> bool:
        """Whether sets are put in on weights alone, and so in threads."""
        return isinstance(self.engine, SuffixSets)

    @cached_property
    def ablate(self) -> Callable[[Runs], Runs]:
        """Puts the z that stands for what is outside a circuit into a batch's runs."""
        ranker, aligned = self.job.ranker, self.job.aligned.aligned
        if self.ablation == "mean":
            mean = mean_z(ranker, self.job.batches, "baseline")
            return lambda runs: replace(runs, given_z=mean)
        if self.ablation == "resample":
            return resampling(ranker, aligned, draw_others(len(aligned), self.seed), "baseline")
        return lambda runs: runs

    def effects(
        self,
        restoring: Sequence[HeadSet],
        surviving: Sequence[HeadSet],
        *,
        progress: Progress = False,
    ) -> BothEffects:
        """Effects of both kinds, [set, pair] each; progress counts pairs."""
        restored = np.zeros((len(restoring), self.n_pairs), dtype=np.float32)
        survives = np.zeros((len(surviving), self.n_pairs), dtype=np.float32)
        batches = range(len(self.job.batches))
        for k, (first, second) in self.by_batch(batches, restoring, surviving, progress=progress):
            index = self.job.batches[k].index
            restored[:, index], survives[:, index] = first, second
        return restored, survives

    @torch.no_grad()
    def by_batch(
        self,
        wanted: Iterable[int],
        restoring: Sequence[HeadSet],
        surviving: Sequence[HeadSet],
        *,
        progress: Progress = False,
    ) -> Iterator[tuple[int, BothEffects]]:
        """The same for some batches, by their number, as they are done."""
        wanted, everything = list(wanted), frozenset(all_heads(self.job.ranker))
        outside = [everything - heads for heads in surviving]

        # As in `Job.patch`: the wrapped model runs here, and what follows may run in threads.
        def begin(k: int) -> Begun:
            if k in self.held:
                return self.held[k]
            runs = self.ablate(self.job.batches[k].runs(self.direction))
            recipient, donor = (
                self.engine.keep(runs.batch, s) for s in (runs.recipient, runs.donor)
            )
            begun = Begun(recipient, donor, runs)
            if begun.size + sum(of_batch.size for of_batch in self.held.values()) <= self.room:
                self.held[k] = begun
            return begun

        def finish(begun: Begun) -> BothEffects:
            recipient, donor, runs = begun.recipient, begun.donor, begun.runs
            restored = self.engine.scores(recipient, donor.z, restoring) - recipient.scores
            if runs.given_z is None:
                survives = self.engine.scores(donor, recipient.z, outside) - recipient.scores
            else:
                survives = self.engine.scores(donor, runs.given_z, outside)
                survives = survives - self.engine.scores(recipient, runs.given_z, outside)
            return _plain(restored), _plain(survives)

        n_threads = self.job.at_once if self.is_fast else 1
        sizes = [self.job.batches[k].n_pairs for k in wanted]
        with closing(side_by_side(finish, map(begin, wanted), n_threads)) as done:
            yield from zip(wanted, counted(done, sizes, "measuring sets", progress), strict=True)


@dataclass(eq=False)
class Tried:
    """Values of sets that were measured, so that a search that was stopped resumes with them.

    Attributes
    ----------
    measure : on the pairs on which heads are ranked.
    change : mean score change of these pairs, donor minus recipient.
    values : what was measured so far.
    keep : told of new values.
    count : told how many sets were asked for, measured anew or not.
    """

    measure: Measure
    change: float
    values: dict[str, float] = field(default_factory=dict)
    keep: Callable[[dict[str, float]], object] = lambda values: None
    count: Callable[[int], object] = lambda n: None

    def __call__(self, sets: Sequence[HeadSet]) -> list[float]:
        """Share of the mean score change that survives in each set."""
        names = [json.dumps(sorted(heads)) for heads in sets]
        new = {n: s for n, s in zip(names, sets, strict=True) if n not in self.values}
        if new:
            _, effects = self.measure.effects([], list(new.values()))
            shares = effects.mean(axis=1, dtype=np.float64) / self.change
            values = dict(zip(new, shares.tolist(), strict=True))
            self.values |= values
            self.keep(values)
        self.count(len(sets))
        return [self.values[name] for name in names]


def _plain(effects: Tensor) -> Effects:
    return effects.cpu().numpy().astype(np.float32)
