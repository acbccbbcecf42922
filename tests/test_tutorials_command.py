"""``pip install`` alone is enough for a class: the notebooks come with the package."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mechir_edu.cli import tutorials
from mechir_edu.cli.main import main
from mechir_edu.cli.offline import switch

ROOT = Path(__file__).resolve().parents[1]


def files(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def committed(*parts):
    return {
        str(file.relative_to(ROOT / "tutorials")): file.read_bytes()
        for part in parts
        for file in (ROOT / "tutorials" / part).glob("*.ipynb")
    }


def test_the_participants_notebooks_are_copied_byte_for_byte(tmp_path, capsys):
    assert main(["tutorials", "--to", str(tmp_path / "class/room")]) == 0
    assert files(tmp_path / "class/room") == committed(".")
    assert capsys.readouterr().out.startswith(f"{len(committed('.'))} notebooks copied")


def test_solutions_come_when_they_are_asked_for(tmp_path):
    n = len(committed("."))
    assert tutorials.copy_notebooks(tmp_path) == (n, 0)
    assert tutorials.copy_notebooks(tmp_path, solutions=True) == (n, n)
    assert files(tmp_path) == committed(".", "solutions")
    assert tutorials.copy_notebooks(tmp_path, solutions=True) == (0, 2 * n)


@pytest.mark.parametrize("name", ["03_patch_by_hand.ipynb", "solutions/09_your_own.ipynb"])
def test_a_notebook_that_somebody_has_worked_in_is_never_overwritten(tmp_path, capsys, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("my work")
    assert main(["tutorials", "--to", str(tmp_path), "--solutions"]) == 2
    assert files(tmp_path) == {name: b"my work"}
    assert name in capsys.readouterr().err.replace("\\", "/")


def test_a_folder_in_a_notebooks_place_is_refused(tmp_path):
    (tmp_path / "00_start_here.ipynb").mkdir()
    with pytest.raises(ValueError, match="00_start_here"):
        tutorials.copy_notebooks(tmp_path)
    assert files(tmp_path) == {}


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="--to needs a folder"):
        tutorials.copy_notebooks(tmp_path / "file")


def test_where_copying_fails_halfway_nothing_is_left(tmp_path, monkeypatch):
    def full(moves, aside):
        raise OSError("no space left on device")

    monkeypatch.setattr(switch, "switch", full)
    with pytest.raises(OSError, match="no space"):
        tutorials.copy_notebooks(tmp_path)
    assert files(tmp_path) == {}


def test_an_installation_without_notebooks_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(tutorials, "PLACES", (tmp_path,))
    with pytest.raises(FileNotFoundError, match="holds no notebooks"):
        tutorials.copy_notebooks(tmp_path / "to")
    assert not (tmp_path / "to").exists()


def run(*command, cwd):
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_wheel_built_from_the_source_distribution_holds_the_notebooks(tmp_path):
    # A checkout's files alone, without what earlier builds have left beside them.
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes((ROOT / name).read_bytes())
    # With the environment's setuptools, so that nothing is downloaded.
    run("-m", "build", "--no-isolation", "--outdir", tmp_path / "dist", cwd=tmp_path / "tree")
    packages = sorted((tmp_path / "dist").iterdir())
    assert [path.suffix for path in packages] == [".whl", ".gz"]
    run("-m", "twine", "check", "--strict", *packages, cwd=tmp_path)
    zipfile.ZipFile(packages[0]).extractall(tmp_path / "site")
    installed = tmp_path / "site/mechir_edu/assets/tutorials"
    assert files(installed) == committed(".", "solutions")
    code = (
        "import sys, mechir_edu; from pathlib import Path; from mechir_edu.cli import tutorials; "
        "assert mechir_edu.__file__.startswith(sys.path[0]), mechir_edu.__file__; "
        "tutorials.copy_notebooks(Path('copy'))"
    )
    environment = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); "
    run("-c", environment + code, cwd=tmp_path)
    assert files(tmp_path / "copy") == committed(".")
