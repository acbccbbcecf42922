"""The demonstration and its command line, run as a user runs them."""

import json
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from mechir_edu.cli.main import main

COLUMNS = ["ranker", "axiom", "grade", "layer", "head", "recovery", "low", "high", "q"]


def demo(folder, *options):
    return main(["demo", "--out", str(folder), "--bi", "none", "--cross", "planted", *options])


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    assert demo(folder, "--pairs", "40", "--seed", "5") == 0
    return folder


def test_the_four_files_are_written(out):
    names = {file.name for file in out.iterdir()}
    assert names == {"figure2.png", "figure2.svg", "heads.csv", "summary.md", "run.json"}


def test_the_figure_is_a_picture_of_both_axioms(out):
    height, width, _ = plt.imread(out / "figure2.png").shape
    assert height > 500
    assert width > 500
    assert "<svg" in (out / "figure2.svg").read_text()


def test_heads_csv_has_every_head_of_every_grade_with_its_interval(out):
    table = pd.read_csv(out / "heads.csv")
    assert list(table.columns) == [*COLUMNS, "n_pairs", "n_queries"]
    assert set(table["grade"]) == {"all", "0", "1", "2", "3"}
    assert len(table) == 2 * 5 * 16
    assert (table["low"] <= table["recovery"]).all()
    assert (table["recovery"] <= table["high"]).all()


def test_the_planted_heads_lead_the_table(out):
    table = pd.read_csv(out / "heads.csv").query("grade == 'all' and axiom == 'TFC1'")
    best = table.loc[table["recovery"].abs().nlargest(3).index]
    from mechir_edu.rankers import planted

    assert set(zip(best["layer"], best["head"], strict=True)) == set(planted.load().planted_heads)


def test_run_json_holds_every_choice_and_version(out):
    record = json.loads((out / "run.json").read_text())
    assert record["choices"]["seed"] == 5
    assert record["choices"]["axiom"] == ["TFC1", "TDC"]
    assert record["rankers"][0]["name"] == "planted"
    assert "torch" in record["versions"]


def test_the_summary_says_what_moved_which_heads_and_what_was_skipped(out):
    text = (out / "summary.md").read_text()
    for part in (
        "## What moved",
        "## Which heads carry it",
        "## What was skipped",
        "effect over the control",
    ):
        assert part in text
    assert not re.search(r"\bnan\b", text)


def test_the_same_seed_gives_the_same_table(out, tmp_path):
    assert demo(tmp_path, "--pairs", "40", "--seed", "5") == 0
    assert (tmp_path / "heads.csv").read_bytes() == (out / "heads.csv").read_bytes()


def test_dl19_and_dl20_run_by_their_ids(trec_dl, tmp_path):
    ids = [f"msmarco-passage/trec-dl-{year}/judged" for year in (2019, 2020)]
    assert demo(tmp_path, "--pairs", "16", "--dataset", *ids) == 0
    assert "passage not in the collection (" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--axiom", "TFC9"], "no axiom is called 'TFC9'"),
        (["--pairs", "3"], "at least 8 pairs"),
        (["--cross", "none"], "needed a ranker"),
        (["--dataset", "msmarco-passage/trec-dl-2091"], "trec-dl"),
        (["--cross", "./no/such/folder"], "no model"),
    ],
)
def test_bad_input_ends_with_code_2_and_a_clear_line(tmp_path, capsys, options, message):
    assert demo(tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_help_and_bad_arguments():
    command = [sys.executable, "-m", "mechir_edu"]
    shown = subprocess.run([*command, "demo", "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    assert "TFC1" in shown.stdout
    assert subprocess.run([*command, "dance"], capture_output=True).returncode == 2


def test_importing_the_package_and_its_help_load_nothing_heavy():
    code = "import sys, mechir_edu.cli.main; mechir_edu.cli.main.parser().format_help(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    heavy = {"torch", "transformers", "transformer_lens", "pandas", "matplotlib", "scipy", "numpy"}
    assert not heavy & set(loaded.split())
