"""On Colab nothing of Colab's is replaced: a changed package asks for a restart in class."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from notebooks.address import Address
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from throw_away import make_environment

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "3.13"
# Colab's image as published in August 2026.
COLAB = {
    "torch": "2.11.0",
    "transformers": "5.15.0",
    "numpy": "2.1.3",
    "pandas": "2.2.3",
    "matplotlib": "3.10.0",
    "ipywidgets": "7.7.1",
    "ipython": "7.34.0",
    "jupytext": "1.19.5",
    "huggingface-hub": "1.27.0",
}
EXTRAS = ("offline", "tutorials")  # what the setup cell takes, and what the notebooks use

# Runs the setup cell as Colab would, but for two things: pip only says what it would install, and
# it takes the package from a folder.
TRY_SETUP = """
import subprocess, sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")
run = subprocess.run
def only_try(command, **options):
    wanted = command[-1].split(" @ ")[0] + " @ " + sys.argv[1]
    said = run([*command[:-1], "--dry-run", "--report", "report.json", wanted])
    sys.exit(said.returncode)
subprocess.run = only_try
"""


def requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = [line for name in EXTRAS for line in project["optional-dependencies"][name]]
    return [Requirement(line) for line in project["dependencies"] + extra]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_no_floor_or_ceiling_of_ours_breaks_a_version_of_colabs(requirement):
    theirs = COLAB.get(canonicalize_name(requirement.name))
    assert theirs is None or requirement.specifier.contains(theirs)


def test_colabs_python_will_do():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert Requirement(f"python{project['requires-python']}").specifier.contains(PYTHON)


def test_the_setup_cell_keeps_what_a_running_kernel_has_loaded():
    theirs = re.search(r"theirs = \((.*)\)", Address("us/it").setup())[1]
    kept = {canonicalize_name(name) for name in re.findall(r'"(.*?)"', theirs)}
    assert kept >= {"torch", "numpy", "transformers", "ipywidgets", "huggingface-hub"}
    assert kept <= set(COLAB)


@pytest.fixture
def colab(tmp_path):
    """An environment with Colab's packages; of torch, gigabytes, only what pip knows of it."""
    small = [f"{name}=={version}" for name, version in COLAB.items() if name != "torch"]
    python = make_environment(tmp_path / "colab", *small, options=["--no-deps"]) / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.check_output([python, "-c", code], text=True).strip())
    (torch := packages / f"torch-{COLAB['torch']}.dist-info").mkdir()
    (torch / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: torch\nVersion: {COLAB['torch']}\n"
    )
    (torch / "RECORD").touch()
    return python


@pytest.fixture
def package(tmp_path):
    """The package as far as pip's resolver looks at it, where a build leaves nothing behind."""
    (tmp_path / "package" / "mechir_edu").mkdir(parents=True)
    (tmp_path / "package" / "mechir_edu" / "__init__.py").touch()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / "package" / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path / "package"


def would_install(python, package, cwd, setup):
    """Run the setup cell; give what pip would install, by name."""
    command = [python, "-c", TRY_SETUP + setup, package.as_uri()]
    run = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    report = json.loads((cwd / "report.json").read_text())
    return {canonicalize_name(entry["metadata"]["name"]) for entry in report["install"]}


@pytest.mark.slow
def test_setup_on_colab_installs_the_package_and_replaces_nothing(colab, package, tmp_path):
    # Not on Colab's Python but on this one, and only with those of Colab's packages that we know.
    got = would_install(colab, package, tmp_path, Address("us/it").setup())
    assert {"mechir-edu", "transformer-lens", "ir-datasets", "jaxtyping"} <= got
    assert got & set(COLAB) == set()
