"""Compute the study round by round; what is stopped resumes after its last whole block.

In a round, one block of pairs is patched under every condition of every ranker, so that a report
can be made at any time. Blocks are even over grades.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from mechir_edu.alignment.aligned import AlignedPair
from mechir_edu.cli.arguments import require_folder
from mechir_edu.collection.collection import Collection
from mechir_edu.collection.load import load_collection
from mechir_edu.collection.progress import bar
from mechir_edu.patching.activation import patch_with
from mechir_edu.patching.long_runs.folder import hold, need_same
from mechir_edu.patching.options import PatchOptions
from mechir_edu.patching.scoring import align_as_read, provenance_of, score_pairs
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.devices import find_device
from mechir_edu.rankers.kinds import KINDS, find_kind, load_ranker
from study.circuits import measure_circuits
from study.folder import Folder, open_folder
from study.plan import CHECKS, MAIN, Condition, Versions, draw_versions

FEWEST_PAIRS = 8
ASKED = ("n", "seed", "block", "checks", "method")
BY_POSITION = (
    "baseline_ids",
    "perturbed_ids",
    "baseline_mask",
    "perturbed_mask",
    "token_type_ids",
    "roles",
)


@dataclass(frozen=True)
class Task:
    """Some pairs under one condition: what is kept as one file."""

    condition: Condition
    block: int
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """One ranker's work: the ranker, its folder, and for each edit its pairs."""

    ranker: Ranker
    folder: Folder
    versions: Versions

    def tasks(self, block: int) -> Iterator[Task]:
        """Work of one round; the checks come after the first."""
        n_checks = self.folder.made_of["checks"] if block == 0 else 0
        for condition in MAIN:
            yield Task(condition, block, self.pairs(condition, self.folder.blocks[block]))
        for condition in CHECKS if n_checks else ():
            yield Task(condition, block, self.pairs(condition, range(n_checks)))

    def pairs(self, condition: Condition, chosen: range) -> tuple[Pair, ...]:
        """The chosen pairs under a condition."""
        return self.versions[condition.axiom, condition.place][chosen.start : chosen.stop]

    def is_left(self, task: Task) -> bool:
        """Whether a task has yet to be done."""
        return self.folder.read(task.condition, task.block) is None


def compute(args: argparse.Namespace) -> None:
    """Do what is left of the chosen rankers' work, round by round.

    Raises
    ------
    ValueError, OSError
        For bad arguments, and for a folder that holds something else or cannot be written.
    """
    kinds = [find_kind(kind.strip()).kind for kind in args.rankers.split(",")]
    for option, named in (("--rankers", kinds), ("--collections", args.collections)):
        if len(set(named)) < len(named):
            raise ValueError(f"{option} needs each only once, got {', '.join(named)}")
    if min(args.n, args.block) < FEWEST_PAIRS or args.checks < 0:
        raise ValueError(
            f"--n and --block need at least {FEWEST_PAIRS} pairs (two for each grade), and "
            f"--checks 0 or more; got {args.n}, {args.block} and {args.checks}"
        )
    find_device(args.device)
    require_folder("--out", args.out)
    require_folder("--report", args.report or args.out)
    _require_study(args.out, args.report)
    collections = {name: load_collection(name) for name in args.collections}
    _require_other_queries(collections)
    with ExitStack() as held:
        plans = []
        for kind in kinds:
            held.enter_context(hold(args.out / kind))
            ranker = load_ranker(kind, getattr(args, kind), device=args.device)
            plans.append(prepare(ranker, collections, args))
        work(plans)
        for plan in plans if args.circuits else ():
            measure_circuits(plan.ranker, plan.folder, plan.versions, collections)


def _require_study(folder: Path, report: Path | None) -> None:
    """Refuse a folder that holds something else."""
    ours = {*KINDS, "report", *([report.name] if report else ())}
    there = [path.name for path in folder.glob("[!.]*")]
    if strangers := [name for name in there if name not in ours]:
        raise FileExistsError(
            f"--out needs a new or empty folder, or that of a study; {folder} holds "
            f"{', '.join(sorted(strangers)[:5])}"
        )


def _require_other_queries(collections: Mapping[str, Collection]) -> None:
    """Refuse collections that share judged queries, for they cannot test each other."""
    judged = {name: c.queries.keys() & c.qrels.keys() for name, c in collections.items()}
    for (first, here), (second, there) in combinations(judged.items(), 2):
        if here & there:
            raise ValueError(
                f"--collections needs collections with different queries, but {first} and "
                f"{second} share {len(here & there)}, so that one cannot test the other"
            )


def prepare(
    ranker: Ranker, collections: Mapping[str, Collection], args: argparse.Namespace
) -> Plan:
    """Plan a ranker's work, and make sure that its folder holds no other's.

    Raises
    ------
    ValueError
        If the folder holds results made of something else, such as other weights; names it.
    """
    path = args.out / ranker.kind
    made_of = json.loads(json.dumps(describe(ranker, collections, args)))
    there = open_folder(path)
    if there is not None:
        need_same(there.made_of, made_of, path)
    drawn_from = load_collection(*collections)
    versions, skipped = draw_versions(drawn_from, ranker, args.n, args.seed)
    n_planned = len(next(iter(versions.values())))
    folder = there or Folder(path, made_of, n_planned, tuple(skipped))
    if there is None:
        folder.create()
    return Plan(ranker, folder, versions)


def describe(
    ranker: Ranker, collections: Mapping[str, Collection], args: argparse.Namespace
) -> dict[str, object]:
    """Everything that a ranker's results depend on, by the name that a user knows it by."""
    asked = {name: getattr(args, name) for name in ASKED}
    made_with = provenance_of(ranker, PatchOptions().sweep(ranker))
    queries = {
        name: sorted(collection.queries.keys() & collection.qrels)
        for name, collection in collections.items()
    }
    layers = {"n_layers": ranker.n_layers}
    return {**asked, **ranker.settings, **made_with, **layers, "queries": queries}


def work(plans: Sequence[Plan]) -> None:
    """Do the rounds."""
    n_rounds = max(len(plan.folder.blocks) for plan in plans)
    rounds = [
        (block, plan, [task for task in plan.tasks(block) if plan.is_left(task)])
        for block in range(n_rounds)
        for plan in plans
        if block < len(plan.folder.blocks)
    ]
    n_left = sum(len(task.pairs) for *_, tasks in rounds for task in tasks)
    with bar(n_left) as shown:
        for block, plan, tasks in rounds:
            if plan.folder.untouched(block) is None:
                pairs = plan.pairs(MAIN[0], plan.folder.blocks[block])
                plan.folder.keep_untouched(block, score_untouched(plan.ranker, pairs))
            for task in tasks:
                name = f"{plan.ranker.kind} {task.condition.name}"
                shown.set_description(f"round {block + 1} of {n_rounds}, {name}", refresh=False)
                options = task.condition.options(plan.folder.made_of["method"])
                result = patch_with(options, plan.ranker, task.pairs, progress=shown.update)
                plan.folder.keep(task.condition, block, result)


def score_untouched(ranker: Ranker, pairs: Sequence[Pair]) -> Float[np.ndarray, " pair"]:
    """Scores of the documents as they were, without any filler, [pair].

    A document that is too long is cut as it is for its pair, so that the added word alone differs.
    """
    aligned = align_as_read(ranker, pairs, "pad")
    # A filler that nothing can see still has its place: it moves [SEP] on. So it is taken out.
    bare = [_only(pair, pair.baseline_mask == 1) for pair in aligned.aligned]
    return score_pairs(ranker, replace(aligned, aligned=tuple(bare)), progress=False).baseline


def _only(pair: AlignedPair, kept: Bool[np.ndarray, " pos"]) -> AlignedPair:
    """The same pair at these positions alone."""
    return replace(pair, **{name: getattr(pair, name)[kept] for name in BY_POSITION})
