r"""Measure a ranker: how well it re-ranks, and how it responds to an added word.

Two tables, in Markdown, and the same figures as JSON:

1. nDCG@10 of re-ranking each given run (by ir_measures, all judgments of the dataset), with a
   95 % interval that resamples queries.
2. The mean score change under TFC1, TDC and the neutral control of each, by relevance grade, with
   a 95 % interval that resamples queries. A ranker whose score rises no more for a query term than
   for a neutral term does not show term matching.

The figures of the cross-encoder's card come from::

    python tools/evaluate_ranker.py --model embedded --kind cat \
        --dataset msmarco-passage/trec-dl-2019/judged --run DL19/bm25.run \
        --dataset msmarco-passage/trec-dl-2020/judged --run DL20/bm25.run --json card.json
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mechir_edu.collection.collection import Collection
from mechir_edu.collection.load import load_collection
from mechir_edu.interventions.candidates import read_run
from mechir_edu.interventions.evaluation import Comparison, evaluate_run
from mechir_edu.interventions.reranking import evaluate
from mechir_edu.models import Cat, Dot
from mechir_edu.perturb.draw import make_pairs
from mechir_edu.perturb.pair import PairList
from mechir_edu.plots.words import markdown_table
from mechir_edu.rankers.base import Ranker
from mechir_edu.stats.comparisons import mean_difference
from mechir_edu.stats.estimates import Estimate, mean_change

AXIOMS = ("TFC1", "TDC")


def responses(ranker: Ranker, collection: Collection, n: int, seed: int) -> list[dict]:
    """Mean score changes of axioms, their controls and the difference, for all and by grade."""
    rows = []
    for axiom in AXIOMS:
        sets = {name: make_pairs(collection, name, n, seed=seed) for name in _with_control(axiom)}
        changes = {name: score_changes(ranker, pairs) for name, pairs in sets.items()}
        for grade in (None, *collection.grades()):
            rows += _rows(axiom, grade, sets, changes)
    return rows


def _with_control(axiom: str) -> tuple[str, str]:
    return axiom, f"{axiom}-control"


def score_changes(ranker: Ranker, pairs: PairList) -> np.ndarray:
    """Perturbed minus baseline score of each pair, float64 [pair]."""
    scores = [ranker.score(pair.query, [pair.baseline, pair.perturbed]) for pair in pairs]
    return np.diff(np.array(scores, np.float64), axis=1).ravel()


def _rows(axiom: str, grade: int | None, sets: dict, changes: dict) -> list[dict]:
    keep = {
        name: [i for i, pair in enumerate(pairs) if grade is None or pair.relevance == grade]
        for name, pairs in sets.items()
    }
    chosen = {name: [sets[name][i] for i in keep[name]] for name in sets}
    values = {name: changes[name][keep[name]] for name in sets}
    estimates = {
        name: mean_change(
            values[name],
            query_ids=[pair.query_id for pair in chosen[name]],
            expected_sign=1 if name == axiom else None,
        )
        for name in sets
    }
    own, control = _with_control(axiom)
    estimates["difference"] = mean_difference(
        values[own], values[control], first_pairs=chosen[own], second_pairs=chosen[control]
    )
    return [
        {"axiom": axiom, "set": name, "grade": "all" if grade is None else grade}
        | {key: getattr(e, key) for key in ("value", "low", "high", "n_pairs", "n_queries")}
        | {"sign_agreement": e.sign_agreement}
        for name, e in estimates.items()
    ]


def interval(row: Mapping, digits: int) -> str:
    """Format a value with its interval."""
    return f"{row['value']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"


def ranking_table(rows: Sequence[dict]) -> str:
    """Lay out the re-ranking figures."""
    cells = [
        [row["dataset"], interval(row["first_stage"], 4), interval(row["reranked"], 4),
         interval(row["gain"], 4), str(row["reranked"]["queries"])]
        for row in rows
    ]  # fmt: skip
    header = ["dataset", "nDCG@10 of the run", "re-ranked", "gain", "queries"]
    title = "Re-ranking (95 % interval over queries)"
    return f"\n{title}\n\n{markdown_table(header, cells)}"


def response_table(dataset: str, rows: Sequence[dict]) -> str:
    """Lay out the score changes: one line for each axiom and grade."""
    cells = []
    for axiom in AXIOMS:
        for grade in dict.fromkeys(row["grade"] for row in rows):
            by_set = {r["set"]: r for r in rows if (r["axiom"], r["grade"]) == (axiom, grade)}
            names = (*_with_control(axiom), "difference")
            first = by_set[axiom]
            cells.append(
                [axiom, str(grade), *(interval(by_set[name], 3) for name in names),
                 f"{first['sign_agreement']:.0%}", f"{first['n_pairs']} / {first['n_queries']}"]
            )  # fmt: skip
    header = ["axiom", "grade", "query term", "neutral term", "difference", "rose", "pairs/queries"]
    title = f"Mean score change on {dataset} (95 % interval over queries)"
    return f"\n{title}\n\n{markdown_table(header, cells)}"


def figures(estimate: Estimate) -> dict:
    """Keep what the report states of an estimate."""
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "queries": estimate.n_queries,
    }


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--model", default="embedded", help='"embedded", "planted", a local folder or a hub id')
    add("--kind", choices=("cat", "dot"), default="cat")
    add("--dataset", action="append", help='ir_datasets id or "embedded"; may be repeated')
    add("--run", action="append", type=Path, default=[], help="TREC run to re-rank, per dataset")
    add("--pairs", type=int, default=400, help="pairs per axiom, spread over grades; 0 for none")
    add("--seed", type=int, default=0)
    add("--json", type=Path, help="write all figures here")
    options = parser.parse_args(arguments)
    options.dataset = options.dataset or ["embedded"]
    if options.run and len(options.run) != len(options.dataset):
        parser.error(
            f"needed one --run for each of {len(options.dataset)} --dataset, or none; "
            f"got {len(options.run)}"
        )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables and write the JSON."""
    options = parse_arguments(arguments)
    ranker = (Cat if options.kind == "cat" else Dot)(options.model)
    report = {"model": options.model, "kind": options.kind, "checksum": ranker.checksum}
    report |= {"seed": options.seed, "ranking": [], "response": {}}
    for name, path in zip(options.dataset, options.run, strict=False):
        collection, run = load_collection(name), read_run(path)
        before = evaluate_run(collection, run)
        both = Comparison(before, evaluate(ranker, collection, run=run))
        report["ranking"].append(
            {"dataset": name, "first_stage": figures(both.before.mean()),
             "reranked": figures(both.after.mean()), "gain": figures(both.difference())}
        )  # fmt: skip
    if report["ranking"]:
        print(ranking_table(report["ranking"]), flush=True)
    for name in options.dataset if options.pairs else ():
        rows = responses(ranker, load_collection(name), options.pairs, options.seed)
        report["response"][name] = rows
        print(response_table(name, rows), flush=True)
    if options.json:
        text = json.dumps(report, indent=1, default=float)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
