"""The package as a house: one direction, no circles, thin at its heart, everything declared."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest
from environment_sizes import PURPOSES, declared, plain

import mechir_edu

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mechir_edu"
MODULES = sorted(PACKAGE.rglob("*.py"))
STANDARD = {*sys.stdlib_module_names, "mechir_edu"}


@pytest.fixture(scope="module")
def imports():
    """Each module with those that it imports, in functions and under TYPE_CHECKING, too."""
    graph = grimp.build_graph("mechir_edu", cache_dir=None)
    return {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}


def longest_chain(imports):
    """Modules on the longest way along imports; raises RecursionError where there is a circle."""

    @cache
    def chain(module):
        return (module, *max(map(chain, imports[module]), key=len, default=()))

    return max(map(chain, imports), key=len)


def test_the_top_of_the_house_has_sixteen_rooms_at_most():
    entries = {path.name for path in PACKAGE.iterdir()} - {"__pycache__", "__main__.py", "py.typed"}
    assert len(entries) <= 16, sorted(entries)


def test_no_files_import_each_other_in_a_circle_and_no_chain_is_longer_than_sixteen(imports):
    chain = longest_chain(imports)
    assert len(chain) <= 16, "\n".join(chain)


def test_a_circle_would_be_seen():
    with pytest.raises(RecursionError):
        longest_chain({"a": {"b"}, "b": {"a"}})


def core():
    """Files of the reading order that the package's docstring gives."""
    order = mechir_edu.__doc__.split("in reading order")[1].split("To see an axiom made")[0]
    names = re.findall(r"\b(?:[a-z]+/)+[a-z_]+\b", order) + ["models"]
    return {PACKAGE / f"{name}.py" for name in names}


def test_the_core_can_be_read_in_an_afternoon():
    files = core()
    assert [path for path in files if not path.is_file()] == []
    assert 20 <= len(files) <= 35
    assert sum(len(path.read_text().splitlines()) for path in files) <= 4500


def test_only_the_kinds_own_files_ask_what_kind_a_ranker_is():
    switches = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in MODULES
        if "rankers" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(r"(?<!dtype\.)\bkind\s*(==|!=|in\s*\()\s*[\"'(]", line)
    ]
    assert switches == []


def test_only_the_adapters_ask_what_architecture_a_model_has():
    readers = [
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if re.search(r"config\.(get\(.)?model_type", path.read_text())
    ]
    # The loader reads it off a file to find the adapter.
    assert set(readers) <= {f"rankers/{name}.py" for name in ("adapters", "checkpoint/loading")}


def imported_names(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_every_package_that_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = {re.split(r"[\[<>= ]", name)[0].lower() for group in groups for name in group}
    wanted = {name for path in MODULES for name in imported_names(ast.parse(path.read_text()))}
    of_module = packages_distributions()
    undeclared = {
        name
        for name in wanted - STANDARD
        # A package that is not installed (make small) is looked for by its module's name.
        if not {d.lower().replace("_", "-") for d in of_module.get(name, [name])} & declared
    }
    assert undeclared == set()


# Where a package is not imported, what calls it by another name than its own.
CALLED = {
    "import-linter": "lint-imports",
    "ipykernel": "jupyter lab",  # which runs notebooks in it
    "jupyterlab": "jupyter lab",
    "pytest-xdist": "--dist worksteal",
}
BESIDE = ("tools", "tests", "benchmarks", "tutorials/src")


def test_every_package_that_is_declared_is_imported_or_called_and_the_page_says_what_for():
    groups = declared()
    beside = [path for folder in BESIDE for path in (ROOT / folder).rglob("*.py")]
    texts = [path.read_text(encoding="utf-8") for path in (*MODULES, *beside)]
    calls = [ROOT / name for name in ("Makefile", "README.md", "CONTRIBUTING.md", "docs/index.md")]
    calls += [*(ROOT / ".github").rglob("*.yml"), ROOT / "tools" / "website" / "conf.py"]
    settings = (ROOT / "pyproject.toml").read_text().partition("[tool.")[2]
    called = "\n".join([settings, "setuptools", *(path.read_text() for path in calls)])
    code = "\n".join(texts)
    modules = set(re.findall(r"^ *(?:import|from) (\w+)", code, re.MULTILINE))
    of_module = packages_distributions()
    imported = {plain(dist) for name in modules for dist in of_module.get(name, [])}
    unused = {
        name
        for name in {name for listed in groups.values() for name in listed} - imported
        if not re.search(rf"(?<!\w){CALLED.get(name, name).replace('-', '[-_]')}(?!\w)", called)
        and f'distribution("{name}")' not in code
    }
    assert unused == set()
    assert set(PURPOSES) == {name for listed in groups.values() for name in listed}


def test_no_module_takes_a_private_name_of_another():
    taken = [
        f"{path.relative_to(ROOT)}: {alias.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mechir_edu")
        for alias in node.names
        if alias.name.startswith("_")
    ]
    assert taken == []


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, mechir_edu; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    heavy = {"torch", "transformers", "ir_datasets", "matplotlib", "pandas", "scipy"}
    assert heavy & set(loaded.split()) == set()
