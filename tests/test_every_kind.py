"""Everything takes every kind of ranker, or says why not: each entry of docs/kinds.md, run."""

import json
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("sentence_transformers")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import kinds_table as table  # noqa: E402

import mechir_edu as me  # noqa: E402
from mechir_edu.rankers.kinds import KINDS  # noqa: E402

# Their own files test the others' wiring; here they are run in full with the slow tests.
OFTEN = ("Sparse", "Dot, encoder", "Cat, classifier", "MultiVector", "Cat, modules on ModernBERT")
OFTEN += ("Cat, query likelihood", "MonoT5")
LONG = ("`circuit`", "`scrubbed`")


def marked(forms, often):
    return [pytest.param(form, marks=[pytest.mark.slow] * (form not in often)) for form in forms]


def printed():
    """Entries of the page, by form and line."""
    text = table.PAGE.read_text().split("##")[0]
    for number, reason in re.findall(r"^(\d+)\. (.*)$", text, flags=re.M):
        text = text.replace(f" no ({number}) ", f" no: {reason} ")
    rows = re.findall(r"^\| ([^|]*)\| (.*) \|$", text, flags=re.M)
    forms, *lines = [(name.strip(), rest.split(" | ")) for name, rest in rows]
    return {
        form: {line: cells[column] for line, cells in lines} for column, form in enumerate(forms[1])
    }


def test_the_page_names_checkpoints_of_each_class_with_size_and_licence():
    named = table.PAGE.read_text().split("## Checkpoints")[1]
    rows = re.findall(r"^\| `(\w+)`.*? \| (.+) \| (.+) \| (.+) \|$", named, flags=re.M)
    assert len(rows) == named.count("\n|") - 2
    assert {getattr(me, name).kind for name, *_ in rows} == set(KINDS)
    for _, checkpoint, size, licence in rows:
        assert re.search("embedded|/", checkpoint)
        assert re.fullmatch(r"[\d., ]+ [MB]", size)
        assert licence in {"Apache-2.0", "MIT", "CC BY-NC-SA"} or "card" in licence


def test_the_form_of_the_notebook_for_your_own_ranker_offers_every_kind():
    source = (table.ROOT / "tutorials" / "src" / "09_your_own.py").read_text()
    (offered,) = re.findall(r'^kind = "guessed"  # @param (\[.*\])$', source, flags=re.M)
    assert set(json.loads(offered)) == {"guessed", *KINDS}
    read = re.findall(r'"([\w-]+)": me\.\w+[,}]', source.split("chosen = ")[0])
    assert set(read) == set(KINDS)


@pytest.fixture(scope="module", params=marked(table.FORMS, OFTEN))
def loaded(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kind")
    return request.param, table.FORMS[request.param].load(folder), folder


def test_the_page_has_every_use_and_every_kind():
    cells = printed()
    assert list(cells) == list(table.FORMS)
    assert all(list(of) == [*table.USES, "largest difference"] for of in cells.values())
    assert {form.kind for form in table.FORMS.values()} == set(KINDS)


def test_scores_equal_the_publishers_class(loaded):
    form, ranker, folder = loaded
    assert table.difference(form, ranker, folder) < table.BOUND
    assert float(printed()[form]["largest difference"]) < table.BOUND


def agree(loaded, use, folder):
    form, ranker, _ = loaded
    assert table.outcome(use, ranker, folder / "use") == printed()[form][use]


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(use, marks=[pytest.mark.long] * (use in LONG))
        for use in table.USES
        if use != "panels"
    ],
)
def test_a_kind_is_taken_or_told_why_not_as_the_page_says(loaded, use, tmp_path):
    agree(loaded, use, tmp_path)


@pytest.mark.parametrize(
    "loaded",
    marked(table.FORMS, ["Sparse"]),
    indirect=True,
    scope="module",
)
def test_panels_take_a_kind_or_say_why_not_as_the_page_says(loaded, tmp_path):
    agree(loaded, "panels", tmp_path)
