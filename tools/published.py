"""Check what was published with the MechIR paper, from its files alone, and write the report.

::

    python tools/published.py download --into FOLDER    # 24 files by URL and checksum
    python tools/published.py report --files FOLDER     # docs/study/published.md and its figures
    python tools/published.py grid --files FOLDER --out RUN    # make study-published

``report`` needs none of the models. ``grid`` does: it patches the published pairs as the paper did
and compares with the published grids (:mod:`published_grid`).
"""

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib import pyplot as plt
from published_claims import Claim
from published_files import AXIOMS, GRADES, Published, download, read_all, read_published
from published_grid import MODELS, compare_grids, load_published_ranker, require_shape
from published_maps import (
    cross_encoder_grids_disagree,
    grids_are_means_of_ratios,
    tasb_cells,
    tasb_grids_agree,
)
from published_pairs import (
    few_queries_weigh_much,
    largest_changes_kept,
    one_word_appended,
    selection_is_uneven,
    stemming_decides_tdc,
    tdc_is_seldom_rarest,
)
from published_time import tell_time

from mechir_edu import plots
from mechir_edu.cli.arguments import path, require_counts, require_folder
from mechir_edu.cli.main import explained
from mechir_edu.files import write_whole
from mechir_edu.plots.heatmap import DIVERGING
from mechir_edu.plots.words import markdown_table

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "docs" / "study" / "published.md"
TEXT = Path(__file__).with_name("published_text.md")
FILES = ROOT.parent / "shared" / "published"
CLAIMS = (
    one_word_appended,
    largest_changes_kept,
    selection_is_uneven,
    few_queries_weigh_much,
    grids_are_means_of_ratios,
    stemming_decides_tdc,
    tdc_is_seldom_rarest,
    cross_encoder_grids_disagree,
    tasb_grids_agree,
    tasb_cells,
)


def write_report(files: Path, report: Path = REPORT) -> None:
    """Derive every claim from the files; write the table, the figures and the time it takes."""
    published = read_all(files)
    figures = {"grids": draw_grids(published), "grades": draw_grades(published)}
    for name, figure in figures.items():
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=110)
        plt.close(figure)
        write_whole(report.parent / f"published_{name}.png", image.getvalue())
    parts = {
        "claims": tell_claims([claim(published) for claim in CLAIMS]),
        "time": tell_time(published),
    }
    text = TEXT.read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace("{{" + name + "}}", part)
    write_whole(report, text.encode())


def tell_claims(claims: Sequence[Claim]) -> str:
    """Lay out claims as a table."""
    rows = [
        [
            result.claim,
            result.how,
            f"{result.figure}{'' if result.holds else ' **(does not hold)**'}",
        ]
        for result in claims
    ]
    return markdown_table(["claim", "how it was derived", "figure"], rows)


def draw_grids(published: Sequence[Published]) -> plt.Figure:
    """The four grids over all pairs: axiom by ranker."""
    figure, axes = plt.subplots(2, 2, figsize=(13, 11), layout="constrained")
    for entry, ax in zip(published, axes.T.ravel(), strict=True):
        plots.plot_heads(entry.whole, ax=ax)
        ax.set_title(f"{entry.ranker}, {entry.axiom}: as published, 4,000 pairs", fontsize=10)
    return figure


def draw_grades(published: Sequence[Published]) -> plt.Figure:
    """The grids of TFC1 by grade, one ranker in each row, on one scale for each."""
    chosen = [entry for entry in published if entry.axiom == "TFC1"]
    shape = len(chosen), len(GRADES)
    figure, axes = plt.subplots(*shape, figsize=(15, 7), layout="constrained")
    for entry, row in zip(chosen, axes, strict=True):
        limit = float(abs(entry.by_grade).max())
        for grade, grid, ax in zip(GRADES, entry.by_grade, row, strict=True):
            image = ax.imshow(
                grid, cmap=DIVERGING, vmin=-limit, vmax=limit, origin="lower", aspect="auto"
            )
            ax.set_title(f"{entry.ranker}, TFC1, grade {grade}", fontsize=10)
            ax.set_xlabel("head")
            ax.set_ylabel("layer")
        figure.colorbar(image, ax=list(row), label="mean of per-pair ratios")
    return figure


def compare(args: argparse.Namespace) -> None:
    """Patch the published pairs and print how far the published grids are reproduced."""
    require_counts(1, pairs=args.pairs)
    require_folder("--out", args.out)
    published = [
        read_published(args.files, args.ranker, axiom) for axiom in dict.fromkeys(args.axiom)
    ]
    ranker = load_published_ranker(args.ranker, args.model)
    for entry in published:  # all of them before hours of work on the first
        require_shape(entry, ranker)
    for entry in published:
        folder = args.out / f"{args.ranker}-{entry.axiom}"
        print(compare_grids(entry, ranker, folder, sorted({*args.grade}), args.pairs), flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("download", help="fetch the files and check them")
    fetch.add_argument("--into", type=Path, required=True, metavar="FOLDER")
    report = commands.add_parser("report", help="derive the claims, write the report")
    grid = commands.add_parser("grid", help="patch the published pairs, compare the grids")
    for command in (report, grid):
        command.add_argument("--files", type=Path, default=FILES, metavar="FOLDER")
    grid.add_argument("--ranker", choices=MODELS, default="TAS-B")
    grid.add_argument("--model", help="a folder or hub id, if not the published one")
    grid.add_argument("--axiom", nargs="+", choices=AXIOMS, default=AXIOMS)
    grid.add_argument("--grade", nargs="+", type=int, choices=GRADES, default=GRADES)
    grid.add_argument("--pairs", type=int, default=1000, help="the first N of each grade")
    grid.add_argument(
        "--out",
        type=path,
        required=True,
        metavar="RUN",
        help="folder that keeps the runs; the same command resumes them",
    )
    args = parser.parse_args(arguments)
    return explained("published", lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Do what the command line asks for."""
    if args.command == "download":
        download(args.into)
    elif args.command == "report":
        write_report(args.files)
    else:
        compare(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
