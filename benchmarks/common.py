"""What the benchmarks share: pinned threads, interleaved timing, real pairs, tables and JSON.

`parse` pins the threads, so it comes before anything that imports numpy or torch.
"""

import argparse
import atexit
import gc
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
DL = ("msmarco-passage/trec-dl-2019/judged", "msmarco-passage/trec-dl-2020/judged")
CACHE = Path.home() / ".cache" / "mechir-edu-benchmarks"  # what is fetched once
# Where a checkout has the TREC DL files beside it, in the layout of an ir_datasets home.
BESIDE = Path(__file__).resolve().parents[2] / "shared" / "trec-dl"


def options_of_all(description: str, *, repeats: int) -> argparse.ArgumentParser:
    """Make a parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=repeats, help="runs of each; medians count")
    parser.add_argument("--threads", type=int, default=1, help="threads of each side")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser


def fetch_as_asked(description: str, default: Path, fetch: Callable[[Path], Path]) -> None:
    """Fetch what a benchmark needs into the folder that the command line names, and say where."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=default, help="where it is to be")
    print(fetch(parser.parse_args().folder))


def arguments(description: str, *, pairs: int, repeats: int) -> argparse.ArgumentParser:
    """Add the options of the benchmarks that patch pairs; the numbers are their defaults."""
    parser = options_of_all(description, repeats=repeats)
    parser.add_argument("--pairs", type=int, default=pairs, help="number of pairs")
    parser.add_argument("--axiom", default="TFC1", help="what is done to the documents")
    parser.add_argument("--seed", type=int, default=0, help="draws the pairs")
    parser.add_argument(
        "--trec-dl",
        type=_folder,
        default=BESIDE if BESIDE.is_dir() else None,
        help='ir_datasets home with TREC DL 2019 and 2020; with "none" the embedded collection',
    )
    return parser


def _folder(text: str) -> Path | None:
    return None if text == "none" else Path(text)


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the options; call it before importing mechir_edu, which fixes where its data are."""
    options = parser.parse_args()
    os.environ.update(dict.fromkeys(THREADS, str(options.threads)))
    if getattr(options, "trec_dl", None) is not None:
        _use_copy(options.trec_dl)
    return options


def load_pairs(options: argparse.Namespace) -> tuple[str, list]:
    """Pairs of both DL years or of the embedded collection, after a few words on what they are."""
    import mechir_edu as me

    if options.trec_dl is None:
        name, collection = "embedded collection", me.load_collection("embedded")
    else:
        name, collection = "TREC DL 2019 and 2020", me.load_collection(*DL)
    pairs = me.make_pairs(collection, options.axiom, n=options.pairs, seed=options.seed)
    return f"{len(pairs)} {options.axiom} pairs, {name}", pairs


def _use_copy(home: Path) -> None:
    # ir_datasets builds its index beside the files, and they may be read-only.
    scratch = Path(tempfile.mkdtemp(prefix="mechir-edu-benchmark-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    shutil.copytree(home, scratch / "home", copy_function=shutil.copyfile)
    os.environ["IR_DATASETS_HOME"] = str(scratch / "home")
    os.environ["MECHIR_EDU_CACHE"] = str(scratch / "cache")


@dataclass(frozen=True)
class Timing:
    """Seconds that each repeat of one task took."""

    cpu: list[float]
    wall: list[float]

    @property
    def median_cpu(self) -> float:
        """Median CPU time, in seconds."""
        return statistics.median(self.cpu)

    @property
    def median_wall(self) -> float:
        """Median wall-clock time, in seconds."""
        return statistics.median(self.wall)

    @property
    def spread(self) -> float:
        """Largest CPU time over smallest, minus 1."""
        return max(self.cpu) / min(self.cpu) - 1


@dataclass(frozen=True)
class Timed:
    """One run of a task: seconds that it took, and what it returned."""

    cpu: float
    wall: float
    value: Any


def pin_threads() -> None:
    """Let PyTorch take the threads that the environment grants; OpenMP alone may not tell it."""
    import torch

    torch.set_num_threads(int(os.environ[THREADS[0]]))


def timed(task: Callable[[], Any]) -> Timed:
    """Run a task once."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    value = task()
    return Timed(time.process_time() - cpu, time.perf_counter() - wall, value)


def interleave(
    tasks: dict[str, Callable[[], Any]], repeats: int
) -> tuple[dict[str, Timing], dict[str, Any]]:
    """Run A, B, C, A, B, C, ...: drift of the machine's speed then meets all alike.

    A task that runs in another process times itself there and returns a `Timed`.

    Returns
    -------
    The times of each task, and what its last run returned.
    """
    pin_threads()
    times = {name: Timing([], []) for name in tasks}
    results = {}
    for _ in range(repeats):
        for name, task in tasks.items():
            run = timed(task)
            run = run.value if isinstance(run.value, Timed) else run
            results[name] = run.value
            times[name].cpu.append(run.cpu)
            times[name].wall.append(run.wall)
    return times, results


def extra_memory(task: Callable[[], Any]) -> float:
    """Peak resident memory while a task runs, above what is resident before it, in MB (Linux)."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far
    before = _resident("VmRSS")
    task()
    return (_resident("VmHWM") - before) / 1000


def _resident(name: str) -> float:
    """Kilobytes (1000 bytes) of this process, by the kernel's name for them."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(name)) * 1.024


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table; the first row's keys are its head."""
    from mechir_edu.plots.words import markdown_table  # as in `parse`: it fixes where data are

    cells = [[_show(value) for value in row.values()] for row in rows]
    return markdown_table(list(rows[0]), cells, aligned=True)


def _show(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def report(title: str, rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print a table with machine and date, and write the same as JSON where asked for."""
    machine = describe_machine(options.threads)
    print(f"\n{title}\n{', '.join(map(str, machine.values()))}\n")
    print(as_table(rows))
    if options.json is not None:
        asked = {name: value for name, value in vars(options).items() if not _is_path(value)}
        content = {"title": title, "machine": machine, "options": asked, "rows": list(rows)}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _is_path(value: Any) -> bool:
    return isinstance(value, Path)


def settings_of(
    words: Any, n_layers: int, n_heads: int, d_model: int, d_mlp: int
) -> dict[str, int]:
    """What a configuration of transformers says of a model's shape and its tokenizer."""
    return {
        "vocab_size": len(words),
        "num_hidden_layers": n_layers,
        "num_attention_heads": n_heads,
        "hidden_size": d_model,
        "intermediate_size": d_mlp,
        "pad_token_id": words.pad_token_id,
    }


def save_bert(
    folder: Path, words: Any, n_layers: int, n_heads: int, d_model: int, d_mlp: int
) -> None:
    """Save an encoder of random weights, the same each time, and its tokenizer."""
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(**settings_of(words, n_layers, n_heads, d_model, d_mlp))
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    words.save_pretrained(folder)


def describe_machine(threads: int) -> dict[str, Any]:
    """Processor, number of cores, load, versions and date."""
    cpuinfo, processor = Path("/proc/cpuinfo"), platform.processor() or platform.machine()
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        processor = named[0] if named else processor
    packages = ("torch", "transformers", "transformer-lens")
    versions = " ".join(f"{name} {version(name)}" for name in packages)
    return {
        "processor": processor,
        "cores": f"{os.cpu_count()} cores, {threads} used",
        "load": f"load {os.getloadavg()[1]:.1f}" if hasattr(os, "getloadavg") else "load unknown",
        "versions": f"Python {platform.python_version()} {versions}",
        "date": date.today().isoformat(),
    }
