"""Extra peak memory of patching all heads, ours and MechIR's, each in a process of its own.

Resident memory is read after loading the ranker and one forward pass; what patching adds to it at
its peak counts. Linux only: the kernel is asked to forget the peak of the loading.

To reach at 16 pairs of 128 tokens: at most 60 MB (MechIR: 519 MB).
"""

import json
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from typing import Any

import numpy as np
from common import extra_memory, options_of_all, parse, pin_threads, report
from mechir_client import Ours, add_mechir_option, mechir


def main() -> None:
    """Measure ours and MechIR's, or only print ours where a child is asked to."""
    options = read_options()
    if options.child:
        print(json.dumps(measure_ours(options)))
        return
    rows = [row("exact", [ours_in_a_child() for _ in range(options.repeats)], "<= 60")]
    with mechir(options, "mean") as other:
        if other is not None:
            other.hand_over("made up", [made_up(options)])
            rows.append(row("MechIR", [other.ask("memory", name="made up")["MB"]], ""))
    report(f"Patch all heads, {options.pairs} pairs of {options.tokens} tokens", rows, options)


def read_options() -> Namespace:
    """Read the options of all benchmarks and of this one."""
    parser = options_of_all(__doc__.splitlines()[0], repeats=3)
    parser.add_argument("--pairs", type=int, default=16, help="number of pairs")
    parser.add_argument("--tokens", type=int, default=128, help="length of each")
    parser.add_argument("--child", action="store_true", help="print our megabytes and nothing else")
    add_mechir_option(parser)
    return parse(parser)


def ours_in_a_child() -> float:
    """Run this script again for our side, in a fresh process with the same options."""
    command = [sys.executable, *sys.argv, "--child"]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(run.stdout.splitlines()[-1])


def measure_ours(options: Namespace) -> float:
    """Extra peak memory of our side in this process, in MB."""
    import torch

    from mechir_edu.alignment.aligner import align

    pin_threads()
    ours = Ours([], "mean")
    pairs = made_up(options)
    ours.ranker.forward(torch.from_numpy(np.stack([pair.baseline_ids for pair in pairs])))
    aligned = replace(align([], ours.ranker.tokenizer, kind="dot"), aligned=tuple(pairs))
    return extra_memory(lambda: ours.scores(aligned))


def made_up(options: Namespace) -> list[Any]:
    """Pairs of one length, of seeded random word pieces; the versions differ near the end."""
    from mechir_edu.alignment.aligned import AlignedPair, Role
    from mechir_edu.perturb.pair import Pair

    rng, n = np.random.default_rng(0), options.tokens
    roles = np.full(n, Role.DOCUMENT, dtype=np.int8)
    roles[[0, n - 2, n - 1]] = Role.CLS, Role.EDIT, Role.SEP
    ones, zeros = np.ones(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    pairs = []
    for index in range(options.pairs):
        baseline = np.concatenate([[101], rng.integers(2000, 29000, n - 2), [102]])
        perturbed = np.where(roles == Role.EDIT, rng.integers(2000, 29000, n), baseline)
        pair = Pair(str(index), str(index), "", "", "", axiom="made up", expected_sign=0)
        query = np.concatenate([[101], rng.integers(2000, 29000, 8), [102]])
        pairs.append(AlignedPair(pair, baseline, perturbed, ones, ones, zeros, roles, query, True))
    return pairs


def row(name: str, megabytes: list[float], to_reach: str) -> dict[str, Any]:
    """One line of the table."""
    return {
        "method": name,
        "extra MB": float(np.median(megabytes)),
        "least": min(megabytes),
        "most": max(megabytes),
        "to reach": to_reach,
    }


if __name__ == "__main__":
    main()
