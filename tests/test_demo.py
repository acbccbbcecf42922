"""The demonstration and its command line, run as a user runs them."""

import json
import re
import subprocess
import sys
from importlib import metadata

import numpy as np
import pandas as pd
import pytest

import mechir_edu as me
from mechir_edu import files
from mechir_edu.cli import demo as command
from mechir_edu.cli.experiments import first_look
from mechir_edu.cli.main import main, parser
from mechir_edu.cli.summary import summarise
from mechir_edu.collection.load import load_collection
from mechir_edu.files import sha256

COLUMNS = ["ranker", "axiom", "grade", "layer", "head", "recovery", "low", "high", "q"]


def demo(folder, *options):
    others = ["--bi", "none", "--sparse", "none"]
    return main(["demo", "--out", str(folder), *others, "--cross", "planted", *options])


@pytest.fixture(scope="module", autouse=True)
def loaded_once(remembered):
    remembered(command, "load_rankers")


@pytest.fixture(scope="module")
def embedded(collection):
    return collection


@pytest.fixture(scope="module")
def demonstration(planted, embedded):
    return me.demonstrate({"Cat": planted}, embedded, n=24, seed=5, progress=False)


@pytest.fixture(scope="module")
def written():
    """Name and content of each file that the demonstration in `out` writes, in order."""
    return []


@pytest.fixture(scope="module")
def out(tmp_path_factory, written):
    folder, write_whole = tmp_path_factory.mktemp("demo"), files.write_whole

    def write(path, content):
        written.append((path.name, content))
        write_whole(path, content)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(files, "write_whole", write)
        assert demo(folder, "--pairs", "24", "--seed", "5") == 0
    return folder


def test_the_files_are_written(out):
    names = {file.name for file in out.iterdir()}
    pictures = {"figure2.png", "figure2.svg", "report.html"}
    assert names == {"heads.csv", "summary.md", "run.json"} | pictures


def test_the_report_has_a_map_for_each_axiom_with_the_tables_numbers(out):
    page = (out / "report.html").read_text(encoding="utf-8")
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", page) == ["Cat planted, TFC1", "Cat planted, TDC"]
    table = pd.read_csv(out / "heads.csv").query("grade == 'all'")
    cells = re.findall(r'label="layer (\d), head (\d): recovery ([-\d.]+)', page.replace("−", "-"))
    told = {}
    for i, (layer, head, recovery) in enumerate(cells):
        told["TFC1" if i < 16 else "TDC", int(layer), int(head)] = float(recovery)
    there = table.set_index(["axiom", "layer", "head"])["recovery"].to_dict()
    assert told == pytest.approx(there, abs=6e-4)


def test_a_sparse_ranker_says_which_terms_moved(tmp_path):
    only = ("--cross", "none", "--sparse", "embedded", "--axiom", "TFC1", "--pairs", "16")
    assert demo(tmp_path, *only) == 0
    assert (tmp_path / "terms.png").stat().st_size > 10_000
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    total = re.search(r"together they changed the score by ([+-][\d.]+) on average", summary)
    change = re.search(r"TFC1\.\*\* The score .*?: ([+-][\d.]+)", summary)
    assert float(total[1]) == pytest.approx(float(change[1]), abs=1e-3)


def test_heads_csv_has_every_head_of_every_grade_with_its_interval(out):
    table = pd.read_csv(out / "heads.csv")
    assert list(table.columns) == [*COLUMNS, "n_pairs", "n_queries"]
    assert set(table["grade"]) == {"all", "0", "1", "2", "3"}
    assert len(table) == 2 * 5 * 16
    assert (table["low"] <= table["recovery"]).all()
    assert (table["recovery"] <= table["high"]).all()


def test_the_planted_heads_lead_the_table(out):
    table = pd.read_csv(out / "heads.csv").query("grade == 'all' and axiom == 'TFC1'")
    best = table.loc[table["recovery"].abs().nlargest(3).index]
    from mechir_edu.rankers import planted

    assert set(zip(best["layer"], best["head"], strict=True)) == set(planted.load().planted_heads)


def test_significant_heads_come_first_in_the_summary_and_are_named(out):
    table = pd.read_csv(out / "heads.csv").query("grade == 'all' and axiom == 'TFC1'")
    significant = table[table["q"] < 0.05]
    rows = re.findall(
        r"^\| Cat planted \| TFC1 \| layer (\d), head (\d) \| (yes|no) \|",
        (out / "summary.md").read_text(),
        re.MULTILINE,
    )
    said = [answer for *_, answer in rows]
    assert said == sorted(said, reverse=True)
    named = {(int(layer), int(head)) for layer, head, answer in rows if answer == "yes"}
    assert named == set(zip(significant["layer"], significant["head"], strict=True)) != set()
    assert len(rows) >= 5


def test_run_json_holds_every_choice_and_version(out):
    record = json.loads((out / "run.json").read_text())
    assert record["choices"]["seed"] == 5
    assert record["choices"]["axiom"] == ["TFC1", "TDC"]
    assert record["rankers"][0]["name"] == "planted"
    assert "torch" in record["versions"]


def test_the_summary_says_what_moved_which_heads_and_what_was_skipped(out):
    text = (out / "summary.md").read_text()
    for part in (
        "## What moved",
        "## Which heads carry it",
        "## What was skipped",
        "effect over the control",
    ):
        assert part in text
    assert not re.search(r"\bnan\b", text)


def test_the_same_seed_gives_the_same_table(tmp_path):
    for folder in ("first", "second"):
        assert demo(tmp_path / folder, "--pairs", "8", "--seed", "5", "--axiom", "TFC1") == 0
    first, second = ((tmp_path / each / "heads.csv").read_bytes() for each in ("first", "second"))
    assert first == second


def test_dl19_and_dl20_run_by_their_ids(trec_dl, tmp_path):
    ids = [f"msmarco-passage/trec-dl-{year}/judged" for year in (2019, 2020)]
    assert demo(tmp_path, "--pairs", "8", "--dataset", *ids) == 0
    assert "passage not in the collection (" in (tmp_path / "summary.md").read_text()


# --- a first look -------------------------------------------------------------------------------

ESTIMATES = "First look: gradient estimates, not exact patches"


def test_a_first_look_at_estimates_says_so_and_the_exact_figure_replaces_it(out, written):
    assert [name for name, _ in written[:3]] == ["figure2.png", "figure2.png", "figure2.svg"]
    first, exact = written[0][1], written[1][1]
    assert ESTIMATES.encode() in first
    assert b"stimates" not in exact
    assert exact == (out / "figure2.png").read_bytes()
    record = json.loads((out / "run.json").read_text())
    assert 0 < record["seconds_to_first_look"] <= record["seconds"]


def test_a_first_look_is_the_gradients_maps_under_a_label(planted, embedded):
    few = {"axioms": ["TFC1"], "n": 8, "seed": 5}
    figure = first_look([planted], embedded, filler="a", **few)
    told = "(8 pairs for each axiom; the exact figure replaces this one)"
    assert figure.get_suptitle() == f"{ESTIMATES}\n{told}"
    estimated = me.demonstrate([planted], embedded, method="gradient", progress=False, **few)
    (recovery,) = estimated.recoveries().values()
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), recovery.value)


def test_an_interrupted_run_leaves_a_figure_that_is_labelled_as_estimates_alone(
    tmp_path, monkeypatch, capsys
):
    def stop(*rankers, **request):
        raise KeyboardInterrupt

    monkeypatch.setattr("mechir_edu.cli.experiments.demonstrate", stop)
    assert demo(tmp_path, "--pairs", "24", "--axiom", "TFC1") == 130
    (file,) = tmp_path.iterdir()
    assert file.name == "figure2.png"
    assert ESTIMATES.encode() in file.read_bytes()
    assert "gradient estimates from 12 pairs for each axiom" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "caution"),
    [("exact", ""), ("gradient", "Gradient estimates, not exact patches")],
)
def test_a_figure_and_a_summary_of_estimates_say_so(planted, embedded, method, caution):
    demonstration = me.demonstrate(
        [planted], embedded, axioms=["TFC1"], n=8, method=method, progress=False
    )
    figure = demonstration.figure()
    assert figure.get_suptitle() == demonstration.caution == caution
    assert ("estimates" in summarise(demonstration)) is bool(caution)


# --- as a function ------------------------------------------------------------------------------


def test_the_command_writes_what_the_function_gives(out, demonstration):
    there = pd.read_csv(out / "heads.csv").drop(columns="ranker")
    here = demonstration.heads_table().drop(columns="ranker").astype({"grade": str})
    pd.testing.assert_frame_equal(there, here, rtol=1e-4, atol=1e-6)


def test_the_figure_has_a_map_for_each_axiom(demonstration):
    titles = [ax.get_title() for ax in demonstration.figure().axes]
    assert titles[:2] == ["Cat\nTFC1", "TDC"]


def test_the_recovery_of_a_result_is_computed_once(planted, embedded, monkeypatch):
    computed, recovery = [], me.PatchingResult.recovery
    monkeypatch.setattr(
        me.PatchingResult, "recovery", lambda self: computed.append(self) or recovery(self)
    )
    demonstration = me.demonstrate([planted], embedded, axioms=["TFC1"], n=16, progress=False)
    for _ in range(2):
        demonstration.figure()
        demonstration.heads_table()
        summarise(demonstration)
    assert len(computed) == len(set(map(id, computed))) == 1 + len(embedded.grades())


def test_the_control_is_scored_on_the_same_documents_as_the_axiom(demonstration):
    experiment = demonstration["TFC1", "Cat"]
    same = [(pair.query_id, pair.doc_id) for pair in experiment.control.pairs]
    assert same == [(pair.query_id, pair.doc_id) for pair in experiment.result.pairs]
    change = experiment.result.score_change() - experiment.control.score_change()
    assert experiment.over_control.value == pytest.approx(change.mean())
    compared = demonstration.difference("TFC1", "TFC1-control", ranker="Cat")
    assert compared == experiment.over_control


def test_two_axioms_are_compared_on_shared_documents(demonstration):
    scored = demonstration.scored("Cat")
    assert list(scored) == ["TFC1", "TFC1-control", "TDC", "TDC-control"]
    compared = demonstration.difference("TDC", "TFC1", ranker="Cat")
    assert compared.n_pairs <= 24
    if scored["TDC"].pairs == scored["TFC1"].pairs:
        changes = [scored[axiom].score_change().mean() for axiom in ("TDC", "TFC1")]
        assert compared.value == pytest.approx(np.subtract(*changes))


def test_an_experiment_that_was_not_run_is_named_with_those_that_were(demonstration):
    with pytest.raises(KeyError, match="'TP', 'Cat'.*'TFC1', 'TDC'"):
        demonstration["TP", "Cat"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"axioms": ["TFC1", "TCD"]}, "no axiom is called 'TCD'; did you mean"),
        ({"axioms": []}, "at least one axiom"),
        ({"n": 3}, "at least 8 pairs"),
        ({"method": "exakt"}, "did you mean 'exact'"),
        ({"rankers": {}}, "at least one ranker"),
        ({"rankers": ["planted", "planted"]}, "2 rankers have 1 names"),
    ],
)
def test_a_bad_request_is_refused_before_anything_is_computed(
    planted, embedded, monkeypatch, asked, message
):
    monkeypatch.setattr("mechir_edu.cli.experiments.make_pairs", None)
    rankers = asked.pop("rankers", ["planted"])
    rankers = [planted for _ in rankers] if rankers else {}
    with pytest.raises(ValueError, match=message):
        me.demonstrate(rankers, embedded, **asked)


# --- a collection and an axiom of one's own ----------------------------------------------------


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Two queries, four documents, their judgments and a file of axioms; gives the folder."""
    folder = tmp_path_factory.mktemp("own")
    texts = ["Warm seas harm corals.", "Trains run late.", "Salt melts ice.", "Snow covers roads."]
    docs = [json.dumps({"id": f"d{i}", "text": text}) for i, text in enumerate(texts)]
    judged = [f"q{q} 0 d{d} {int(d // 2 == q)}" for q in range(2) for d in range(4)]
    for name, lines in {
        "queries.tsv": ["q0\tcoral seas", "q1\tsalt and ice"],
        "docs.jsonl": docs,
        "qrels.txt": judged,
        "axioms.py": [
            "def shout(document, query):",
            '    """The query in capitals',
            '    at the end."""',
            '    return f"{document} {query.upper()}"',
        ],
        "fails.py": ["x = 1", "y = nothing"],
    }.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def own_collection(folder):
    files = {"queries": "queries.tsv", "docs": "docs.jsonl", "qrels": "qrels.txt"}
    return [part for name, file in files.items() for part in (f"--{name}", str(folder / file))]


def test_an_own_collection_and_axiom_are_run_and_recorded_with_their_checksums(own, tmp_path):
    axiom = f"{own / 'axioms.py'}:shout"
    assert demo(tmp_path, *own_collection(own), "--axiom", axiom, "--pairs", "8") == 0
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["choices"]["dataset"] == []
    assert record["choices"]["axiom"] == [axiom]
    assert record["choices"]["queries"] == str(own / "queries.tsv")
    names = ("queries.tsv", "docs.jsonl", "qrels.txt", "axioms.py")
    assert record["files"] == {str(own / name): sha256(own / name) for name in names}
    said = (tmp_path / "summary.md").read_text()
    source = f"axioms.py, SHA-256 {sha256(own / 'axioms.py')}"
    assert f"- shout: The query in capitals at the end. ({source})\n" in said


def test_an_axiom_without_a_word_for_its_control_is_run_without_it(own, planted):
    collection = load_collection(
        queries=own / "queries.tsv", docs=own / "docs.jsonl", qrels=own / "qrels.txt"
    )
    (experiment,) = me.demonstrate([planted], collection, axioms=["TFC1"], n=8).experiments
    assert experiment.control is None
    assert experiment.unperturbed["no neutral word of this length and rarity"] == 8


def test_an_axiom_that_fits_no_pair_is_refused_with_the_reasons(own, planted, embedded):
    with pytest.raises(ValueError, match=r"keep can be applied to no.*changes nothing \(324\)"):
        me.demonstrate([planted], embedded, axioms=[keep], n=8)


def keep(document):
    return document


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--queries", "queries.tsv"], "add --docs and --qrels"),
        (["--queries", "no.tsv", "--docs", "docs.jsonl", "--qrels", "qrels.txt"], "none at no.tsv"),
        (["--dataset", "q.tsv"], "--queries, --docs and --qrels"),
        (["--axiom", "no.py:shout"], "there is no file no.py"),
        (
            ["--axiom", "axioms.py:shot"],
            "no function 'shot' that edits a document; it defines",
        ),
        (["--axiom", "fails.py:shout"], "fails.py fails in line 2: NameError"),
        (["--axiom", "axioms.py:shout", "axioms.py:shout"], "two axioms are called 'shout'"),
    ],
)
def test_what_is_wrong_with_ones_own_files_is_said_and_nothing_is_left(
    own, capsys, monkeypatch, options, message
):
    monkeypatch.chdir(own)
    before = sorted(own.iterdir())
    monkeypatch.setattr(command, "load_rankers", None)
    assert main(["demo", "--out", "out", *options]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path for path in own.iterdir() if path.name != "__pycache__") == before


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "msmarco-passage/trec-dl-2091"], "trec-dl"),
        (["--cross", "./no/such/folder"], "no model"),
    ],
)
def test_bad_input_ends_with_code_2_and_a_clear_line(tmp_path, capsys, options, message):
    assert demo(tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--axiom", "TFC1", "TCD"], "no axiom is called 'TCD'; did you mean 'TDC'"),
        (["--method", "exakt"], "did you mean 'exact'"),
        (["--pairs", "3"], "at least 8 pairs"),
        (["--cross", "none"], "name a model for one of them, or leave one of these options out"),
    ],
)
def test_a_mistyped_argument_is_refused_before_anything_is_loaded(
    tmp_path, capsys, monkeypatch, options, message
):
    monkeypatch.setattr("mechir_edu.collection.load.load_collection", None)
    monkeypatch.setattr(command, "load_rankers", None)
    assert demo(tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["dataset", "axiom"])
def test_an_option_takes_several_names_listed_or_repeated(name):
    def named(*options):
        return getattr(parser().parse_args(["demo", "--out", "x", *options]), name)

    option, default = f"--{name}", named()
    assert named(option, "A", option, "B") == ["A", "B"]
    assert named(option, "A", "B", option, "C") == ["A", "B", "C"]
    assert named() == default


def fail_inside_numpy(args):
    np.concatenate([np.zeros((1, 2)), np.zeros((1, 3))])


def fail_inside_pandas(args):
    pd.DataFrame({"a": [1]}).merge(pd.DataFrame({"b": [1]}), on="a", how="sideways")


@pytest.mark.parametrize("fail", [fail_inside_numpy, fail_inside_pandas])
def test_an_error_that_is_not_the_users_shows_its_trace(tmp_path, monkeypatch, fail):
    monkeypatch.setattr(command, "run", fail)
    with pytest.raises((ValueError, KeyError)):
        demo(tmp_path)


def test_debug_shows_the_trace_of_bad_input_too(tmp_path):
    with pytest.raises(ValueError, match="at least 8 pairs"):
        demo(tmp_path, "--pairs", "3", "--debug")


def test_a_file_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    assert demo(tmp_path / "file") == 2
    assert "file" in capsys.readouterr().err


def test_help_and_bad_arguments():
    command = [sys.executable, "-m", "mechir_edu"]
    shown = subprocess.run([*command, "demo", "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    assert "TFC1" in shown.stdout
    assert subprocess.run([*command, "dance"], capture_output=True).returncode == 2


def test_without_an_argument_the_help_is_shown(capsys):
    assert main([]) == 0
    assert "prefetch" in capsys.readouterr().out


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"mechir-edu {metadata.version('mechir-edu')}\n"


def test_importing_the_package_and_its_help_load_nothing_heavy():
    code = "import sys, mechir_edu.cli.main as cli; cli.parser().format_help(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    heavy = {"torch", "transformers", "transformer_lens", "pandas", "matplotlib", "scipy", "numpy"}
    assert not heavy & set(loaded.split())
