"""Binder builds our image from ``binder/`` alone; what its builder makes of it."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from throw_away import make_environment

ROOT = Path(__file__).resolve().parents[1]


def script(name):
    lines = (ROOT / "binder" / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_build_stops_at_the_first_fault_and_ends_by_proving_that_notebooks_can_run():
    first, *_, last = script("postBuild")
    assert first == "set -euo pipefail"
    assert last == "mechir-edu check --load"


def test_the_build_changes_none_of_the_pinned_packages_and_fetches_what_is_needed():
    installs = [line for line in script("postBuild") if line.startswith("pip ")]
    assert installs == ["pip install --no-deps ."]
    assert "mechir-edu prefetch" in script("postBuild")


def test_a_session_has_one_thread_and_asks_no_hub():
    code = "\n".join(script("start")).replace('exec "$@"', "env")
    said = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout
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
