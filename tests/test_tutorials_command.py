"""``pip install`` alone is enough for a class: the notebooks come with the package."""

import ast
import json
import re
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

from mechir_edu.cli import linked_pages, tutorials
from mechir_edu.cli.main import main
from mechir_edu.cli.offline import switch

ROOT = Path(__file__).resolve().parents[1]


def files(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def copies(*parts):
    """The committed notebooks as they are to be copied: with other links to pages."""
    up = {".": ("](../", "](pages/"), "solutions": ("](../../", "](../pages/")}
    made = {}
    for part in parts:
        for file in (ROOT / "tutorials" / part).glob("*.ipynb"):
            text, (old, new) = file.read_text(encoding="utf-8"), up[part]
            for folder in ("docs/", "mechir_edu/", "README.md"):
                text = text.replace(old + folder, new + folder)
            made[str(file.relative_to(ROOT / "tutorials"))] = text.encode()
    return made


def notebooks(folder):
    return {name: content for name, content in files(folder).items() if name.endswith(".ipynb")}


def test_the_participants_notebooks_are_copied_as_they_are_but_for_links(tmp_path, capsys):
    assert main(["tutorials", "--to", str(tmp_path / "class/room")]) == 0
    assert notebooks(tmp_path / "class/room") == copies(".")
    assert capsys.readouterr().out.startswith(f"{len(copies('.'))} notebooks copied")


def test_solutions_come_when_they_are_asked_for(tmp_path):
    n = len(copies("."))
    assert tutorials.copy_notebooks(tmp_path) == (n, 0)
    assert tutorials.copy_notebooks(tmp_path, solutions=True) == (n, n)
    assert notebooks(tmp_path) == copies(".", "solutions")
    assert tutorials.copy_notebooks(tmp_path, solutions=True) == (0, 2 * n)


def links(file):
    """Relative links of a notebook or a page, without those in code."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        cells = [c["source"] for c in json.loads(text)["cells"] if c["cell_type"] == "markdown"]
        text = "\n".join("".join(source) for source in cells)
    text = re.sub(r"(?ms)^```.*?^```|`[^`\n]+`", "", text)
    return [t for t in re.findall(r"\]\(([^)#\s]+)", text) if ":" not in t]


def test_every_link_of_what_is_copied_leads_to_a_file_beside_it(tmp_path):
    tutorials.copy_notebooks(tmp_path / "class", solutions=True)
    seen = {file: links(file) for file in (tmp_path / "class").rglob("*.[im][pd]*")}
    for file, targets in seen.items():
        for target in targets:
            place = (file.parent / target).resolve()
            assert place.is_relative_to(tmp_path / "class"), (file.name, target)
            assert place.is_file(), (file.name, target)
    assert sum(map(len, seen.values())) > 150
    for page in ("docs/glossary.md", "README.md", "mechir_edu/assets/mini/README.md"):
        assert tmp_path / "class/pages" / page in seen


def test_a_page_keeps_links_to_what_is_copied_and_the_others_become_text(tmp_path):
    page = (
        "[a](b.md#c) [d](e.md) ![f](g.png) [h](../tutorials/03_patch_by_hand.ipynb#i) "
        "[j](https://k.l) [m](#n) `[o](p.md)`\n```\n[q](r.md)\n```\n"
    )
    for name, content in {"a.md": page, "b.md": "", "g.png": "x"}.items():
        (tmp_path / "docs").mkdir(exist_ok=True)
        (tmp_path / "docs" / name).write_text(content, encoding="utf-8")
    made = linked_pages.pages(["docs/a.md", "docs/b.md"], [tmp_path / "none", tmp_path])
    assert set(made) == {"pages/docs/a.md", "pages/docs/b.md", "pages/docs/g.png"}
    assert made["pages/docs/a.md"].decode() == page.replace("[d](e.md)", "d").replace(
        "../tutorials/03", "../../03"
    )
    with pytest.raises(FileNotFoundError, match=r"has no docs/none.md, to which its notebooks"):
        linked_pages.pages(["docs/none.md"], [tmp_path])


def test_a_wheel_takes_along_every_page_that_is_copied():
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    patterns = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "PAGES"
    )
    assert " ".join(patterns) in (ROOT / "MANIFEST.in").read_text(encoding="utf-8")
    for place in tutorials.contents(solutions=True):
        if place.startswith("pages/") and not place.startswith("pages/mechir_edu/"):
            assert any(fnmatch(place.removeprefix("pages/"), p) for p in patterns), place


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
    held = files(installed)
    assert {name: content for name, content in held.items() if name.endswith(".ipynb")} == {
        str(file.relative_to(ROOT / "tutorials")): file.read_bytes()
        for part in (".", "solutions")
        for file in (ROOT / "tutorials" / part).glob("*.ipynb")
    }
    code = (
        "import sys, mechir_edu; from pathlib import Path; from mechir_edu.cli import tutorials; "
        "assert mechir_edu.__file__.startswith(sys.path[0]), mechir_edu.__file__; "
        "tutorials.copy_notebooks(Path('copy'))"
    )
    environment = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); "
    run("-c", environment + code, cwd=tmp_path)
    assert files(tmp_path / "copy") == {
        str(Path(name)): content for name, content in tutorials.contents().items()
    }
