"""The benchmarks run, at their smallest, and say so where MechIR is missing."""

import json
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import run_all
from floor import Operations

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def run(script, json_file, *options):
    command = [sys.executable, BENCHMARKS / script, "--repeats", "1", "--json", json_file]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done, json.loads(json_file.read_text())["rows"]


@pytest.mark.slow
def test_heads_are_patched_without_mechir_which_is_said_loudly(tmp_path):
    small = ("--pairs", "1", "--trec-dl", "none", "--mechir", tmp_path / "nowhere")
    done, rows = run("patch_heads.py", tmp_path / "heads.json", *small)
    assert [row["method"] for row in rows][:2] == ["exact", "naive"]
    assert "MechIR LEFT OUT" in done.stderr
    assert "| floor, at torch.mm's peak" in done.stdout


@pytest.mark.slow
def test_pairs_side_by_side_score_as_on_one_core(tmp_path):
    small = ("--pairs", "3", "--trec-dl", "none", "--model", "planted")
    _, rows = run("cores.py", tmp_path / "cores.json", *small)
    assert len(rows) == 3
    assert all(row["largest score difference"] < 1e-5 for row in rows)


@pytest.mark.slow
def test_sets_put_in_together_score_as_one_forward_for_each(tmp_path):
    small = ("--pairs", "1", "--trec-dl", "none", "--model", "planted", "--sets", "3")
    _, rows = run("circuits.py", tmp_path / "circuits.json", *small)
    assert [row["how"] for row in rows] == ["sets together", "one full forward per set"]
    assert rows[1]["largest difference"] < 1e-5


@pytest.mark.slow
def test_every_kind_is_patched_exactly_as_naively(tmp_path):
    small = ("--pairs", "1", "--trec-dl", "none", "--kinds", "sparse", "tiny", "t5-tiny")
    _, rows = run("kinds.py", tmp_path / "kinds.json", *small)
    engines = [row["engine"] for row in rows]
    assert engines == ["post-LN suffix", "causal suffix", *["encoder-decoder suffix"] * 4]
    assert all(row["largest difference, of the scores"] < 1e-5 for row in rows)


@pytest.mark.slow
def test_cost_grows_with_each_size_as_the_operations_say_or_nearly(tmp_path):
    figure = tmp_path / "growth.svg"
    small = ("--points", "2", "--memory", "--figure", figure)
    _, rows = run("growth.py", tmp_path / "growth.json", *small)
    assert [row["varied"] for row in rows] == ["layers", "heads", "tokens", "pairs", "cores"]
    counted = [float(row["of the operations"]) for row in rows]
    assert 1.5 < counted[0] < 2  # each layer's heads run through all later layers
    assert counted[3:] == [1, -1]
    assert figure.read_text().startswith("<?xml")


@pytest.mark.slow
def test_models_of_base_size_are_patched_exactly_as_naively(tmp_path):
    small = ("--pairs", "1", "--cross-pairs", "1", "--layers", "1", "--trec-dl", "none")
    nowhere = ("--weights", tmp_path / "nowhere", "--mechir", tmp_path / "nowhere")
    done, rows = run("base.py", tmp_path / "base.json", *small, *nowhere, *SMALL_ELECTRA)
    assert [row["method"] for row in rows] == ["exact", "naive, scaled from 1 layers"]
    assert rows[1]["largest score difference"] < 1e-5
    assert "all-mpnet-base-v2 LEFT OUT" in done.stderr


SMALL_ELECTRA = ("--shape", "2", "2", "32", "64")


@pytest.mark.slow
def test_all_benchmarks_run_at_their_smallest(tmp_path):
    command = [sys.executable, BENCHMARKS / "run_all.py", "--small", "--folder", tmp_path]
    assert subprocess.run(command).returncode == 0
    assert "Smallest sizes" in (tmp_path / "README.md").read_text(encoding="utf-8")


# --- README's tables ----------------------------------------------------------------------------


def test_the_tables_of_the_readme_are_those_of_what_was_measured():
    measured = json.loads((BENCHMARKS / run_all.MEASURED).read_text(encoding="utf-8"))
    text = run_all.README.read_text(encoding="utf-8")
    assert run_all.with_tables(text, measured) == text
    assert all((BENCHMARKS / link).is_file() for link in re.findall(r"\]\((\w+\.\w+)\)", text))


def test_every_script_is_in_the_readme():
    text = run_all.README.read_text(encoding="utf-8")
    parts = {"common.py", "floor.py", "mechir_client.py", "mechir_side.py", "run_all.py"}
    named = {script.name for script in BENCHMARKS.glob("*.py")} - parts
    assert {name for name in named if name not in text} == set()
    called = {benchmark.call.split()[0] for benchmark in run_all.BENCHMARKS}
    prepared = {f"{name}.py" for name in ("gpu", "mechir_environment", "mpnet_weights")}
    assert called | prepared == named


MEASURES_NOTHING = """
import json, pathlib, sys
content = {"title": "Nothing", "machine": {"load": "load 0.1"}, "rows": [{"side": "a", "s": 0.5}]}
pathlib.Path(sys.argv[sys.argv.index("--json") + 1]).write_text(json.dumps(content))
"""


@pytest.fixture
def few(tmp_path, monkeypatch):
    """A folder whose README.md has room for the one benchmark that there is."""
    script = tmp_path / "nothing.py"
    script.write_text(MEASURES_NOTHING)
    monkeypatch.setattr(run_all, "BENCHMARKS", (run_all.Benchmark("start", str(script), ""),))
    places = ["<!-- table machine -->\n<!-- end -->", "<!-- table start -->\nold\n<!-- end -->"]
    (tmp_path / "README.md").write_text("\n".join(["Text.", *places, "More text."]))
    return tmp_path


def run_here(monkeypatch, folder, *options):
    monkeypatch.setattr(sys, "argv", ["run_all.py", "--small", "--folder", str(folder), *options])
    return run_all.main()


def test_what_is_measured_stands_in_a_file_and_in_the_tables(few, monkeypatch):
    assert run_here(monkeypatch, few) == 0
    (part,) = json.loads((few / "measured.json").read_text())["benchmarks"].values()
    assert part["rows"] == [{"side": "a", "s": 0.5}]
    text = (few / "README.md").read_text()
    assert re.search(r"nothing.py`: Nothing. Load 0.1, \d+ s.\n\n.*\n.*\n\| a +\| 0.5 \|\n", text)
    assert "old" not in text
    assert text.startswith("Text.")
    assert text.endswith("More text.")
    monkeypatch.setattr(run_all, "run", None)  # nothing is measured again
    assert run_here(monkeypatch, few, "--resume") == 0
    assert (few / "README.md").read_text() == text


def test_a_benchmark_that_fails_leaves_the_tables_as_they_were(few, monkeypatch, capsys):
    before = (few / "README.md").read_text()
    monkeypatch.setattr(run_all, "BENCHMARKS", (run_all.Benchmark("start", "nowhere.py", ""),))
    assert run_here(monkeypatch, few) == 1
    assert "start FAILED" in capsys.readouterr().out
    assert (few / "README.md").read_text() == before


def test_what_a_run_writes_itself_does_not_make_its_commit_another(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for name in (run_all.MEASURED, run_all.FIGURE, "README.md", "floor.py"):
        (tmp_path / name).write_text("one")
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(run_all, "HERE", tmp_path)
    before = run_all.commit()
    (tmp_path / run_all.MEASURED).write_text("two")
    (tmp_path / "README.md").write_text("two")
    assert run_all.commit() == before
    (tmp_path / "floor.py").write_text("two")
    assert run_all.commit() == f"{before}-dirty"


@pytest.mark.parametrize("what", ["processor", "commit"])
def test_a_run_is_not_resumed_elsewhere(few, what):
    kept = {"machine": run_all.machine() | {what: "another"}, "small": True, "benchmarks": {}}
    (few / "measured.json").write_text(json.dumps(kept))
    with pytest.raises(SystemExit, match=f"needs the same {what}: .* has 'another'"):
        run_all.begin(Namespace(folder=few, small=True, resume=True))


def test_a_table_without_a_place_is_named(few):
    measured = {"machine": run_all.machine(), "small": True}
    part = {"command": "c", "title": "t", "load": "load 1", "seconds": 1.0, "rows": [{"a": 1}]}
    measured["benchmarks"] = {"start": part}
    with pytest.raises(
        ValueError, match=r"a marked place for each of .*start.*, got \['machine'\]"
    ):
        run_all.with_tables("<!-- table machine -->\n<!-- end -->", measured)


def test_each_trick_on_the_page_about_speed_stands_in_the_file_that_it_names():
    text = (BENCHMARKS.parent / "docs" / "speed.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| (\*\*|`method)", line)]
    places = [re.search(r"\| `(\S+\.py)`, `([\w.]+)` \|$", row) for row in rows]
    assert len(rows) > 15
    assert all(places)
    package = BENCHMARKS.parent / "mechir_edu"
    for path, name in (place.groups() for place in places):
        code = (package / path).read_text(encoding="utf-8")
        assert all(re.search(rf"\b{part}\b", code) for part in name.split(".")), (path, name)


@pytest.mark.long
def test_start_is_timed_in_processes_of_their_own(tmp_path):
    _, rows = run("import_time.py", tmp_path / "start.json")
    assert len(rows) == 3
    assert all(row["wall s"] > 0 for row in rows)


def test_the_floor_counts_a_layer_of_minilm_as_its_products_do():
    mean = Operations(384, 1536, 6, 12, first_row_only=False)
    # Per token: q, k, v and W_O are 384 x 384, the MLP 2 x 384 x 1536; two operations each.
    assert mean.layer(0, 100) == 100 * (2 * 4 * 384**2 + 2 * 2 * 384 * 1536) + 4 * 100**2 * 384


def test_a_score_of_the_first_position_needs_less_of_the_last_layer_alone():
    mean, cls = (Operations(384, 1536, 6, 12, first) for first in (False, True))
    assert cls.layer(4, 100) == mean.layer(4, 100)
    assert cls.layer(5, 100) < mean.layer(5, 100) / 5
    assert cls.one_head(5, 100) * 100 == mean.one_head(5, 100)


def test_folding_saves_the_mlps_first_product_of_a_heads_own_layer():
    plain, folded = (Operations(384, 1536, 6, 12, False, folds) for folds in (False, True))
    saved = plain.one_head(5, 100) - folded.one_head(5, 100)
    assert saved == 2 * 100 * (384 - 32) * 1536
