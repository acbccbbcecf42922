"""The benchmarks run, at their smallest, and say so where MechIR is missing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
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
