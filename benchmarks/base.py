"""Patch all heads of models of base size (12 x 12 heads, 768).

The real all-mpnet-base-v2, exact against naive, with the memory that exact patching takes beside
the model; and a cross-encoder in ELECTRA-base's shape, which reads [CLS] alone, against MechIR
0.2.0 on the same token ids. The cross-encoder's weights are random, on which speed does not depend.

Every layer costs ``naive`` the same, so it patches a few layers only, and its time is scaled to
all; scores are compared there. MechIR patches every layer.
"""

import sys
import tempfile
from argparse import Namespace
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    Timed,
    arguments,
    extra_memory,
    load_pairs,
    parse,
    pin_threads,
    report,
    settings_of,
    timed,
)
from kinds import save
from mechir_client import add_mechir_option, check_agreement, describe, mechir
from mpnet_weights import DEFAULT, folder_of

BASE = (12, 12, 768, 3072)  # layers, heads, d_model, d_mlp


def main() -> None:
    """Measure both models."""
    options = read_options()
    title, pairs = load_pairs(options)
    pin_threads()
    rows = []
    if (folder := folder_of(options.weights)) is None:
        print(f"\n*** all-mpnet-base-v2 LEFT OUT: nothing in {options.weights}", file=sys.stderr)
        print("*** Fetch it by: python benchmarks/mpnet_weights.py\n", file=sys.stderr)
    else:
        rows += measure_mpnet(folder, pairs, options)
    with tempfile.TemporaryDirectory() as scratch:
        of_electra, versions = measure_electra(Path(scratch) / "electra", pairs, options)
    title = f"All heads at base size; {title}, of them {options.cross_pairs} for ELECTRA"
    report(f"{title}; {versions}", rows + of_electra, options)


def read_options() -> Namespace:
    """Read the options of all benchmarks and of this one."""
    parser = arguments(__doc__.splitlines()[0], pairs=8, repeats=1)
    add_mechir_option(parser)
    parser.add_argument(
        "--weights", type=Path, default=DEFAULT, help="where mpnet_weights.py has put its folder"
    )
    parser.add_argument("--cross-pairs", type=int, default=4, help="pairs of the cross-encoder")
    parser.add_argument("--layers", type=int, default=2, help="in which naive is timed")
    parser.add_argument(
        "--shape",
        type=int,
        nargs=4,
        default=BASE,
        metavar=("LAYERS", "HEADS", "D_MODEL", "D_MLP"),
        help="of the cross-encoder",
    )
    return parse(parser)


def measure_mpnet(folder: Path, pairs: list, options: Namespace) -> list[dict[str, Any]]:
    """Rows of the real model."""
    import mechir_edu as me
    from mechir_edu.patching.scoring import align_for

    ranker = me.Dot(folder)
    aligned = align_for(ranker, pairs, "a")
    return compare("all-mpnet-base-v2", ranker, aligned, options)[0]


def measure_electra(
    folder: Path, pairs: list, options: Namespace
) -> tuple[list[dict[str, Any]], str]:
    """Rows of the cross-encoder, MechIR's among them, and what MechIR ran on."""
    import mechir_edu as me
    from mechir_edu.patching.scoring import align_for

    ranker = me.Cat(save_electra(folder, options.shape))
    aligned = align_for(ranker, pairs[: options.cross_pairs], "a")
    rows, exact = compare("ELECTRA's shape", ranker, aligned, options)
    by_length = defaultdict(list)
    for index, pair in enumerate(aligned.aligned):
        by_length[len(pair.roles)].append(index)
    groups = list(by_length.values())
    with mechir(options, None, folder) as other:
        if other is not None:
            other.hand_over("tight", [[aligned.aligned[i] for i in group] for group in groups])
            run = other.heads("tight")
            scores = run.value[:, np.argsort(np.concatenate(groups))].reshape(exact.value.shape)
            apart = check_agreement("MechIR", exact.value, scores)
            rows.append(row("ELECTRA's shape", "MechIR, tight", run.cpu, exact.cpu, apart))
        return rows, describe(other)


def compare(
    name: str, ranker: Any, aligned: Any, options: Namespace
) -> tuple[list[dict[str, Any]], Timed]:
    """Rows of exact and naive, run in turns, and exact's median run with its scores."""
    import mechir_edu as me

    n_layers, n_heads = ranker.n_layers, ranker.n_heads
    layers = np.unique(np.linspace(0, n_layers - 1, options.layers).round().astype(int))
    heads = [(int(layer), head) for layer in layers for head in range(n_heads)]
    direction = "perturbed_to_baseline"  # MechIR's only one
    patch = partial(me.patch, ranker, direction=direction, progress=False)
    patch(replace(aligned, aligned=aligned.aligned[:1]), heads=[(n_layers - 1, 0)])  # warm
    runs: dict[str, list[Timed]] = {"exact": [], "naive": []}
    megabytes = []
    for _ in range(options.repeats):
        megabytes.append(extra_memory(lambda: runs["exact"].append(timed(partial(patch, aligned)))))
        task = partial(patch, aligned, method="naive", heads=heads)
        runs["naive"].append(timed(task))
    exact, naive = (runs[method][-1].value for method in ("exact", "naive"))
    there = exact.scores[layers].reshape(naive.scores.shape)
    apart = check_agreement(f"{name}, naive", there, naive.scores)
    seconds, of_naive = (float(np.median([run.cpu for run in of])) for of in runs.values())
    n_tokens = int(np.median([len(pair.roles) for pair in aligned.aligned]))
    described = (
        f"{name} ({n_layers} x {n_heads}), {len(aligned.aligned)} pairs of {n_tokens} tokens"
    )
    whole = of_naive * n_layers / len(layers)
    rows = [
        row(described, "exact", seconds, seconds, "") | {"extra MB": megabytes[0]},
        row(name, f"naive, scaled from {len(layers)} layers", whole, seconds, apart),
    ]
    return rows, Timed(seconds, 0.0, exact.scores)


def row(model: str, method: str, cpu: float, exact: float, apart: float | str) -> dict[str, Any]:
    """One line of the table."""
    return {
        "model": model,
        "method": method,
        "CPU s": cpu,
        "CPU s / exact's": cpu / exact,
        "extra MB": "",
        "largest score difference": apart,
    }


def save_electra(folder: Path, shape: tuple[int, int, int, int]) -> Path:
    """Save a cross-encoder of random weights with MiniLM's word pieces."""
    from transformers import ElectraConfig, ElectraForSequenceClassification

    import mechir_edu as me

    words = me.Dot("embedded", verify=False).tokenizer
    settings = settings_of(words, *shape)
    config = ElectraConfig(**settings, embedding_size=settings["hidden_size"], num_labels=1)
    save(ElectraForSequenceClassification(config), words, folder)
    return folder


if __name__ == "__main__":
    main()
