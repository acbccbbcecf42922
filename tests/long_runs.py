"""Long runs in processes of their own, to be killed or measured; prints JSON.

python long_runs.py kill FOLDER MODEL N_KILLS SEED   runs killed (-9) at random moments and resumed
python long_runs.py memory FOLDER MODEL N_PAIRS      peak memory of runs over N_PAIRS (e.g. 10,200)
"""

import json
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

# Forked children inherit no threads, so there must be none to wait for.
os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

from mechir_edu import Cat, Pair
from mechir_edu.patching.long_runs.runs import patch_into_folder
from mechir_edu.patching.storage import MANIFEST


class ManyPairs:
    """A sequence of short pairs that are made when they are asked for."""

    skipped = ()

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        words = " ".join(f"word{(i * k) % 97}" for k in range(1, 2 + i % 4))
        return Pair(f"q{i % 50}", self.doc_id(i), "coral", words, f"{words} coral", "mine", 1)

    def doc_id(self, i):
        return f"d{i}"


class LargePairs(ManyPairs):
    """As many bytes as long texts have, in names, which no ranker has to read."""

    def doc_id(self, i):
        return f"d{i:10000}"


def fork(function, *args, **options):
    """Call a function in a child process; gives its id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            function(*args, **options)
            status = 0
        finally:
            os._exit(status)
    return child


def kill_at_random(folder, model, n_kills, seed):
    """Run once whole, then N runs that are killed and resumed; says how many shards were kept."""
    rng, ranker = random.Random(int(seed)), Cat(model)
    pairs = ManyPairs(20)
    start = time.monotonic()
    patch_into_folder(ranker, pairs, folder / "whole", shard_size=2)
    seconds, kept = time.monotonic() - start, []
    while len(kept) < int(n_kills):
        killed = folder / f"killed-{len(kept)}"
        child = fork(patch_into_folder, ranker, pairs, killed, shard_size=2)
        time.sleep(rng.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        if os.WIFSIGNALED(os.waitpid(child, 0)[1]):  # else it was done already: a new draw
            begun = (killed / MANIFEST).exists()
            kept.append(len(list(killed.glob("*/*.npz"))) if begun else -1)
        os.waitpid(fork(patch_into_folder, ranker, pairs, killed, shard_size=2), 0)
    return {"kept": kept}


def peak_memory(folder, model, sizes):
    """Peak resident memory in megabytes of runs over so many pairs, each in its own process."""
    ranker = Cat(model)

    def measure(n_pairs):
        patch_into_folder(ranker, LargePairs(n_pairs), folder / str(n_pairs), shard_size=64)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        (folder / f"{n_pairs}.peak").write_text(str(peak))

    for n_pairs in map(int, sizes.split(",")):
        os.waitpid(fork(measure, n_pairs), 0)
    return {path.stem: int(path.read_text()) / 1000 for path in folder.glob("*.peak")}


if __name__ == "__main__":
    act = {"kill": kill_at_random, "memory": peak_memory}[sys.argv[1]]
    print(json.dumps(act(Path(sys.argv[2]), *sys.argv[3:])))
