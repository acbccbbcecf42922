"""Patch on many processes, machines or GPUs, with Ray Data.

Pairs are independent, so the shards of a long run (`mechir_edu.patching.long_runs.runs`) may be
done anywhere. Ray Data hands them out: each of its actors loads one ranker and does one shard after
another, with the very function that a single process uses, and the calling process keeps each shard
as it comes. So the result has the bits of a run in one process (on like machines, with like numbers
of threads); a worker that dies is started again and its shard done again; and where a folder is
given, the call itself may be stopped and resumed like any long run.

Ray Data takes a data set whole before it begins, so it is given one *round* of shards after
another, and the calling process holds the pairs of one round, however many there are.

On one machine::

    from mechir_edu.patching.long_runs.distributed import patch_distributed
    result = patch_distributed(("dot", "embedded"), pairs, concurrency=4)

On a machine with eight GPUs, one ranker on each (``num_gpus=0.5`` puts two on each)::

    result = patch_distributed(
        ("cat", "cross-encoder/ms-marco-MiniLM-L-6-v2"), pairs, concurrency=8, num_gpus=1,
        shard_size=256, options=PatchOptions(memory=8_000_000_000), folder="run",
    )

On a cluster, start Ray (``ray start --head`` on one machine, ``ray start --address=HEAD:6379`` on
the others, or a cluster launcher), install the same versions everywhere, put the model where every
machine finds it under one name, and connect before the same call::

    import ray
    ray.init(address="auto")

The folder needs no shared file system: the calling process alone writes to it. A GPU is kept busy
by larger shards and a larger ``memory`` than a CPU wants. Needs the extra ``ray``.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mechir_edu.patching.budget import SHARD_SIZE
from mechir_edu.patching.long_runs.runs import Shards, Work, Workers, patch_into_folder
from mechir_edu.patching.options import PatchOptions
from mechir_edu.patching.result import PatchingResult
from mechir_edu.patching.storage import decode_pair
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.kinds import load_ranker

# Ray starts a dead actor again, and gives it its shard again, as often as that takes.
PERSISTENT = {"max_restarts": -1, "max_task_retries": -1}
# Shards of one round for each worker. Workers load their ranker anew in every round (seconds), and
# wait at its end for the last of them: a few per cent of the time that so many shards take.
SHARDS_EACH = 32

RankerSource = tuple[str, str] | Callable[[], Ranker]


def patch_distributed(
    ranker: RankerSource,
    pairs: Sequence[Pair],
    *,
    concurrency: int = 2,
    num_gpus: int | float = 0,
    shard_size: int = SHARD_SIZE,
    folder: str | Path | None = None,
    options: PatchOptions | None = None,
) -> PatchingResult:
    """Patch pairs on Ray's workers.

    Parameters
    ----------
    ranker : kind and name, such as ``("dot", "embedded")``, or a function that loads a ranker; it
        is called once here, to tokenise, and once on each worker.
    pairs : as for `mechir_edu.patching.long_runs.runs.patch_into_folder`.
    concurrency : workers, each with one ranker.
    num_gpus : GPUs for each worker, which may be a part of one.
    shard_size : pairs that a worker is given at once.
    folder : keeps the shards, so that this call can resume; a temporary one when omitted.
    options : what is patched, and how; all heads, exactly, when omitted.

    Raises
    ------
    ImportError
        When Ray is not installed; names the extra that brings it.
    ValueError, OSError
        As `mechir_edu.patching.long_runs.runs.patch_into_folder` does.
    """
    load = partial(load_ranker, *ranker) if isinstance(ranker, tuple) else ranker
    workers = ray_workers(load, concurrency=concurrency, num_gpus=num_gpus)
    with tempfile.TemporaryDirectory() as scratch:
        run = patch_into_folder(
            load(),
            pairs,
            scratch if folder is None else folder,
            options,
            shard_size=shard_size,
            asked={"num_gpus": num_gpus},
            workers=workers,
        )
        return PatchingResult.load(run.path)


def ray_workers(
    load: Callable[[], Ranker],
    *,
    concurrency: int = 2,
    num_gpus: int | float = 0,
    shards_each: int = SHARDS_EACH,
) -> Workers:
    """Let Ray's workers do the shards of a run.

    Parameters
    ----------
    load : loads a ranker; called on each worker, once a round.
    concurrency, num_gpus : as for `patch_distributed`.
    shards_each : shards for each worker in one round.

    Returns
    -------
    Workers
        For ``workers=`` of `mechir_edu.patching.long_runs.runs.patch_into_folder`.

    Raises
    ------
    ImportError
        When Ray is not installed; names the extra that brings it.
    """
    try:
        from ray import data
    except ImportError as error:
        raise ImportError('needed Ray; pip install "mechir-edu[ray]"') from error

    def do_round(work: Work, rows: list[dict[str, Any]]) -> Iterator[tuple[int, bytes]]:
        done = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Worker,
            fn_constructor_args=(load, work),
            batch_size=1,
            batch_format="numpy",
            compute=data.ActorPoolStrategy(size=min(concurrency, len(rows))),
            num_gpus=num_gpus,
            **PERSISTENT,
        )
        for row in done.iter_rows():
            yield row["shard"], row["content"]

    def do(work: Work, shards: Shards) -> Iterator[tuple[int, bytes]]:
        rows = ({"shard": k, "pairs": _encode(pairs)} for k, pairs in shards)
        while of_round := list(islice(rows, concurrency * shards_each)):
            yield from do_round(work, of_round)

    return do


class _Worker:
    """One ranker, in a process of its own, that does shards."""

    def __init__(self, load: Callable[[], Ranker], work: Work) -> None:
        self.ranker, self.work = load(), work

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list]:
        shards = [int(k) for k in batch["shard"]]
        pairs = [[decode_pair(pair) for pair in json.loads(text)] for text in batch["pairs"]]
        contents = [
            self.work(self.ranker, k, of_shard) for k, of_shard in zip(shards, pairs, strict=True)
        ]
        return {"shard": shards, "content": contents}


def _encode(pairs: Sequence[Pair]) -> str:
    return json.dumps([asdict(pair) for pair in pairs])
