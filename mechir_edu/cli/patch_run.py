"""What ``mechir-edu patch`` does: draw pairs, patch them into a folder, say what is in it."""

import argparse
import re
import sys
from collections import Counter

from mechir_edu.collection.collection import load_collection
from mechir_edu.patching.budget import parse_bytes
from mechir_edu.patching.long_runs.folder import RunFolder
from mechir_edu.patching.long_runs.runs import patch_into_folder
from mechir_edu.perturb.draw import make_pairs
from mechir_edu.perturb.pair import PairList
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.kinds import load_ranker

PATCH_OPTIONS = ("site", "by", "together", "direction", "method", "filler")
ASKED = ("dataset", "axiom", "pairs", "seed", "place")


def run(args: argparse.Namespace) -> int:
    """Run the command, or go on with it; returns its exit code.

    Raises
    ------
    ValueError, OSError
        For bad arguments, and a folder that holds something else or cannot be written.
    """
    options = {name: getattr(args, name) for name in PATCH_OPTIONS}
    options["heads"] = None if args.heads is None else parse_heads(args.heads)
    options["memory"] = None if args.memory is None else parse_bytes(args.memory)
    asked = {name: getattr(args, name) for name in ASKED}
    try:
        ranker = load_ranker(args.kind, args.model, device=args.device)
        pairs = draw_pairs(ranker, args)
        done = patch_into_folder(
            ranker, pairs, args.out, shard_size=args.shard_size, asked=asked, **options
        )
    except KeyboardInterrupt:
        print(f"Interrupted. The same command goes on with what is in {args.out}.", file=sys.stderr)
        return 130
    print(summary(done))
    return 0


def draw_pairs(ranker: Ranker, args: argparse.Namespace) -> PairList:
    """Draw the pairs; control words match in this ranker's own word pieces."""

    def length(word: str) -> int:
        return len(ranker.tokenizer.tokenize(word))

    drawn = {"n": args.pairs, "seed": args.seed, "place": args.place, "length": length}
    return make_pairs(load_collection(*args.dataset), args.axiom, **drawn)


def parse_heads(text: str) -> list[tuple[int, int]]:
    """Read heads such as "3.5,4.1", layer before head.

    Raises
    ------
    ValueError
        For anything else.

    Examples
    --------
    >>> parse_heads("3.5,4.1")
    [(3, 5), (4, 1)]
    """
    found = [re.fullmatch(r"(\d+)\.(\d+)", head.strip()) for head in text.split(",")]
    if not all(found):
        raise ValueError(f"--heads needs layer.head, as in 3.5,4.1, got {text!r}")
    return [(int(head[1]), int(head[2])) for head in found]


def summary(done: RunFolder) -> str:
    """Say what a finished run holds."""
    manifest, first = done.manifest, done.patched(0)
    reasons = Counter(skip.reason for skip in manifest.skipped)
    skipped = ", ".join(f"{n} x {reason}" for reason, n in reasons.most_common()) or "nothing"
    return (
        f"{manifest.n_pairs} pairs patched ({first.direction}); skipped: {skipped}.\n"
        f'Read them with mechir_edu.PatchingResult.load("{done.path}").'
    )
