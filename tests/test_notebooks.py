"""The committed notebooks: as built, as promised, and running offline, in small memory.

In the fast profile each source runs once, as a rehearsal: every exercise untouched first, then
solved and checked strictly. The first runs by nbmake, in a kernel; the others in forks of one
process, which spares each the start of its libraries. The slow tests run both copies in the full
profile, by nbmake: the participant's as a learner opens it, the solutions with strict checks. Each
run has a folder of its own. Rehearsals of 05 to 08, 10 and 11 run in make long.
"""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from few import few
from nbformat.v4 import new_code_cell, new_notebook
from notebooks.address import load_address
from notebooks.comparison import differences
from notebooks.copies import make_copy, make_rehearsal, then_backwards
from notebooks.costs import outdated_costs
from notebooks.lint import problems
from notebooks.outputs import clean
from notebooks.predictions import unanswered
from notebooks.sources import COPIES, contents, notebook_path
from notebooks.table import outdated

NO_NETWORK = Path(__file__).parent / "no_network"
TOOLS = Path(__file__).parents[1] / "tools"
LONGEST_CELL_S = 1200  # ends a run that hangs; no cell takes nearly as long
BINDER_BYTES = 1.5e9  # of the 2 GB that a session on Binder has
# A process's peak begins at what the one held that started it, so a small one stands in between.
MEASURE = """\
import pathlib, resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
pathlib.Path(sys.argv[1]).write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
FIRST, OTHERS = list(contents())[:1], list(contents())[1:]
# make test rehearses what the README's newcomer meets, and the one that takes any ranker.
MET = [name for name in OTHERS if name[:2] in {"01", "02", "03", "04", "09"}]
each_notebook = pytest.mark.parametrize("name", list(contents()))
each_copy = pytest.mark.parametrize("which", list(COPIES))


def test_notebooks_and_readme_are_what_their_sources_make():
    assert differences(load_address()) == []
    assert outdated(load_address()) == []
    assert outdated_costs() == []


@each_notebook
def test_a_notebook_keeps_its_promises(name):
    assert problems(name) == []


@each_copy
@each_notebook
def test_a_notebook_is_committed_executed_with_its_figures_and_no_trace_of_a_machine(name, which):
    notebook = nbformat.read(notebook_path(name, which), as_version=4)
    if which == "participant":
        left_out = unanswered(notebook.cells)
        assert not any(cell.outputs for cell in left_out)
        notebook.cells = [cell for cell in notebook.cells if cell not in left_out]
    cleaned = copy.deepcopy(notebook)
    clean(cleaned)
    assert cleaned == notebook
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


def offline(folder, **env):
    """Environment of a process that cannot reach the network and notes every attempt."""
    chosen = {"MECHIR_EDU_FAST", "MECHIR_EDU_STRICT", "HF_HUB_OFFLINE", "PYTEST_XDIST_WORKER"}
    kept = {name: value for name, value in os.environ.items() if name not in chosen}
    search = [str(NO_NETWORK), str(TOOLS), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept |= {"PYTHONPATH": os.pathsep.join(search), "NETWORK_ATTEMPTS": str(folder / "attempts")}
    kept |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    # Plugins are named by who needs them: importing all that are installed takes seconds.
    return kept | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | env


def run_notebook(notebook, folder, **env):
    """Run a notebook by nbmake; gives exit code, what was said, peak memory in bytes."""
    nbformat.write(notebook, folder / "run.ipynb")
    options = ["--nbmake", f"--nbmake-timeout={LONGEST_CELL_S}", "-c", os.devnull]
    options += [f"--rootdir={folder}", "-p", "no:cacheprovider"]
    options += ["-p", "nbmake.pytest_plugin", "-p", "notebooks.wakeful"]
    with open(folder / "said", "w+") as said:
        command = [sys.executable, "-c", MEASURE, folder / "peak"]
        command += [sys.executable, "-m", "pytest", *options, folder / "run.ipynb"]
        run = subprocess.run(
            command, cwd=folder, env=offline(folder, **env), stdout=said, stderr=said
        )
        # The largest of the test run and of the kernel, which it started and waited for.
        peak = int((folder / "peak").read_text()) * (1 if sys.platform == "darwin" else 1024)
        said.seek(0)
        return run.returncode, said.read(), peak


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    """A process that runs notebooks in forks of itself."""
    folder = tmp_path_factory.mktemp("forks")
    env = offline(folder, MECHIR_EDU_FAST="1", MECHIR_EDU_STRICT="1")
    command = [sys.executable, "-m", "notebooks.forks"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, env=env, **pipes) as process:
        yield process
        process.stdin.close()
    assert not (folder / "attempts").exists(), (folder / "attempts").read_text()


def run_in_fork(forks, notebook, folder):
    """Run a notebook in a fork; gives exit code, what was said, peak memory in bytes."""
    nbformat.write(notebook, folder / "run.ipynb")
    task = {"notebook": str(folder / "run.ipynb"), "seconds": LONGEST_CELL_S}
    print(json.dumps(task), file=forks.stdin, flush=True)
    code, peak = json.loads(forks.stdout.readline())
    return code, (folder / "said").read_text(), peak * (1 if sys.platform == "darwin" else 1024)


def notebook_of(code):
    return new_notebook(cells=[new_code_cell(code)])


def check_run(run, folder):
    code, said, peak = run
    assert code == 0, said
    assert not (folder / "attempts").exists(), (folder / "attempts").read_text()
    assert 50e6 < peak < BINDER_BYTES


@pytest.mark.parametrize("name", FIRST)
def test_the_first_notebook_runs_offline_by_nbmake_untouched_and_solved(name, tmp_path):
    env = {"MECHIR_EDU_FAST": "1", "MECHIR_EDU_STRICT": "1"}
    run = run_notebook(make_rehearsal(name, load_address()), tmp_path, **env)
    check_run(run, tmp_path)


@pytest.mark.parametrize("name", few(OTHERS, MET))
def test_a_notebook_runs_offline_with_its_exercises_untouched_and_solved(name, tmp_path, forks):
    run = run_in_fork(forks, make_rehearsal(name, load_address()), tmp_path)
    check_run(run, tmp_path)


def test_a_failing_cell_ends_a_run_in_a_fork_and_a_figure_is_drawn_as_in_a_notebook(
    tmp_path, forks
):
    code, said, _ = run_in_fork(forks, notebook_of(DRAW_AND_FAIL), tmp_path)
    assert code == 1
    assert "ZeroDivisionError" in said
    assert "drawn" in said


DRAW_AND_FAIL = """
import matplotlib.pyplot as plt
class Watched(plt.Figure):
    def draw(self, renderer):
        print("drawn", flush=True)
        return super().draw(renderer)
plt.figure(FigureClass=Watched).add_subplot()
plt.show()
1 / 0
"""


@pytest.mark.slow
@each_copy
@each_notebook
def test_a_notebook_runs_in_full_within_binders_memory(name, which, tmp_path):
    strict = {"MECHIR_EDU_STRICT": "1"} if which == "solutions" else {}
    notebook = nbformat.read(notebook_path(name, which), as_version=4)
    check_run(run_notebook(notebook, tmp_path, **strict), tmp_path)


@pytest.mark.slow
@each_notebook
def test_the_cells_of_a_notebook_can_be_run_again_backwards(name, tmp_path):
    twice = then_backwards(make_copy(name, "solutions", load_address()))
    code, said, _ = run_notebook(twice, tmp_path, MECHIR_EDU_FAST="1", MECHIR_EDU_STRICT="1")
    assert code == 0, said


@pytest.mark.long
def test_the_peak_of_a_run_is_not_that_of_the_process_that_started_it(tmp_path):
    large = np.ones(200_000_000)  # 1.6 GB, which a process started from here would inherit
    code, _, peak = run_notebook(notebook_of("1 + 1"), tmp_path)
    assert (code, large[0]) == (0, 1)
    assert peak < 500e6


def test_a_run_by_nbmake_keeps_its_client_awake(tmp_path):
    (tmp_path / "conftest.py").write_text(SAY_WHO_SENDS)
    _, said, _ = run_notebook(notebook_of("1 + 1"), tmp_path)
    assert "sent by notebooks.wakeful" in said


SAY_WHO_SENDS = """
from jupyter_client.channels import AsyncZMQSocketChannel
def pytest_sessionfinish():
    print("sent by", AsyncZMQSocketChannel.send.__module__)
"""


def test_an_attempt_to_reach_the_network_fails_and_is_noted(tmp_path):
    code = "import urllib.request; urllib.request.urlopen('http://example.org')"
    run = subprocess.run(
        [sys.executable, "-c", code], env=offline(tmp_path), capture_output=True, text=True
    )
    assert "the network is blocked" in run.stderr
    assert (tmp_path / "attempts").read_text() == "example.org\n"


def test_a_wrong_answer_stops_a_run_only_where_checks_are_strict(tmp_path, forks):
    notebook = notebook_of("import mechir_edu.checks._report as report\n" + CHECK)
    lenient, *_ = run_notebook(notebook, tmp_path)
    strict, said, _ = run_in_fork(forks, notebook, tmp_path)
    assert (lenient, strict) == (0, 1)
    assert "two is not three" in said


CHECK = """
@report.checker("it is three")
def check_three(answer):
    return None if answer() == 3 else "two is not three"
check_three(lambda: 2)
"""
