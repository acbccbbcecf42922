"""Activation patching: what is patched, and what scores come out.

Three runs of a ranker: baseline, perturbed, and *patched* - the recipient's run with one cell's
activation taken from the donor's. ``direction`` says which run gives: ``"perturbed_to_baseline"``
puts the perturbed run's activations into the baseline run. Nothing is averaged here; the result
keeps the score of every pair after every patch.

Methods
-------
``exact``
    Only what the patch can change is run again (`mechir_edu.suffix`; for architectures without a
    fast path `mechir_edu.bridged.patch_stacked`; ``provenance["engine"]`` says which). The same
    numbers as ``naive``.
``naive``
    One forward pass for each cell, through hooks: the reference.
``gradient``
    All cells estimated at once by attribution patching (`mechir_edu.gradients`).
``screened``
    The same, then exact patching of as many heads as the ``top_k`` by absolute mean effect need
    (`mechir_edu.screening`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float

from mechir_edu.aligned import ROLE_NAMES, AlignedPairs
from mechir_edu.batches import Batch, make_batches
from mechir_edu.bridged import Scored, patch_naive, patch_stacked, patch_together
from mechir_edu.gradients import linearise
from mechir_edu.perturb import Pair
from mechir_edu.results import PatchingResult
from mechir_edu.scoring import (
    DIRECTIONS,
    Direction,
    align_for,
    choose_direction,
    counted,
    passes_at_once,
    provenance_of,
    score_both,
    token_limit,
)
from mechir_edu.screening import screen
from mechir_edu.sites import By, Sweep, make_sweep
from mechir_edu.suffix import PostLNStack, patch_suffix
from mechir_edu.threads import side_by_side

if TYPE_CHECKING:
    from mechir_edu.rankers import Ranker

Run = Callable[[Batch], Iterator[Scored]]
ESTIMATING = ("gradient", "screened")
METHODS = ("exact", "naive", *ESTIMATING)


@torch.no_grad()
def patch(
    ranker: "Ranker",
    pairs: Sequence[Pair] | AlignedPairs,
    *,
    site: str = "head",
    by: By = None,
    heads: Sequence[tuple[int, int]] | None = None,
    together: bool = False,
    direction: Direction = "auto",
    filler: str = "a",
    method: str = "exact",
    top_k: int = 10,
    memory: int | None = None,
    progress: bool | Callable[[int], object] = True,
) -> PatchingResult:
    """Patch every cell of a ranker on every pair and keep the relevance scores.

    Parameters
    ----------
    ranker : a `Dot` or `Cat`.
    pairs : pairs to be aligned with ``filler``, or pairs already aligned.
    site : "head" (z), "pattern", "q", "k", "v", "resid_pre", "attn_out" or "mlp_out".
    by : None patches all positions at once, "pos" each position alone, "role" all positions of
        one role (`mechir_edu.aligned.ROLE_NAMES`).
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
        kind of ranker, or when no pair could be aligned.
    """
    sweep = make_sweep(ranker, site, by, heads, together)
    _check_method(method, sweep)
    aligned = align_for(ranker, pairs, filler)
    job = make_job(ranker, sweep, aligned, memory, method, progress)
    found = _estimate(job, direction) if method in ESTIMATING else measure(job, direction, method)
    if method == "screened":
        found = _screen(job, found, top_k)
    return as_result(job, aligned, found, method)


def as_result(
    job: "Job", aligned: AlignedPairs, found: "Found", method: str, **provenance: object
) -> PatchingResult:
    """Put together what was patched and what was found."""
    recipient, donor = found.sides
    return PatchingResult(
        scores=found.scores,
        axes=job.sweep.axes,
        recipient=recipient,
        donor=donor,
        direction=found.direction,
        pairs=tuple(pair.pair for pair in aligned.aligned),
        skipped=aligned.skipped,
        site=job.sweep.site,
        method=method,
        filler=aligned.filler,
        provenance=provenance_of(job.ranker, job.sweep)
        | {"engine": _engine(job, method)}
        | found.notes
        | provenance,
        exact=found.exact,
        **_rows(job.sweep, aligned),
    )


def _engine(job: "Job", method: str) -> str:
    """Which code ran, for the record."""
    if method == "naive":
        return "one forward pass a cell"
    return "post-LN suffix" if job.has_fast_path else "suffix through hooks"


def _check_method(method: str, sweep: Sweep) -> None:
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if sweep.together and method in ESTIMATING:
        raise ValueError(f'a set of heads is patched by "exact" or "naive", got {method!r}')
    if method == "screened" and (sweep.by is not None or not sweep.is_head_site):
        raise ValueError(
            f"screened ranks heads patched at all positions, got site {sweep.site!r} by "
            f'{sweep.by!r}; use "gradient", or screen first and patch the heads it finds with '
            "heads= and by="
        )


def patch_batch(
    ranker: "Ranker",
    aligned: AlignedPairs,
    *,
    patch_type: str = "head_all",
    layer_head_list: Sequence[tuple[int, int]] = (),
    **options,
) -> PatchingResult | dict[str, PatchingResult]:
    """Patch a collator's batch under MechIR's names for what is patched.

    ``head_all`` patches each head; ``block_all`` each position of ``resid_pre``, ``attn_out`` and
    ``mlp_out``; ``head_by_pos`` each position of z and pattern of the heads in
    ``layer_head_list``. The last two return a result for each site. Where MechIR always puts the
    perturbed run into the baseline run, so does this unless ``direction`` says otherwise.

    Raises
    ------
    ValueError
        For another ``patch_type``, or ``head_by_pos`` without heads.
    """
    options = {"direction": "perturbed_to_baseline", "progress": False} | options
    if patch_type == "head_all":
        return patch(ranker, aligned, site="head", **options)
    if patch_type == "block_all":
        sites, options["by"] = ("resid_pre", "attn_out", "mlp_out"), "pos"
    elif patch_type == "head_by_pos":
        sites, options["by"], options["heads"] = ("head", "pattern"), "pos", layer_head_list
    else:
        raise ValueError(
            f"patch_type must be head_all, block_all or head_by_pos, got {patch_type!r}"
        )
    return {site: patch(ranker, aligned, site=site, **options) for site in sites}


def _exact(
    model: "PostLNStack | Ranker",
    sweep: Sweep,
    direction: str,
    recipient: Float[np.ndarray, " pair"],
    limit: int,
) -> Run:
    engine = patch_suffix if isinstance(model, PostLNStack) else patch_stacked
    patch_some = partial(engine, model, sweep=sweep, direction=direction, max_tokens=limit)
    return _knowing(recipient, patch_some)


def _knowing(recipient: Float[np.ndarray, " pair"], patch_some: Callable[..., Iterator]) -> Run:
    """Tell an engine the unpatched scores of each batch it is given."""
    scores = torch.from_numpy(recipient)

    def run(batch: Batch) -> Iterator[Scored]:
        unpatched = scores[torch.from_numpy(batch.index)].to(batch.roles.device)
        return patch_some(batch, unpatched=unpatched)

    return run


@dataclass(frozen=True)
class Layout:
    """Where the scores of a sweep stand: pairs, roles of pairs, or rows (pair, pos)."""

    by: By
    lengths: np.ndarray

    @cached_property
    def starts(self) -> np.ndarray:
        """First row of each pair."""
        return np.concatenate([[0], np.cumsum(self.lengths)[:-1]])

    def shape(self, sweep: Sweep) -> tuple[int, ...]:
        """Shape of all scores."""
        n_pairs, n_rows = len(self.lengths), int(self.lengths.sum())
        tail = {None: (n_pairs,), "role": (len(ROLE_NAMES), n_pairs), "pos": (n_rows,)}
        return sweep.cell_shape + tail[self.by]

    def at(self, mask: int, pairs: np.ndarray) -> tuple:
        """Place of the scores of a mask for some pairs, behind the cell's own axes."""
        return {None: (pairs,), "role": (mask, pairs), "pos": (self.starts[pairs] + mask,)}[self.by]


def _finish(begun: tuple[Batch, Iterator[Scored]]) -> tuple[Batch, list[Scored]]:
    batch, rest = begun
    return batch, list(rest)


def _collect(
    found: Iterable[tuple[Batch, list[Scored]]], sweep: Sweep, layout: Layout
) -> Float[np.ndarray, "..."]:
    scores = np.full(layout.shape(sweep), np.nan, dtype=np.float32)
    for batch, scored in found:
        for cells, some in scored:
            for (layer, mask, head), row in zip(cells, some.cpu().numpy(), strict=True):
                scores[(*sweep.index(layer, head), *layout.at(mask, batch.index))] = row
    return scores


@dataclass(frozen=True)
class Job:
    """What every method starts from."""

    ranker: "Ranker"
    sweep: Sweep
    batches: list[Batch]
    layout: Layout
    limit: int  # tokens in one pass
    at_once: int  # passes side by side, in an engine that can
    progress: bool | Callable[[int], object]
    prepare: Callable[[Batch], Batch] = lambda batch: batch  # just before a batch is patched

    @property
    def has_fast_path(self) -> bool:
        """Whether exact patching can do without hooks, and so in threads."""
        return self.ranker.is_post_ln and not self.sweep.together

    def collect(
        self, run: Run, sweep: Sweep | None = None, *, tells: bool = True, at_once: int = 1
    ) -> Float[np.ndarray, "..."]:
        """Scores of all cells (or those of another sweep); a repeated pass tells no progress."""
        progress = self.progress if tells else self.progress is True
        begun = ((batch, run(batch)) for batch in map(self.prepare, self.batches))
        with closing(side_by_side(_finish, begun, at_once)) as found:
            told = counted(found, self.batches, f"patching {self.sweep.site}", progress)
            return _collect(told, sweep or self.sweep, self.layout)


@dataclass(frozen=True, eq=False)
class Found:
    """What a method found: scores after each patch, and of both runs without one, [pair]."""

    scores: Float[np.ndarray, "..."]
    baseline: Float[np.ndarray, " pair"]
    perturbed: Float[np.ndarray, " pair"]
    direction: str
    exact: Bool[np.ndarray, "..."] | None = None
    notes: dict = field(default_factory=dict)

    @property
    def sides(self) -> tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]]:
        """Scores of the recipient and of the donor."""
        return (self.baseline, self.perturbed)[:: 1 if self.direction == DIRECTIONS[0] else -1]


def make_job(
    ranker: "Ranker",
    sweep: Sweep,
    aligned: AlignedPairs,
    memory: int | None,
    method: str,
    progress: bool | Callable[[int], object],
) -> Job:
    """Batch what a method starts from."""
    limit = token_limit(ranker, memory)
    # Beside the stacked cells, a batch's own activations are held: of a layer of both runs, or, for
    # a gradient, of every layer. Smaller batches leave the cells their room.
    share = max(3, sweep.n_layers // 2) if method in ESTIMATING else 1 if method == "naive" else 3
    batches = list(make_batches(ranker, aligned.aligned, max_tokens=limit // share))
    batches.reverse()  # the longest first, so that no core is left alone with one at the end
    layout = Layout(sweep.by, np.array([len(pair.roles) for pair in aligned.aligned]))
    at_once = min(passes_at_once(ranker, memory), len(batches))
    return Job(ranker, sweep, batches, layout, limit, at_once, progress)


def measure(job: Job, direction: Direction, method: str) -> Found:
    """Score both sides, choose the direction, and patch every cell."""
    is_fast = job.has_fast_path and method == "exact"
    model = PostLNStack(job.ranker) if is_fast else job.ranker
    baseline, perturbed = score_both(model, job.batches, len(job.layout.lengths))
    chosen = choose_direction(baseline, perturbed, direction)
    recipient = baseline if chosen == DIRECTIONS[0] else perturbed
    if job.sweep.together:
        options = {"sweep": job.sweep, "direction": chosen, "skips": method == "exact"}
        run = _knowing(recipient, partial(patch_together, job.ranker, **options))
    elif method == "naive":
        run = partial(patch_naive, job.ranker, sweep=job.sweep, direction=chosen)
    else:
        run = _exact(model, job.sweep, chosen, recipient, job.limit)
    scores = job.collect(run, at_once=job.at_once if is_fast else 1)
    return Found(scores, baseline, perturbed, chosen)


def _estimate(job: Job, direction: Direction, *, again: bool = False) -> Found:
    model = PostLNStack(job.ranker) if job.ranker.is_post_ln else job.ranker
    # The pass for the gradient scores both sides, so "auto" is decided after a guess.
    guess = choose_direction(*np.zeros((2, 1)), direction)
    sides = np.empty((2, len(job.layout.lengths)), dtype=np.float32)

    def run(batch: Batch) -> Iterator[Scored]:
        linear = linearise(model, batch, job.sweep, guess)
        sides[:, batch.index] = torch.stack([linear.recipient, linear.donor]).cpu().numpy()
        return linear.estimates(batch, job.sweep)

    scores = job.collect(run, tells=not again)
    baseline, perturbed = sides[:: 1 if guess == DIRECTIONS[0] else -1]
    chosen = choose_direction(baseline, perturbed, direction)
    if chosen != guess:
        return _estimate(job, chosen, again=True)
    return Found(scores, baseline, perturbed, chosen)


def _screen(job: Job, found: Found, top_k: int) -> Found:
    cells = job.sweep.heads or tuple(np.ndindex(job.sweep.cell_shape))
    model = PostLNStack(job.ranker) if job.ranker.is_post_ln else job.ranker

    def patch_exactly(some: list[int]) -> Float[np.ndarray, "cell pair"]:
        sweep = replace(job.sweep, heads=tuple(cells[i] for i in some))
        run = _exact(model, sweep, found.direction, found.sides[0], job.limit)
        at_once = job.at_once if job.has_fast_path else 1
        return job.collect(run, sweep, tells=False, at_once=at_once)

    estimates = found.scores.reshape(len(cells), -1)
    screened = screen(estimates, found.sides[0], patch_exactly, top_k=top_k)
    return replace(
        found,
        scores=screened.scores.reshape(found.scores.shape),
        exact=screened.exact.reshape(found.scores.shape[:-1]),
        notes={"screening": screened.report(cells)},
    )


def _rows(sweep: Sweep, aligned: AlignedPairs) -> dict[str, np.ndarray]:
    if sweep.by != "pos":
        return {}
    roles = [pair.roles for pair in aligned.aligned]
    return {
        "row_pair": np.repeat(np.arange(len(roles)), [len(some) for some in roles]),
        "row_pos": np.concatenate([np.arange(len(some)) for some in roles]),
        "row_role": np.concatenate(roles),
    }
