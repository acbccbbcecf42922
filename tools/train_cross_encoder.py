"""Train the cross-encoder that travels with the package, from a seed, on a CPU or a GPU.

The recipe, in the order of the modules in `distillation`:

1. **Data.** A folder with queries, passages, first-stage scores and relevance grades, or any
   ir_datasets id with qrels (then the pool is its judged documents).
2. **Lists.** Each query gets candidates from the pool and a teacher's score for each of them
   (`teachers`). Judged queries add their grades; many more queries without grades, and pieces of
   passages used as queries, keep the model from learning the judged ones by heart.
3. **Model.** all-MiniLM-L6-v2 as a cross-encoder, set up so that before any training its score is
   MiniLM's cosine (`late_comparison`). Base weights stay frozen; low-rank changes of the linear
   layers, biases, layer norms, token types, pooler and head are trained.
4. **Training.** Lists of passages per query: the Kullback-Leibler divergence from the teacher's
   distribution, plus a pairwise logistic loss wherever two grades differ.
5. **Early stopping.** The checkpoint that ranks the held-out queries best is written.

Run it (about an hour and a half on one core with AVX512-BF16, minutes on a GPU; where there is no
bfloat16, in float32, see `precision`)::

    python tools/train_cross_encoder.py --data FOLDER --out FOLDER

A stopped run resumes from its last checkpoint when the same command is given again. With
``torchrun --nproc-per-node N`` in place of ``python``, N processes train one model (see
`workers`).
"""

import argparse
import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from distillation import workers
from distillation.data import read_data
from distillation.early_stopping import held_out_ndcg
from distillation.lists import Lists, draw_batch, make_lists
from distillation.low_rank import merge_all
from distillation.student import adapter_tensors, save_adapter, starting_point
from distillation.updates import learning_rate, make_optimizer, train_step

from mechir_edu.files import write_whole
from mechir_edu.rankers.embedded import load_tokenizer


@dataclass
class Progress:
    """Where a run stands: all that a checkpoint holds beside weights and optimizer."""

    step: int = 0
    best: float = -1.0
    best_step: int = 0
    seconds: float = 0.0


def train(lists: Lists, options: argparse.Namespace) -> Progress:
    """Train, evaluate on the held-out queries now and then, keep the best; resume if possible."""
    torch.manual_seed(options.seed)
    model = starting_point(lists, options)
    tokenizer = load_tokenizer()
    optimizer = make_optimizer(model, options)
    progress = restore(model, optimizer, options.out)
    losses, started, before = [], time.time(), progress.seconds
    while progress.step < options.steps:
        lr = learning_rate(progress.step, options)
        number = options.drawn + progress.step * workers.count() + workers.number()
        batch = draw_batch(lists, number, options)
        losses.append(train_step(model, tokenizer, optimizer, batch, lr))
        progress.step += 1
        progress.seconds = before + time.time() - started
        if workers.number() > 0:
            continue
        if progress.step % options.log_every == 0:
            report(progress, loss=float(np.mean(losses)), lr=lr)
            losses = []
        if progress.step % options.eval_every == 0 or progress.step == options.steps:
            value = held_out_ndcg(model, tokenizer, lists)
            # Of equals (to three digits) the later one, which has seen more and at lower rates.
            if round(value, 3) >= round(progress.best, 3):
                progress.best, progress.best_step = value, progress.step
                save_adapter(model, options.out / "best.safetensors")
            report(progress, held_out=value)
            save_checkpoint(model, optimizer, progress, options.out)
    if workers.number() == 0:
        save_adapter(model, options.out / "last.safetensors")
    return progress


def report(progress: Progress, **values: float) -> None:
    """Print one line of progress."""
    shown = " ".join(f"{name} {value:.4g}" for name, value in values.items())
    print(f"step {progress.step} {progress.seconds:.0f} s {shown}", flush=True)


def save_checkpoint(model, optimizer, progress: Progress, folder: Path) -> None:
    """Write everything a resumed run needs, whole or not at all."""
    state = {
        "model": adapter_tensors(model, torch.float32),
        "optimizer": optimizer.state_dict(),
        "progress": vars(progress),
    }
    content = io.BytesIO()
    torch.save(state, content)
    write_whole(folder / "checkpoint.pt", content.getvalue())


def restore(model, optimizer, folder: Path) -> Progress:
    """Continue from the folder's checkpoint, if it has one."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return Progress()
    state = torch.load(path, weights_only=True)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(state["model"][name])
    optimizer.load_state_dict(state["optimizer"])
    merge_all(model)
    return Progress(**state["progress"])


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--data", required=True, help="a training folder, or an ir_datasets id with qrels")
    add("--out", type=Path, required=True, help="folder for checkpoints and the adapter")
    add("--adapter", type=Path, help="file to go on from; by default one is set up")
    add("--drawn", type=int, default=0, help="batches of lists that --adapter has seen")
    add("--seed", type=int, default=0)
    add("--steps", type=int, default=3000)
    add("--queries", type=int, default=7000, help="extra unjudged queries to use at most")
    add(
        "--mix",
        type=float,
        nargs=3,
        default=[0.3, 0.55, 0.15],
        metavar="SHARE",
        help="shares of judged, extra and pseudo lists",
    )
    add("--pseudo", type=int, default=9000, help="pseudo-queries to make from passages")
    add("--held-out", type=int, default=20, help="queries held out for early stopping")
    add("--forbidden", nargs="*", default=[], help="ir_datasets ids whose queries are test queries")
    add("--lists-per-step", type=int, default=4, help="of each process")
    add("--list-size", type=int, default=8)
    add("--rank", type=int, default=16, help="directions to learn in, for each linear layer")
    add("--polish", type=int, default=400, help="steps to keep query and passage apart")
    add("--polish-pairs", type=int, default=16, help="pairs of such a step, at most")
    add("--sample", type=int, default=18, help="batches of pairs that probes are fitted to")
    add("--lr", type=float, default=3e-4)
    add("--warmup", type=int, default=150, help="steps")
    add("--decay", type=float, default=0.55, help="share of the steps over which lr falls to 0")
    add("--eval-every", type=int, default=500)
    add("--log-every", type=int, default=50)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    options.mix = dict(zip(("judged", "extra", "pseudo"), options.mix, strict=True))
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare the lists, train, and say where the adapter is."""
    options = parse_arguments(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.device == "cpu":
        torch.set_num_threads(1)  # sums in a fixed order: the same bits from the same seed
    with workers.joined():
        started = time.time()
        lists = make_lists(read_data(options.data), options)
        print(json.dumps(lists.about), f"prepared in {time.time() - started:.0f} s", flush=True)
        progress = train(lists, options)
        if workers.number() > 0:
            return 0
    summary = lists.about | vars(progress) | {k: str(v) for k, v in vars(options).items()}
    write_whole(options.out / "summary.json", json.dumps(summary, indent=1).encode())
    print(f"best held-out nDCG@10 {progress.best:.4f} at step {progress.best_step}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
