"""The demonstration: TFC1 against TDC against a neutral word, for both kinds of ranker, by grade.

For each ranker and axiom the same judged pairs are perturbed by the axiom and by its control; both
are scored, and every attention head is patched on the axiom's pairs. Four files come out: the
Figure-2 panel (``figure2.png``, ``.svg``), every head's recovery (``heads.csv``), what was run,
seen and skipped in words (``summary.md``), and every choice, seed, version and checksum
(``run.json``).
"""

import argparse
import io
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mechir_edu import plots
from mechir_edu.cli.summary import summarise
from mechir_edu.collection.collection import Collection, load_collection
from mechir_edu.files import write_whole
from mechir_edu.models import Cat, Dot
from mechir_edu.patching.activation import patch
from mechir_edu.patching.progress import Progress
from mechir_edu.patching.result import PatchingResult
from mechir_edu.patching.scoring import PairScores, score_pairs
from mechir_edu.perturb.axioms.registry import AXIOMS
from mechir_edu.perturb.draw import make_pairs
from mechir_edu.perturb.pair import PairList
from mechir_edu.rankers.base import Ranker


@dataclass(frozen=True)
class Experiment:
    """One ranker, one axiom: the axiom's pairs patched, and its control's scored.

    ``unperturbed`` counts why judged pairs could not be perturbed, for axiom and control.
    """

    ranker: str
    axiom: str
    result: PatchingResult
    control: PairScores | None
    unperturbed: Counter


def run(args: argparse.Namespace) -> int:
    """Run the command: check the arguments first, then compute, then write all files."""
    started = time.monotonic()
    if unknown := [name for name in args.axiom if name not in AXIOMS]:
        raise ValueError(f"no axiom is called {unknown[0]!r}; there are {', '.join(AXIOMS)}")
    if args.pairs < 8:
        raise ValueError(f"needed at least 8 pairs (two for each grade), got {args.pairs}")
    args.out.mkdir(parents=True, exist_ok=True)
    collection = load_collection(*args.dataset)
    rankers = load_rankers(args.bi, args.cross, args.device)
    experiments = run_experiments(collection, rankers, args)
    choices = {key: value for key, value in vars(args).items() if key not in ("out", "command")}
    record = {"choices": choices, "seconds": round(time.monotonic() - started, 1)}
    record |= {"rankers": [describe(ranker) for ranker in rankers]}
    record |= {"versions": experiments[0].result.provenance["versions"]}
    summary = summarise(experiments, collection, rankers, choices)
    write_files(args.out, experiments, summary, record)
    print(summary)
    print(f"Written to {args.out}: figure2.png, figure2.svg, heads.csv, summary.md, run.json")
    return 0


def load_rankers(bi: str, cross: str, device: str) -> list[Ranker]:
    """Load the bi-encoder and the cross-encoder; "none" leaves one out.

    Raises
    ------
    ValueError
        When both are left out.
    """
    rankers: list[Ranker] = []
    if bi != "none":
        rankers.append(Dot(bi, device=device))
    if cross != "none":
        rankers.append(Cat(cross, device=device))
    if not rankers:
        raise ValueError('needed a ranker, got --bi none and --cross none; leave one of them "on"')
    return rankers


def describe(ranker: Ranker) -> dict:
    """What identifies a ranker."""
    config = ranker.hf_model.config
    return {
        "name": ranker.name,
        "kind": ranker.kind,
        "architecture": type(ranker.hf_model).__name__,
        "layers": ranker.n_layers,
        "heads": ranker.n_heads,
        "d_model": config.hidden_size,
        "sha256": ranker.checksum,
        "device": str(ranker.device),
    }


def run_experiments(
    collection: Collection, rankers: Sequence[Ranker], args: argparse.Namespace
) -> list[Experiment]:
    """Patch every ranker under every axiom."""
    plan = [(ranker, axiom) for ranker in rankers for axiom in args.axiom]
    with Progress(len(plan) * args.pairs, "pairs") as progress:
        return [_run_experiment(collection, *one, args, progress) for one in plan]


def _run_experiment(
    collection: Collection, ranker: Ranker, axiom: str, args: argparse.Namespace, progress: Progress
) -> Experiment:
    progress.describe(f"{type(ranker).__name__} {axiom}")
    pairs = pairs_for(collection, ranker, axiom, args)
    result = patch(ranker, pairs, filler=args.filler, method=args.method, progress=progress.update)
    control, skipped = None, list(pairs.skipped)
    if AXIOMS[axiom].control:
        neutral = pairs_for(collection, ranker, AXIOMS[axiom].control, args)
        control = score_pairs(ranker, neutral, filler=args.filler)
        skipped += neutral.skipped
    reasons = Counter(skip.reason for skip in skipped)
    return Experiment(_label(ranker), axiom, result, control, reasons)


def _label(ranker: Ranker) -> str:
    return f"{type(ranker).__name__} {ranker.name}"


def pairs_for(
    collection: Collection, ranker: Ranker, axiom: str, args: argparse.Namespace
) -> PairList:
    """Draw an axiom's pairs; control words match in this ranker's own word pieces."""

    def length(word: str) -> int:
        return len(ranker.tokenizer.tokenize(word))

    return make_pairs(collection, axiom, n=args.pairs, seed=args.seed, length=length)


def heads_table(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Every head's recovery, for all grades together ("all") and for each grade."""
    tables = []
    for one in experiments:
        grades = sorted({pair.relevance for pair in one.result.pairs} - {None}, reverse=True)
        parts = {"all": one.result} | {grade: one.result.select(grade=grade) for grade in grades}
        for grade, part in parts.items():
            if grade == "all" or len(set(part.query_ids)) > 1:
                table = part.heads_table()
                tables.append(_put_first(table, ranker=one.ranker, axiom=one.axiom, grade=grade))
    return pd.concat(tables, ignore_index=True)


def _put_first(table: pd.DataFrame, **columns: object) -> pd.DataFrame:
    for name, value in reversed(columns.items()):
        table.insert(0, name, value)
    return table


def write_files(
    folder: Path, experiments: Sequence[Experiment], summary: str, record: dict
) -> None:
    """Write the demonstration's files, each whole or not at all."""
    panel = {(one.axiom, one.ranker): one.result.recovery() for one in experiments}
    figure = plots.plot_figure2(panel)
    for kind in ("png", "svg"):
        image = io.BytesIO()
        figure.savefig(image, format=kind, dpi=150)
        write_whole(folder / f"figure2.{kind}", image.getvalue())
    table = heads_table(experiments).to_csv(index=False, float_format="%.6g")
    write_whole(folder / "heads.csv", table.encode())
    write_whole(folder / "summary.md", summary.encode())
    write_whole(folder / "run.json", json.dumps(record, indent=2).encode())
