"""Binder builds our image from ``binder/`` alone; what its builder makes of it."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from throw_away import make_environment

ROOT = Path(__file__).resolve().parents[1]


def test_a_session_has_one_thread_and_asks_no_hub():
    start = [ROOT / "binder" / "start", "env"]
    said = subprocess.run(start, capture_output=True, text=True, check=True).stdout
    wanted = {"OMP_NUM_THREADS=1", "MKL_NUM_THREADS=1", "HF_HUB_OFFLINE=1"}
    assert wanted <= set(said.splitlines())


def test_the_environment_is_written_as_binders_builder_understands_it():
    path = ROOT / "binder/environment.yml"
    stated = yaml.safe_load(path.read_text())["dependencies"]
    pip = next(entry["pip"] for entry in stated if isinstance(entry, dict))
    assert not path.is_symlink()
    assert re.fullmatch(r"python=3\.\d+", stated[0])  # ">=" is not recognised
    assert not [line for line in pip if line.startswith(("-", "torch")) or "==" not in line]


@pytest.mark.slow
def test_binders_own_builder_finds_the_environment_and_both_scripts(tmp_path):
    programs = make_environment(tmp_path / "builder", "jupyter-repo2docker==2026.4.0")
    command = [programs / "repo2docker", "--Repo2Docker.default_buildpack=None", "--no-build"]
    run = subprocess.run([*command, "--debug", ROOT], capture_output=True, text=True, check=False)
    said = run.stdout + run.stderr
    assert run.returncode == 0, said
    assert 'env update -p ${NB_PYTHON_PREFIX} --file "binder/environment.yml"' in said
    assert "RUN ./binder/postBuild" in said
    assert 'R2D_ENTRYPOINT="${REPO_DIR}/binder/start"' in said
