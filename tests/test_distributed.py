import os
import shutil
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
from mechir_edu.patching.storage import read_manifest
from mechir_edu.perturb.draw import make_pairs

# No calls home; and workers as important as the rest, or a busy machine starves them.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
ray = pytest.importorskip("ray", reason='Ray NOT TESTED: pip install "mechir-edu[ray]"')

from mechir_edu.patching.long_runs import distributed  # noqa: E402
from mechir_edu.patching.long_runs.distributed import patch_distributed, ray_workers  # noqa: E402

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
    """The folder of a single process's run, with one thread as Ray's workers have."""
    folder, n_threads = tmp_path_factory.mktemp("alone"), torch.get_num_threads()
    torch.set_num_threads(1)
    patch_into_folder(planted, pairs, folder, asked={"num_gpus": 0}, **SHARDED)
    torch.set_num_threads(n_threads)
    return folder


@pytest.fixture
def folder(alone, tmp_path):
    """A copy of that folder."""
    return Path(shutil.copytree(alone, tmp_path / "run"))


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


def test_two_workers_finish_a_run_with_the_bits_of_one_process_though_one_is_killed(
    pairs, alone, folder, tmp_path, monkeypatch
):
    missing = read_manifest(folder).shards[1:]
    for k in range(len(missing)):
        (folder / "patched" / f"{k + 1:05}.npz").unlink()
    watched, died = Watched(pairs, folder), tmp_path / "died"
    monkeypatch.setattr(distributed, "ray_workers", partial(ray_workers, shards_each=2))
    done = patch_distributed(dying(died), watched, folder=folder, **SHARDED)
    assert died.exists()
    assert_same_bits(done, PatchingResult.load(alone))
    # In rounds of two shards for each worker: the second is drawn when the first is done. (Planning
    # draws pairs before, and checks of types do at the very end.)
    assert 4 < len(missing) <= 8
    assert set(watched.n_done) <= {1, 5, 1 + len(missing)}
    assert watched.n_done.count(5) == sum(map(len, missing[4:]))


def test_kind_and_name_load_the_ranker_and_a_finished_run_is_read(pairs, alone, folder):
    done = patch_distributed(("cat", "planted"), pairs, folder=folder, **SHARDED)
    assert_same_bits(done, PatchingResult.load(alone))


def test_an_error_on_a_worker_reaches_the_caller(pairs, tmp_path):
    driver = os.getpid()

    def load():
        if os.getpid() != driver:
            raise ValueError("this machine has no model")
        return Cat("planted")

    with pytest.raises(Exception, match="this machine has no model"):
        patch_into_folder(load(), pairs, tmp_path, workers=ray_workers(load, concurrency=1))
