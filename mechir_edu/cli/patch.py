"""Patch one ranker on one axiom's pairs, into a folder; an interrupted run resumes."""

import argparse
import re
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, get_args

from mechir_edu.cli.arguments import (
    EMBEDDED,
    OWN_AXIOM,
    add_computation,
    add_input,
    asked_datasets,
    axiom_asked_for,
    checksums,
    collection_asked_for,
    own_files,
    path,
    require_counts,
    require_folder,
)
from mechir_edu.rankers.checkpoint.saved_by import READERS

if TYPE_CHECKING:
    from mechir_edu.collection.collection import Collection
    from mechir_edu.patching.long_runs.folder import RunFolder
    from mechir_edu.perturb.axiom import Axiom
    from mechir_edu.perturb.pair import PairList
    from mechir_edu.rankers.base import Ranker

DESCRIPTION = (
    "Draw judged pairs, perturb each document by an axiom, and keep the relevance score of every "
    "pair after every patch in a folder, which PatchingResult.load(DIR) reads. A run may be "
    "stopped at any time (Ctrl-C, a crash, a full disk): rerun the command to resume after the "
    "last finished shard; the result is the same, bit for bit. A folder that was started with "
    "other arguments, another model or collection, or other package versions is refused."
)
ASKED = ("axiom", "pairs", "seed", "place")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``mechir-edu patch``."""
    parser.add_argument("--out", type=path, required=True, metavar="DIR", help="folder of the run")
    add_ranker_and_axiom(parser)
    add_input(parser, pairs=1000)
    parser.add_argument(
        "--site",
        default="head",
        help="head (default), pattern, q, k, v, resid_pre, attn_out or mlp_out",
    )
    parser.add_argument(
        "--by",
        help="pos: each position alone; role: all positions of one role; all positions at once "
        "without it",
    )
    parser.add_argument(
        "--heads", metavar="L.H,...", help="only these heads, such as 3.5,4.1 (layer.head)"
    )
    parser.add_argument(
        "--together", action="store_true", help="patch all of --heads in one run, as one set"
    )
    parser.add_argument(
        "--direction",
        default="auto",
        help="perturbed_to_baseline (perturbed activations into the baseline run), "
        "baseline_to_perturbed, or auto (default): into the run with the lower mean score",
    )
    add_computation(parser, methods="exact (default), naive or gradient")
    parser.add_argument(
        "--memory", metavar="SIZE", help="memory that patching may take beside the model, as 1GB"
    )
    parser.add_argument(
        "--shard-size",
        type=int,
        metavar="N",
        help="pairs in a file, the most that an interruption costs (default: 16)",
    )


def add_ranker_and_axiom(parser: argparse.ArgumentParser) -> None:
    """Add which ranker is looked into, and what is changed in its documents."""
    kinds = "; ".join(f"{kind}, {what}" for kind, (what, _) in READERS.items())
    parser.add_argument(
        "--kind", help=f"{kinds}; by default what the checkpoint says, which is printed"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="settings",
        help="argument of the ranker's class, such as true_token=▁true or max_length=256; may be "
        "given several times",
    )
    parser.add_argument(
        "--model",
        default="embedded",
        help=f'{EMBEDDED}, a folder, a hub id, or "planted" (a cat whose mechanism is known)',
    )
    parser.add_argument(
        "--axiom",
        default="TFC1",
        metavar="NAME",
        help=f"TFC1 (default), TDC, ..., a control such as TFC1-control, {OWN_AXIOM}",
    )
    parser.add_argument(
        "--place", default="end", help="where a word is added: end (default) or start"
    )


def checked_axiom(args: argparse.Namespace, **counts: int | None) -> "Axiom":
    """Check what is asked of ranker, axiom and input before anything is loaded; the axiom.

    ``counts`` are further numbers of at least 1, by the names of their options.

    Raises
    ------
    ValueError, OSError
        For bad arguments, and for a folder that holds something else.
    """
    from mechir_edu.patching.options import require_known
    from mechir_edu.perturb.edits import Place
    from mechir_edu.rankers.devices import find_device
    from mechir_edu.rankers.kinds import KINDS, read_settings

    if args.kind is not None:
        require_known("kind", args.kind, KINDS)
        read_settings(args.kind, args.settings)
    require_known("place", args.place, get_args(Place))
    axiom = axiom_asked_for(args.axiom)
    own_files(args)
    find_device(args.device)
    require_counts(1, pairs=args.pairs, **counts)
    require_folder("--out", args.out)
    return axiom


def load_asked(args: argparse.Namespace) -> "Ranker":
    """Load the ranker; its kind, where none is asked for, is what the checkpoint says, printed."""
    from mechir_edu.rankers.kinds import find_kind, guess_kind, load_ranker

    kind = args.kind or guess_kind(args.model)
    if args.kind is None:
        print(f"{args.model} is read as {kind}, a {find_kind(kind).kind_name}.")
    return load_ranker(kind, args.model, device=args.device, settings=args.settings)


def draw_asked(
    args: argparse.Namespace, collection: "Collection", axiom: "Axiom", ranker: "Ranker"
) -> "PairList":
    """Draw the pairs; words of controls are as long as the axiom's in the ranker's pieces."""
    from mechir_edu.perturb.draw import make_pairs

    return make_pairs(
        collection, axiom, n=args.pairs, seed=args.seed, place=args.place, length=ranker.n_pieces
    )


def what_was_asked(args: argparse.Namespace) -> dict[str, Any]:
    """What the pairs depend on, for the record of a run."""
    asked = {name: getattr(args, name) for name in ASKED}
    return asked | {"dataset": asked_datasets(args), "files": checksums(args, [args.axiom])}


def run(args: argparse.Namespace) -> int:
    """Start the run or resume it; returns the exit code.

    Raises
    ------
    ValueError, OSError, ImportError
        For bad arguments, for models and collections that cannot be used, and for a folder that
        holds something else or cannot be written.
    """
    from mechir_edu.patching.budget import SHARD_SIZE, parse_bytes
    from mechir_edu.patching.long_runs.runs import patch_into_folder
    from mechir_edu.patching.options import DIRECTIONS, PatchOptions, require_known
    from mechir_edu.patching.rows import ROWS

    require_known("by", args.by, ROWS)
    require_known("direction", args.direction, ("auto", *DIRECTIONS))
    axiom = checked_axiom(args, shard_size=args.shard_size)
    options = PatchOptions(
        site=args.site,
        by=args.by,
        heads=None if args.heads is None else parse_heads(args.heads),
        together=args.together,
        direction=args.direction,
        filler=args.filler,
        method=args.method,
        memory=None if args.memory is None else parse_bytes(args.memory),
    )
    try:
        collection = collection_asked_for(args)
        ranker = load_asked(args)
        pairs = draw_asked(args, collection, axiom, ranker)
        folder = patch_into_folder(
            ranker,
            pairs,
            args.out,
            options,
            shard_size=SHARD_SIZE if args.shard_size is None else args.shard_size,
            asked=what_was_asked(args),
        )
    except KeyboardInterrupt:
        print(f"Interrupted. Rerun the command to resume the run in {args.out}.", file=sys.stderr)
        return 130
    print(summarise(folder))
    print(write_report(folder))
    return 0


def parse_heads(text: str, option: str = "--heads") -> tuple[tuple[int, int], ...]:
    """Read heads such as "3.5,4.1", layer before head.

    Raises
    ------
    ValueError
        For anything else.

    Examples
    --------
    >>> parse_heads("3.5,4.1")
    ((3, 5), (4, 1))
    """
    matches = [re.fullmatch(r"([0-9]{1,6})\.([0-9]{1,6})", h.strip()) for h in text.split(",")]
    if not all(matches):
        raise ValueError(f"{option} needs layer.head, as in 3.5,4.1, got {text[:80]!r}")
    return tuple((int(match[1]), int(match[2])) for match in matches)


def write_report(folder: "RunFolder") -> str:
    """Write the run as a page, report.html, where it can be one; says which or why not."""
    from mechir_edu.cli.report import Part, report
    from mechir_edu.files import write_whole
    from mechir_edu.patching.result import PatchingResult

    if folder.patched(0).row_pair is not None:
        return "No report.html: positions of different documents make no map (--by role does)."
    result = PatchingResult.load(folder.path)
    made_of = result.provenance["made_of"]
    title = f"{made_of['axiom']} in {result.provenance['ranker']}"
    try:
        page = report(title, summarise(folder), [Part(title, result, result.recovery())])
    except ValueError as error:
        return f"No report.html: {error}."
    write_whole(folder.path / "report.html", page.encode())
    return f"Look at it in {folder.path / 'report.html'}."


def summarise(folder: "RunFolder") -> str:
    """Say what a finished run holds."""
    manifest, first = folder.manifest, folder.patched(0)
    reasons = Counter(skip.reason for skip in manifest.skipped)
    skipped = ", ".join(f"{reason} ({n})" for reason, n in reasons.most_common()) or "nothing"
    return (
        f"{manifest.n_pairs} pairs patched ({first.direction}); skipped: {skipped}.\n"
        f'Read them with mechir_edu.PatchingResult.load("{folder.path}").'
    )
