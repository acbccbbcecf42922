import errno
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from long_runs import ManyPairs
from patching_helpers import assert_same, assert_same_bits
from small_models import save_model

from mechir_edu.patching.activation import patch
from mechir_edu.patching.budget import bytes_of_weights, bytes_per_token, parse_bytes, tokens_for
from mechir_edu.patching.long_runs.folder import RunFolder
from mechir_edu.patching.long_runs.runs import patch_into_folder
from mechir_edu.patching.options import PatchOptions
from mechir_edu.patching.result import PatchingResult
from mechir_edu.patching.storage import read_manifest

LONG_RUNS = Path(__file__).parent / "long_runs.py"


@pytest.fixture(scope="module")
def ranker(small_ranker):
    return small_ranker("bert", "cat")


@pytest.fixture(scope="module")
def pairs():
    return list(map(ManyPairs(12).__getitem__, range(12)))


@pytest.fixture(scope="module")
def whole(ranker, pairs, tmp_path_factory):
    """The folder of a run that was never interrupted."""
    return run(ranker, pairs, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def folder(whole, tmp_path):
    """A copy of that folder, to do something to."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def run(ranker, pairs, folder, asked=None, **options):
    options = PatchOptions(**options)
    return patch_into_folder(ranker, pairs, folder, options, shard_size=4, asked=asked).path


def assert_same_runs(first, second):
    assert_same_bits(PatchingResult.load(first), PatchingResult.load(second))


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.glob("*/*.npz")}


def change_manifest(folder, **changes):
    manifest = read_manifest(folder)
    changed = replace(manifest, made_of={**manifest.made_of, **changes})
    (folder / "manifest.json").write_bytes(changed.to_bytes())


def do(*arguments):
    command = [sys.executable, LONG_RUNS, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"by": "role"},
        {"by": "pos", "site": "resid_pre"},
        {"method": "gradient"},
        {"heads": [(0, 1), (1, 3)], "together": True},
    ],
)
def test_a_run_in_shards_has_the_scores_of_one_patch(ranker, pairs, tmp_path, options):
    result = PatchingResult.load(run(ranker, pairs[:6], tmp_path, **options))
    expected = patch(ranker, pairs[:6], progress=False, **options)
    assert (result.axes, result.direction) == (expected.axes, expected.direction)
    assert result.pairs == expected.pairs
    assert_same(result.scores, expected.scores)
    np.testing.assert_array_equal(result.row_pos, expected.row_pos)


@pytest.mark.long
def test_runs_killed_at_random_moments_end_with_the_bits_of_one_never_stopped(tmp_path):
    model = save_model("bert", "ForSequenceClassification", tmp_path / "model", num_labels=1)
    kept = do("kill", tmp_path, model, 6, 0)["kept"]
    assert len(kept) == 6
    for k in range(6):
        assert_same_runs(tmp_path / f"killed-{k}", tmp_path / "whole")


@pytest.mark.slow
def test_runs_killed_at_forty_random_moments_end_with_the_same_bits(tmp_path):
    kept = do("kill", tmp_path, "planted", 40, 1)["kept"]
    assert len(set(kept)) > 8
    for k in range(40):
        assert_same_runs(tmp_path / f"killed-{k}", tmp_path / "whole")


def test_a_resumed_run_computes_only_what_is_missing(ranker, pairs, folder, whole):
    gone = folder / "patched" / "00001.npz"
    gone.unlink()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.npz")}
    run(ranker, pairs, folder)
    after = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.npz")}
    assert after.items() - before.items() == {(gone, after[gone])}
    assert contents(folder) == contents(whole)


def test_an_unfinished_run_says_so_and_what_to_do(folder):
    (folder / "patched" / "00001.npz").unlink()
    with pytest.raises(ValueError, match="2 of 3 shards so far; run the same command again"):
        PatchingResult.load(folder)


@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b""])
@pytest.mark.parametrize("stage", ["scores", "patched"])
def test_a_shard_that_is_cut_short_is_computed_again(ranker, pairs, folder, whole, stage, damage):
    path = folder / stage / "00002.npz"
    path.write_bytes(damage(path.read_bytes()))
    run(ranker, pairs, folder)
    assert contents(folder) == contents(whole)


def test_a_shard_with_a_flipped_bit_is_computed_again(ranker, pairs, folder, whole):
    path = folder / "patched" / "00000.npz"
    content = bytearray(path.read_bytes())
    content[content.index(b"scores.npy") + 100] ^= 1  # in what is packed, not in a header
    path.write_bytes(content)
    run(ranker, pairs, folder)
    assert contents(folder) == contents(whole)


def restored(path, **changes):
    """Write a shard anew with other arrays, under a zip's own checksums that are right."""
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays |= {name: change(arrays[name]) for name, change in changes.items()}
    with path.open("wb") as file:
        np.savez(file, **arrays)


OTHER_ARRAYS = {
    "another dtype": lambda scores: scores.astype(np.float64),
    "another shape": lambda scores: scores[..., :-1],
    "no axis": lambda scores: scores[0],
    "other scores": lambda scores: scores + np.float32(1e-3),
    "text": lambda scores: scores.astype(str),
    "nothing": lambda scores: scores[..., :0],
}


@pytest.mark.parametrize("change", OTHER_ARRAYS.values(), ids=OTHER_ARRAYS)
def test_a_shard_with_other_scores_is_computed_again(folder, change):
    for stage in ("scores", "patched"):
        restored(folder / stage / "00000.npz", scores=change)
        assert RunFolder(folder, read_manifest(folder)).missing(stage) == [0]
    with pytest.raises(ValueError, match=r"2 of 3 shards.*missing or damaged in .*00000\.npz"):
        PatchingResult.load(folder)


def test_no_flipped_bit_stops_a_resume_or_goes_unseen(ranker, pairs, folder, whole):
    """Every bit of the headers of a shard, and many of its content."""
    there = RunFolder(folder, read_manifest(folder))
    sound = {"scores": there.scores(0), "patched": there.patched(0)}
    for stage, read in (("scores", there.scores), ("patched", there.patched)):
        path = folder / stage / "00000.npz"
        good = path.read_bytes()
        places = [*range(0, 180, 2), *range(len(good) - 300, len(good), 3)]
        for at in places:
            path.write_bytes(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
            if (result := read(0)) is not None:
                same = result if stage == "scores" else result.scores
                expected = sound[stage] if stage == "scores" else sound[stage].scores
                np.testing.assert_array_equal(same, expected)
        path.write_bytes(good)


@pytest.mark.parametrize("at", [10, 200, 2000, -200, -20])
def test_a_result_with_a_flipped_bit_is_refused_by_name_or_is_whole(folder, at):
    path = folder / "patched" / "00000.npz"
    good, expected = path.read_bytes(), PatchingResult.load(path)
    at %= len(good)
    said = []
    for bit in range(8):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :])
        try:
            assert_same_bits(PatchingResult.load(path), expected)
        except ValueError as error:
            said.append(str(error))
    assert all(str(path) in message for message in said)


MANIFESTS = {
    "null": lambda manifest: "null",
    "a number": lambda manifest: "5",
    "a list": lambda manifest: "[]",
    "deep": lambda manifest: "[" * 100_000,
    "a huge number": lambda manifest: '{"version": ' + "9" * 5000 + "}",
    "Latin-1": lambda manifest: "é".encode("latin-1"),
    "empty": lambda manifest: "",
    "shards null": lambda manifest: manifest | {"shards": None},
    "shards of texts": lambda manifest: manifest | {"shards": [["0"]]},
    "shards of lists": lambda manifest: manifest | {"shards": [[[0]]]},
    "a pair twice": lambda manifest: manifest | {"shards": [[0, 1], [1]]},
    "a pair beyond": lambda manifest: manifest | {"shards": [[0, 1], [12]]},
    "a negative pair": lambda manifest: manifest | {"shards": [[-1]]},
    "an empty shard": lambda manifest: manifest | {"shards": [[0], []]},
    "made of nothing": lambda manifest: manifest | {"made_of": None},
    "made of a list": lambda manifest: manifest | {"made_of": []},
    "skipped a number": lambda manifest: manifest | {"skipped": 3},
    "skipped odd": lambda manifest: manifest | {"skipped": [{"query": 1}]},
    "a field too many": lambda manifest: manifest | {"sha265": "0"},
    "a field too few": lambda manifest: {k: v for k, v in manifest.items() if k != "skipped"},
    "one digit": lambda manifest: json.dumps(manifest | {"sha256": "0" * 64}),
}


@pytest.mark.parametrize("change", MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_of_wrong_types_is_damaged(ranker, pairs, folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest.pop("sha256")
    changed = change(manifest)
    content = json.dumps(changed) if isinstance(changed, dict) else changed
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for read in (lambda: run(ranker, pairs, folder), lambda: PatchingResult.load(folder)):
        with pytest.raises(ValueError, match="manifest.json is damaged.*delete the folder"):
            read()


def test_a_flipped_bit_of_a_manifest_is_seen(folder):
    path = folder / "manifest.json"
    good = path.read_bytes()
    for at in range(0, len(good), 7):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(ValueError, match="manifest.json (is damaged|holds)"):
            read_manifest(folder)


def test_a_shard_of_another_run_is_never_taken(ranker, pairs, folder, whole, tmp_path):
    other = run(ranker, pairs, tmp_path / "other", filler="mask")
    for stage in ("scores", "patched"):
        shutil.copy(other / stage / "00001.npz", folder / stage / "00001.npz")
    run(ranker, pairs, folder)
    assert contents(folder) == contents(whole)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"filler": "mask"}, "filler 'a', now 'mask'"),
        ({"by": "role"}, "by None, now 'role'"),
        ({"heads": [(0, 1)]}, r"heads None, now \[\[0, 1\]\]"),
        ({"direction": "baseline_to_perturbed"}, "direction 'auto', now 'baseline_to_perturbed'"),
        ({"method": "naive"}, "method 'exact', now 'naive'"),
        ({"memory": 10**9}, "memory None, now 1000000000"),
        ({"asked": {"seed": 6}}, "seed None, now 6"),
    ],
)
def test_a_changed_argument_is_refused_by_name(ranker, pairs, whole, options, said):
    with pytest.raises(ValueError, match=said + r".*another folder \(--out\)"):
        run(ranker, pairs, whole, **options)


def test_a_changed_shard_size_is_refused_by_name(ranker, pairs, whole):
    with pytest.raises(ValueError, match="shard_size 4, now 5"):
        patch_into_folder(ranker, pairs, whole, shard_size=5)


def test_a_changed_document_is_refused(ranker, pairs, whole):
    texts = {name: f"#{getattr(pairs[0], name)[1:]}" for name in ("baseline", "perturbed")}
    changed = [replace(pairs[0], **texts), *pairs[1:]]
    with pytest.raises(ValueError, match="holds results made with digest of the pairs"):
        run(ranker, changed, whole)


def test_another_package_version_is_refused_by_name(ranker, pairs, folder):
    versions = PatchingResult.load(folder).provenance["versions"]
    change_manifest(folder, versions=versions | {"torch": "1.0"})
    with pytest.raises(ValueError, match="made with versions: torch '1.0', now '[2-9].*mixed"):
        run(ranker, pairs, folder)


def test_other_weights_are_refused(ranker, pairs, folder):
    change_manifest(folder, checksum="0123")
    with pytest.raises(ValueError, match="made with checksum '0123'"):
        run(ranker, pairs, folder)


def test_a_damaged_manifest_is_refused(ranker, pairs, folder):
    (folder / "manifest.json").write_text('{"format"')
    with pytest.raises(ValueError, match="manifest.json is damaged.*delete the folder"):
        run(ranker, pairs, folder)


def test_a_folder_with_other_files_is_left_alone(ranker, pairs, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="new or empty folder"):
        run(ranker, pairs, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_without_a_run_is_said_to_have_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="found no manifest.json"):
        PatchingResult.load(tmp_path)


@pytest.mark.parametrize("n_writes", [0, 1, 4, 6])
def test_a_full_disk_is_an_error_and_loses_nothing(
    ranker, pairs, whole, tmp_path, monkeypatch, n_writes
):
    fill_disk_after(n_writes, monkeypatch)
    with pytest.raises(OSError, match="No space left on device.*run the same command again"):
        run(ranker, pairs, tmp_path)
    monkeypatch.undo()
    assert not [path for path in tmp_path.rglob(".*") if path.name != ".lock"]
    assert contents(tmp_path).items() <= contents(whole).items()
    assert_same_runs(run(ranker, pairs, tmp_path), whole)


def fill_disk_after(n_writes, monkeypatch):
    """From write number n on, only half of what is written goes in."""
    write, left = Path.write_bytes, [n_writes]

    def write_what_goes_in(path, content):
        left[0] -= 1
        if left[0] < 0:
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_what_goes_in)


@pytest.fixture
def holder(folder):
    """A process that writes to the folder."""
    holding = f"import filelock, time; lock = filelock.FileLock({str(folder / '.lock')!r})"
    holding += "; lock.acquire(); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", holding], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_two_processes_do_not_write_one_folder_but_a_dead_one_does_not_count(
    ranker, pairs, folder, holder
):
    with pytest.raises(BlockingIOError, match="another process is writing"):
        run(ranker, pairs, folder)
    holder.kill()
    holder.wait()
    run(ranker, pairs, folder)


def test_what_a_killed_write_left_is_swept_away(ranker, pairs, folder):
    (folder / "patched" / f".00001.npz.{'0' * 32}").write_bytes(b"half")
    run(ranker, pairs, folder)
    assert not list((folder / "patched").glob(".*"))


def test_a_bad_option_leaves_no_run_behind(ranker, pairs, tmp_path):
    with pytest.raises(ValueError, match="method must be"):
        run(ranker, pairs, tmp_path, method="magic")
    with pytest.raises(TypeError, match="unexpected keyword argument 'sight'"):
        run(ranker, pairs, tmp_path, sight="head")
    run(ranker, pairs[:2], tmp_path)


def test_screening_is_refused_because_no_shard_sees_all_pairs(ranker, pairs, tmp_path):
    with pytest.raises(ValueError, match='run method="gradient" first'):
        run(ranker, pairs, tmp_path / "run", method="screened")
    assert not (tmp_path / "run").exists()


def test_pairs_that_cannot_be_aligned_are_counted_and_the_rest_is_patched(ranker, pairs, tmp_path):
    unchanged = replace(pairs[0], perturbed=pairs[0].baseline, edit=None)
    result = PatchingResult.load(run(ranker, [pairs[1], *[unchanged] * 5, pairs[2]], tmp_path))
    assert result.pairs == (pairs[1], pairs[2])
    assert [skip.reason for skip in result.skipped] == ["edit changes nothing"] * 5


def test_a_run_without_any_pair_that_can_be_aligned_says_why(ranker, pairs, tmp_path):
    unchanged = replace(pairs[0], perturbed=pairs[0].baseline, edit=None)
    with pytest.raises(ValueError, match="edit changes nothing"):
        run(ranker, [unchanged], tmp_path)


def test_no_file_of_a_run_holds_a_pickle(whole):
    for path in whole.glob("*/*.npz"):
        with np.load(path, allow_pickle=False) as stored:
            assert all(stored[name].dtype != object for name in stored.files)
    json.loads((whole / "manifest.json").read_bytes())


@pytest.mark.long
def test_five_times_the_pairs_take_no_more_memory(tmp_path):
    small = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_labels": 1}
    model = save_model("bert", "ForSequenceClassification", tmp_path / "model", **small)
    peak = do("memory", tmp_path, model, "512,2560")
    assert peak["2560"] - peak["512"] < 16  # megabytes; the 2,048 pairs alone would take 25


def test_a_run_draws_the_pairs_of_a_shard_when_the_shard_before_is_kept(ranker, pairs, tmp_path):
    class Watched(list):
        n_kept = []

        def __getitem__(self, i):
            self.n_kept.append(len(list((tmp_path / "patched").glob("*.npz"))))
            return super().__getitem__(i)

    watched = Watched(pairs)
    run(ranker, watched, tmp_path, direction="perturbed_to_baseline")
    shards = read_manifest(tmp_path).shards
    # Planning draws pairs while none is kept, and checks of types do at the very end.
    assert [watched.n_kept.count(k) for k in range(1, len(shards))] == [*map(len, shards[1:])]


def test_a_memory_budget_bounds_the_tokens_of_a_pass(planted):
    taken = tokens_for(10**9, planted) * bytes_per_token(planted) + bytes_of_weights(planted)
    assert 0.9 * 10**9 < taken <= 10**9


def test_a_budget_too_small_for_one_sequence_is_refused(planted, pairs):
    message = r"needed at least (\d+) MB for one sequence of 512 tokens"
    with pytest.raises(ValueError, match=message) as refused:
        patch(planted, pairs, memory=parse_bytes("1MB"))
    # How many depends on the processor, for some need weights in a second layout.
    least = int(re.search(message, str(refused.value))[1])
    assert tokens_for(parse_bytes(f"{least}MB"), planted) >= 512
    with pytest.raises(ValueError, match=f"needed at least {least} MB"):
        tokens_for(parse_bytes(f"{least - 1}MB"), planted)


@pytest.mark.parametrize("text", ["", "1GBB", "-1GB", "much", "0"])
def test_what_is_no_amount_of_memory_is_refused(text):
    with pytest.raises(ValueError, match="amount of memory"):
        parse_bytes(text)
