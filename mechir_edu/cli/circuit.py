"""Measure which heads of one ranker are enough, into a folder; an interrupted run resumes."""

import argparse
import sys
from typing import TYPE_CHECKING

from mechir_edu.cli.arguments import add_computation, add_input, collection_asked_for, path
from mechir_edu.cli.patch import (
    add_ranker_and_axiom,
    checked_axiom,
    draw_asked,
    load_asked,
    parse_heads,
    what_was_asked,
)

if TYPE_CHECKING:
    from mechir_edu.patching.circuits.result import CircuitResult

DESCRIPTION = (
    "Put heads in an order on the pairs of some queries; then measure on the pairs of other "
    "queries what the first 1, 2, 3, ... heads restore alone, and how much of the score change "
    "survives without all others. The folder can be read with CircuitResult.load(DIR). A run may "
    "be stopped at any time: rerun the command to resume. A folder that was started with other "
    "arguments, another model or collection, or other package versions is refused."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``mechir-edu circuit``."""
    parser.add_argument("--out", type=path, required=True, metavar="DIR", help="folder of the run")
    add_ranker_and_axiom(parser)
    add_input(parser, pairs=100)
    parser.add_argument(
        "--order",
        default="exact",
        help="exact (default), exact_magnitude, gradient, gradient_magnitude, greedy, backward, "
        "pruning (best, and slow), random, or heads such as 3.5,4.1 (layer.head)",
    )
    parser.add_argument(
        "--sizes",
        metavar="N,...",
        help="numbers of heads (0,1,2,96) or shares of all heads (0.1,0.5,1.0); the shares of the "
        "benchmark MIB without it",
    )
    parser.add_argument(
        "--ablation",
        default="other run",
        help="what stands for the heads outside a circuit: other run (default), mean or resample",
    )
    parser.add_argument(
        "--random", type=int, default=20, metavar="N", help="random orders beside (default: 20)"
    )
    parser.add_argument(
        "--ranked-on",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="share of the queries on which heads are ranked (default: 0.5)",
    )
    parser.add_argument(
        "--direction",
        default="auto",
        help="perturbed_to_baseline, baseline_to_perturbed, or auto (default): into the run with "
        "the lower mean score",
    )
    add_computation(parser)
    parser.add_argument(
        "--memory", metavar="SIZE", help="memory that it may take beside the model, as 1GB"
    )


def run(args: argparse.Namespace) -> int:
    """Start the run or resume it; returns the exit code.

    Raises
    ------
    ValueError, OSError, ImportError
        For bad arguments, for models and collections that cannot be used, and for a folder that
        holds something else or cannot be written.
    """
    from mechir_edu.patching.budget import parse_bytes
    from mechir_edu.patching.circuits.circuit import circuit_into_folder
    from mechir_edu.patching.circuits.options import CircuitOptions

    axiom = checked_axiom(args)
    options = CircuitOptions(
        order=parse_heads(args.order, "--order") if "." in args.order else args.order,
        sizes=None if args.sizes is None else parse_sizes(args.sizes),
        ablation=args.ablation,
        direction=args.direction,
        filler=args.filler,
        n_random=args.random,
        ranked_on=args.ranked_on,
        seed=args.seed,
        memory=None if args.memory is None else parse_bytes(args.memory),
    )
    try:
        collection = collection_asked_for(args)
        ranker = load_asked(args)
        options.shares_and_numbers(ranker.n_layers, ranker.n_heads)
        pairs = draw_asked(args, collection, axiom, ranker)
        asked = what_was_asked(args)
        result = circuit_into_folder(ranker, pairs, args.out, options, asked=asked)
    except KeyboardInterrupt:
        print(f"Interrupted. Rerun the command to resume the run in {args.out}.", file=sys.stderr)
        return 130
    print(summarise(result))
    print(f'Read it with mechir_edu.CircuitResult.load("{args.out}").')
    return 0


def parse_sizes(text: str) -> list[int | float]:
    """Read sizes such as "0,1,2" (heads) or "0.1,0.5" (shares).

    Raises
    ------
    ValueError
        For anything else.

    Examples
    --------
    >>> parse_sizes("0,4,0.5")
    [0, 4, 0.5]
    """
    try:
        return [float(size) if "." in size else int(size) for size in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--sizes needs numbers of heads or shares, as in 0,1,2 or 0.1,0.5; got {text[:80]!r}"
        ) from None


def summarise(result: "CircuitResult") -> str:
    """Say in a table what a circuit restores and what survives."""
    table = result.to_dataframe().drop(columns="share_of_heads")
    table = table.drop_duplicates(["protocol", "heads"])
    return (
        f"{len(result.pairs)} pairs of {len(set(result.query_ids))} queries measured "
        f"({result.direction}); heads ordered by {result.ordered_by}"
        f"{f' on {len(result.ranked_queries)} other queries' if result.ranked_queries else ''}; "
        f"outside the circuit: {result.ablation}.\n"
        f"{table.to_string(index=False, float_format='{:.3f}'.format)}\n{result.note}"
    )
