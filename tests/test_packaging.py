"""What a fresh machine, Binder and conda are promised."""

import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mechir_edu

ROOT = Path(__file__).resolve().parents[1]
each_page = pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
PIN = re.compile(r"^\s+- ([\w.-]+)==([\w.]+)$", re.MULTILINE)


def pins(file):
    return dict(PIN.findall((ROOT / file).read_text()))


def constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {name.lower().replace("_", "-"): version for name, version in map(split_pin, lines)}


def split_pin(line):
    return line.split("==")


def test_conda_and_binder_pin_what_make_and_ci_pin():
    everything = constraints()
    for file in ("environment.yml", "binder/environment.yml"):
        assert pins(file)
        assert pins(file) == {name: everything[name] for name in pins(file)}


def test_binder_installs_every_dependency_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split("[<>=]", name)[0] for name in project["dependencies"]} - {"torch"}
    assert wanted <= set(pins("binder/environment.yml"))
    assert "pytorch-cpu" in (ROOT / "binder/environment.yml").read_text()


@pytest.mark.parametrize("script", ["postBuild", "start"])
def test_binder_scripts_can_be_run(script):
    path = ROOT / "binder" / script
    assert os.access(path, os.X_OK)
    assert subprocess.run(["bash", "-n", path]).returncode == 0


def readmes_example():
    """The README's lines of code, and what they print."""
    _, *blocks = (ROOT / "README.md").read_text().split("## Fifteen lines")[1].split("```")
    return blocks[0].removeprefix("python\n"), blocks[2].strip().splitlines()


def printed_by(code, folder):
    run = [sys.executable, "-c", code]
    said = subprocess.run(run, cwd=folder, check=True, capture_output=True, text=True).stdout
    return said.strip().splitlines()


def test_the_readmes_example_runs_and_prints_what_it_says(tmp_path):
    code, promised = readmes_example()
    said = printed_by(code.replace("n=60", "n=4"), tmp_path)
    assert said[:2] == promised[:2]
    assert said[2].split() == promised[2].split()
    assert (tmp_path / "heads.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_readmes_example_in_full_prints_the_readmes_heads(tmp_path):
    code, promised = readmes_example()
    rows = [line.split() for line in printed_by(code, tmp_path)[3:]]
    assert [row[1:3] for row in rows] == [line.split()[1:3] for line in promised[3:]]
    numbers = [[float(n) for n in row[3:]] for row in rows]
    expected = [[float(n) for n in line.split()[3:]] for line in promised[3:]]
    assert numbers == [pytest.approx(row, abs=0.002) for row in expected]


@each_page
def test_links_lead_somewhere(page):
    text = re.sub("`[^`\n]*`", "", page.read_text())  # code may look like a link
    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


@each_page
def test_anchors_are_headings(page):
    for file, anchor in re.findall(r"\]\((?!http)([^)#]*)#([^)]+)\)", page.read_text()):
        headings = re.findall(r"^#+ (.*)$", (page.parent / file).read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


def wait_policy(code, **environment):
    """Environment after a program has run in a process of its own, and what OpenMP said there."""
    unset = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    code += "; import os; print(os.environ.get('OMP_WAIT_POLICY'))"
    run = [sys.executable, "-W", "error", "-c", code]
    said = subprocess.run(run, env=unset | environment, capture_output=True, text=True, check=True)
    return said.stdout.strip(), said.stderr


def test_pytorchs_threads_sleep_while_they_wait():
    code = "import sys, mechir_edu; assert 'torch' not in sys.modules; import torch"
    policy, said = wait_policy(code, OMP_DISPLAY_ENV="true")
    assert policy == "passive"
    assert re.search(r"OMP_WAIT_POLICY ?= ?'PASSIVE'", said), said


def test_what_the_user_has_set_for_threads_stays():
    assert wait_policy("import mechir_edu", OMP_WAIT_POLICY="active") == ("active", "")


def test_where_pytorch_came_first_nothing_is_claimed_or_warned_of():
    first = "import sys, types; sys.modules['torch'] = types.ModuleType('torch'); import mechir_edu"
    assert wait_policy(first) == ("None", "")


def test_no_module_hides_an_exported_name():
    # A submodule's name becomes an attribute of the package when anything imports it.
    modules = {module.name for module in pkgutil.iter_modules(mechir_edu.__path__)}
    assert modules & set(mechir_edu.__all__) == {"checks", "plots", "stats", "widgets"}
    assert all(hasattr(mechir_edu, name) for name in mechir_edu.__all__)
