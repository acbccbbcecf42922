"""Commands that pages show: each has one form, and names only what there is."""

import ast
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from mechir_edu.cli.main import parser

ROOT = Path(__file__).resolve().parents[1]
PATTERNS = (
    "*.md",
    "docs/**/*.md",
    "benchmarks/*.md",
    "mechir_edu/assets/**/*.md",
    "tools/workshop/*.md",
    "tutorials/src/*.py",
)
PAGES = {
    str(path.relative_to(ROOT)): path for pattern in PATTERNS for path in sorted(ROOT.glob(pattern))
}
# What happened under older names stays as it was.
PAGES = {name: path for name, path in PAGES.items() if name != "CHANGELOG.md"}
every_page = pytest.mark.parametrize("page", PAGES)

PROGRAMS = "git|jupyter|make|mechir-edu|pip3?|pytest|python3?|source|torchrun"
# After settings such as HF_HUB_OFFLINE=1. The cheat sheet shows two commands on a line.
COMMAND = re.compile(rf"^(?:\w+=\S+ )*((?:\S*/)?(?:{PROGRAMS}) .+)")
NEXT_ON_THE_LINE = re.compile(rf"\s{{2,}}(?=(?:{PROGRAMS}) )")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def shown(page):
    """The commands of a page as lists of words: those of its blocks, and those within sentences."""
    text = PAGES[page].read_text(encoding="utf-8")
    if page.endswith(".py"):
        text = re.sub(r"(?m)^# ?", "", text)
    text = re.sub(r"(?ms)^( *)```python.*?```", "", text)
    blocks = re.findall(r"(?ms)^ *```\w*\n(.*?)^ *```", text)
    lines = [
        command
        for block in blocks
        for line in block.replace("\\\n", " ").splitlines()
        for command in NEXT_ON_THE_LINE.split(line.strip())
    ]
    text = re.sub(r"(?ms)^ *```.*?```", "", text)
    spans = re.findall(r"`([^`]+)`|<code>(.*?)</code>", text)
    sentences = [" ".join((code or html).split()) for code, html in spans]
    return [words(lines), words(sentences)]


def words(commands):
    return [shlex.split(m[1], comments=True) for m in map(COMMAND.match, commands) if m]


def of(page, program):
    return [command for part in shown(page) for command in part if command[0] == program]


def test_commands_are_found_in_blocks_and_in_sentences():
    blocks, sentences = shown("README.md")
    assert ["make", "demo"] in blocks
    assert ["mechir-edu", "demo", "--help"] in sentences
    assert ["mechir-edu", "tutorials", "--to", "DIR"] in shown("docs/cheat_sheet.md")[0]
    assert sum(len(part) for page in PAGES for part in shown(page)) > 100


@every_page
def test_a_program_is_called_in_one_way(page):
    # By its name, in the activated environment; pip as a module, so that it is this Python's.
    # What has a target of make is called by it.
    other = r"\S*/|python3|pip|python -m (mechir_edu|pytest|jupyter|jupyterlab|study|workshop)\b"
    commands = [" ".join(command) for part in shown(page) for command in part]
    assert [command for command in commands if re.match(other, command)] == []


def test_the_repository_is_cloned_in_one_way_and_the_readme_says_it_once():
    lines = {page: [" ".join(c) for c in of(page, "git") if c[1] == "clone"] for page in PAGES}
    assert len(lines["README.md"]) == 1
    assert {line for there in lines.values() for line in there} == set(lines["README.md"])


@every_page
def test_mechir_edu_knows_its_commands_and_their_options(page):
    known = parser()._subparsers._group_actions[0].choices
    block, _ = shown(page)
    for _, name, *rest in of(page, "mechir-edu"):
        command = parser() if name.startswith("--") else known[name]
        options = {word.partition("=")[0] for word in (name, *rest) if word.startswith("--")}
        assert options <= set(command._option_string_actions), name
    for _, *rest in (command for command in block if command[0] == "mechir-edu"):
        parser().parse_args(rest)  # whole commands: nothing that is required is missing


@every_page
def test_make_knows_its_targets_and_what_is_set_for_them(page):
    targets = set(re.search(r"(?m)^\.PHONY: (.*)$", MAKEFILE)[1].split())
    for _, target, *settings in of(page, "make"):
        assert target in targets
        for name, value in (setting.split("=", 1) for setting in settings):
            assert f"$({name})" in MAKEFILE
            if name == "ARGS":
                needs_options(script_of(target), value.split())


def script_of(target):
    """The script to which a target of make gives ARGS."""
    lines = re.search(rf"(?m)^{target}:.*\n((?:\t.*\n)+)", MAKEFILE)[1].splitlines()
    (recipe,) = (line for line in lines if "$(ARGS)" in line)
    file, module = re.search(r"python (?:(\S+\.py)|-m (\S+))", recipe).groups()
    return file or f"tools/{module}/__main__.py"


@every_page
def test_scripts_and_modules_exist_and_know_their_options(page):
    for _, first, *rest in of(page, "python"):
        if first == "-m":
            assert find_spec(rest[0]), rest[0]
        elif first != "-c":
            needs_options(first, rest)
    for _, *rest in of(page, "torchrun"):
        needs_options(next(word for word in rest if word.endswith(".py")), [])


@every_page
def test_files_that_are_opened_or_tested_exist(page):
    for program in ("jupyter", "pytest"):
        for command in of(page, program):
            files = [word for word in command if re.search(r"\.(py|ipynb)$", word)]
            assert [file for file in files if not (ROOT / file).exists()] == []


def needs_options(script, rest):
    """Refuse a script that does not exist, and a command or option that it does not read."""
    known = strings_of(ROOT / script)
    given = [word.partition("=")[0] for word in rest if word.startswith("--")]
    commands = rest[:1] if "add_parser" in (ROOT / script).read_text() else []
    assert [word for word in given + commands if word not in known] == [], script


def strings_of(path):
    """Texts in a script, and in the scripts beside it that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    beside = [path.with_name(f"{name}.py") for name in imported if name]
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return texts.union(*(strings_of(file) for file in beside if file.exists()))


@pytest.mark.parametrize(
    ("script", "rest"),
    [("tools/published.py", ["downlod"]), ("benchmarks/run_all.py", ["--smal"])],
)
def test_a_misspelt_command_or_option_would_be_seen(script, rest):
    with pytest.raises(AssertionError, match=rest[0]):
        needs_options(script, rest)


def test_make_gives_its_arguments_to_the_script_of_the_target():
    assert script_of("benchmarks") == "benchmarks/run_all.py"
    assert script_of("study") == "tools/study/__main__.py"
