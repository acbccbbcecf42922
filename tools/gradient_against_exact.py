"""Compare a gradient's estimates with exact patching, on pairs as the study draws them.

By gradient the study takes minutes, exactly it takes hours. This script patches every head of some
pairs both ways and writes what the estimates lose, as a Markdown table::

    python tools/gradient_against_exact.py --pairs 48 --out docs/study/gradient.md
"""

import argparse
from pathlib import Path

from mechir_edu.collection import load_collection
from mechir_edu.gradients import approximation_error
from mechir_edu.patching import patch
from mechir_edu.perturb import make_pairs
from mechir_edu.rankers import Cat, Dot

DL = ["msmarco-passage/trec-dl-2019/judged", "msmarco-passage/trec-dl-2020/judged"]
HEADER = """# Estimates by gradient against exact patching

`{command}`: {n} judged pairs of {collections} (seed {seed}, the word at the end). Every head of
both rankers was patched exactly and by one gradient, perturbed into baseline. Correlations are over
heads, of mean effects; the largest error is a share of the largest exact effect.

| ranker | axiom | Pearson | Spearman | of the exact top 10 | largest error | at head |
| --- | --- | --- | --- | --- | --- | --- |
"""


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
    header = HEADER.format(
        command=command,
        n=options.pairs,
        collections=" and ".join(options.collections),
        seed=options.seed,
    )
    options.out.write_text(header + "\n".join(rows) + "\n", encoding="utf-8")


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=48, help="pairs for each axiom")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--collections", nargs="+", default=DL, metavar="ID")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    return parser.parse_args()


def row(ranker: Dot | Cat, axiom: str, pairs: list) -> str:
    """One line of the table."""
    options = {"direction": "perturbed_to_baseline", "progress": False}
    exact, estimated = (patch(ranker, pairs, method=m, **options) for m in ("exact", "gradient"))
    found = approximation_error(estimated, exact)
    largest = abs(exact.effect().mean(axis=-1)).max()
    layer, head = found.worst
    return (
        f"| {'bi' if ranker.kind == 'dot' else 'cross'}-encoder | {axiom} | {found.pearson:.3f} | "
        f"{found.spearman:.3f} | {found.overlap:.0%} | {found.largest / largest:.0%} | "
        f"{layer}.{head} |"
    )


if __name__ == "__main__":
    main()
