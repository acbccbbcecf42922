import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from small_models import save_model, save_mono_t5

from mechir_edu.cli.main import main, parser
from mechir_edu.collection.load import load_collection
from mechir_edu.files import sha256
from mechir_edu.patching import activation as patching
from mechir_edu.patching.result import PatchingResult
from mechir_edu.perturb import draw as perturb
from mechir_edu.rankers import kinds
from mechir_edu.rankers.checkpoint.saved_by import READERS
from mechir_edu.rankers.kinds import KINDS, load_ranker

PLANTED = ("patch", "--kind", "cat", "--model", "planted")
SMALL = ("--pairs", "8", "--seed", "5", "--shard-size", "3")


def command(folder, *options):
    return [*PLANTED, "--out", str(folder), *SMALL, *options]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert main(command(folder)) == 0
    return folder


@pytest.fixture(scope="module", autouse=True)
def loaded_once(remembered):
    remembered(kinds, "load_ranker")


@pytest.fixture(scope="module")
def ranker(planted):
    return planted


def expected(ranker, axiom="TFC1", place="end", n=8, **options):
    drawn = {"n": n, "seed": 5, "place": place, "length": ranker.n_pieces}
    pairs = perturb.make_pairs(load_collection("embedded"), axiom, **drawn)
    return patching.patch(ranker, pairs, progress=False, **options)


def test_the_folder_holds_what_patch_gives(out, ranker):
    there, here = PatchingResult.load(out), expected(ranker)
    assert there.pairs == here.pairs
    assert there.direction == here.direction
    np.testing.assert_allclose(there.scores, here.scores, atol=1e-5)


def test_the_folder_says_how_its_pairs_were_drawn(out):
    made_of = PatchingResult.load(out).provenance["made_of"]
    asked = {"dataset": ["embedded"], "axiom": "TFC1", "pairs": 8, "seed": 5, "place": "end"}
    assert made_of | asked == made_of


def test_an_axiom_of_ones_own_is_patched_and_its_checksum_kept(tmp_path, monkeypatch, ranker):
    monkeypatch.chdir(tmp_path)
    file = Path("axioms.py")
    file.write_text("def shout(document):\n    return document.upper() + '!'\n")
    assert main(command("run", "--axiom", "axioms.py:shout")) == 0
    there = PatchingResult.load("run")
    assert {pair.perturbed for pair in there.pairs} == {
        pair.baseline.upper() + "!" for pair in there.pairs
    }
    made_of = there.provenance["made_of"]
    assert made_of["axiom"] == "axioms.py:shout"
    assert made_of["files"] == {"axioms.py": sha256(file)}
    file.write_text("def shout(document):\n    return document.upper() + '?'\n")
    assert main(command("run", "--axiom", "axioms.py:shout")) == 2


def test_heads_are_patched_as_one_set_when_asked(tmp_path, ranker):
    assert main(command(tmp_path, "--heads", "1.2,0.3", "--together")) == 0
    here = expected(ranker, heads=[(1, 2), (0, 3)], together=True)
    there = PatchingResult.load(tmp_path)
    assert there.axes == here.axes == ("set", "pair")
    np.testing.assert_array_equal(there.scores, here.scores)


def test_every_option_of_the_command_reaches_the_patch(tmp_path, ranker):
    text = "--site q --by role --heads 1.2,0.3 --direction baseline_to_perturbed --method naive"
    options = [*text.split(), "--filler", "mask", "--memory", "100MB", "--device", "cpu"]
    drawn = ["--axiom", "TDC-control", "--place", "start"]
    assert main(command(tmp_path, *options, *drawn)) == 0
    asked = {"site": "q", "by": "role", "heads": [(1, 2), (0, 3)], "method": "naive"}
    asked |= {"direction": "baseline_to_perturbed", "filler": "mask", "memory": 100 * 10**6}
    here = expected(ranker, axiom="TDC-control", place="start", **asked)
    there = PatchingResult.load(tmp_path)
    assert there.pairs == here.pairs
    np.testing.assert_allclose(there.scores, here.scores, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "save", "settings"),
    [
        ("monot5", partial(save_mono_t5, "t5"), ["true_token=▁true", "false_token=5"]),
        ("cat", partial(save_model, "qwen3", "ForCausalLM"), ["readout=query likelihood"]),
        ("dot", partial(save_model, "bert", "Model"), ["pooling=mean", "max_length=96"]),
    ],
)
def test_a_setting_of_the_class_reaches_the_ranker_and_is_kept(
    tmp_path, kind, save, settings, capsys
):
    save(tmp_path / "model")
    given = [part for setting in settings for part in ("--set", setting)]
    asked = ["--kind", kind, "--model", str(tmp_path / "model"), "--pairs", "2", "--heads", "0.0"]
    line = ["patch", *asked, "--out", str(tmp_path / "run")]
    assert main([*line, *given]) == 0
    there = PatchingResult.load(tmp_path / "run")
    ranker = load_ranker(kind, str(tmp_path / "model"), settings=settings)
    here = patching.patch(ranker, there.pairs, heads=[(0, 0)], progress=False)
    np.testing.assert_allclose(there.scores, here.scores, rtol=1e-4)
    changed = [part.replace("▁true", "▁yes").replace("96", "64") for part in given]
    if changed != given:
        assert main([*line, *changed]) == 2
        assert "now" in capsys.readouterr().err


def test_the_help_names_every_kind(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")  # so that no line ends inside a name
    assert READERS.keys() == KINDS.keys()
    with pytest.raises(SystemExit):
        main(["patch", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for kind, (what, _) in READERS.items():
        assert f"{kind}, {what}" in said


def test_the_same_command_again_changes_nothing_and_says_where_the_result_is(out, capsys):
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*.npz")}
    assert main(command(out)) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/*.npz")} == before
    assert f'PatchingResult.load("{out}")' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seed", "6"], "seed 5, now 6"),
        (["--axiom", "TDC"], "axiom 'TFC1', now 'TDC'"),
        (["--place", "start"], "place 'end', now 'start'"),
        (["--filler", "mask"], "filler 'a', now 'mask'"),
        (["--heads", "3.5"], "no head (layer 3, head 5)"),
    ],
)
def test_bad_or_changed_arguments_are_exit_code_2_and_named(out, capsys, options, said):
    assert main(command(out, *options)) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--heads", "three"], "--heads needs layer.head"),
        (["--memory", "lots"], "amount of memory"),
        (["--kind", "catt"], "did you mean 'cat'"),
        (["--axiom", "TCF1"], "no axiom is called 'TCF1'; did you mean 'TFC1'"),
        (["--place", "strat"], "did you mean 'start'"),
        (["--site", "haed"], "did you mean 'head'"),
        (["--by", "rol"], "did you mean 'role'"),
        (["--direction", "perturbed_to_base"], "did you mean 'perturbed_to_baseline'"),
        (["--method", "exakt"], "did you mean 'exact'"),
        (["--heads", "٣.١"], "--heads needs layer.head"),
        (["--heads", "9" * 5000 + ".1"], "--heads needs layer.head"),
        (["--memory", "9" * 41], "amount of memory"),
        (["--memory", "nan"], "amount of memory"),
        (["--memory", "0"], "amount of memory"),
        (["--device", "cudaa"], "device has to be auto or one that is here (cpu"),
        (["--device", "meta"], "got 'meta'"),
        (["--device", "cuda:99"], "got 'cuda:99'"),
        (["--pairs", "0"], "--pairs needs a whole number of at least 1, got 0"),
        (["--pairs", "-1"], "--pairs needs a whole number of at least 1, got -1"),
        (["--shard-size", "0"], "--shard-size needs a whole number of at least 1"),
    ],
)
def test_a_mistyped_argument_is_refused_before_anything_is_loaded(
    tmp_path, capsys, monkeypatch, options, said
):
    monkeypatch.setattr("mechir_edu.rankers.kinds.load_ranker", None)
    monkeypatch.setattr("mechir_edu.collection.load.load_collection", None)
    assert main(command(tmp_path / "out", *options)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--out=", "--out= ", "--seed=", "--seed=1.5", "--pairs=1e9"])
def test_an_option_without_a_sensible_value_is_exit_code_2(tmp_path, capsys, option):
    with pytest.raises(SystemExit) as ended:
        main(command(tmp_path / "out", option))
    assert ended.value.code == 2
    assert f"argument {option.partition('=')[0]}: " in capsys.readouterr().err


@pytest.mark.parametrize("inside", ["file", "file/below/it"])
def test_a_file_in_the_place_of_the_folder_is_named(tmp_path, capsys, inside):
    (tmp_path / "file").write_text("precious")
    assert main(command(tmp_path / inside)) == 2
    assert "--out needs a folder, but" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "options", [["--filler", ""], ["--heads", "9.9"], ["--dataset", "embeded"], ["--memory", "1B"]]
)
def test_what_is_refused_late_leaves_nothing_behind(tmp_path, capsys, monkeypatch, ranker, options):
    monkeypatch.setattr("mechir_edu.rankers.kinds.load_ranker", lambda *_, **__: ranker)
    assert main(command(tmp_path / "new" / "folder", *options)) == 2
    assert list(tmp_path.iterdir()) == []
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_collections_are_listed_or_repeated():
    asked = parser().parse_args(command("x", "--dataset", "A", "B", "--dataset", "C"))
    assert asked.dataset == ["A", "B", "C"]


def start(folder, *options):
    line = [sys.executable, "-m", "mechir_edu", *command(folder, *options)]
    # A shell starts background jobs with Ctrl-C ignored, and children inherit that: undo it here.
    hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipe = subprocess.PIPE
    return subprocess.Popen(line, stderr=pipe, text=True, env=os.environ, preexec_fn=hear)


def wait_for_a_shard(folder, process):
    while not list(folder.glob("patched/*.npz")):
        assert process.poll() is None
        time.sleep(0.01)


@pytest.mark.long
def test_ctrl_c_leaves_a_run_that_the_same_command_finishes(tmp_path, ranker):
    # Many small shards: however slow this process is to interrupt it, the run is not yet done.
    many = ("--pairs", "24", "--shard-size", "1", "--by", "role")
    with start(tmp_path, *many) as process:
        wait_for_a_shard(tmp_path, process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130
    assert "Rerun the command to resume" in said
    with pytest.raises(ValueError, match="of 24 shards so far"):
        PatchingResult.load(tmp_path)
    assert main(command(tmp_path, *many)) == 0
    there = PatchingResult.load(tmp_path)
    here = patching.patch(
        ranker, there.pairs[:4], by="role", direction=there.direction, progress=False
    )
    assert len(there.pairs) == 24
    np.testing.assert_allclose(there.scores[..., :4], here.scores, atol=1e-5)


def test_off_a_terminal_progress_is_plain_lines(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mechir_edu.collection.progress.SECONDS_BETWEEN_LINES", 1e-9)
    assert main(command(tmp_path)) == 0
    written = capsys.readouterr().err
    assert "".join(filter(str.isprintable, written)) == written.replace("\n", "")
    *_, before_last, last = written.split("\n")[:-1]
    assert before_last.startswith("patched, shard 2/3: 6 of 8 pairs, ")
    assert last == "patched, shard 3/3: 8 of 8 pairs, 00:00 left"
