"""What was published with MechIR: every claim from the files, and the path to reproduce it."""

import gzip
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import published
import published_files as files
import published_grid as grids
import published_pairs
import pytest
import torch
from small_models import save_model

from mechir_edu import Cat, Dot
from mechir_edu.cli.main import main

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
    """A folder of files of the published form, 4 pairs a grade; pairs packed, as they lie here."""
    rng = np.random.default_rng(0)
    names = "qid docno score_delta text perturbed_text query relevance".split()
    for ranker, stem in files.RANKERS.items():
        for axiom in files.AXIOMS:
            table = pd.DataFrame(tiny_rows(rng, 4), columns=names)
            content = table.to_csv(sep="\t", index=False).encode()
            (tmp_path / f"{stem}_{axiom}_topk_4000.tsv.gz").write_bytes(gzip.compress(content))
            shape = (4, 6 if ranker == "TAS-B" else 12, 12)
            by_grade = rng.standard_normal(shape).astype(np.float32)
            for part, grid in zip(PARTS, (by_grade.mean(0), *by_grade), strict=True):
                np.save(tmp_path / f"{stem}_{axiom}_4000_patch_head_{part}.npy", grid)
    return tmp_path


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


def test_a_grid_made_as_the_paper_made_it_is_reproduced(tiny, tasb):
    entry = files.read_published(tiny, "TAS-B", "TFC1")
    ranker = Dot(str(tasb))
    by_hand = grids.patch_as_published(ranker, grids.read_pairs(entry, 2))
    entry.by_grade[2] = by_hand
    assert "correlation with the published grid 1.000" in grids.compare_grid(entry, 2, 4, str(tasb))


def test_a_grid_is_the_plain_mean_of_each_pairs_ratio(tiny, tasb):
    pairs = grids.read_pairs(files.read_published(tiny, "TAS-B", "TFC1"), 1)
    ranker = Dot(str(tasb))
    singly = [grids.patch_as_published(ranker, [pair]) for pair in pairs]
    together = grids.patch_as_published(ranker, pairs)
    np.testing.assert_allclose(together, np.mean(singly, axis=0), rtol=1e-3, atol=1e-4)


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
