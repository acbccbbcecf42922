"""The builder of the notebooks, on one small source."""

import base64
import io
import json
import subprocess
import sys
from types import SimpleNamespace

import build_notebooks
import nbformat
import pytest
from matplotlib import pyplot as plt
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook, new_output
from notebooks.address import Address, load_address, store_address
from notebooks.comparison import differences
from notebooks.copies import (
    build,
    fingerprint,
    make_copy,
    make_rehearsal,
    share_outputs,
    then_backwards,
    write,
)
from notebooks.costs import outdated_costs, store_cost
from notebooks.execution import Cost, execute, run
from notebooks.lint import problems
from notebooks.outputs import clean, png_of
from notebooks.sources import contents, notebook_path, read_source
from notebooks.table import outdated, table, with_table, write_table
from small_notebook import SOURCE, write_project

NAME, NOWHERE = "03_try_it", Address()


@pytest.fixture
def root(tmp_path):
    return write_project(tmp_path)


@pytest.fixture
def built(root):
    build(NAME, NOWHERE, root=root)
    return root


def load(root, copy="participant"):
    return nbformat.read(notebook_path(NAME, copy, root=root), as_version=4)


def code_of(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


def edit(root, old, new):
    path = root / f"tutorials/src/{NAME}.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


# --- the two copies -------------------------------------------------------------------------------


def test_the_participant_gets_the_stub_and_the_solutions_the_solution(built):
    participant, solutions = code_of(load(built)), code_of(load(built, "solutions"))
    assert "raise NotImplementedError" in participant
    assert "return a + b" not in participant
    assert "return a + b" in solutions
    assert "raise NotImplementedError" not in solutions


def test_building_again_changes_no_byte(built):
    before = notebook_path(NAME, "participant", root=built).read_bytes()
    build(NAME, NOWHERE, root=built)
    assert notebook_path(NAME, "participant", root=built).read_bytes() == before


def test_a_cell_has_one_id_in_both_copies(built):
    ids = [
        {c.source: c.id for c in load(built, copy).cells} for copy in ("participant", "solutions")
    ]
    shared = ids[0].keys() & ids[1].keys()
    assert len(shared) >= 6
    assert {ids[0][source] for source in shared} == {ids[1][source] for source in shared}
    assert "try-it-002" in ids[0].values()


def test_links_are_deepened_for_the_solutions(built):
    assert "(../README.md)" in load(built).cells[0].source
    assert "(../../README.md)" in load(built, "solutions").cells[0].source
    assert "(#exercise-1-add)" in load(built, "solutions").cells[-2].source


def test_outputs_stay_where_the_code_did_not_change(built):
    notebook = load(built)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [new_output("stream", text="kept")]
    write(notebook, notebook_path(NAME, "participant", root=built))
    edit(built, "plt.plot([0, 1])", "plt.plot([0, 2])")
    build(NAME, NOWHERE, root=built)
    cells = {cell.source: cell for cell in load(built).cells}
    assert cells['"a panel"'].outputs[0].text == "kept"
    assert cells["plt.plot([0, 2])\nplt.show()"].outputs == []


def test_outputs_do_not_depend_on_the_sizes_of_the_fast_profile(built):
    for n_fast, n_full in ((8, 48), (4, 48), (4, 60)):
        edit(built, "plt.plot([0, 1])", f"plt.plot([0, me.tutorial.pick({n_full}, {n_fast})])")
        build(NAME, NOWHERE, root=built)
        if n_fast == 8:
            mark_executed(built)
        assert (differences(NOWHERE, root=built) == []) == (n_full == 48)
        edit(built, f"plt.plot([0, me.tutorial.pick({n_full}, {n_fast})])", "plt.plot([0, 1])")


def test_every_notebook_says_what_it_costs_and_shows_the_way_on(built):
    (built / "tutorials/src/04_next.py").write_text(SOURCE.replace("# # Try it", "# # Go on"))
    listed = [{"name": name, "minutes": "45", "afterwards": "add"} for name in (NAME, "04_next")]
    (built / "tutorials/contents.json").write_text(json.dumps(listed))
    for name in (NAME, "04_next"):
        build(name, NOWHERE, root=built)
    first, solved = load(built).cells, load(built, "solutions").cells
    assert "2 GB" in first[0].source
    assert "[04 Go on](04_next.ipynb)" in first[-1].source
    assert "(solutions/03_try_it.ipynb)" in first[-1].source
    assert "[04 Go on](../04_next.ipynb)" in solved[-1].source
    assert "(../03_try_it.ipynb)" in solved[-1].source
    assert "doi.org/" in first[-1].source
    last = nbformat.read(notebook_path("04_next", "participant", root=built), as_version=4).cells[
        -1
    ]
    assert "[all notebooks](../README.md#notebooks)" in last.source


def test_a_solution_is_folded_below_the_hints_of_the_participant_alone(built):
    (hints,) = [cell.source for cell in load(built).cells if "Hint 3" in cell.source]
    after = hints.split("Hint 3")[1]
    assert "<details><summary>Solution</summary>\n\n```python\ndef add" in after
    assert "return a + b\n```" in after
    assert "Solution</summary>" not in str(load(built, "solutions").cells)


def test_an_unknown_tag_is_refused(root):
    edit(root, '["widget"]', '["wigdet"]')
    with pytest.raises(ValueError, match="try-it-.*wigdet"):
        read_source(NAME, root=root)


def test_a_source_that_is_not_listed_is_refused(root):
    (root / "tutorials/src/04_new.py").write_text(SOURCE)
    with pytest.raises(ValueError, match=r"contents.json needs an entry.*04_new"):
        contents(root)


# --- predictions ----------------------------------------------------------------------------------


PREDICT = "# <!-- expected: sum -->\n#\n# **Predict.** Does it (a) rise, (b) fall?"
FOLD = "# <details><summary>What we see</summary>\n#\n# It rises: (a).\n#\n# </details>\n#\n"


def predict(root, fold=FOLD):
    edit(root, "# <!-- expected: sum -->", PREDICT)
    edit(root, "# ## What you saw", f"{fold}# ## What you saw")


def with_outputs(root, copy):
    build(NAME, NOWHERE, root=root)
    notebook = load(root, copy)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [new_output("stream", text="seen")], 1
    notebook.metadata.executed = fingerprint(notebook)
    write(notebook, notebook_path(NAME, copy, root=root))


def test_a_participant_sees_no_output_between_a_prediction_and_its_fold(root):
    predict(root)
    for copy in ("solutions", "participant"):
        with_outputs(root, copy)
    assert "shows what a prediction asks for" in differences(NOWHERE, root=root)[0]
    build(NAME, NOWHERE, root=root)
    seen = {
        copy: [cell.id for cell in load(root, copy).cells if cell.get("outputs")]
        for copy in ("participant", "solutions")
    }
    assert set(seen["solutions"]) - set(seen["participant"]) >= {"try-it-009", "try-it-010"}
    assert "try-it-002" in seen["participant"]
    assert differences(NOWHERE, root=root) == []


@pytest.mark.parametrize(
    ("fold", "said"),
    [
        (FOLD, None),
        ("", "try-it-008: a prediction needs a fold"),
        (FOLD.replace("(a)", "it does"), "try-it-011: the fold after the prediction in try-it-008"),
    ],
)
def test_each_prediction_has_a_fold_that_names_its_letter(root, fold, said):
    predict(root, fold)
    told = "\n".join(problems(NAME, root=root))
    assert (said in told) if said else "prediction" not in told


# --- costs ----------------------------------------------------------------------------------------


def test_seconds_of_every_cell_stand_on_the_instructors_page(built):
    assert "needs the seconds of each cell of 03_try_it" in outdated_costs(root=built)[0]
    cells = [cell.id for cell in load(built).cells if cell.cell_type == "code"]
    store_cost(NAME, Cost(9, 8e8, dict.fromkeys(cells, 0.5) | {"try-it-002": 7.4}), root=built)
    page = (built / "docs/instructors.md").read_text()
    assert "**03 Try it**: 10 s, 800 MB" in page
    assert "| `import os` | 7 |" in page
    assert "| the 6 other cells together | 3 |" in page
    assert outdated_costs(root=built) == []
    edit(built, '"a panel"', '"a panel"\n\n# %%\n1')
    assert (
        "run: python tools/build_notebooks.py --execute 03_try_it" in outdated_costs(root=built)[0]
    )


def test_minutes_of_reading_running_and_doing_add_up_on_the_instructors_page(built):
    cells = [cell.id for cell in load(built).cells if cell.cell_type == "code"]
    store_cost(NAME, Cost(9, 8e8, dict.fromkeys(cells, 12.0)), root=built)
    page = (built / "docs/instructors.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.count("|") == 8]
    header, _, readme, notebook, together = rows
    assert (readme[0], notebook[0]) == ("README", "03 Try it, planned 45 min")
    assert readme[1:] == ["0", "0", "0", "0.0", "0", "0"]  # three words, in hundreds
    n_words, n_lines, _, running, planned, _ = map(float, notebook[1:])
    assert (running, planned) == (round(len(cells) * 12 / 60, 1), 5)
    sums = [float(a) + float(b) for a, b in zip(readme[1:], notebook[1:], strict=True)]
    assert [float(figure) for figure in together[1:]] == pytest.approx(sums, abs=1.01)
    assert n_words > 20
    assert n_lines > 5


def test_a_page_edited_by_hand_and_a_notebook_too_large_for_its_promise_are_told(built):
    cells = [cell.id for cell in load(built).cells if cell.cell_type == "code"]
    store_cost(NAME, Cost(9, 1.7e9, dict.fromkeys(cells, 0.5)), root=built)
    page = built / "docs/instructors.md"
    page.write_text(page.read_text().replace("1700 MB", "17 MB"))
    large, edited = outdated_costs(root=built)
    assert "took 1700 MB, and its opening promises at most 1.4 GB" in large
    assert "its seconds differ" in edited


# --- comparison -----------------------------------------------------------------------------------


def mark_executed(root):
    for copy in ("participant", "solutions"):
        notebook = load(root, copy)
        notebook.metadata.executed = fingerprint(notebook)
        write(notebook, notebook_path(NAME, copy, root=root))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("all sums begin", "all sums end", "cell try-it-003 differs from its source"),
        ('"a panel"', '"a table"', "cell try-it-010 differs from its source"),
        ('tags=["widget"]', "", "cell try-it-010 differs from its source (metadata)"),
        (
            "# %% [markdown]\n# ## What",
            "# %%\n1\n\n# %% [markdown]\n# ## What",
            "try-it-011 differs",
        ),
    ],
)
def test_an_edited_source_is_told_with_notebook_cell_and_command(built, old, new, said):
    edit(built, old, new)
    told = differences(NOWHERE, root=built)
    assert len(told) == 2
    assert said in told[0]
    assert "tutorials/03_try_it.ipynb" in told[0]
    assert "build_notebooks.py build 03_try_it" in told[0]


def test_a_notebook_as_built_and_executed_differs_in_nothing(built):
    assert all("outputs are of other code" in told for told in differences(NOWHERE, root=built))
    mark_executed(built)
    assert differences(NOWHERE, root=built) == []
    edit(built, '"a panel"', '"a table"')
    build(NAME, NOWHERE, root=built)
    assert "--execute 03_try_it" in differences(NOWHERE, root=built)[0]


def test_a_missing_notebook_and_one_without_a_source_are_told(built):
    path = notebook_path(NAME, "participant", root=built)
    path.rename(path.with_name("07_left_over.ipynb"))
    told = "\n".join(differences(NOWHERE, root=built))
    assert "tutorials/03_try_it.ipynb is missing" in told
    assert "07_left_over.ipynb has no source" in told


# --- the repository's address ---------------------------------------------------------------------


def test_badges_appear_only_once_the_repository_is_known(root):
    assert (
        "colab.research" not in make_copy(NAME, "participant", NOWHERE, root=root).cells[0].source
    )
    opening = make_copy(NAME, "participant", Address("us/it", "v2"), root=root).cells[0].source
    assert "github/us/it/blob/v2/tutorials/03_try_it.ipynb" in opening
    assert "mybinder.org/v2/gh/us/it/v2?urlpath=lab%2Ftree%2Ftutorials%2F03_try_it" in opening


def test_the_address_is_stored_in_one_place(root):
    store_address(Address("us/it", "v2"), root)
    assert load_address(root) == Address("us/it", "v2")


@pytest.mark.parametrize("repository", ["name", "https://host/us/it", "us/it; rm"])
def test_a_malformed_address_is_refused(repository):
    with pytest.raises(ValueError, match="OWNER/NAME"):
        Address(repository)


def test_the_readmes_table_has_badges_only_where_they_lead_somewhere(root):
    assert table(NOWHERE, root=root).count("|\n") == 3
    assert "| together, those that are open not counted | 0 h 45 min |" in table(NOWHERE, root=root)
    assert "[03 Try it](tutorials/03_try_it.ipynb) | 45 | add |" in table(NOWHERE, root=root)
    assert "badge" not in table(NOWHERE, root=root)
    assert "colab-badge" in table(Address("us/it"), root=root)


def test_the_table_is_replaced_and_the_text_around_it_is_not(root):
    for address in (Address("us/it"), NOWHERE):
        assert "README.md: its table" in outdated(address, root=root)[0]
        write_table(address, root=root)
        assert outdated(address, root=root) == []
    readme = (root / "README.md").read_text()
    assert readme.startswith("# Small\n")
    assert readme.endswith("<!-- /notebooks -->\nThe end\n")
    assert readme.count("03 Try it") == 1
    with pytest.raises(ValueError, match="README.md needs"):
        with_table("no markers", "")


# --- the setup cell -------------------------------------------------------------------------------


@pytest.fixture
def colab(monkeypatch, tmp_path):
    """As on Colab before the package is installed; gives the commands that were run."""
    commands = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command))
    return commands


def test_setup_installs_nothing_elsewhere(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("ran a command"))
    exec(Address("us/it").setup(), {})


def test_setup_installs_on_colab_and_keeps_colabs_own_versions(colab, tmp_path):
    exec(Address("us/it", "v2").setup(), {})
    (command,) = colab
    assert command[1:4] == ["-m", "pip", "install"]
    assert command[-1] == "mechir-edu[offline] @ https://github.com/us/it/archive/v2.zip"
    kept = (tmp_path / command[command.index("--constraint") + 1]).read_text().splitlines()
    assert [line.split("==")[0] for line in kept] == [
        "torch",
        "numpy",
        "transformers",
        "huggingface_hub",
        "ipywidgets",
    ]


def test_setup_run_again_does_nothing(colab, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: SimpleNamespace())
    exec(Address("us/it").setup(), {})
    assert colab == []


def test_setup_asks_for_the_repository_where_none_is_set(colab):
    with pytest.raises(RuntimeError, match="Type the OWNER/NAME"):
        exec(NOWHERE.setup(), {})


# --- outputs --------------------------------------------------------------------------------------


def notebook_with(*outputs, tags=(), **metadata):
    metadata |= {"tags": list(tags)} if tags else {}
    return new_notebook(cells=[new_code_cell("1", outputs=list(outputs), metadata=metadata)])


def drawn():
    buffer = io.BytesIO()
    figure = plt.figure(figsize=(1, 1))
    figure.savefig(buffer, metadata={"Software": "a version"})
    plt.close(figure)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return new_output("display_data", {"image/png": encoded, "text/plain": "<Figure>"})


def test_a_figure_says_what_it_shows_and_not_what_drew_it():
    notebook = notebook_with(drawn(), tags=["figure"], alt="A point.")
    clean(notebook)
    (output,) = notebook.cells[0].outputs
    assert b"a version" not in png_of(notebook.cells[0])
    assert plt.imread(io.BytesIO(png_of(notebook.cells[0]))).shape[:2] == (100, 100)
    assert output.metadata["image/png"]["alt"] == output.data["text/plain"] == "A point."


def test_progress_bars_and_their_widgets_are_left_out():
    view = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "HBox()"}
    bar = new_output("stream", name="stderr", text="\r 50%")
    notebook = notebook_with(bar, new_output("display_data", view))
    notebook.metadata.widgets = {}
    clean(notebook)
    assert notebook.cells[0].outputs == []
    assert "widgets" not in notebook.metadata


def test_a_panel_keeps_its_sentence():
    view = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "A panel."}
    notebook = notebook_with(new_output("execute_result", view, execution_count=1), tags=["widget"])
    clean(notebook)
    assert notebook.cells[0].outputs[0].data.keys() == {"text/plain"}
    assert notebook.cells[0].outputs[0].data["text/plain"] == "A panel."


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (new_output("stream", name="stderr", text="UserWarning: old"), "needed no warning"),
        (new_output("stream", text="written to /tmp/x"), "only this machine has"),
        (new_output("execute_result", {"text/plain": "<T at 0x7f12ab>"}), "only this machine has"),
    ],
)
def test_warnings_paths_and_addresses_are_refused(output, message):
    with pytest.raises(ValueError, match=message):
        clean(notebook_with(output))


def test_a_figure_that_was_not_drawn_and_a_large_notebook_are_refused():
    with pytest.raises(ValueError, match="needs a PNG"):
        clean(notebook_with(tags=["figure"]))
    with pytest.raises(ValueError, match="at most 1,000,000 bytes"):
        clean(notebook_with(new_output("stream", text="x" * 1_000_001)))


# --- execution ------------------------------------------------------------------------------------


def test_executing_fills_both_copies_and_shows_the_expected_figure(root):
    for copy in ("solutions", "participant"):
        cost = execute(NAME, copy, NOWHERE, root=root, fast=False)
        assert cost.seconds > 0
        assert 50e6 < cost.peak < 1e9
        assert min(cost.by_cell.values()) >= 0
        assert len(cost.by_cell) == sum(c.cell_type == "code" for c in load(root, copy).cells)
    participant, solutions = load(root), load(root, "solutions")
    assert "1 of 1 exercises right" in str(participant.cells[-2].outputs)
    assert "strict" in str(solutions.cells)
    assert "lenient" in str(participant.cells)
    (folded,) = [cell.source for cell in participant.cells if "Expected figure" in cell.source]
    assert "![A line from zero to the sum of one and two.](data:image/png;base64,iVB" in folded
    assert differences(NOWHERE, root=root) == []


def test_a_notebook_without_exercises_is_run_once(root):
    assert not share_outputs(NAME, NOWHERE, root=mark_solved(root))
    source = (root / f"tutorials/src/{NAME}.py").read_text()
    start, end = (
        source.index("# %% [markdown]\n# ## Exercise"),
        source.index('# %% tags=["figure"]'),
    )
    (root / f"tutorials/src/{NAME}.py").write_text(source[:start] + source[end:])
    assert share_outputs(NAME, NOWHERE, root=mark_solved(root))
    assert [cell.outputs for cell in load(root).cells if cell.cell_type == "code"] == [
        cell.outputs for cell in load(root, "solutions").cells if cell.cell_type == "code"
    ]
    assert differences(NOWHERE, root=root) == []


def mark_solved(root):
    """Write the solutions as if they had been executed."""
    build(NAME, NOWHERE, root=root)
    mark_executed(root)
    solutions = load(root, "solutions")
    for cell in solutions.cells:
        if cell.cell_type == "code":
            cell.outputs = [new_output("stream", text="seen")]
    write(solutions, notebook_path(NAME, "solutions", root=root))
    return root


def test_a_cell_that_fails_stops_and_writes_nothing(root):
    edit(root, "import os\n", "import os\n\nraise KeyError('no such head')\n")
    with pytest.raises(CellExecutionError, match="no such head"):
        execute(NAME, "participant", NOWHERE, root=root, fast=False)
    assert not notebook_path(NAME, "participant", root=root).exists()


# --- the rehearsal -------------------------------------------------------------------------------


def rehearse(root):
    notebook = make_rehearsal(NAME, NOWHERE, root=root)
    run(notebook, strict=True, fast=True)
    return notebook


def test_a_rehearsal_tries_each_exercise_untouched_and_then_solved(root):
    code = [cell.source for cell in make_rehearsal(NAME, NOWHERE, root=root).cells]
    places = [
        next(place for place, source in enumerate(code) if mark in source)
        for mark in ("NotImplementedError", "Not attempted yet", "return a + b", "\ncheck_add(add)")
    ]
    assert places == sorted(places)
    assert "Right: strict" in str(rehearse(root).cells)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("return a + b", "return a - b", "three is one and two"),
        ("raise NotImplementedError", "return 3", "Right: lenient"),
    ],
    ids=["wrong solution", "solved stub"],
)
def test_a_rehearsal_stops_at(root, old, new, said):
    edit(root, old, new)
    with pytest.raises(CellExecutionError, match=said):
        rehearse(root)


def test_an_exercise_without_a_check_cannot_be_rehearsed(root):
    edit(root, "check_add", "try_add")
    with pytest.raises(ValueError, match="try-it-004: needed a cell that calls check_"):
        make_rehearsal(NAME, NOWHERE, root=root)


def test_cells_run_again_backwards_meet_what_later_cells_left_behind(root):
    run(then_backwards(make_copy(NAME, "solutions", NOWHERE, root=root)), strict=True, fast=True)
    edit(root, '"a panel"', "plt = None")
    with pytest.raises(CellExecutionError, match="'NoneType' object has no attribute 'plot'"):
        run(
            then_backwards(make_copy(NAME, "solutions", NOWHERE, root=root)), strict=True, fast=True
        )


# --- lint -----------------------------------------------------------------------------------------


def test_a_small_notebook_is_only_too_small(root):
    assert {told.split()[2] for told in problems(NAME, root=root)} == {"words,", "code", "at"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("What you need", "You need", "needs ['What you need']"),
        ("What you saw", "We saw", "needs ['## What you saw']"),
        ("45 minutes", "50 minutes", "needs '45 minutes'"),
        ("import os\n", "import os\n" + "x = 1\n" * 15, "18 lines, at most 15"),
        ('"a panel"\n', '"a panel"\n\n# %%\n1\n', "third code cell in a row"),
        (' alt="A line from zero up to one, as any line."', "", "a figure needs alt"),
        ('["figure"]', "[]", "a widget needs its static twin"),
        ("](../README.md)", "](../READYOU.md)", "READYOU.md leads nowhere"),
        ("#exercise-1-add", "#exercise-2", "#exercise-2 leads nowhere"),
        ("Difficulty 1/5, ", "", "needs a header"),
        ("Hint 3", "Clue 3", "needs three folded hints"),
        ('"solution", "figure", ', '"solution", ', "needs the tag figure too"),
        ("import os\n", "import os\nfrom mechir_edu.files import sha256\n", "needs a public name"),
        ('"a panel"', "add(1, 2)", "uses add, which only an exercise defines"),
        ('"a panel"', "plt = 1", "try-it-009: takes plt, which try-it-010 overwrites"),
        ('"a panel"', "plt = plt.figure", "try-it-010: takes plt, which try-it-010 overwrites"),
        ("## On your own", "**On your own**", "needs ['## On your own']"),
        (
            "[Above](#exercise-1-add)",
            "Above, 2020",
            "needs a link, such as a DOI, in 'Above, 2020.'",
        ),
        ("- [Above]", "- Next: [above]", "leave out 'Next:'"),
    ],
)
def test_each_broken_promise_is_told(root, old, new, said):
    edit(root, old, new)
    assert said in "\n".join(problems(NAME, root=root))


# --- the command ----------------------------------------------------------------------------------


def test_the_command_says_which_notebook_it_does_not_know(capsys):
    assert build_notebooks.main(["build", "77"]) == 2
    assert "got ['77']" in capsys.readouterr().err


def test_lint_on_the_command_line_exits_with_1_where_something_is_amiss(monkeypatch, capsys):
    monkeypatch.setattr(build_notebooks, "select", lambda names: [])
    assert build_notebooks.main(["--lint"]) == 0
    monkeypatch.setattr(build_notebooks, "differences", lambda address: ["03: cell 4 differs"])
    assert build_notebooks.main(["--check"]) == 1
    assert "cell 4 differs" in capsys.readouterr().out
