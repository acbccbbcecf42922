"""Study whether rankers obey TFC1 and TDC, which heads carry that, and what it is about.

Composes: plan the work of each ranker (`study.plan`), do it round by round into a
folder (`mechir_edu.patching.long_runs.runs`), report what is complete (`study.report`).

::

    DIR/
      dot/manifest.json         what the bi-encoder's part is made of; its pairs by block
      dot/scores/00003.npz      scores of the untouched documents of block 3
      dot/TFC1-end/00003/       block 3 of a condition, a run folder
      dot/checks/TFC1-end-pad/  the first pairs with another filler, a run folder
      cat/...
      report/                   report.md (two pages), details.md, heads.csv, figures
"""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
from study.plan import MAIN, Plan, Step, describe_part, plan_part
from study.report import FILES, write_report

from mechir_edu.collection.collection import Collection, load_collection
from mechir_edu.patching.activation import patch
from mechir_edu.patching.long_runs.folder import hold, need_same, pack_scores, store
from mechir_edu.patching.long_runs.runs import patch_into_folder
from mechir_edu.patching.progress import Progress, spell
from mechir_edu.patching.scoring import score_pairs
from mechir_edu.patching.storage import MANIFEST, read_manifest
from mechir_edu.rankers.kinds import KINDS, load_ranker

FEWEST_PAIRS = 8
N_TIMED = 4  # pairs that are patched beforehand, to say how long all will take


def run(args: argparse.Namespace) -> int:
    """Run the command, or go on with it; returns its exit code.

    Raises
    ------
    ValueError, OSError
        For bad arguments, and a folder that holds something else or cannot be written.
    """
    try:
        if not args.report_only:
            compute(args)
    except KeyboardInterrupt:
        print(
            f"Interrupted. The same command goes on with what is in {args.out}; with "
            "--report-only it reports what is complete.",
            file=sys.stderr,
        )
        return 130
    folder = args.report or args.out / "report"
    print(write_report(args.out, folder))
    print(f"Written to {folder}: {', '.join(FILES)}")
    return 0


def compute(args: argparse.Namespace) -> None:
    """Do what is left of the chosen rankers' parts, round by round."""
    kinds = parse_kinds(args.rankers)
    if min(args.n, args.block) < FEWEST_PAIRS or args.checks < 0:
        raise ValueError(
            f"needed --n and --block of {FEWEST_PAIRS} pairs at least (two for each grade) and "
            f"--checks of 0 or more, got {args.n}, {args.block} and {args.checks}"
        )
    each = {name: load_collection(name) for name in args.collections}
    collection = load_collection(*args.collections)
    with ExitStack() as held:
        plans = []
        for kind in kinds:
            held.enter_context(hold(args.out / kind))
            plans.append(prepare(kind, collection, each, args))
        work(plans)


def parse_kinds(text: str) -> list[str]:
    """Read "dot,cat".

    Raises
    ------
    ValueError
        For another kind.
    """
    kinds = [kind.strip() for kind in text.split(",")]
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(
            f"--rankers needs {' and '.join(KINDS)}, or one of them, got {unknown[0]!r}"
        )
    return kinds


def prepare(
    kind: str, collection: Collection, each: dict[str, Collection], args: argparse.Namespace
) -> Plan:
    """Load a ranker, plan its part, and make sure that its folder holds no other.

    Raises
    ------
    ValueError
        If the folder holds a part made of something else, such as other weights; names it.
    """
    ranker = load_ranker(kind, args.bi if kind == "dot" else args.cross, device=args.device)
    asked = {name: getattr(args, name) for name in ("n", "seed", "block", "checks")}
    made_of, folder = describe_part(ranker, each, **asked), args.out / kind
    if (there := read_manifest(folder)) is not None:
        need_same(there.made_of, made_of, folder)
    plan = plan_part(ranker, collection, folder, made_of, method=args.method)
    if there is None:
        store(folder / MANIFEST, plan.run.manifest.to_bytes())
    return plan


def work(plans: Sequence[Plan]) -> None:
    """Do the rounds: in each, one block of pairs under every condition of every ranker."""
    n_rounds = max(len(plan.run.manifest.shards) for plan in plans)
    n_left = [sum(step.n_left() for step in all_steps(plan)) for plan in plans]
    for plan, n_of_plan in zip(plans, n_left, strict=True):
        print(plan_cost(plan, n_of_plan), file=sys.stderr)
    with Progress(sum(n_left), "pairs") as progress:
        for block in range(n_rounds):
            for plan in plans:
                _do_round(plan, block, f"round {block + 1} of {n_rounds}", progress)


def all_steps(plan: Plan) -> list[Step]:
    """List the work of all rounds."""
    return [step for k in range(len(plan.run.manifest.shards)) for step in plan.steps(k)]


def _do_round(plan: Plan, block: int, which: str, progress: Progress) -> None:
    if block >= len(plan.run.manifest.shards):
        return
    if plan.run.scores(block) is None:
        _score_untouched(plan, block)
    for step in plan.steps(block):
        progress.describe(f"{which}, {plan.ranker.kind} {step.condition.name}")
        patch_into_folder(
            plan.ranker,
            step.pairs,
            step.folder,
            progress=progress,
            method=plan.method,
            direction=step.condition.direction,
            filler=step.condition.filler,
        )


def _score_untouched(plan: Plan, block: int) -> None:
    """Keep the scores of a block's documents without any filler."""
    pairs = next(plan.steps(block)).pairs
    # Behind the document, a filler that nothing can see leaves the baseline as it was.
    scored = score_pairs(plan.ranker, pairs, filler="pad")
    scores = np.stack([scored.baseline, scored.perturbed])
    plan.run.store("scores", block, pack_scores(scores, plan.run.manifest.fingerprint))


def plan_cost(plan: Plan, n_left: int) -> str:
    """Say what is planned for a ranker, what is left of it, and how long that will take."""
    ranker, n_all = plan.ranker, sum(len(step.pairs) for step in all_steps(plan))
    text = (
        f"{type(ranker).__name__} {ranker.name}: {n_all} pairs to patch at "
        f"{ranker.n_layers * ranker.n_heads} heads, {len(MAIN)} conditions and the checks"
    )
    if not n_left:
        return f"{text}; all done."
    pairs = next(plan.steps(0)).pairs[:N_TIMED]
    started = time.monotonic()
    patch(ranker, pairs, method=plan.method, progress=False)
    each = (time.monotonic() - started) / len(pairs)
    return f"{text}; {n_left} left, {each:.2g} s each: about {spell(n_left * each)}."
