import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from patching_helpers import assert_same_bits

from mechir_edu.models import Cat
from mechir_edu.patching.long_runs.runs import patch_into_folder
from mechir_edu.patching.result import PatchingResult
from mechir_edu.perturb.draw import make_pairs

# No calls home; and workers as important as the rest, or a busy machine starves them.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
ray = pytest.importorskip("ray", reason='Ray NOT TESTED: pip install "mechir-edu[ray]"')

from mechir_edu.patching.long_runs import distributed  # noqa: E402
from mechir_edu.patching.long_runs.distributed import patch_distributed, ray_workers  # noqa: E402

pytestmark = pytest.mark.long  # Ray and each of its workers start in half a minute
SHARDED = {"shard_size": 2}


@pytest.fixture(scope="module", autouse=True)
def two_workers():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def pairs(collection):
    return make_pairs(collection, "TFC1", n=12, seed=5)


@pytest.fixture(scope="module")
def alone(planted, pairs, tmp_path_factory):
    """The result of a single process, with one thread as Ray's workers have."""
    folder, n_threads = tmp_path_factory.mktemp("alone"), torch.get_num_threads()
    torch.set_num_threads(1)
    patch_into_folder(planted, pairs, folder, asked={"num_gpus": 0}, **SHARDED)
    torch.set_num_threads(n_threads)
    return PatchingResult.load(folder)


def test_two_workers_give_the_bits_of_one_process_though_a_worker_is_killed(pairs, alone, tmp_path):
    died = tmp_path / "died"
    done = patch_distributed(dying(died), pairs, **SHARDED)
    assert died.exists()
    assert_same_bits(done, alone)


def dying(died: Path):
    """Load a ranker that kills its process, once, amid its work."""
    driver = os.getpid()

    def load():
        ranker = Cat("planted")
        encode, n_calls = ranker.encode_fixed, [0]

        def die_or_encode(sequences):  # called once a batch; no engine minds who does it
            n_calls[0] += 1
            if os.getpid() != driver and n_calls[0] > 2 and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return encode(sequences)

        ranker.encode_fixed = die_or_encode
        return ranker

    return load


class Watched(Sequence):
    """Pairs that note, whenever one is drawn, how many shards of a folder are done."""

    def __init__(self, pairs, folder):
        self.pairs, self.folder, self.n_done = pairs, folder, []

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        self.n_done.append(len(list((self.folder / "patched").glob("*.npz"))))
        return self.pairs[i]


def test_workers_finish_a_run_begun_in_one_process_and_its_pairs_are_drawn_round_by_round(
    planted, pairs, alone, tmp_path, monkeypatch
):
    begun = patch_into_folder(planted, pairs, tmp_path, asked={"num_gpus": 0}, **SHARDED)
    missing = begun.manifest.shards[1:]
    for k in range(len(missing)):
        (tmp_path / "patched" / f"{k + 1:05}.npz").unlink()
    watched = Watched(pairs, tmp_path)
    monkeypatch.setattr(distributed, "ray_workers", partial(ray_workers, shards_each=3))
    source = ("cat", "planted")
    done = patch_distributed(source, watched, folder=tmp_path, concurrency=1, **SHARDED)
    assert_same_bits(done, alone)
    # In rounds of three shards: the second is drawn when the first is done. (Planning draws pairs
    # before, and checks of types do at the very end.)
    assert 3 < len(missing) <= 6
    assert set(watched.n_done) <= {1, 4, 1 + len(missing)}
    assert watched.n_done.count(4) == sum(map(len, missing[3:]))


def test_an_error_on_a_worker_reaches_the_caller(pairs, tmp_path):
    driver = os.getpid()

    def load():
        if os.getpid() != driver:
            raise ValueError("this machine has no model")
        return Cat("planted")

    with pytest.raises(Exception, match="this machine has no model"):
        patch_into_folder(load(), pairs, tmp_path, workers=ray_workers(load, concurrency=1))
