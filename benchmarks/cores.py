"""Exact patching of all heads on several cores: pairs side by side, or each product spread.

Wall time is the figure here, so the machine must be quiet. The scores of all sides must be alike.
"""

from functools import partial

from common import arguments, interleave, load_pairs, parse, report


def main() -> None:
    """Time one core, several within each product, and several with pairs side by side."""
    parser = arguments(__doc__.splitlines()[0], pairs=24, repeats=3)
    parser.add_argument("--kind", choices=("dot", "cat"), default="cat", help="which ranker")
    parser.add_argument("--model", default="embedded", help="its checkpoint")
    parser.set_defaults(threads=2)
    options = parse(parser)
    import numpy as np
    import torch

    import mechir_edu as me
    from mechir_edu.patching.budget import bytes_of_weights, bytes_per_token
    from mechir_edu.patching.scoring import MAX_TOKENS

    title, pairs = load_pairs(options)
    ranker = {"dot": me.Dot, "cat": me.Cat}[options.kind](options.model)
    torch.set_num_threads(options.threads)
    me.patch(ranker, pairs[:2], progress=False)  # what is made once for a model

    # Memory for a single pass at a time; the cores can then only share its products.
    tokens = max(ranker.max_length, MAX_TOKENS["cpu"])
    one_pass = bytes_of_weights(ranker) + tokens * bytes_per_token(ranker)

    def patch(n_cores: int, memory: int | None = None) -> me.PatchingResult:
        torch.set_num_threads(n_cores)
        return me.patch(ranker, pairs, memory=memory, progress=False)

    n = options.threads
    tasks = {
        "one core": partial(patch, 1),
        f"{n} cores, each product spread": partial(patch, n, one_pass),
        f"{n} cores, pairs side by side": partial(patch, n),
    }
    times, results = interleave(tasks, options.repeats)
    alone = times["one core"].median_wall
    rows = [
        {
            "how": how,
            "wall s": timing.median_wall,
            "CPU s": timing.median_cpu,
            "times as fast as one core": alone / timing.median_wall,
            "largest score difference": float(
                np.abs(results[how].scores - results["one core"].scores).max()
            ),
        }
        for how, timing in times.items()
    ]
    report(f"{ranker}, {title}", rows, options)


if __name__ == "__main__":
    main()
