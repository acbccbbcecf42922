"""The study's scores on disk, and that the committed tables, figures and pages follow from them."""

import re
import shutil
from dataclasses import fields
from pathlib import Path

import browser_lab as lab
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from PIL import Image
from study import estimates, heads
from study.part import Part, Scores, _check
from study.plan import CHECKS, MAIN, Condition
from study.publish import PAGES, WRITTEN, publish, write_tables
from study.results import made_of_parts, read_results, written
from study.scores import read_scores, write_scores
from study.tables import DIGEST, digest_of_changes, digest_of_circuits, digest_of_heads, heads_drawn
from workshop.pages import html_of, page
from workshop.printing import print_pdf

from mechir_edu import plots
from mechir_edu.collection.judged import Skipped

PUBLISHED = Path(__file__).parents[1] / "docs" / "study"
SCORES = PUBLISHED / "scores"
MOST_BYTES = 12_000_000


@pytest.fixture(scope="module")
def parts():
    return read_scores(SCORES)


@pytest.fixture(scope="module")
def published():
    return read_results(PUBLISHED)


def made_up():
    """Scores of five pairs, the last of them without a word that CSV would keep as it is."""
    rng = np.random.default_rng(0)

    def scores(n):
        ends = rng.normal(size=(2, n)).astype(np.float32)
        return Scores(*ends, rng.normal(size=(2, 3, n)).astype(np.float32), np.arange(n))

    words = ["reef", "null", "NA", "a,b", '"']
    pairs = {"query_id": list("01123"), "doc_id": ["007", "1", "2", "3", "4"], "grade": range(5)}
    return Part(
        made_of={"kind": "cat", "n": 5, "queries": {"a": ["0"]}},
        n_planned=6,
        skipped=(Skipped("0", "1", "no such word"),),
        pairs=pd.DataFrame(pairs | {condition.name: words for condition in MAIN}),
        untouched=rng.normal(size=5).astype(np.float32),
        main={condition: scores(5) for condition in MAIN},
        checks={CHECKS[1]: scores(2)},
    )


def test_scores_come_back_to_the_bit(tmp_path):
    part = made_up()
    write_scores([part], tmp_path)
    (again,) = read_scores(tmp_path)
    for name in ("made_of", "n_planned", "skipped"):
        assert getattr(again, name) == getattr(part, name)
    pd.testing.assert_frame_equal(again.pairs, part.pairs)
    assert again.untouched.tobytes() == part.untouched.tobytes()
    for there, now in ((part.main, again.main), (part.checks, again.checks)):
        assert list(now) == list(there)
        for condition, scores in there.items():
            for field in fields(scores):
                before, after = (getattr(s, field.name) for s in (scores, now[condition]))
                assert (after.dtype, after.tobytes()) == (before.dtype, before.tobytes())


@pytest.mark.parametrize("name", ["cat.csv", "cat.npz"])
def test_scores_that_were_changed_are_refused_by_name(tmp_path, name):
    write_scores([made_up()], tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} has SHA-256"):
        read_scores(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        read_scores(tmp_path)


def test_a_check_keeps_the_pairs_of_the_blocks_that_are_there():
    scores = np.arange(6, dtype=np.float32)
    of_check = {"recipient": scores, "donor": -scores, "scores": scores.reshape(1, 1, 6)}
    # Of blocks of two pairs, the second is not complete.
    kept = _check(of_check, np.array([0, 1, 4, 5, 6, 7]))
    assert kept.pair.tolist() == [0, 1, 2, 3]
    assert kept.recipient.tolist() == kept.patched[0, 0].tolist() == [0, 1, 4, 5]
    assert kept.donor.tolist() == [0, -1, -4, -5]


# What is committed.


def test_the_committed_scores_are_whole_small_and_hold_no_texts(parts):
    assert sum(path.stat().st_size for path in SCORES.iterdir()) <= MOST_BYTES
    for part in parts:
        assert list(part.main) == list(MAIN)
        columns = ["query_id", "doc_id", "grade", *(condition.name for condition in MAIN)]
        assert list(part.pairs.columns) == columns
        words = part.pairs[columns[3:]]
        assert not words.map(lambda word: " " in word or len(word) > 40).any(axis=None)
        arrays = [s.patched for s in (part.main | part.checks).values()]
        assert {a.dtype for a in (*arrays, part.untouched)} == {np.dtype("float32")}
        assert all(np.isfinite(a).all() for a in arrays)


def test_a_condition_of_heads_csv_is_what_the_scores_give_to_the_letter(parts):
    condition = Condition("TFC1", "end")
    lines = (PUBLISHED / "heads.csv").read_text().splitlines()
    for part in parts:
        mine = written(heads._table(part, condition)).splitlines()
        start = mine[1].split(",0,0,")[0]
        assert mine == [lines[0], *(line for line in lines if line.startswith(start + ","))]


@pytest.mark.parametrize("make", [estimates._sizes, estimates._penalty, estimates._rankings])
def test_estimates_are_what_the_scores_give_to_the_letter(parts, make):
    lines = (PUBLISHED / "estimates.csv").read_text().splitlines()
    for part in parts:
        assert set(written(estimates.as_table(part, make(part))).splitlines()) <= {*lines}


def test_made_of_and_the_data_of_the_figures_are_those_of_the_scores(parts, published):
    assert published.made_of == made_of_parts(parts)
    digests = {
        "heads.png": digest_of_heads(published),
        "changes.png": digest_of_changes(parts),
        "circuits.png": digest_of_circuits(parts),
    }
    for name, digest in digests.items():
        with Image.open(PUBLISHED / name) as image:
            assert image.text[DIGEST] == digest


@pytest.mark.slow
def test_the_whole_report_is_what_the_scores_give(tmp_path, published):
    shutil.copytree(SCORES, tmp_path / "scores")
    results = write_tables(tmp_path)
    publish(tmp_path)
    for name in (*WRITTEN, *PAGES):
        if not name.endswith(".png"):
            assert (tmp_path / name).read_bytes() == (PUBLISHED / name).read_bytes()
    assert digest_of_heads(results) == digest_of_heads(published)


@pytest.mark.browser
@pytest.mark.long
@pytest.mark.skipif(lab.CHROMIUM is None, reason="the report was NOT PRINTED: no Chromium here")
def test_the_report_is_two_pages_of_paper(tmp_path):
    html = page(
        "Report", html_of((PUBLISHED / "report.md").read_text()), "sheets.css", kind="report"
    )
    (tmp_path / "report.html").write_text(html)
    shutil.copy(PUBLISHED / "heads.png", tmp_path)
    pdf = print_pdf(tmp_path / "report.html", lab.CHROMIUM).read_bytes()
    assert len(re.findall(rb"/Type ?/Page\b", pdf)) == 2  # A4, 9 points


# One definition of a significant head.


def test_a_significant_head_is_the_same_in_the_results_the_figure_and_the_csv(published):
    csv = pd.read_csv(PUBLISHED / "heads.csv")
    figure = plots.plot_figure2(maps := heads_drawn(published))
    drawn = [ax for ax in figure.axes if ax.images]
    for (axiom, ranker), ax in zip(maps, drawn, strict=True):
        kind = "dot" if "bi-encoder" in ranker else "cat"
        of_map = csv[(csv.kind == kind) & (csv.axiom == axiom) & (csv.place == "end")]
        significant = of_map[of_map.q < 0.05]
        expected = set(zip(significant["layer"], significant["head"], strict=True))
        dots = {(round(y - 0.32), round(x - 0.36)) for x, y in ax.collections[-1].get_offsets()}
        moves = published.moves(kind, axiom, "end")
        assert dots == expected == set(map(tuple, np.argwhere(moves).tolist()))
    plt.close(figure)
