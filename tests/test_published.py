"""What was published with MechIR: every claim from the files, and the path to reproduce it."""

import gzip
import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import numpy as np
import pandas as pd
import published
import published_files as files
import published_grid as grids
import published_pairs
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from small_models import save_model

from mechir_edu import Cat, Dot
from mechir_edu.cli.main import main
from mechir_edu.patching.activation import patch
from mechir_edu.patching.result import PatchingResult
from mechir_edu.perturb.pair import Pair

ROOT = Path(__file__).resolve().parents[1]
TEXTS = [
    "Warm seas make corals expel algae",
    "Reefs lose colour",
    "Granite cools slowly",
    "Sea ice",
]
QUERIES = {"1": ("coral bleaching causes", "causes"), "2": ("sea warming", "warming")}
PARTS = ("all", *(f"rel_{grade}" for grade in files.GRADES))
# As many layers and heads as the published models, and as many labels; narrow, and random.
DISTIL = {"n_layers": 6, "n_heads": 12, "dim": 48}
ELECTRA = {"num_hidden_layers": 12, "num_attention_heads": 12, "hidden_size": 48}


@pytest.fixture(scope="module")
def real():
    if not published.FILES.is_dir():
        pytest.skip(f"published files NOT TESTED: there is no folder {published.FILES}")
    return published.FILES


@pytest.fixture(scope="module")
def claims(real):
    read = files.read_all(real)
    return {claim.__name__: claim(read) for claim in published.CLAIMS}


@pytest.fixture(scope="module")
def tasb(tmp_path_factory):
    return save_model("distilbert", "Model", tmp_path_factory.mktemp("tasb"), **DISTIL)


@pytest.fixture(scope="module")
def monoelectra(tmp_path_factory):
    folder = tmp_path_factory.mktemp("electra")
    return save_model("electra", "ForSequenceClassification", folder, **ELECTRA, num_labels=2)


def tiny_rows(rng, n_each):
    """Rows like a published file's: by grade, largest score change first."""
    for grade in files.GRADES:
        for i, change in enumerate(sorted(rng.random(n_each) + 0.1, reverse=True)):
            qid, (query, term) = list(QUERIES.items())[i % 2]
            text = TEXTS[i % 4]
            yield qid, f"d{i}", change, text, f"{text} {term}", query, grade


@pytest.fixture
def tiny(tmp_path):
    return write_tiny(tmp_path)


def write_tiny(folder):
    """Write files of the published form, 4 pairs a grade; pairs packed, as they lie here."""
    rng = np.random.default_rng(0)
    names = "qid docno score_delta text perturbed_text query relevance".split()
    for ranker, stem in files.RANKERS.items():
        for axiom in files.AXIOMS:
            table = pd.DataFrame(tiny_rows(rng, 4), columns=names)
            content = table.to_csv(sep="\t", index=False).encode()
            (folder / f"{stem}_{axiom}_topk_4000.tsv.gz").write_bytes(gzip.compress(content))
            shape = (4, 6 if ranker == "TAS-B" else 12, 12)
            by_grade = rng.standard_normal(shape).astype(np.float32)
            for part, grid in zip(PARTS, (by_grade.mean(0), *by_grade), strict=True):
                np.save(folder / f"{stem}_{axiom}_4000_patch_head_{part}.npy", grid)
    return folder


def replaced(tiny, **columns):
    """Everything in the tiny folder, with these columns of pairs changed."""
    read = files.read_all(tiny)
    return [
        files.Published(
            entry.ranker, entry.axiom, entry.pairs.assign(**columns), entry.whole, entry.by_grade
        )
        for entry in read
    ]


def test_every_claim_holds_on_the_published_files(claims):
    assert [name for name, claim in claims.items() if not claim.holds] == []


def test_nine_in_ten_tdc_terms_change_under_stemming_and_half_of_tfc1s(real):
    for entry in files.read_all(real):
        changed = np.mean([published_pairs.is_changed(term) for term in entry.terms])
        assert changed == pytest.approx(0.93 if entry.axiom == "TDC" else 0.52, abs=0.02)


def test_the_numbers_of_judged_pairs_are_those_of_trec_dl(trec_dl):
    from mechir_edu import load_collection

    ids = [f"msmarco-passage/trec-dl-{year}/judged" for year in (2019, 2020)]
    grades = [g for docs in load_collection(*ids).qrels.values() for g in docs.values()]
    assert dict(enumerate(np.bincount(grades))) == published_pairs.N_JUDGED


def test_the_published_files_have_the_checksums_of_the_manifest(real):
    assert files.differing(real) == []
    assert len(files.checked_files()) == 24


def test_the_report_in_the_repository_is_what_the_files_give(real, tmp_path):
    published.write_report(real, tmp_path / "published.md")
    committed = ROOT / "docs" / "study" / "published.md"
    assert (tmp_path / "published.md").read_text() == committed.read_text()


def test_a_report_on_files_of_the_same_form_has_its_table_and_figures(tiny, tmp_path):
    published.write_report(tiny, tmp_path / "out.md")
    text = (tmp_path / "out.md").read_text()
    assert "64 of 64 pairs" in text
    assert "{{" not in text
    assert (tmp_path / "published_grades.png").stat().st_size > 10_000


def test_a_random_sample_is_not_taken_for_the_largest_changes(tiny):
    changes = np.random.default_rng(1).standard_normal(16)
    assert published.largest_changes_kept(files.read_all(tiny)).holds
    assert not published.largest_changes_kept(replaced(tiny, score_delta=changes)).holds


def test_a_grid_that_weights_pairs_by_their_change_is_no_mean_of_ratios(tiny):
    read = replaced(tiny, score_delta=np.repeat([4.0, 3, 2, 1], 4))
    weighted = [
        files.Published(
            entry.ranker,
            entry.axiom,
            entry.pairs,
            np.tensordot([0.4, 0.3, 0.2, 0.1], entry.by_grade, 1),
            entry.by_grade,
        )
        for entry in read
    ]
    assert published.grids_are_means_of_ratios(read).holds
    assert not published.grids_are_means_of_ratios(weighted).holds


def test_an_edit_of_two_words_is_seen(tiny):
    entry = files.read_all(tiny)[0].pairs
    assert published.one_word_appended(files.read_all(tiny)).holds
    longer = entry["perturbed_text"] + " again"
    assert not published.one_word_appended(replaced(tiny, perturbed_text=longer)).holds


def test_a_missing_file_is_named_with_the_way_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="topk_4000.tsv in .* download --into"):
        files.read_all(tmp_path)


@pytest.fixture
def served(tiny, tmp_path, monkeypatch):
    """The tiny files as a repository that can be fetched from, and a manifest of them."""
    entries = {}
    for path in sorted(tiny.iterdir()):
        name = path.name.removesuffix(".gz")
        content = files.read_content(tiny, name)
        served = tmp_path / "served" / "right" / name
        served.parent.mkdir(parents=True, exist_ok=True)
        served.write_bytes(content)
        checksum = hashlib.sha256(content).hexdigest()
        entries[name] = {"path": name, "sha256": checksum, "commits": ["none", "wrong", "right"]}
    shutil.copytree(tmp_path / "served" / "right", tmp_path / "served" / "wrong")
    for path in (tmp_path / "served" / "wrong").iterdir():
        path.write_bytes(b"another version")
    manifest = tmp_path / "served" / "manifest.json"
    manifest.write_text(json.dumps(entries))
    monkeypatch.setattr(files, "MANIFEST", manifest)
    return (tmp_path / "served").as_uri() + "/{commit}/{path}"


def test_files_come_from_the_commit_whose_checksum_fits(served, tiny, tmp_path):
    (tmp_path / "got").mkdir()
    files.download(tmp_path / "got", served)
    assert files.differing(tmp_path / "got") == []
    got, there = (files.read_all(folder)[3].by_grade for folder in (tmp_path / "got", tiny))
    np.testing.assert_array_equal(got, there)


def test_a_file_whose_checksum_fits_nowhere_is_refused(served, tmp_path):
    with pytest.raises(OSError, match="could not be fetched"):
        files.download(tmp_path, served.replace("{commit}", "wrong"))


@pytest.fixture(scope="module")
def ranker(tasb):
    return Dot(str(tasb))


def as_the_paper(ranker, pairs):
    """The mean of each pair's own ratio, from one run for each pair and without the tool."""
    results = [
        patch(ranker, [pair], direction="perturbed_to_baseline", filler="a") for pair in pairs
    ]
    return np.mean([r.effect()[..., 0] / (r.donor - r.recipient) for r in results], axis=0)


@pytest.fixture(scope="module")
def own(tmp_path_factory, ranker):
    """Published files of TAS-B and TFC1 whose changes and grids are the small ranker's own."""
    tiny = write_tiny(tmp_path_factory.mktemp("own"))
    entry = files.read_published(tiny, "TAS-B", "TFC1")
    table, by_grade = entry.pairs, []
    for grade in files.GRADES:
        pairs = grids.read_pairs(entry, grade)
        by_grade.append(as_the_paper(ranker, pairs))
        changes = [np.diff(ranker.score(p.query, [p.baseline, p.perturbed]))[0] for p in pairs]
        table.loc[table.relevance == grade, "score_delta"] = changes
    stem = tiny / f"{files.RANKERS['TAS-B']}_TFC1"
    content = table.to_csv(sep="\t", index=False).encode()
    Path(f"{stem}_topk_4000.tsv.gz").write_bytes(gzip.compress(content))
    for part, grid in zip(PARTS, (np.mean(by_grade, axis=0), *by_grade), strict=True):
        np.save(f"{stem}_4000_patch_head_{part}.npy", grid)
    return tiny


def grid(folder, out, *options):
    return published.main(["grid", "--files", str(folder), "--out", str(out), *options])


def test_a_ranker_reproduces_its_own_grids_with_a_correlation_of_1(own, ranker, tmp_path):
    entry = files.read_published(own, "TAS-B", "TFC1")
    grids.compare_grids(entry, ranker, tmp_path / "run", files.GRADES, 4)
    result = PatchingResult.load(tmp_path / "run")
    compared = grids.compare_result(entry, result, files.GRADES)
    assert [c.name for c in compared] == [*(f"grade {grade}" for grade in files.GRADES), "together"]
    assert [c.n_pairs for c in compared] == [4, 4, 4, 4, 16]
    for comparison in compared:
        for correlation in (comparison.pearson, comparison.spearman):
            assert correlation.value == pytest.approx(1, abs=1e-3)
    again = [replace(entry, by_grade=np.stack([c.ours for c in compared[:4]]))]
    for comparison in grids.compare_result(again[0], result, files.GRADES):
        assert comparison.pearson.value == pytest.approx(1, abs=1e-12)
        assert comparison.spearman.value == pytest.approx(1, abs=1e-12)


def test_one_command_prints_what_was_compared(own, tasb, tmp_path, capsys):
    options = ["--model", str(tasb), "--axiom", "TFC1"]
    assert grid(own, tmp_path / "run", *options) == 0
    printed = capsys.readouterr().out
    assert "correlation with the published ones 1.000" in printed
    lines = [re.split(r" *\| *", line.strip("| ")) for line in printed.splitlines()]
    rows = {line[0]: line[1:] for line in lines if len(line) > 3}
    for grade in files.GRADES:
        assert rows[f"grade {grade}"][:2] == ["4", "2"]
    assert rows["together"][:2] == ["16", "2"]
    assert rows["together"][2].startswith("+1.000 [")
    assert [f"{layer}.{head}" in rows for layer, head in np.ndindex(6, 12)] == 72 * [True]
    assert len(rows["5.11"]) == 3


def made_up():
    """A result of six heads, of two grades and six queries, and another ranker's grids."""
    rng = np.random.default_rng(5)
    pairs = [Pair(f"q{i % 6}", str(i), "", "", "", "TFC1", 1, relevance=i % 2) for i in range(18)]
    donor = 1 + rng.random(len(pairs))
    scores = rng.standard_normal((2, 3, 6))[..., np.arange(len(pairs)) % 6] * donor
    result = PatchingResult(
        scores=scores,
        axes=("layer", "head", "pair"),
        recipient=np.zeros(len(pairs)),
        donor=donor,
        direction="perturbed_to_baseline",
        pairs=tuple(pairs),
        skipped=(),
        site="head",
        method="exact",
        filler="a",
        provenance={},
    )
    by_grade = scores.mean(axis=-1) + 0.5 * rng.standard_normal((2, 2, 3))
    entry = files.Published("TAS-B", "TFC1", pd.DataFrame(), by_grade.mean(axis=0), by_grade)
    return entry, result


def test_correlations_are_those_of_scipy_over_heads():
    entry, result = made_up()
    ratios = result.scores / result.donor
    is_first = np.array([pair.relevance == 0 for pair in result.pairs])
    ours = [ratios[..., chosen].mean(axis=-1) for chosen in (is_first, ~is_first)]
    expected = [*zip(entry.by_grade, ours, strict=True), (entry.whole, np.mean(ours, axis=0))]
    compared = grids.compare_result(entry, result, [0, 1])
    for comparison, sides in zip(compared, expected, strict=True):
        flat = [side.ravel() for side in sides]
        assert comparison.pearson.value == pytest.approx(pearsonr(*flat).statistic)
        assert comparison.spearman.value == pytest.approx(spearmanr(*flat).statistic)
        for correlation in (comparison.pearson, comparison.spearman):
            assert -1 < correlation.low < correlation.value < correlation.high < 1
    alone = grids.compare_result(entry, result, [1])
    assert [(c.name, c.pearson.value) for c in alone] == [("grade 1", compared[1].pearson.value)]


def test_copies_of_pairs_make_no_interval_narrower():
    entry, result = made_up()
    copied = replace(
        result,
        scores=np.tile(result.scores, 4),
        recipient=np.tile(result.recipient, 4),
        donor=np.tile(result.donor, 4),
        pairs=4 * result.pairs,
    )
    few, many = (grids.compare_result(entry, r, [0, 1])[-1] for r in (result, copied))
    assert (few.n_pairs, many.n_pairs) == (18, 72)
    for name in ("pearson", "spearman"):
        sides = [[c.value, c.low, c.high] for c in (getattr(few, name), getattr(many, name))]
        assert sides[0] == pytest.approx(sides[1])


@pytest.mark.slow
def test_a_model_of_the_published_size_is_compared_with_the_published_grids(real, tmp_path, capsys):
    size = {"n_layers": 6, "n_heads": 12, "dim": 768, "hidden_dim": 3072}
    save_model("distilbert", "Model", tmp_path / "model", **size)
    options = ["--model", str(tmp_path / "model"), "--pairs", "2", "--grade", "3"]
    assert grid(real, tmp_path / "run", *options) == 0
    printed = capsys.readouterr().out
    assert printed.count("| grade 3 ") == 2  # an axiom each
    correlations = re.findall(r"\| ([+-]0\.\d+) \[", printed)
    assert len(correlations) == 4
    assert max(abs(float(r)) for r in correlations) < 0.9  # the weights are random


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pairs", "0"], "--pairs needs a whole number of at least 1, got 0"),
        (["--model", "no/such folder"], "'no/such folder'"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_line(tiny, tmp_path, capsys, options, message):
    assert grid(tiny, tmp_path / "run", *options) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_a_model_that_is_not_at_hand_is_named_with_what_to_do(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert grid(tiny, tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert "no model 'sebastian-hofstaetter/distilbert-dot-tas_b-b256-msmarco'" in error
    assert "use a downloaded folder" in error


def test_files_that_are_not_at_hand_are_named_with_what_to_do(tmp_path, capsys):
    assert grid(tmp_path / "none", tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert "_bi_TFC1_topk_4000.tsv in" in error
    assert "download --into FOLDER, and name that folder with --files" in error


def test_grids_of_another_form_are_refused(tiny, ranker, tmp_path):
    entry = files.read_published(tiny, "TAS-B", "TFC1")

    def refused(*, by_grade=entry.by_grade, pairs=entry.pairs, grades=(0, 1)):
        wrong = replace(entry, by_grade=by_grade, pairs=pairs)
        with pytest.raises(ValueError) as error:  # noqa: PT011
            grids.compare_grids(wrong, ranker, tmp_path / "run", grades, 4)
        return str(error.value)

    wider = np.concatenate([entry.by_grade, entry.by_grade], axis=2)
    assert "shape (6, 12); got (6, 24)" in refused(by_grade=wider)
    with_nan = np.where(entry.by_grade > 1, np.nan, entry.by_grade)
    assert "finite numbers that differ" in refused(by_grade=with_nan)
    assert "finite numbers that differ" in refused(by_grade=np.zeros((4, 6, 12)))
    assert "needed pairs of grade 0" in refused(pairs=entry.pairs.query("relevance > 0"))
    path = tiny / f"{files.RANKERS['TAS-B']}_TFC1_4000_patch_head_rel_2.npy"
    np.save(path, entry.by_grade[2].T)
    with pytest.raises(ValueError, match=r"of one shape, got \(6, 12\), .* \(12, 6\)"):
        files.read_published(tiny, "TAS-B", "TFC1")
    table = tiny / f"{files.RANKERS['TAS-B']}_TDC_topk_4000.tsv.gz"
    content = entry.pairs.drop(columns="query").to_csv(sep="\t", index=False).encode()
    table.write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match="lacks query: take the published file"):
        files.read_published(tiny, "TAS-B", "TDC")


def test_the_make_target_runs_this_command():
    recipe = (ROOT / "Makefile").read_text().partition("\nstudy-published: $(VENV)")[2]
    assert "tools/published.py grid --out $(OUT)" in recipe.splitlines()[1]


def test_a_distilbert_that_says_nothing_of_pooling_scores_as_tasb_does(tasb):
    ranker = Dot(str(tasb))
    encoded = [ranker.tokenizer(text, return_tensors="pt") for text in ("sea ice", TEXTS[0])]
    with torch.no_grad():
        query, document = (ranker.hf_model(**part).last_hidden_state[0, 0] for part in encoded)
    assert ranker.score("sea ice", [TEXTS[0]])[0] == pytest.approx(float(query @ document), 1e-4)


def test_an_electra_with_two_labels_scores_by_the_last_minus_the_first(monoelectra):
    ranker = Cat(str(monoelectra))
    encoded = ranker.tokenizer("sea ice", TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        logits = ranker.hf_model(**encoded).logits[0]
    assert ranker.hf_model.config.num_labels == 2
    change = float(logits[1] - logits[0])
    assert ranker.score("sea ice", [TEXTS[0]])[0] == pytest.approx(change, 1e-4)


@pytest.mark.long
def test_the_demo_runs_with_models_of_the_published_architectures(tasb, monoelectra, tmp_path):
    options = ["--bi", str(tasb), "--cross", str(monoelectra), "--sparse", "none"]
    options += ["--axiom", "TFC1"]
    assert main(["demo", "--out", str(tmp_path), "--pairs", "8", *options]) == 0
    table = pd.read_csv(tmp_path / "heads.csv").query("grade == 'all'")
    assert table.groupby(["ranker", "axiom"]).size().tolist() == [144, 72]
    rankers = json.loads((tmp_path / "run.json").read_text())["rankers"]
    names = ["DistilBertModel", "ElectraForSequenceClassification"]
    assert [ranker["architecture"] for ranker in rankers] == names


def test_the_documented_command_names_the_published_models():
    text = (ROOT / "docs" / "study" / "published.md").read_text()
    for kind, (_, hub_id) in zip(("bi", "cross"), grids.MODELS.values(), strict=True):
        assert f"--{kind} {hub_id}" in text
