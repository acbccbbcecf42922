r"""Knock out the heads that carry term matching, and see what a searcher loses.

The outputs of the heads that carry most of TFC1's score change in the study (`heads.csv`) are
replaced by their means, and BM25's passages are re-ranked. For comparison, as many other heads of
the same layers are drawn at random and knocked out. This makes `docs/study/retrieval.md`::

    python tools/knock_out.py --heads docs/study/heads.csv --report docs/study/retrieval.md \
        --dataset msmarco-passage/trec-dl-2019/judged --run DL19/bm25.run \
        --dataset msmarco-passage/trec-dl-2020/judged --run DL20/bm25.run
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from study.tables import name_heads, show

from mechir_edu.collection.collection import Collection
from mechir_edu.collection.load import load_collection
from mechir_edu.files import write_whole
from mechir_edu.interventions.candidates import Run, read_run
from mechir_edu.interventions.evaluation import Comparison, Evaluation
from mechir_edu.interventions.heads import Head, Knockout
from mechir_edu.interventions.reranking import evaluate
from mechir_edu.plots.words import markdown_table
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.kinds import load_ranker

N_TEXTS = 64  # judged passages that a head's mean is taken over
TEXT = """# What a searcher loses without the heads that carry term matching

The {k} heads that carry most of TFC1's score change at the end (`heads.csv`) were knocked out
together: the output of each was replaced by its mean over {n} judged passages. BM25's first
passages for each query were then re-ranked, and the ranking was compared with that of the intact
ranker (nDCG@10 and RR@10 by ir_measures; for RR, passages of grades 2 and 3 are relevant). For
comparison, {k} other heads of the same layers were drawn at random (seed {seed}) and knocked out.
Brackets hold paired 95 % intervals over queries, not corrected for their number.

{table}

The heads were chosen by their effect on the scores of the same queries, not by their effect on
rankings. One draw of other heads shows what the loss of some heads of these layers can do, not what
it does on average. A mean is a gentler replacement than zeros, and the remaining heads may
compensate.

Made by `tools/knock_out.py`.
"""


def leading_heads(table: pd.DataFrame, kind: str, k: int) -> list[Head]:
    """The k heads of largest recovery for TFC1 at the end, largest first."""
    rows = table[(table.kind == kind) & (table.axiom == "TFC1") & (table.place == "end")]
    if len(rows) < k:
        raise ValueError(
            f"needed {k} heads or more of kind {kind!r} for TFC1 at the end, got {len(rows)}; "
            "give the heads.csv that the study (tools/study) writes"
        )
    best = rows.sort_values("recovery", ascending=False).head(k)
    return [(int(layer), int(head)) for layer, head in zip(best.layer, best["head"], strict=True)]


def other_heads(heads: Sequence[Head], n_heads: int, rng: np.random.Generator) -> list[Head]:
    """As many heads of the same layers, none of them in ``heads``."""
    drawn: list[Head] = []
    for layer in sorted({layer for layer, _ in heads}):
        free = [head for head in range(n_heads) if (layer, head) not in heads]
        wanted = n_heads - len(free)
        drawn += [(layer, int(head)) for head in rng.choice(free, wanted, replace=False)]
    return drawn


def compare_knockouts(
    ranker: Ranker, sets: dict[str, list[Head]], collection: Collection, run: Run, seed: int
) -> dict[str, Comparison]:
    """Evaluate the ranker once as it is, and once without each set of heads."""
    usual = tuple(collection.sample(N_TEXTS, seed=seed).judged)
    measures = ("nDCG@10", "RR(rel=2)@10")

    def without(heads: list[Head] | None) -> Evaluation:
        change = None if heads is None else Knockout(heads, to="mean", over=usual)
        return evaluate(ranker, collection, run=run, intervention=change, measures=measures)

    plain = without(None)
    return {name: Comparison(plain, without(heads)) for name, heads in sets.items()}


def rows_of(
    who: str, dataset: str, name: str, heads: list[Head], comparison: Comparison
) -> list[str]:
    """Lay out one comparison: a row of the table."""
    ndcg, rr = (comparison.difference(measure) for measure in comparison.before.values)
    before = comparison.before.values["nDCG@10"].mean()
    return [
        who,
        dataset,
        f"{name}: {name_heads(heads)}",
        f"{before:.3f}",
        show(ndcg),
        f"{ndcg.p:.2g}",
        show(rr),
    ]


def measure(options: argparse.Namespace) -> list[list[str]]:
    """Knock out heads of each ranker on each dataset: rows of the table."""
    table, rows = pd.read_csv(options.heads), []
    for kind in options.rankers.split(","):
        ranker = load_ranker(kind, getattr(options, kind))
        heads = leading_heads(table, kind, options.k)
        others = other_heads(heads, ranker.n_heads, np.random.default_rng(options.seed))
        sets = {"leading": heads, "others": others}
        for dataset, path in zip(options.dataset, options.run, strict=True):
            collection = load_collection(dataset)
            comparisons = compare_knockouts(ranker, sets, collection, read_run(path), options.seed)
            for name, comparison in comparisons.items():
                rows.append(rows_of(ranker.kind_name, dataset, name, sets[name], comparison))
                print(*rows[-1], sep=" | ", flush=True)
    return rows


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--heads", type=Path, required=True, help="heads.csv of a study")
    add("--report", type=Path, required=True, help="Markdown file to write")
    add(
        "--dataset", action="append", required=True, help='ir_datasets id or "embedded"; repeatable'
    )
    add("--run", action="append", type=Path, required=True, help="TREC run to re-rank, per dataset")
    add("--rankers", default="dot,cat", help="dot, cat, or dot,cat")
    add("--dot", default="embedded", help="the bi-encoder")
    add("--cat", default="embedded", help="the cross-encoder")
    add("--k", type=int, default=6, help="heads to knock out together")
    add("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if len(options.run) != len(options.dataset):
        parser.error(f"needed one --run for each of {len(options.dataset)} --dataset")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the report."""
    options = parse_arguments(arguments)
    header = [
        "ranker",
        "dataset",
        "heads knocked out",
        "nDCG@10 before",
        "its change",
        "p",
        "change of RR@10",
    ]
    table = markdown_table(header, measure(options))
    text = TEXT.format(k=options.k, n=N_TEXTS, seed=options.seed, table=table)
    write_whole(options.report, text.encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
