"""Compare a gradient's estimates with exact patching, on pairs as the study draws them.

With the gradient the study takes minutes, exactly it takes hours. This script patches every head of
some pairs both ways and writes how far the estimates are off, as a Markdown table::

    python tools/gradient_against_exact.py --pairs 48 --out docs/study/gradient.md

With ``--studies EXACT GRADIENT``, the heads.csv of a study by each method, it compares those too.
"""

import argparse
from pathlib import Path

import pandas as pd

from mechir_edu.cli.arguments import Listed
from mechir_edu.collection.load import load_collection
from mechir_edu.models import Cat, Dot
from mechir_edu.patching.activation import patch
from mechir_edu.patching.approximation import approximation_error
from mechir_edu.perturb.draw import make_pairs
from mechir_edu.plots.words import markdown_table
from mechir_edu.rankers.kinds import find_kind

DL = ["msmarco-passage/trec-dl-2019/judged", "msmarco-passage/trec-dl-2020/judged"]
HEADER = """# Estimates by gradient against exact patching

`{command}`: {n} judged pairs of {collections} (seed {seed}, the word at the end). Every head of
both rankers was patched twice, exactly and by one gradient, perturbed into baseline. Correlations
are over the heads' mean effects. The largest error is a share of the largest exact effect.

{table}
"""
OF_STUDIES = """
## The whole study, both ways

The study was run with `--method gradient` and with `--method exact`, over the same pairs. Again the
mean effects of all heads are compared. The largest error is a share of the largest exact effect of
the axiom at that place, for its control too, because the control's own effects are small.

{table}
"""
COLUMNS = [
    "ranker",
    "axiom",
    "Pearson",
    "Spearman",
    "of the exact top 10",
    "largest error",
    "at head",
]
OF_STUDIES_COLUMNS = ["ranker", "edit", "place", "pairs", "Pearson", "Spearman", "largest error"]
EDIT = ["kind", "axiom", "place"]


def main() -> None:
    """Patch both ways and write the table."""
    options = read_options()
    collection = load_collection(*options.collections)
    rows = []
    for ranker in (Dot("embedded"), Cat("embedded")):
        for axiom in ("TFC1", "TDC"):
            pairs = make_pairs(collection, axiom, n=options.pairs, seed=options.seed)
            rows.append(row(ranker, axiom, pairs))
    command = f"python tools/gradient_against_exact.py --pairs {options.pairs}"
    text = HEADER.format(
        command=command,
        n=options.pairs,
        collections=" and ".join(options.collections),
        seed=options.seed,
        table=markdown_table(COLUMNS, rows),
    )
    if options.studies:
        text += compare_studies(*(pd.read_csv(file) for file in options.studies))
    options.out.write_text(text, encoding="utf-8")


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=48, help="pairs for each axiom")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--collections", nargs="+", action=Listed, default=DL, metavar="ID")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument(
        "--studies",
        type=Path,
        nargs=2,
        metavar=("EXACT", "GRADIENT"),
        help="heads.csv of one study each way, over the same pairs",
    )
    return parser.parse_args()


def row(ranker: Dot | Cat, axiom: str, pairs: list) -> list[str]:
    """One row of the table."""
    options = {"direction": "perturbed_to_baseline", "progress": False}
    exact, estimated = (patch(ranker, pairs, method=m, **options) for m in ("exact", "gradient"))
    error = approximation_error(estimated, exact)
    largest = abs(exact.effect().mean(axis=-1)).max()
    layer, head = error.worst
    return [
        ranker.kind_name,
        axiom,
        f"{error.pearson:.3f}",
        f"{error.spearman:.3f}",
        f"{error.overlap:.0%}",
        f"{error.largest / largest:.0%}",
        f"{layer}.{head}",
    ]


def compare_studies(exact: pd.DataFrame, estimated: pd.DataFrame) -> str:
    """The comparison of two studies, as Markdown.

    Parameters
    ----------
    exact, estimated : their heads.csv, one row for each head under each edit.
    """
    key = [*EDIT, "layer", "head"]
    both = exact.merge(estimated, on=key, suffixes=("", "_estimated"), validate="1:1")
    if (both.n_pairs != both.n_pairs_estimated).any():
        raise ValueError("needed two studies of the same pairs, got other numbers of pairs")
    rows = []
    for (kind, axiom, place), edit in both.groupby(EDIT, sort=False):
        pair = edit[["effect", "effect_estimated"]]
        pearson, spearman = (pair.corr(method).iloc[0, 1] for method in ("pearson", "spearman"))
        source = axiom.removesuffix("-control")
        of_axiom = both[(both.kind == kind) & (both.axiom == source) & (both.place == place)]
        error = (edit.effect_estimated - edit.effect).abs().max() / of_axiom.effect.abs().max()
        rows.append(
            [
                find_kind(kind).kind_name,
                axiom,
                place,
                f"{edit.n_pairs.iloc[0]:,}",
                f"{pearson:.3f}",
                f"{spearman:.3f}",
                f"{error:.0%}",
            ]
        )
    return OF_STUDIES.format(table=markdown_table(OF_STUDIES_COLUMNS, rows))


if __name__ == "__main__":
    main()
