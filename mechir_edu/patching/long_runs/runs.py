"""Patch more pairs than one sitting allows: results are kept as they come, and a run resumes.

Pairs are cut into shards once, by rules that depend on nothing but the pairs; each shard is
patched by `mechir_edu.patch` and kept (`mechir_edu.patching.long_runs.folder`) before the next
begins. A run that was killed resumes after its last whole shard, and since no shard's computation
depends on what else ran, it ends with the very bits of a run that was never stopped (on one kind of
machine, with one number of threads: floating-point sums depend on both).

A shard holds pairs of similar length, the longest first: equal lengths are patched side by side
without padding, and a run that does not fit into memory says so at its start, not at its end.
Memory does not grow with the number of pairs, apart from the pairs themselves where they are
given as a list; any sequence that makes them when they are indexed will do.

``direction="auto"`` is decided over the whole set, so all pairs are scored before any is patched.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mechir_edu.collection.judged import Skipped
from mechir_edu.collection.progress import bar
from mechir_edu.patching.activation import patch_with
from mechir_edu.patching.budget import SHARD_SIZE
from mechir_edu.patching.long_runs.folder import (
    RunFolder,
    describe_pairs,
    hold,
    need_same,
    pack_scores,
    store,
)
from mechir_edu.patching.options import ChosenDirection, PatchOptions
from mechir_edu.patching.scoring import (
    align_as_read,
    choose_direction,
    nothing_aligned,
    provenance_of,
    score_pairs,
)
from mechir_edu.patching.storage import MANIFEST, Manifest, read_manifest
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker

ALIGNED_AT_ONCE = 256
# What a shard's own provenance can show to differ, when another process computed it.
MADE_WITH = ("checksum", "versions")

Shards = Iterable[tuple[int, list[Pair]]]


@dataclass(frozen=True)
class Work:
    """What is done to a shard, wherever it is done.

    Attributes
    ----------
    stage : "scores" or "patched".
    options : what is patched, and how.
    fingerprint : of the run.
    made_with : checksum and versions that the process at work has to have.
    """

    stage: str
    options: PatchOptions
    fingerprint: str
    made_with: Mapping[str, Any]

    def __call__(self, ranker: Ranker, shard: int, pairs: Sequence[Pair]) -> bytes:
        """Content of the shard's file."""
        if self.stage == "scores":
            given = {"filler": self.options.filler, "memory": self.options.memory}
            scored = score_pairs(ranker, pairs, progress=False, **given)
            return pack_scores(np.stack([scored.baseline, scored.perturbed]), self.fingerprint)
        result = patch_with(self.options, ranker, pairs, progress=False)
        made_with = {name: result.provenance[name] for name in MADE_WITH}
        need_same(self.made_with, made_with, "the run's folder")
        mark = {"run": self.fingerprint, "shard": shard}
        return replace(result, provenance=result.provenance | mark).to_bytes()


# Does the work on shards, in any order, and hands on each shard's content as it comes. It draws
# shards as it needs them and keeps few ahead, because all together they may not fit into memory.
Workers = Callable[[Work, Shards], Iterator[tuple[int, bytes]]]


def patch_into_folder(
    ranker: Ranker,
    pairs: Sequence[Pair],
    folder: str | Path,
    options: PatchOptions | None = None,
    *,
    shard_size: int = SHARD_SIZE,
    asked: Mapping[str, Any] | None = None,
    workers: Workers | None = None,
    progress: Callable[[int], object] | None = None,
) -> RunFolder:
    """Patch pairs shard by shard into a folder that `PatchingResult.load` reads.

    The same call resumes a run that was interrupted.

    Parameters
    ----------
    ranker : of any kind.
    pairs : read by index, more than once. What a `PairList` skipped is counted in the result.
    folder : new, empty, or that of the same run.
    options : what is patched, and how; all heads, exactly, when omitted.
    shard_size : pairs in a shard: the most that an interruption costs.
    asked : what else the pairs depend on (collection, seed, ...); only what JSON can hold.
    workers : what does the work; this process by default.
    progress : told how many more pairs are patched, where this run is part of something longer; a
        bar of its own when omitted.

    Raises
    ------
    ValueError
        For an option that shards cannot follow, when no pair can be aligned, or when the folder
        holds a run that was made of something else: its arguments, pairs, weights or package
        versions.
    OSError
        If the folder is in use, holds other files, or cannot be written.
    """
    if shard_size < 1:
        raise ValueError(f"shard_size needs at least 1 pair, got {shard_size}")
    folder, options = Path(folder), options or PatchOptions()
    _require_shardable(options)
    made_of = dict(asked or {}) | options.as_json() | {"shard_size": shard_size}
    made_of |= _made_with(ranker, options) | describe_pairs(pairs)
    made_of = json.loads(json.dumps(made_of))
    with hold(folder):
        manifest = read_manifest(folder)
        if manifest is None:
            manifest = _plan(ranker, pairs, options, made_of)
            store(folder / MANIFEST, manifest.to_bytes())
        need_same(manifest.made_of, made_of, folder)
        run, do = RunFolder(folder, manifest), workers or _here(ranker)
        decided = replace(options, direction=_decide(run, pairs, options, do))
        _do_stage("patched", run, pairs, decided, do, progress)
    return run


def _here(ranker: Ranker) -> Workers:
    return lambda work, shards: ((k, work(ranker, k, pairs)) for k, pairs in shards)


def _do_stage(
    stage: str,
    run: RunFolder,
    pairs: Sequence[Pair],
    options: PatchOptions,
    do: Workers,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Do the shards of a stage that are not done."""
    shards, missing = run.manifest.shards, run.missing(stage)
    made_with = {name: run.manifest.made_of[name] for name in MADE_WITH}
    work = Work(stage, options, run.manifest.fingerprint, made_with)
    todo = ((k, [pairs[i] for i in shards[k]]) for k in missing)  # drawn as workers ask for more
    n_pairs = sum(len(shards[k]) for k in missing)
    with bar(n_pairs, stage, shown=progress is None) as shown:
        tell = progress or shown.update
        for n_done, (k, content) in enumerate(do(work, todo), len(shards) - len(missing) + 1):
            run.store(stage, k, content)
            shown.set_description(f"{stage}, shard {n_done}/{len(shards)}", refresh=False)
            tell(len(shards[k]))


def _decide(
    run: RunFolder, pairs: Sequence[Pair], options: PatchOptions, do: Workers
) -> ChosenDirection:
    """Name the direction; "auto" needs the scores of all pairs, which are kept too."""
    if options.direction != "auto":
        return options.direction
    _do_stage("scores", run, pairs, options, do)
    every = (run.scores(k) for k in range(len(run.manifest.shards)))
    baseline, perturbed = np.concatenate([s for s in every if s is not None], axis=1)
    return choose_direction(baseline, perturbed, "auto")


def _require_shardable(options: PatchOptions) -> None:
    """Refuse what needs all pairs at once."""
    if options.method == "screened":
        raise ValueError(
            'method="screened" ranks heads over all pairs, which no shard sees; run '
            'method="gradient" first, then its best heads with method="exact" and heads='
        )


def _made_with(ranker: Ranker, options: PatchOptions) -> dict[str, Any]:
    """What computes: the ranker as it is set up, its weights, its device, versions."""
    return {**ranker.settings, **provenance_of(ranker, options.sweep(ranker))}


def _plan(
    ranker: Ranker, pairs: Sequence[Pair], options: PatchOptions, made_of: dict[str, Any]
) -> Manifest:
    """Cut the pairs that can be aligned into shards, and try the longest one.

    Raises
    ------
    ValueError
        For a bad option, or when no pair can be aligned.
    """
    lengths, skipped = _measure(ranker, pairs, options.filler)
    order = sorted(lengths, key=lambda i: (-lengths[i], i))
    if not order:
        raise nothing_aligned(skipped)
    # Before anything is kept: a bad option, or too little memory, shows at once.
    patch_with(options, ranker, [pairs[order[0]]], progress=False)
    size = made_of["shard_size"]
    shards = tuple(tuple(order[at : at + size]) for at in range(0, len(order), size))
    return Manifest(made_of, shards, (*getattr(pairs, "skipped", ()), *skipped))


def _measure(
    ranker: Ranker, pairs: Sequence[Pair], filler: str
) -> tuple[dict[int, int], list[Skipped]]:
    """Length in tokens of each pair that can be aligned, by its index, and what cannot be."""
    lengths: dict[int, int] = {}
    skipped: list[Skipped] = []
    for start in range(0, len(pairs), ALIGNED_AT_ONCE):
        part = {i: pairs[i] for i in range(start, min(start + ALIGNED_AT_ONCE, len(pairs)))}
        result = align_as_read(ranker, list(part.values()), filler)
        length_of = {aligned.pair: len(aligned.roles) for aligned in result.aligned}
        lengths |= {i: length_of[pair] for i, pair in part.items() if pair in length_of}
        skipped += result.skipped
    return lengths, skipped
