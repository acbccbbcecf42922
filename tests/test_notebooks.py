"""The committed notebooks: as built, as promised, and running untouched, offline, in small memory.

The participant's copies run as a learner opens them; the solutions run with strict checks, so that
a solution that is not right fails. Each runs in a folder of its own by nbmake, in the fast profile;
in the full one where slow tests are asked for.
"""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from notebooks.address import load_address
from notebooks.comparison import differences
from notebooks.lint import problems
from notebooks.outputs import clean
from notebooks.sources import COPIES, contents, notebook_path
from notebooks.table import outdated

NO_NETWORK = Path(__file__).parent / "no_network"
BINDER_BYTES = 1.5e9  # of the 2 GB that a session on Binder has
# Now and then a message between kernel and client is lost and both wait for good, whatever the cell
# (seen with ipykernel 6 and 7, jupyter_client 8.10, pyzmq 27.3; compare ipykernel's issue 1554). On
# a slow machine it was one run in five, each side in its event loop and no bytes left in a socket.
LOST, ATTEMPTS = "timed out while it was being executed", 5
# A process's peak begins at what the one held that started it, so a small one stands in between.
MEASURE = """\
import pathlib, resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
pathlib.Path(sys.argv[1]).write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
each_notebook = pytest.mark.parametrize("name", list(contents()))
each_copy = pytest.mark.parametrize("which", list(COPIES))


def test_notebooks_and_readme_are_what_their_sources_make():
    assert differences(load_address()) == []
    assert outdated(load_address()) == []


@each_notebook
def test_a_notebook_keeps_what_all_promise(name):
    assert problems(name) == []


@each_copy
@each_notebook
def test_a_notebook_is_committed_executed_with_its_figures_and_nothing_of_a_machine(name, which):
    notebook = nbformat.read(notebook_path(name, which), as_version=4)
    cleaned = copy.deepcopy(notebook)
    clean(cleaned)
    assert cleaned == notebook
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


def offline(folder, **env):
    """Environment of a process that cannot reach the network and notes every attempt."""
    chosen = {"MECHIR_EDU_FAST", "MECHIR_EDU_STRICT", "HF_HUB_OFFLINE", "PYTEST_XDIST_WORKER"}
    kept = {name: value for name, value in os.environ.items() if name not in chosen}
    kept |= {"PYTHONPATH": str(NO_NETWORK), "NETWORK_ATTEMPTS": str(folder / "attempts")}
    return kept | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"} | env


def run_notebook(path, folder, **env):
    """Run a copy of a notebook by nbmake; gives exit code, what was said, peak memory in bytes."""
    shutil.copy(path, folder)
    longest_cell_s = 100 if "MECHIR_EDU_FAST" in env else 400
    options = ["--nbmake", f"--nbmake-timeout={longest_cell_s}", "-c", os.devnull]
    options += [f"--rootdir={folder}"]
    options += ["-p", "no:cacheprovider", "-p", "no:xdist"]
    with open(folder / "said", "w+") as said:
        command = [sys.executable, "-c", MEASURE, folder / "peak"]
        command += [sys.executable, "-m", "pytest", *options, folder / path.name]
        run = subprocess.run(
            command, cwd=folder, env=offline(folder, **env), stdout=said, stderr=said
        )
        # The largest of the test run and of the kernel, which it started and waited for.
        peak = int((folder / "peak").read_text()) * (1 if sys.platform == "darwin" else 1024)
        said.seek(0)
        return run.returncode, said.read(), peak


def check_run(name, which, folder, **env):
    strict = {"MECHIR_EDU_STRICT": "1"} if which == "solutions" else {}
    for _ in range(ATTEMPTS):
        code, said, peak = run_notebook(notebook_path(name, which), folder, **strict, **env)
        if LOST not in said:
            break
    assert code == 0, said
    assert not (folder / "attempts").exists(), (folder / "attempts").read_text()
    assert 50e6 < peak < BINDER_BYTES


@each_copy
@each_notebook
def test_a_notebook_runs_untouched_and_offline(name, which, tmp_path):
    check_run(name, which, tmp_path, MECHIR_EDU_FAST="1")


@pytest.mark.slow
@each_copy
@each_notebook
def test_a_notebook_runs_in_full_within_binders_memory(name, which, tmp_path):
    check_run(name, which, tmp_path)


def test_the_peak_of_a_run_is_not_that_of_the_process_that_started_it(tmp_path):
    large = np.ones(200_000_000)  # 1.6 GB, which a process started from here would inherit
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    nbformat.write(notebook, tmp_path / "small.ipynb")
    (tmp_path / "run").mkdir()
    code, _, peak = run_notebook(tmp_path / "small.ipynb", tmp_path / "run")
    assert (code, large[0]) == (0, 1)
    assert peak < 500e6


def test_an_attempt_to_reach_the_network_fails_and_is_noted(tmp_path):
    code = "import urllib.request; urllib.request.urlopen('http://example.org')"
    run = subprocess.run(
        [sys.executable, "-c", code], env=offline(tmp_path), capture_output=True, text=True
    )
    assert "the network is blocked" in run.stderr
    assert (tmp_path / "attempts").read_text() == "example.org\n"


def test_a_solution_that_is_wrong_fails_and_a_stub_does_not(tmp_path):
    cells = "import mechir_edu.checks._report as report\n" + CHECK
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cells)])
    nbformat.write(notebook, tmp_path / "wrong.ipynb")
    (tmp_path / "run").mkdir()
    lenient, *_ = run_notebook(tmp_path / "wrong.ipynb", tmp_path / "run")
    strict, said, _ = run_notebook(
        tmp_path / "wrong.ipynb", tmp_path / "run", MECHIR_EDU_STRICT="1"
    )
    assert (lenient, strict) == (0, 1)
    assert "two is not three" in said


CHECK = """
@report.checker("it is three")
def check_three(answer):
    return None if answer() == 3 else "two is not three"
check_three(lambda: 2)
"""
