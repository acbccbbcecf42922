"""Patch more pairs than one sitting allows: results are kept as they come, and a run resumes.

Pairs are cut into shards once, by rules that depend on nothing but the pairs; each shard is
patched by `mechir_edu.patching.patch` and kept (`mechir_edu.run_folder`) before the next begins. A
run that was killed goes on behind its last whole shard, and since no shard's computation depends
on what else ran, it ends with the very bits of a run that was never stopped (on one kind of
machine, with one number of threads: floating-point sums depend on both).

A shard holds pairs of similar length, the longest first: equal lengths are patched side by side
without padding, and a run that does not fit into memory says so at its start, not at its end.
Memory does not grow with the number of pairs, apart from the pairs themselves where they are
given as a list; any sequence that makes them when they are indexed will do.

``direction="auto"`` is decided over the whole set, so all pairs are scored before any is patched.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mechir_edu.collection import Skipped
from mechir_edu.memory import SHARD_SIZE
from mechir_edu.patching import patch
from mechir_edu.perturb import Pair
from mechir_edu.progress import Progress
from mechir_edu.rankers import Cat, Dot, Ranker
from mechir_edu.run_folder import (
    MANIFEST,
    Manifest,
    RunFolder,
    hold,
    need_same,
    pack_scores,
    read_manifest,
    store,
)
from mechir_edu.scoring import (
    align_for,
    align_with_prompts,
    choose_direction,
    provenance_of,
    score_pairs,
)
from mechir_edu.sites import make_sweep

ALIGNED_AT_ONCE = 256
KINDS = {"dot": Dot, "cat": Cat}
# What a shard's own provenance can show to differ, when another process computed it.
MADE_WITH = ("checksum", "versions")

Shards = Iterable[tuple[int, list[Pair]]]


@dataclass(frozen=True)
class Work:
    """What is done to a shard, wherever it is done.

    Attributes
    ----------
    stage : "scores" or "patched".
    options : of `mechir_edu.patching.patch`, all of them.
    fingerprint : of the run.
    made_with : checksum and versions that the process at work has to have.
    """

    stage: str
    options: Mapping[str, Any]
    fingerprint: str
    made_with: Mapping[str, Any]

    def __call__(self, ranker: Ranker, shard: int, pairs: Sequence[Pair]) -> bytes:
        """Content of the shard's file."""
        if self.stage == "scores":
            budget = {name: self.options[name] for name in ("filler", "memory")}
            scored = score_pairs(ranker, pairs, **budget)
            return pack_scores(np.stack([scored.baseline, scored.perturbed]), self.fingerprint)
        result = patch(ranker, pairs, progress=False, **self.options)
        made_with = {name: result.provenance[name] for name in MADE_WITH}
        need_same(self.made_with, made_with, "the run's folder")
        mark = {"run": self.fingerprint, "shard": shard}
        return replace(result, provenance=result.provenance | mark).to_bytes()


# Does the work on shards, in any order, and hands on each shard's content as it comes.
Workers = Callable[[Work, Shards], Iterator[tuple[int, bytes]]]


def patch_into_folder(
    ranker: Ranker,
    pairs: Sequence[Pair],
    folder: str | Path,
    *,
    shard_size: int = SHARD_SIZE,
    asked: Mapping[str, Any] | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> RunFolder:
    """Patch pairs shard by shard into a folder that `PatchingResult.load` reads.

    The same call goes on with a run that was interrupted.

    Parameters
    ----------
    ranker : a `Dot` or `Cat`.
    pairs : read by index, more than once. What a `PairList` skipped is counted in the result.
    folder : new, empty, or that of the same run.
    shard_size : pairs in a shard: the most that an interruption costs.
    asked : what else the pairs depend on (collection, seed, ...); only what JSON can hold.
    workers : who does the work; this process by default.
    progress : told how many more pairs are patched, where this run is part of something longer;
        shown by itself when omitted.
    options : of `mechir_edu.patch`.

    Raises
    ------
    ValueError
        For a bad option, when no pair can be aligned, or when the folder holds a run that was
        made of something else: its arguments, pairs, weights or package versions.
    OSError
        If the folder is in use, holds other files, or cannot be written.
    """
    if shard_size < 1:
        raise ValueError(f"shard_size needs 1 pair at least, got {shard_size}")
    folder, options = Path(folder), _all_options(options)
    made_of = dict(asked or {}) | options | {"shard_size": shard_size}
    made_of |= _made_with(ranker, options) | _describe(pairs)
    made_of = json.loads(json.dumps(made_of))
    with hold(folder):
        manifest = read_manifest(folder)
        if manifest is None:
            manifest = _plan(ranker, pairs, options, made_of)
            store(folder / MANIFEST, manifest.to_bytes())
        need_same(manifest.made_of, made_of, folder)
        run, do = RunFolder(folder, manifest), workers or _here(ranker)
        options["direction"] = _decide(run, pairs, options, do)
        _do_stage("patched", run, pairs, options, do, progress)
    return run


def load_ranker(kind: str, name: str, *, device: str = "auto") -> Ranker:
    """Load a ranker of a kind, "dot" or "cat", by its name.

    Raises
    ------
    ValueError
        For another kind.
    FileNotFoundError, ImportError
        As the kind's class does.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be {' or '.join(KINDS)}, got {kind!r}")
    return KINDS[kind](name, device=device)


def _here(ranker: Ranker) -> Workers:
    return lambda work, shards: ((k, work(ranker, k, pairs)) for k, pairs in shards)


def _do_stage(
    stage: str,
    run: RunFolder,
    pairs: Sequence[Pair],
    options: Mapping[str, Any],
    do: Workers,
    whole: Progress | None = None,
) -> None:
    """Do the shards of a stage that are not done."""
    shards, missing = run.manifest.shards, run.missing(stage)
    made_with = {name: run.manifest.made_of[name] for name in MADE_WITH}
    work = Work(stage, options, run.manifest.fingerprint, made_with)
    todo = ((k, [pairs[i] for i in shards[k]]) for k in missing)
    n_done = len(shards) - len(missing)
    n_pairs = sum(len(shards[k]) for k in missing)
    with nullcontext(whole) if whole else Progress(n_pairs, "pairs") as progress:
        for k, content in do(work, todo):
            run.store(stage, k, content)
            n_done += 1
            if whole is None:
                progress.describe(f"{stage}, shard {n_done}/{len(shards)}")
            progress.update(len(shards[k]))


def _decide(run: RunFolder, pairs: Sequence[Pair], options: Mapping[str, Any], do: Workers) -> str:
    """Name the direction; "auto" needs the scores of all pairs, which are kept too."""
    if options["direction"] != "auto":
        return options["direction"]
    _do_stage("scores", run, pairs, options, do)
    scores = [run.scores(k) for k in range(len(run.manifest.shards))]
    return choose_direction(*np.concatenate(scores, axis=1), "auto")


def _all_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `patch` with its defaults filled in.

    Raises
    ------
    TypeError, ValueError
        For an option that `patch` does not have, or that shards cannot follow.
    """
    known = {
        name: parameter.default
        for name, parameter in inspect.signature(patch).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name != "progress"
    }
    if unknown := sorted(set(given) - set(known)):
        raise TypeError(f"patch has no option {unknown[0]!r}; it has {', '.join(known)}")
    if given.get("method") == "screened":
        raise ValueError(
            'method="screened" ranks heads over all pairs, which no shard sees; run '
            'method="gradient" first, then its best heads with method="exact" and heads='
        )
    return known | dict(given)


def _made_with(ranker: Ranker, options: Mapping[str, Any]) -> dict[str, Any]:
    """What computes: the ranker as it is set up, its weights, its device, versions."""
    cells = [options[name] for name in ("site", "by", "heads", "together")]
    sweep = make_sweep(ranker, *cells)
    found = {"max_length": ranker.max_length, **provenance_of(ranker, sweep)}
    if ranker.kind == "dot":
        found |= {name: getattr(ranker.head, name) for name in ("pooling", "similarity")}
    return found


def _describe(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Number and SHA-256 of the pairs."""
    digest = hashlib.sha256()
    for i in range(len(pairs)):
        digest.update(json.dumps(asdict(pairs[i])).encode())
    return {"number of pairs": len(pairs), "digest of the pairs": digest.hexdigest()[:16]}


def _plan(
    ranker: Ranker, pairs: Sequence[Pair], options: Mapping[str, Any], made_of: dict[str, Any]
) -> Manifest:
    """Cut the pairs that can be aligned into shards, and try the longest one.

    Raises
    ------
    ValueError
        For a bad option, or when no pair can be aligned.
    """
    lengths, skipped = _measure(ranker, pairs, options["filler"])
    order = sorted(lengths, key=lambda i: (-lengths[i], i))
    if not order:
        align_for(ranker, [pairs[i] for i in range(len(pairs))], options["filler"])  # says why
    # Before anything is kept: a bad option, or too little memory, shows at once.
    patch(ranker, [pairs[order[0]]], progress=False, **options)
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
        some = {i: pairs[i] for i in range(start, min(start + ALIGNED_AT_ONCE, len(pairs)))}
        found = align_with_prompts(ranker, list(some.values()), filler)
        length_of = {id(aligned.pair): len(aligned.roles) for aligned in found.aligned}
        lengths |= {i: length_of[id(pair)] for i, pair in some.items() if id(pair) in length_of}
        skipped += found.skipped
    return lengths, skipped
