"""Run the demonstration: which heads carry one more query term (TFC1) or the rarest one (TDC).

`mechir_edu.cli.experiments` computes it and `mechir_edu.cli.summary` puts it into words; here the
files are written: the Figure-2 panel (``figure2.png``, ``.svg``), the vocabulary terms that moved
in a learned-sparse ranker (``terms.png``, ``.svg``), every head's recovery (``heads.csv``), what
was run, seen and skipped in words (``summary.md``), and every choice, seed, version and checksum
(``run.json``), and a page to click through: maps, pairs, tables (``report.html``).

Exact patching takes minutes. So that there is something to look at meanwhile, ``figure2.png`` is
first drawn from a gradient's estimates on fewer pairs. The picture says so itself, so that a run
that is interrupted leaves no estimate that could be taken for a result; the exact one replaces it.
"""

import argparse
import io
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mechir_edu.cli.arguments import (
    EMBEDDED,
    OWN_AXIOM,
    Listed,
    add_computation,
    add_input,
    asked_datasets,
    axiom_asked_for,
    checksums,
    collection_asked_for,
    own_files,
    path,
    require_folder,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mechir_edu.cli.experiments import Demonstration
    from mechir_edu.rankers.base import Ranker

FIRST_LOOK = 12  # pairs for each axiom of the first picture: a few seconds
DESCRIPTION = (
    "Append a query term to judged passages (TFC1: a random term, TDC: the rarest term, controls: "
    "a neutral word), and patch every attention head of each ranker to see which heads carry the "
    "change of the relevance score. Writes figure2.png and .svg, terms.png and .svg (of the "
    "learned-sparse ranker), heads.csv, summary.md, report.html (the maps, with each head's pairs) "
    "and run.json, and prints the summary. Soon after the start, figure2.png shows estimates, "
    "labelled as such, which the exact figure replaces. The defaults need no network."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the demonstration's arguments."""
    parser.add_argument("--out", type=path, required=True, metavar="DIR", help="folder to write to")
    add_input(parser, pairs=60)
    parser.add_argument(
        "--axiom",
        nargs="+",
        action=Listed,
        default=["TFC1", "TDC"],
        metavar="NAME",
        help=f"axioms to compare (default: TFC1 TDC), {OWN_AXIOM}",
    )
    parser.add_argument(
        "--bi",
        default="embedded",
        metavar="MODEL",
        help=f'bi-encoder: {EMBEDDED}, a folder, a hub id, or "none"',
    )
    parser.add_argument(
        "--cross",
        default="embedded",
        metavar="MODEL",
        help=f'cross-encoder: {EMBEDDED}, "planted", a folder, a hub id, or "none"',
    )
    parser.add_argument(
        "--sparse",
        default="embedded",
        metavar="MODEL",
        help=f'learned-sparse ranker: {EMBEDDED}, a folder, a hub id, or "none"',
    )
    add_computation(parser, methods="exact (default), naive, gradient or screened")


def run(args: argparse.Namespace) -> int:
    """Check the arguments, then compute, then write all files; returns the exit code.

    Raises
    ------
    ValueError, OSError, ImportError
        For bad arguments, and for models, collections and folders that cannot be used.
    """
    started = time.monotonic()  # the libraries that are imported now take seconds, too
    from mechir_edu.cli.experiments import check_request, demonstrate, first_look
    from mechir_edu.cli.summary import summarise
    from mechir_edu.rankers.devices import find_device

    axioms = [axiom_asked_for(text) for text in args.axiom]
    request = {"axioms": axioms, "n": args.pairs, "method": args.method, "filler": args.filler}
    check_request(**request)
    if args.bi == args.cross == args.sparse == "none":
        raise ValueError(
            "needed a ranker, got --bi none, --cross none and --sparse none; name a model for one "
            "of them, or leave one of these options out"
        )
    own_files(args)
    find_device(args.device)
    require_folder("--out", args.out)
    collection = collection_asked_for(args)
    rankers = load_rankers(args.bi, args.cross, args.sparse, args.device)
    request["seed"] = args.seed
    first_seconds = None
    if args.method != "gradient" and args.pairs > FIRST_LOOK:
        few = {name: request[name] for name in ("axioms", "seed", "filler")} | {"n": FIRST_LOOK}
        write_figure(args.out, "figure2", first_look(rankers, collection, **few), ["png"])
        first_seconds = round(time.monotonic() - started, 1)
        print(
            f"First look after {first_seconds:.0f} s: {args.out / 'figure2.png'} (gradient "
            f"estimates from {FIRST_LOOK} pairs for each axiom; the exact figure replaces it)",
            file=sys.stderr,
        )
    demonstration = demonstrate(rankers, collection, **request)
    summary = summarise(demonstration)
    left_out = ("out", "command", "debug", "queries", "docs", "qrels")
    choices = {name: value for name, value in vars(args).items() if name not in left_out}
    own = {name: str(file) for name, file in own_files(args).items()}
    record = {
        "choices": choices | own | {"dataset": asked_datasets(args)},
        "files": checksums(args, args.axiom),
        "seconds": round(time.monotonic() - started, 1),
        "seconds_to_first_look": first_seconds,
        "rankers": [describe(ranker) for ranker in rankers],
        "versions": demonstration.experiments[0].result.provenance["versions"],
    }
    write_files(args.out, demonstration, summary, record)
    print(summary)
    terms = "" if args.sparse == "none" else ", terms.png, terms.svg"
    print(
        f"Written to {args.out}: figure2.png, figure2.svg{terms}, heads.csv, summary.md, "
        "report.html, run.json"
    )
    return 0


def load_rankers(bi: str, cross: str, sparse: str, device: str) -> "list[Ranker]":
    """Load the bi-encoder, the cross-encoder and the sparse ranker; "none" leaves one out."""
    from mechir_edu.models import Cat, Dot, Sparse

    wanted = [(Dot, bi), (Cat, cross), (Sparse, sparse)]
    return [kind(name, device=device) for kind, name in wanted if name != "none"]


def describe(ranker: "Ranker") -> dict:
    """What identifies a ranker."""
    return {
        "name": ranker.name,
        "kind": ranker.kind,
        "architecture": type(ranker.hf_model).__name__,
        "layers": ranker.n_layers,
        "heads": ranker.n_heads,
        "d_model": ranker.hf_model.config.hidden_size,
        "sha256": ranker.checksum,
        "device": str(ranker.device),
    }


def write_figure(
    folder: Path, name: str, figure: "Figure", forms: Sequence[str] = ("png", "svg")
) -> None:
    """Write a figure, each file whole or not at all, and close it.

    What the picture says of itself as a whole is the file's title, too.
    """
    from matplotlib import pyplot as plt

    from mechir_edu.files import write_whole

    title = {"Title": figure.get_suptitle()} if figure.get_suptitle() else None
    for form in forms:
        image = io.BytesIO()
        figure.savefig(image, format=form, dpi=150, metadata=title)
        write_whole(folder / f"{name}.{form}", image.getvalue())
    plt.close(figure)


def write_files(folder: Path, demonstration: "Demonstration", summary: str, record: dict) -> None:
    """Write the demonstration's files, each whole or not at all."""
    from mechir_edu.cli.report import Part, report
    from mechir_edu.files import write_whole

    write_figure(folder, "figure2", demonstration.figure())
    if (terms := demonstration.terms_figure()) is not None:
        write_figure(folder, "terms", terms)
    table = demonstration.heads_table().to_csv(index=False, float_format="%.6g")
    write_whole(folder / "heads.csv", table.encode())
    write_whole(folder / "summary.md", summary.encode())
    parts = [
        Part(f"{e.ranker}, {e.axiom}", e.result, e.recovery) for e in demonstration.experiments
    ]
    title = f"{' versus '.join(demonstration.axioms)} on {demonstration.collection}"
    write_whole(folder / "report.html", report(title, summary, parts).encode())
    write_whole(folder / "run.json", json.dumps(record, indent=2).encode())
