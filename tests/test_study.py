"""The study: its plan, its rounds on disk, and what its report says of a known mechanism."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from study import run as study
from study.agreement import replicate
from study.answers import answer_in_short
from study.figures import draw_changes
from study.findings import Penalty, find
from study.limits import on_open_questions, open_questions
from study.plan import CHECKS, MAIN, OF_AXIOMS, Condition
from study.report import FILES, QUESTIONS, compose_report, write_report
from study.results import read_part
from study.sections import on_heads, on_scores
from study.words import say_of_each, verdict_on_axioms, verdict_on_penalty

from mechir_edu.cli.main import main
from mechir_edu.rankers import planted
from mechir_edu.stats.estimates import Estimate
from mechir_edu.stats.maps import profile_gap

PLANTED = ["--collections", "embedded", "--rankers", "cat", "--cross", "planted", "--block", "8"]
SIZE = ["--n", "24", "--checks", "16"]
SMALL = ["--n", "16", "--checks", "0"]  # the first two rounds of that one
TFC1 = Condition("TFC1", "end")


def command(folder, *options):
    return ["study", "--out", str(folder), *PLANTED, *options]


def run(folder, *options):
    return main(command(folder, *SIZE, *options))


def run_small(folder):
    return main(command(folder, *SMALL))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a study that was never interrupted."""
    folder = tmp_path_factory.mktemp("study")
    assert run(folder) == 0
    return folder


@pytest.fixture(scope="module")
def part(whole):
    return read_part(whole / "cat")


@pytest.fixture(scope="module")
def findings(part):
    return find(part)


@pytest.fixture(scope="module")
def report(whole):
    return (whole / "report" / "report.md").read_text()


@pytest.fixture(scope="module")
def details(whole):
    return (whole / "report" / "details.md").read_text()


@pytest.fixture
def partial(whole, tmp_path):
    """A study in which the second round lacks its last condition, and the third all but one."""
    folder = shutil.copytree(whole, tmp_path / "partial")
    shutil.rmtree(folder / "report")
    shutil.rmtree(folder / "cat" / MAIN[-1].name / "00001")
    for condition in MAIN[1:]:
        shutil.rmtree(folder / "cat" / condition.name / "00002")
    return folder


def patched(folder):
    """What was patched under the conditions of `MAIN`: the content of each file."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.glob("cat/*/*/patched/*.npz")
        if "checks" not in path.parts
    }


def assert_small_study_is_whole(folder, whole):
    found = patched(folder)
    assert len(found) == 2 * len(MAIN)
    assert found.items() <= patched(whole).items()


def test_all_conditions_use_the_same_documents_and_each_block_is_even_over_grades(part):
    ids = {tuple((p.query_id, p.doc_id) for p in result.pairs) for result in part.main.values()}
    assert len(ids) == 1
    for block in part.manifest.shards:
        assert sorted(part.grades[list(block)]) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_every_condition_and_check_is_there(part):
    assert part.n_pairs == 24
    assert set(part.main) == set(MAIN)
    assert {one: len(result.pairs) for one, result in part.checks.items()} == dict.fromkeys(
        CHECKS, 16
    )


def test_a_raw_change_counts_from_the_document_as_it_was(part):
    from mechir_edu import Cat

    pair, ranker = part.main[TFC1].pairs[0], Cat("planted")
    baseline, perturbed = ranker.score(pair.query, [pair.baseline, pair.perturbed])
    assert part.raw_change(TFC1)[0] == pytest.approx(perturbed - baseline, abs=1e-5)


def test_the_planted_heads_and_no_others_carry_tfc1(findings):
    found = findings.heads[TFC1]
    assert set(map(tuple, np.argwhere(found.carries))) == set(planted.load().planted_heads)
    assert not found.opposes.any()


def test_the_report_opens_with_the_answers(report):
    opening = " ".join(report.split("## 1.")[0].split())
    assert "obeys TFC1 and TDC at both ends of a document" in opening
    assert "3 (TFC1)" in opening
    assert "there is no penalty" in opening


def test_the_report_names_the_planted_heads_and_what_was_used(report):
    assert "| 3 (0.0, 1.0, 3.1) |" in report
    assert "all 24 planned pairs" in report


def words(text):
    """Count words and numbers, those of tables too, but not the texts of images."""
    lines = [line for line in text.splitlines() if not line.startswith("![")]
    return len(re.findall(r"\S*\w\S*", "\n".join(lines)))


@pytest.mark.parametrize("method", ["exact", "gradient"])
def test_the_report_on_two_rankers_is_two_pages(findings, part, method):
    kinds = [replace(part, kind=kind) for kind in ("dot", "cat")]
    two = [replace(findings, part=one) for one in kinds]
    figures = dict.fromkeys((on_scores, on_heads), "![what it shows](figure.png)")
    assert words(compose_report(two, figures)) < 1100


def test_a_report_on_one_ranker_that_is_unfinished_is_two_pages(findings, part):
    first = replace(findings, part=replace(part, kind="dot"))
    second = replace(findings, part=replace(part, untouched=part.untouched[:8]))
    report = compose_report([first, second], dict.fromkeys((on_scores, on_heads), ""))
    assert "was given **all 24 planned pairs**" in report
    assert "was given **8 of 24 planned pairs**" in report
    assert report.count("met and not used") == 1
    assert words(report) < 1100


def test_a_figure_and_its_text_name_the_ranker_in_full(findings):
    figure, alt = draw_changes([findings])
    assert figure.axes[0].get_title() == "cross-encoder planted"
    assert "cross-encoder `planted`" in alt


def test_the_published_report_is_two_pages():
    report = Path(__file__).parents[1] / "docs" / "study" / "report.md"
    assert words(report.read_text()) < 1100


def test_every_question_has_its_section_in_the_report_and_in_the_details(report, details):
    for number, (question, _) in enumerate(QUESTIONS, start=1):
        assert f"## {number}. {question}\n\n" in report
        assert f"## {number}. {question}\n\n" in details
    assert "## How it was made" in report
    assert "## How it was made" in details


def test_the_details_have_every_edit_every_grade_and_what_it_was_made_with(details):
    for condition in OF_AXIOMS:
        assert f"cross-encoder, {condition.axiom}, {condition.place} | " in details
    assert "match, grade 3 | match, grade 2 | match, grade 1 | match, grade 0" in details
    assert re.search(r"seed 0, n = 24, .*weights SHA-256 .*torch \d", details)


def test_no_number_of_the_texts_is_none(report, details):
    for text in (report, details):
        assert not {"nan", "None", "inf"} & set(re.findall(r"[\w.]+", text))


def test_the_report_says_that_heads_were_estimated(findings, part):
    first = replace(part.main[MAIN[0]], method="gradient")
    estimated = replace(findings, part=replace(part, main={**part.main, MAIN[0]: first}))
    figures = dict.fromkeys((on_scores, on_heads), "")
    assert "estimates by gradient" in answer_in_short([estimated])
    assert "**not patched one by one**" in compose_report([estimated], figures)
    assert "gradient" not in compose_report([findings], figures)


def test_only_the_ranker_whose_heads_were_estimated_is_named(findings, part):
    first = replace(part.main[MAIN[0]], method="gradient")
    estimated = replace(part, kind="dot", main={**part.main, MAIN[0]: first})
    answer = answer_in_short([replace(findings, part=estimated), findings])
    assert f"Effects of heads in the {estimated.name} are estimates by gradient" in answer


def test_what_is_true_of_each_ranker_is_said_once(findings, part):
    two = [replace(findings, part=replace(part, kind=kind)) for kind in ("dot", "cat")]
    assert say_of_each(two, lambda one: "obeys") == "Each ranker obeys."
    assert say_of_each(two, lambda one: f"is a {one.part.kind}") == (
        "The bi-encoder is a dot; the cross-encoder is a cat."
    )


def test_what_no_interval_decides_is_named_as_open(findings):
    rows = tuple(replace(row, beyond=about(0)) for row in findings.scores)
    undecided = replace(findings, scores=rows)
    (said, _) = on_open_questions([undecided], full=False)
    assert "whether TFC1's term is worth more than its control at the end" in said
    assert len(list(open_questions(undecided, "start"))) >= 2
    assert "questions open" in answer_in_short([undecided])


def test_each_figure_of_the_report_has_a_text_that_says_what_it_shows(whole, report):
    for name in ("changes.png", "heads.png"):
        (line,) = [line for line in report.splitlines() if line.endswith(f"({name})")]
        assert len(line) > 200
        assert (whole / "report" / name).stat().st_size > 5000


def test_heads_csv_has_every_head_under_every_condition(whole):
    table = pd.read_csv(whole / "report" / "heads.csv")
    assert len(table) == len(MAIN) * 16
    assert list(table.columns[:11]) == (
        "ranker kind axiom place layer head recovery low high p q".split()
    )
    assert table.query("axiom == 'TFC1'")["contrast"].notna().all()


def test_an_interrupted_study_says_so_and_ends_with_the_same_bits(
    whole, tmp_path, monkeypatch, capsys
):
    done, patch_into_folder = [], study.patch_into_folder

    def patch_some(*args, **options):
        if len(done) == 10:
            raise KeyboardInterrupt
        done.append(1)
        return patch_into_folder(*args, **options)

    monkeypatch.setattr(study, "patch_into_folder", patch_some)
    assert run_small(tmp_path) == 130
    assert "The same command goes on" in capsys.readouterr().err
    monkeypatch.undo()
    assert run_small(tmp_path) == 0
    assert_small_study_is_whole(tmp_path, whole)


def test_a_killed_study_ends_with_the_same_bits(whole, tmp_path):
    arguments = [sys.executable, "-m", "mechir_edu", *command(tmp_path, *SMALL)]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as process:
        while len(patched(tmp_path)) < 5 and process.poll() is None:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    assert run_small(tmp_path) == 0
    assert_small_study_is_whole(tmp_path, whole)


def test_a_report_takes_the_blocks_that_all_conditions_have(partial):
    assert run(partial, "--report-only", "--report", str(partial / "here")) == 0
    text = (partial / "here" / "report.md").read_text()
    assert "**8 of 24 planned pairs**" in text
    assert "**The study is unfinished**" in text


def test_a_report_on_nothing_is_refused(tmp_path, capsys):
    assert run(tmp_path / "none", "--report-only") == 2
    assert "found none; run the study without" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n", "32"], "n 24, now 32"),
        (["--seed", "1"], "seed 0, now 1"),
        (["--method", "gradient"], "method 'exact', now 'gradient'"),
        (["--block", "12"], "block 8, now 12"),
        (["--n", "4"], "8 pairs at least"),
        (["--rankers", "dog"], "--rankers needs dot and cat, or one of them, got 'dog'"),
    ],
)
def test_another_study_is_refused_by_name(whole, capsys, options, message):
    assert run(whole, *options) == 2
    assert message in capsys.readouterr().err


def test_other_weights_are_refused_for_the_rankers_folder(partial, capsys):
    path = partial / "cat" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["made_of"]["checksum"] = "0123"
    path.write_text(json.dumps(manifest))
    assert run(partial) == 2
    assert "cat holds results made with checksum '0123', now ''" in capsys.readouterr().err


def test_one_process_for_each_ranker_may_work_in_one_folder(partial, capsys):
    (partial / "dot").mkdir()
    with FileLock(partial / "dot" / ".lock"):
        assert run(partial) == 0
    with FileLock(partial / "cat" / ".lock"):
        assert run(partial) == 2
    assert "another process is writing" in capsys.readouterr().err


def test_a_mechanism_carries_over_to_the_other_half_of_the_queries(part):
    queries = sorted(set(part.query_ids))
    halves = {"first": queries[::2], "second": queries[1::2]}
    manifest = replace(part.manifest, made_of={**part.manifest.made_of, "queries": halves})
    found = replicate(replace(part, manifest=manifest), TFC1, 1)
    assert found.ranks.low > 0
    assert (found.n_first, found.n_again, found.n_reversed) == (3, 3, 0)


def test_one_collection_has_nothing_to_be_compared_with(report):
    assert "could not be compared between two collections" in report


def test_another_direction_finds_the_planted_heads_too(findings):
    found = findings.checks[Condition("TFC1", "end", direction="baseline_to_perturbed")]
    assert found.low > 0.5


def about(value):
    """An estimate whose interval leaves out zero, or not, where the value is zero."""
    return Estimate(float(value), value - 0.5, value + 0.5, 0.01, 10, 5)


@pytest.mark.parametrize(
    ("end", "start", "said"),
    [
        (1, 1, "obeys TFC1 and TDC at both ends"),
        (1, 0, "obeys TFC1 at the end of a document (at the start it could not be shown"),
        (-1, 1, "obeys TFC1 at the start of a document (at the end it goes against it"),
        (0, -1, "goes against TFC1 at the start"),
        (0, 0, "could not be shown to obey TFC1, nor to go against it, and obeys TDC at both"),
    ],
)
def test_the_verdict_on_an_axiom_follows_the_intervals(findings, end, start, said):
    values = {("TFC1", "end"): end, ("TFC1", "start"): start}
    rows = [
        replace(row, beyond=about(values.get((row.axiom, row.place), 1))) for row in findings.scores
    ]
    assert verdict_on_axioms(rows).startswith(said)


@pytest.mark.parametrize(
    ("raw", "match", "position", "said"),
    [
        (1, 1, 0, "there is no penalty"),
        (0, 1, 1, "could not be shown to penalise an appended query term, nor to reward it"),
        (-1, 1, -1, "any added word and not of the match, which softens it, and it is harder"),
        (-1, -1, 1, "falls on the match itself, for a neutral word costs less, and it is milder"),
        (-1, 0, 0, "no other than a neutral word's, as far as could be shown, and no part"),
    ],
)
def test_the_conclusion_on_the_penalty_follows_the_intervals(raw, match, position, said):
    names = {"raw": raw, "match": match, "position": position}
    others = dict.fromkeys(("loses", "control", "match_by_position"), 0)
    means = {name: about(value) for name, value in (names | others).items()}
    found = Penalty(**means, by_grade={3: about(raw)})
    assert said in verdict_on_penalty(found)


def two_maps(spread, seed=0):
    """Effects of two edits on the same documents; the second map is twice the first, and noise."""
    rng = np.random.default_rng(seed)
    means, query_ids = rng.normal(size=(40, 1)), rng.integers(0, 30, 200).astype(str)
    noise = rng.normal(size=(3, 40, 200))  # the documents' own, and each edit's
    first = means + noise[0] + noise[1]
    second = 2 * (means + spread * rng.normal(size=(40, 1))) + noise[0] + noise[2]
    return first, second, query_ids


def test_two_edits_with_one_map_have_no_gap_and_those_with_two_have_one():
    alike, other = (profile_gap(*two[:2], query_ids=two[2]) for two in map(two_maps, (0, 1)))
    assert alike.low < 0 < alike.high < 0.05
    assert other.low > 0.1


def test_a_gap_needs_queries_to_split():
    with pytest.raises(ValueError, match="needed 8 queries"):
        profile_gap(np.ones((4, 3)), np.ones((4, 3)), query_ids=list("abc"))


def test_the_report_is_the_same_when_made_again(whole, report, tmp_path):
    assert write_report(whole, tmp_path) == report
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
