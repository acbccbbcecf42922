"""The command ``mechir-edu circuit``."""

import pytest

import mechir_edu as me
from mechir_edu.cli.main import main

ASK = ["circuit", "--model", "planted", "--kind", "cat", "--pairs", "6", "--random", "0"]


def test_the_command_measures_the_planted_heads_into_a_folder(planted, tmp_path, capsys):
    heads = ",".join(f"{layer}.{head}" for layer, head in sorted(planted.planted_heads))
    run = [*ASK, "--order", heads, "--sizes", "0,3,16", "--out", str(tmp_path / "run")]
    assert main(run) == 0
    assert "the empty circuit is 0" in capsys.readouterr().out
    result = me.CircuitResult.load(tmp_path / "run")
    assert result.survives().value.tolist() == pytest.approx([0, 1, 1], abs=1e-4)
    assert main(run) == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--order", "best"], "order must be one of"),
        (["--order", "3.5.1"], "--order needs layer.head"),
        (["--sizes", "few"], "--sizes needs numbers of heads"),
        (["--random", "5"], "at least 20"),
        (["--ablation", "zero"], "ablation must be one of"),
    ],
)
def test_bad_arguments_end_with_one_line_and_no_folder(tmp_path, capsys, more, said):
    assert main([*ASK, *more, "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
