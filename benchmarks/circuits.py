"""The curve of a circuit, head by head: sets put in together, against one full forward per set.

Both sides measure what is restored and what survives, of the same sets on the same pairs in the
same batches, and must agree.
"""

from functools import partial

from common import arguments, interleave, load_pairs, parse, report


def main() -> None:
    """Time sets together, and one forward through hooks for each set."""
    parser = arguments(__doc__.splitlines()[0], pairs=2, repeats=3)
    parser.add_argument("--kind", choices=("dot", "cat"), default="cat", help="which ranker")
    parser.add_argument("--model", default="embedded", help="its checkpoint")
    parser.add_argument("--order", choices=("gradient", "random"), default="gradient", help="heads")
    parser.add_argument("--sets", type=int, help="how many steps of the curve; all heads without")
    options = parse(parser)
    import numpy as np
    import torch

    import mechir_edu as me
    from mechir_edu.patching.circuits.measure import Measure, set_job
    from mechir_edu.patching.circuits.orders import by_effect, shuffled
    from mechir_edu.patching.circuits.sets import HookedSets, all_heads
    from mechir_edu.patching.scoring import align_for

    title, pairs = load_pairs(options)
    ranker = {"dot": me.Dot, "cat": me.Cat}[options.kind](options.model)
    torch.set_num_threads(options.threads)
    aligned, direction = align_for(ranker, pairs, "a"), "perturbed_to_baseline"
    if options.order == "random":
        order = shuffled(all_heads(ranker), options.seed, 0)
    else:
        order = by_effect(ranker, aligned, "gradient", direction)
    n_sets = len(order) if options.sets is None else options.sets
    sets = [frozenset(order[:number]) for number in range(1, n_sets + 1)]
    job = set_job(ranker, aligned, None)
    one_by_one = Measure(job, direction)
    one_by_one.__dict__["engine"] = HookedSets(ranker, 1, may_skip=False)

    tasks = {
        "sets together": partial(Measure(job, direction).effects, sets, sets),
        "one full forward per set": partial(one_by_one.effects, sets, sets),
    }
    for task in tasks.values():  # what each does once, such as choosing a product, does not count
        task.func(sets[:1], sets[:1])
    times, results = interleave(tasks, options.repeats)
    together = results["sets together"]
    rows = []
    for how, timing in times.items():
        differences = [np.abs(a - b).max() for a, b in zip(results[how], together, strict=True)]
        rows.append(
            {
                "how": how,
                "CPU s": timing.median_cpu,
                "CPU s / together's": timing.median_cpu / times["sets together"].median_cpu,
                "largest difference": float(max(differences)),
            }
        )
    if max(row["largest difference"] for row in rows) > 1e-4:
        raise SystemExit(f"the two sides differ: {rows}")
    report(f"{ranker}, {title}, {n_sets} sets by {options.order}, both protocols", rows, options)


if __name__ == "__main__":
    main()
