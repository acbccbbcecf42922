"""The study: its plan, its rounds on disk, its estimates, and what its report claims."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from study import compute, estimates, heads
from study.__main__ import main, parse
from study.claims import CLAIMS
from study.folder import open_folder
from study.part import read_part
from study.plan import CHECKS, MAIN, OF_AXIOMS, Condition
from study.publish import PAGES, TEXT, WRITTEN, FalseClaims, fill, publish
from study.results import estimate, read_results
from study.tables import TABLES, all_tables

from mechir_edu.patching.scoring import score_pairs
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.planted import load as load_planted
from mechir_edu.stats.maps import profile_gap

PUBLISHED = Path(__file__).parents[1] / "docs" / "study"
PLANTED = ["--collections", "embedded", "--rankers", "cat", "--cross", "planted"]
SIZE = ["--n", "24", "--block", "12", "--checks", "8"]
TFC1 = Condition("TFC1", "end")


def command(folder, *options):
    return ["--out", str(folder), *PLANTED, *SIZE, *options]


def run(folder, *options):
    return main(command(folder, *options))


@pytest.fixture(scope="module", autouse=True)
def fewer_resamples():
    """The report needs quantiles far out, which take time; these tests do not."""
    with pytest.MonkeyPatch.context() as patched:
        for module in (estimates, heads):
            patched.setattr(module, "N_BOOT", 2000)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a study of the planted cross-encoder, on two blocks of twelve pairs."""
    folder = tmp_path_factory.mktemp("study")
    assert run(folder) == 0
    return folder


@pytest.fixture(scope="module")
def folder(whole):
    return open_folder(whole / "cat")


@pytest.fixture(scope="module")
def part(folder):
    return read_part(folder)


@pytest.fixture(scope="module")
def small(whole):
    return read_results(whole / "report")


@pytest.fixture(scope="module")
def published():
    return read_results(PUBLISHED)


@pytest.fixture
def partial(whole, tmp_path):
    """The study when it was killed: its second block lacks the last two conditions."""
    folder = shutil.copytree(whole, tmp_path / "partial", ignore=lambda *_: {"report"})
    for condition in MAIN[-2:]:
        (folder / "cat" / condition.name / "00001.npz").unlink()
    return folder


@pytest.fixture
def loaded_once(monkeypatch, planted):
    """Spares what comes after the first run the loading and verifying of the ranker."""
    monkeypatch.setattr(compute, "load_ranker", lambda *args, **options: planted)


def kept(folder):
    """What was computed: the content of each file."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.glob("cat/**/*.npz")}


# The small run.


def test_all_conditions_use_the_same_documents_and_each_block_is_even_over_grades(folder, part):
    for i, block in enumerate(folder.blocks):
        pairs = [folder.read(condition, i)["pairs"] for condition in MAIN]
        assert len({tuple((p.query_id, p.doc_id) for p in of_one) for of_one in pairs}) == 1
        assert sorted(part.grades[list(block)]) == 3 * [0] + 3 * [1] + 3 * [2] + 3 * [3]


def test_every_condition_and_check_is_there(part):
    assert {scores.patched.shape for scores in part.main.values()} == {(4, 4, 24)}
    assert set(part.main) == set(MAIN)
    assert set(part.checks) == set(CHECKS)
    assert {tuple(scores.pair) for scores in part.checks.values()} == {tuple(range(8))}


def test_a_change_counts_from_the_document_as_it_was(folder, part, planted):
    pair = folder.read(TFC1, 0)["pairs"][0]
    baseline, perturbed = planted.score(pair.query, [pair.baseline, pair.perturbed])
    assert part.change(TFC1)[0] == pytest.approx(perturbed - baseline, abs=1e-5)


@pytest.mark.parametrize("kind", ["dot", "cat"])
def test_a_document_as_it_was_scores_as_the_ranker_scores_it(small_ranker, kind):
    ranker = small_ranker("bert", kind)
    texts = ["Reefs lose colour", "Sea ice", "Warm seas make corals expel algae"]
    pairs = [Pair("1", text, "sea ice", text, f"{text} sea", "TFC1", 1) for text in texts]
    np.testing.assert_allclose(
        compute.score_untouched(ranker, pairs), ranker.score("sea ice", texts), rtol=1e-5
    )
    # A filler that nothing can see moves [SEP] on, which these rankers notice.
    moved = score_pairs(ranker, pairs, filler="pad").baseline
    assert np.abs(moved - ranker.score("sea ice", texts)).min() > 1e-4


def test_the_planted_heads_and_no_others_carry_tfc1(small):
    carries = small.carries("cat", "TFC1", "end")
    assert set(map(tuple, np.argwhere(carries))) == set(load_planted().planted_heads)
    assert not small.opposes("cat", "TFC1", "end").any()


def test_the_other_direction_finds_the_planted_heads_too(small):
    found = small.get("cat", "correlation of check", "TFC1", "end", "other direction")
    assert found.low > 0.5


def test_a_significant_head_has_q_below_5_percent_and_nothing_else_counts(small):
    is_wide = small.heads.assign(effect_low=-1.0, effect_high=1.0, low=-1.0, high=1.0)
    for condition in OF_AXIOMS:
        cell = ("cat", condition.axiom, condition.place)
        q = small.column(*cell, "q")
        assert np.array_equal(replace(small, heads=is_wide).moves(*cell), q < 0.05)


def test_one_collection_has_nothing_to_be_compared_with(small):
    assert small.find("cat", "correlation of collections", "TFC1", "end") is None
    assert "| cross-encoder, TFC1, end | - | - | - | - | - |" in TABLES["collections"](small)


def test_a_mechanism_carries_over_to_the_other_half_of_the_queries(part):
    queries = sorted(set(part.query_ids))
    halves = {"first": queries[::2], "second": queries[1::2]}
    halved = replace(part, made_of={**part.made_of, "queries": halves})
    rows = list(estimates._collections_compared(halved))
    (ranks,) = (r for r in rows if r[:3] == ("correlation of collections", "TFC1", "end"))
    assert ranks.low > 0
    counts = [r.value for r in rows if r[:3] == ("significant heads", "TFC1", "end")]
    assert counts == [3, 3, 0]


def test_heads_csv_has_every_head_under_every_condition(small):
    assert len(small.heads) == len(MAIN) * 16
    assert list(small.heads.columns[:11]) == (
        "ranker kind axiom place layer head recovery low high p q".split()
    )
    assert small.heads.query("axiom == 'TFC1'")["contrast"].notna().all()


def test_tables_and_figures_are_written_and_hold_no_empty_number(whole, small):
    written = {path.name for path in (whole / "report").iterdir()}
    assert written == {*WRITTEN, "tables.md", "scores"}
    text = (whole / "report" / "tables.md").read_text()
    assert text == all_tables(small)
    assert "| 3 (0.0, 1.0, 3.1) |" in text
    assert not {"nan", "None", "inf"} & set(re.findall(r"\w+", text))


def test_estimates_are_the_same_when_made_again(part, small):
    again = estimate([part])
    for name in ("heads", "estimates"):
        there, now = getattr(small, name), getattr(again, name)
        numbers = list(now.select_dtypes("number").columns)
        np.testing.assert_allclose(there[numbers], now[numbers], rtol=1e-5, atol=1e-12)


# Interruptions, and refusals.


@pytest.mark.usefixtures("loaded_once")
def test_an_interrupted_study_keeps_what_is_done_and_ends_with_the_same_bits(
    partial, whole, monkeypatch, capsys
):
    done, patch_with = [], compute.patch_with

    def patch_one(*args, **options):
        if done:
            raise KeyboardInterrupt
        done.append(patch_with(*args, **options))
        return done[0]

    (partial / "cat" / TFC1.name / "00001.npz").write_bytes(b"cut short")
    n_before = len(kept(partial))
    monkeypatch.setattr(compute, "patch_with", patch_one)
    assert run(partial) == 130
    assert "Rerun the command to resume" in capsys.readouterr().err
    monkeypatch.setattr(compute, "patch_with", patch_with)
    assert kept(partial)[Path("cat", TFC1.name, "00001.npz")] != b"cut short"
    assert len(kept(partial)) == n_before
    compute.compute(parse(command(partial)))
    assert kept(partial) == kept(whole)


def test_a_report_takes_the_blocks_that_all_conditions_have(partial):
    part = read_part(open_folder(partial / "cat"))
    assert len(part.pairs) == len(part.untouched) == 12


def test_a_block_of_another_study_does_not_count(whole, partial):
    folder = open_folder(partial / "cat")
    other = replace(folder, made_of={**folder.made_of, "seed": 1})
    assert folder.read(TFC1, 0) is not None
    assert other.read(TFC1, 0) is None
    assert other.untouched(0) is None


def test_a_report_on_nothing_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="at least one complete block"):
        run(tmp_path / "none", "--report-only")


@pytest.mark.usefixtures("loaded_once")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n", "32"], "n 24, now 32"),
        (["--seed", "1"], "seed 0, now 1"),
        (["--method", "gradient"], "method 'exact', now 'gradient'"),
        (["--block", "8"], "block 12, now 8"),
        (["--n", "4"], "at least 8 pairs"),
        (["--rankers", "dog"], "kind must be 'dot' .* or 'cat' .*, got 'dog'"),
    ],
)
def test_another_study_is_refused_by_name(whole, options, message):
    with pytest.raises(ValueError, match=message):
        run(whole, *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--collections", "embedded", "embedded"], "--collections needs each only once"),
        (["--collections", "embedded", "mechir-edu/mini"], "share 36, so that one cannot test"),
        (["--rankers", "dot,dot"], "--rankers needs each only once, got dot, dot"),
        (["--rankers", "cat, cat"], "--rankers needs each only once"),
        (["--rankers", "dot,,cat"], "kind must be .* got ''"),
        (["--device", "tpu"], "device has to be auto or one that is here"),
    ],
)
def test_arguments_that_make_no_study_are_refused_before_anything_is_loaded(
    tmp_path, monkeypatch, options, message
):
    monkeypatch.setattr(compute, "load_ranker", None)
    with pytest.raises(ValueError, match=message):
        main(["--out", str(tmp_path / "out"), "--rankers", "cat", *SIZE, *options])
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_something_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(compute, "load_ranker", None)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("{}")
    with pytest.raises(FileExistsError, match="or that of a study; .* holds manifest.json"):
        run(tmp_path / "run")
    with pytest.raises(NotADirectoryError, match="--report needs a folder"):
        run(tmp_path / "new", "--report", str(tmp_path / "run" / "manifest.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("content", ["null", "5", "[]", "[" * 100_000, '{"skipped": null}'])
def test_a_study_manifest_of_wrong_types_is_damaged(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match="manifest.json is damaged"):
        open_folder(tmp_path)


@pytest.mark.usefixtures("loaded_once")
def test_other_weights_are_refused_for_the_rankers_folder(partial):
    path = partial / "cat" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["made_of"]["checksum"] = "0123"
    path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="cat holds results made with checksum '0123', now ''"):
        run(partial)


def test_a_rankers_folder_belongs_to_one_process(partial):
    with (
        FileLock(partial / "cat" / ".lock"),
        pytest.raises(BlockingIOError, match="another process is writing"),
    ):
        run(partial)


@pytest.mark.parametrize("options", [["a", "b"], ["a", "--collections", "b"]])
def test_collections_may_be_listed_or_repeated(options):
    assert parse(["--out", "x", "--collections", *options]).collections == ["a", "b"]


# The published report.


@pytest.mark.parametrize("name", PAGES)
def test_the_published_text_is_what_its_tables_give(published, name):
    assert fill(name, published) == (PUBLISHED / name).read_text()


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_of_the_published_report_holds(published, name):
    assert CLAIMS[name](published)


def test_every_claim_has_its_sentence_and_every_sentence_a_known_claim():
    text = "".join(path.read_text() for path in TEXT.glob("*.md"))
    assert set(re.findall(r"\{\{claim\|([^}]+)\}\}", text)) == set(CLAIMS)


def test_the_counts_of_heads_in_the_report_are_those_of_heads_csv():
    table = pd.read_csv(PUBLISHED / "heads.csv").query("place == 'end'")
    report = (PUBLISHED / "report.md").read_text()
    for kind, name in (("dot", "bi-encoder"), ("cat", "cross-encoder")):
        for axiom in ("TFC1", "TDC"):
            rows = table[(table.kind == kind) & (table.axiom == axiom)]
            significant = rows[rows.contrast_q < 0.05]
            moves, carries = (rows.q < 0.05).sum(), (significant.contrast > 0).sum()
            assert f"| {name}, {axiom}, end | {moves} of {len(rows)} | {carries} |" in report
            assert f"{moves} of {len(rows)} cells are significant" in report  # the figure


def test_a_false_claim_is_named_with_its_sentence_and_nothing_is_written(tmp_path):
    shutil.copytree(PUBLISHED, tmp_path / "study")
    table = pd.read_csv(tmp_path / "study" / "estimates.csv", keep_default_na=False, dtype=str)
    row = (table.kind == "cat") & (table.quantity == "over control") & (table.place == "start")
    table.loc[row, "low"] = "-0.1"
    table.to_csv(tmp_path / "study" / "estimates.csv", index=False)
    with pytest.raises(FalseClaims) as refused:
        publish(tmp_path / "study")
    message = str(refused.value)
    assert "report.md was not written" in message
    assert "both rankers obey both axioms at both ends: this is false" in message
    assert "  Both rankers **obey TFC1 and TDC at both ends of a passage**" in message
    assert "heads differ" not in message
    report = (tmp_path / "study" / "report.md").read_text()
    assert report == (PUBLISHED / "report.md").read_text()


def test_our_text_is_refused_for_another_study(small):
    with pytest.raises(
        FalseClaims, match=r"name\|dot: there are no results of dot(.|\n)*agreement\|dot: "
    ):
        fill("report.md", small)


def test_a_text_of_ones_own_is_filled_and_wrapped(small, tmp_path):
    sentence = "In the {{name|cat}}, {{carry|cat|TFC1|end}} heads carry\nit."
    (tmp_path / "own.md").write_text(f"# Heads\n\n{sentence}\n\n{{{{table|sources}}}}\n")
    filled = fill("own.md", small, tmp_path)
    assert filled.startswith(
        "# Heads\n\nIn the `planted`, 3 heads carry it.\n\n|  | cross-encoder `planted` |"
    )


def test_each_figure_has_a_text_that_says_what_it_shows():
    pages = {"changes.png": "details.md", "heads.png": "report.md", "circuits.png": "circuits.md"}
    for name, page in pages.items():
        lines = (PUBLISHED / page).read_text().splitlines()
        (line,) = [line for line in lines if line.endswith(f"({name})")]
        assert len(line) > 200


# Maps that differ.


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
