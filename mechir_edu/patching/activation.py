"""Activation patching: what is patched, and what scores come out.

Three runs of a ranker: baseline, perturbed, and *patched* - the recipient's run with one cell's
activation taken from the donor's. ``direction`` says which run gives: ``"perturbed_to_baseline"``
puts the perturbed run's activations into the baseline run. Nothing is averaged here; the result
keeps the score of every pair after every patch.

Methods
-------
``exact``
    Only what the patch can change is run again, by the engine that `mechir_edu.patching.engines`
    has for the ranker; with hooks of your own, through hooks (``provenance["engine"]`` says which
    and why). The same numbers as ``naive``.
``naive``
    One forward pass for each cell, through hooks: the reference.
``gradient``
    All cells estimated at once by attribution patching (`mechir_edu.patching.engines.gradient`).
``screened``
    The same, then exact patching of as many heads as the ``top_k`` by absolute mean effect need
    (`mechir_edu.patching.engines.screening`).

How it is done
--------------
::

    patch ─> Job ─┬─ measure ──┐
                  └─ estimate ─┴─> Measured ─> as_result ─> PatchingResult

A `Job` holds the aligned pairs in batches of equal length. `measure` scores both runs of each,
chooses the direction, and lets an *engine* patch batch after batch (`Job.patch`): a function of
one batch's `Runs` that gives cells and their scores, which `Scores` puts in their places.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from mechir_edu.alignment.aligned import AlignedPairs
from mechir_edu.collection.progress import Progress, counted
from mechir_edu.patching.batches import Batch, Encoder, Runs, make_batches
from mechir_edu.patching.engines.branch import KEPT
from mechir_edu.patching.engines.choice import (
    Choice,
    choose_engine,
    fast_stack,
    require_sound,
)
from mechir_edu.patching.engines.gradient import linearise
from mechir_edu.patching.engines.hooks import patch_naive, patch_together
from mechir_edu.patching.engines.prefix import patch_through_hooks
from mechir_edu.patching.engines.screening import screen
from mechir_edu.patching.engines.suffix import PostLNStack
from mechir_edu.patching.engines.threads import side_by_side
from mechir_edu.patching.entry import takes_turn
from mechir_edu.patching.options import (
    DIRECTIONS,
    ESTIMATING,
    ChosenDirection,
    Direction,
    PatchOptions,
)
from mechir_edu.patching.result import PatchingResult
from mechir_edu.patching.rows import By
from mechir_edu.patching.scoring import (
    align_for,
    choose_direction,
    in_direction,
    passes_at_once,
    provenance_of,
    score_runs,
    token_limit,
)
from mechir_edu.patching.sweep import Scored, Scores, Sweep
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.hook_names import Head
from mechir_edu.rankers.views import at_stack

Engine = Callable[[Runs], Iterator[Scored]]


@takes_turn
def patch(
    ranker: Ranker,
    pairs: Sequence[Pair] | AlignedPairs,
    *,
    site: str = "head",
    stack: str | None = None,
    by: By = None,
    heads: Sequence[Head] | None = None,
    together: bool = False,
    direction: Direction = "auto",
    filler: str = "a",
    method: str = "exact",
    top_k: int = 10,
    memory: int | None = None,
    progress: Progress = True,
) -> PatchingResult:
    """Patch every cell of a ranker on every pair and keep the relevance scores.

    Parameters
    ----------
    ranker : of any kind, or one ``.under(intervention)``, which then holds in both runs.
    pairs : pairs to be aligned with ``filler``, or pairs already aligned.
    stack : "encoder" (the first), "decoder" or "cross" of a `MonoT5`; others have only one.
    site : "head" (z), "pattern", "q", "k", "v", "resid_pre", "attn_out" or "mlp_out".
    by : None patches all positions at once, "pos" each position alone, "role" all positions of
        one role (`mechir_edu.alignment.aligned.ROLE_NAMES`).
    heads : for head sites, only these (layer, head), in this order.
    together : patch all of ``heads`` in one run, as one set.
    direction : "auto" patches into the side with the lower mean score.
    method : "exact", "naive", "gradient" or "screened" (see the module).
    top_k : for "screened", how many heads are wanted exactly.
    memory : bytes that it may take beside the model; what suits the device when omitted.
    progress : show a bar, or a function that is told how many more pairs are done.

    Returns
    -------
    PatchingResult
        ``scores`` float32: [layer, head, pair] for head sites, [layer, pair] for the others;
        [cell, pair] with ``heads``, [set, pair] (one set) with ``together``; with a role axis
        before the pair, or rows (pair, pos) in place of pairs where patched by position. Of
        "screened", ``exact`` says which cells are exact, and
        ``provenance["screening"]`` how the shortlist was checked.

    Raises
    ------
    ValueError
        For an unknown option, "screened" with cells that are not whole heads, pairs of the other
        kind of ranker, when no pair could be aligned, or for a hook of your own that is not the
        same for every row and run.
    TypeError, RuntimeError
        For what is no ranker or no pair; for a model that was changed so that hooks are dead.
    """
    options = PatchOptions(
        site=site,
        stack=stack,
        by=by,
        heads=heads,
        together=together,
        direction=direction,
        filler=filler,
        method=method,
        top_k=top_k,
        memory=memory,
    )
    return patch_with(options, ranker, pairs, progress=progress)


@takes_turn
@torch.no_grad()
def patch_with(
    options: PatchOptions,
    ranker: Ranker,
    pairs: Sequence[Pair] | AlignedPairs,
    *,
    progress: Progress = True,
) -> PatchingResult:
    """`patch`, with its options as one value.

    Parameters, result and errors as for `patch`.
    """
    job = make_job(options, ranker, pairs, progress)
    if options.method not in ESTIMATING:
        return as_result(job, measure(job, options.direction))
    measured = estimate(job, options.direction)
    if options.method == "screened":
        measured = patch_leading_heads(job, measured)
    return as_result(job, measured)


@dataclass(frozen=True)
class Job:
    """What every method starts from: pairs in batches, what to patch, and room to do it in.

    Attributes
    ----------
    ranker, options, progress : as `patch_with` was given them.
    sweep : the cells to patch.
    aligned : the pairs, token for token.
    batches : the same pairs as inputs of the ranker.
    limit : tokens in one pass.
    at_once : passes side by side, where the engine can run in threads.
    prepare : what is done to the two runs of a batch before it is patched; ablation puts its z in.
    """

    ranker: Ranker
    options: PatchOptions
    sweep: Sweep
    aligned: AlignedPairs
    batches: list[Batch]
    limit: int
    at_once: int
    progress: Progress
    prepare: Callable[[Runs], Runs] = lambda runs: runs

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each pair."""
        return np.array([len(pair.roles) for pair in self.aligned.aligned])

    @cached_property
    def choice(self) -> Choice:
        """Whether the ranker's modules are bare, as a fast engine needs them."""
        return choose_engine(self.ranker)

    @property
    def is_fast(self) -> bool:
        """Whether exact patching does without hooks, and so may run in threads."""
        slow = ("naive",) if self.choice.takes_gradients else ("naive", "gradient")
        asked = self.options.method not in slow and not self.sweep.together
        return asked and self.choice.is_fast

    @cached_property
    def fast(self) -> Any:
        """The fast engine's copy of the ranker."""
        stack = fast_stack(self.ranker)
        if self.options.method == "screened" and self.options.memory is None:
            stack.room = KEPT  # the runs of the gradient's pass serve the exact patches, too
        return stack

    @property
    def model(self) -> PostLNStack | Ranker:
        """What scores and gradients are taken from: the fast stack, or the ranker's hooks."""
        return self.fast if self.is_fast and self.choice.takes_gradients else self.ranker

    @property
    def scorer(self) -> Encoder:
        """What scores both runs: `model`, or an engine that keeps what it can use again."""
        keeps = self.is_fast and self.choice.keeps_texts and self.options.memory is None
        return self.fast if keeps else self.model

    def engine(self, sweep: Sweep) -> Engine:
        """The function that patches one batch as the options ask."""
        if sweep.together:
            skips = self.options.method == "exact" and self.choice.may_skip
            return partial(patch_together, self.ranker, sweep=sweep, skips=skips)
        if self.options.method == "naive":
            return partial(patch_naive, self.ranker, sweep=sweep)
        if self.is_fast:
            return partial(self.choice.patch, self.fast, sweep=sweep, max_tokens=self.limit)
        skips = self.choice.may_skip
        return partial(
            patch_through_hooks, self.ranker, sweep=sweep, max_tokens=self.limit, skips=skips
        )

    def patch(
        self,
        direction: str,
        recipient: Float[np.ndarray, " pair"],
        sweep: Sweep,
        progress: Progress,
    ) -> Float[np.ndarray, "..."]:
        """Scores of all cells of a sweep, patched one by one, [*cell, pair].

        Parameters
        ----------
        direction : one of `mechir_edu.patching.options.DIRECTIONS`.
        recipient : scores without a patch.
        sweep : the job's own, or a part of it.
        progress : as for `mechir_edu.patch`.
        """
        engine, scores = self.engine(sweep), Scores(sweep, self.lengths)
        unpatched = torch.from_numpy(recipient)

        # A batch is patched in two steps. Calling an engine (`begin`) runs the wrapped model, which
        # hooks make unsafe to share, so all calls are made here, one after another. What the call
        # returns is lazy: drawing the scores from it (`_finish`) reads weights alone if the engine
        # is the fast one, and only then is it done in threads, several batches at a time.
        def begin(batch: Batch) -> tuple[Batch, Iterator[Scored]]:
            of_batch = unpatched[torch.from_numpy(batch.index)].to(batch.roles.device)
            return batch, engine(self.prepare(batch.runs(direction, of_batch)))

        n_threads = self.at_once if self.is_fast else 1
        with closing(side_by_side(_finish, map(begin, self.batches), n_threads)) as done:
            for batch, scored in counted(done, self._sizes, self._label, progress):
                scores.put(batch, scored)
        return scores.array

    def linearise(
        self, direction: str, progress: Progress
    ) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "2 pair"]]:
        """Estimated scores of all cells, and the scores of recipient and donor."""
        scores = Scores(self.sweep, self.lengths)
        sides = np.empty((2, len(self.lengths)), dtype=np.float32)
        for batch in counted(self.batches, self._sizes, self._label, progress):
            linear = linearise(self.model, batch.runs(direction), self.sweep)
            sides[:, batch.index] = torch.stack([linear.recipient, linear.donor]).cpu().numpy()
            scores.put(batch, linear.estimates(batch, self.sweep))
        return scores.array, sides

    @property
    def _sizes(self) -> list[int]:
        return [batch.n_pairs for batch in self.batches]

    @property
    def _label(self) -> str:
        return f"patching {self.sweep.site}"


def _finish(begun: tuple[Batch, Iterator[Scored]]) -> tuple[Batch, list[Scored]]:
    batch, scored = begun
    return batch, list(scored)


@dataclass(frozen=True, eq=False)
class Measured:
    """What a method gives, before it is put together with what was patched.

    Attributes
    ----------
    scores : after each patch, [*cell, pair].
    recipient, donor : scores of the two runs without a patch.
    direction : the one that was chosen.
    exact : for each cell whether its scores are exact; None where all cells are alike.
    notes : what the method has to add to the provenance.
    """

    scores: Float[np.ndarray, "..."]
    recipient: Float[np.ndarray, " pair"]
    donor: Float[np.ndarray, " pair"]
    direction: ChosenDirection
    exact: Bool[np.ndarray, "..."] | None = None
    notes: dict = field(default_factory=dict)


def make_job(
    options: PatchOptions,
    ranker: Ranker,
    pairs: Sequence[Pair] | AlignedPairs,
    progress: Progress,
) -> Job:
    """Align and batch what a method starts from.

    Raises
    ------
    ValueError
        For a head that the ranker lacks, or when no pair could be aligned.
    """
    ranker, sweep = at_stack(ranker, options.stack), options.sweep(ranker)
    aligned = align_for(ranker, pairs, options.filler)
    limit = token_limit(ranker, options.memory)
    # Beside the stacked cells, a batch's own activations are held: of a layer of both runs, or, for
    # a gradient, of every layer. Smaller batches leave the cells their room.
    share = {"naive": 1, "exact": 3}.get(options.method, max(3, sweep.n_layers // 2))
    batches = list(make_batches(ranker, aligned.aligned, max_tokens=limit // share))
    batches.reverse()  # the longest first, so that no core is left alone with one at the end
    at_once = min(passes_at_once(ranker, options.memory), len(batches))
    job = Job(ranker, options, sweep, aligned, batches, limit, at_once, progress)
    by_gradient = options.method in ESTIMATING
    require_sound(ranker, job.choice, batches[-1], sweep, by_gradient=by_gradient)
    return job


def measure(job: Job, direction: Direction) -> Measured:
    """Score both sides, choose the direction, and patch every cell."""
    chosen, recipient, donor = score_runs(job.scorer, job.batches, len(job.lengths), direction)
    scores = job.patch(chosen, recipient, job.sweep, job.progress)
    return Measured(scores, recipient, donor, chosen)


def estimate(job: Job, direction: Direction) -> Measured:
    """Estimate every cell from a gradient at the recipient."""
    # The pass for the gradient scores both sides, so "auto" starts with a guess; where the scores
    # say otherwise, the gradient is taken again at the other side.
    guess = DIRECTIONS[0] if direction == "auto" else direction
    scores, (recipient, donor) = job.linearise(guess, job.progress)
    baseline, perturbed = in_direction(recipient, donor, guess)  # undoes itself
    chosen = choose_direction(baseline, perturbed, direction)
    if chosen != guess:
        # Of another pass a bar is shown again, but a function has been told of all pairs.
        scores, (recipient, donor) = job.linearise(chosen, job.progress is True)
    return Measured(scores, recipient, donor, chosen)


def patch_leading_heads(job: Job, estimated: Measured) -> Measured:
    """Patch exactly those heads that may be among the ``top_k`` by their estimates."""
    heads = job.sweep.heads or tuple(np.ndindex(job.sweep.cell_shape))

    def patch_exactly(cells: list[int]) -> Float[np.ndarray, "cell pair"]:
        chosen = replace(job.sweep, heads=tuple(heads[cell] for cell in cells))
        return job.patch(estimated.direction, estimated.recipient, chosen, job.progress is True)

    estimates = estimated.scores.reshape(len(heads), -1)
    screened = screen(estimates, estimated.recipient, patch_exactly, top_k=job.options.top_k)
    return replace(
        estimated,
        scores=screened.scores.reshape(estimated.scores.shape),
        exact=screened.exact.reshape(estimated.scores.shape[:-1]),
        notes={"screening": screened.report(heads)},
    )


def as_result(job: Job, measured: Measured, **provenance: object) -> PatchingResult:
    """Put together what was patched and what was measured."""
    aligned = job.aligned.aligned
    return PatchingResult(
        scores=measured.scores,
        axes=job.sweep.axes,
        recipient=measured.recipient,
        donor=measured.donor,
        direction=measured.direction,
        pairs=tuple(pair.pair for pair in aligned),
        skipped=job.aligned.skipped,
        site=job.sweep.site,
        method=job.options.method,
        filler=job.aligned.filler,
        provenance=provenance_of(job.ranker, job.sweep)
        | job.choice.record(job.ranker, job.options.method, is_fast=job.is_fast)
        | measured.notes
        | provenance,
        exact=measured.exact,
        **job.sweep.rows.columns([pair.roles for pair in aligned]),
    )
