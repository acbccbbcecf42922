"""What README and tutorials show first is significant, bounded, and large enough to be found."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from notebooks.costs import load_costs

import mechir_edu as me
from mechir_edu.checks.tutorial import RESULTS
from mechir_edu.plots.heatmap import notes_of

ROOT = Path(__file__).resolve().parents[1]
# Where it is shown -> the shipped result: ranker, axiom, pairs, site and method.
SHOWN = {
    "README.md": [("cat", "TFC1", 60, "head", "exact")],
    "04_tfc1_versus_tdc.py": [
        ("dot", "TFC1", 288, "head", "exact"),
        ("cat", "TFC1", 288, "head", "exact"),
        ("dot", "TDC", 288, "head", "exact"),
        ("cat", "TDC", 288, "head", "exact"),
    ],
    "05_zoom_in.py": [("cat", "TFC1", 72, "resid_pre", "exact")],
    "06_is_it_an_artefact.py": [("dot", "TFC1", 288, "head", "exact")],
    "08_intervene.py": [("cat", "TFC1", 80, "head", "gradient")],
}
MAPS = sorted({shown for there in SHOWN.values() for shown in there})


@pytest.fixture(scope="module")
def shipped():
    """Results of whole maps that travel with the package, by what they are."""
    found = {}
    for file in sorted(RESULTS.glob("*.npz")):
        with np.load(file) as stored:
            if "random_effects" in stored.files:
                continue
        result = me.PatchingResult.load(file)
        told = result.provenance
        if result.site != "path" and told["heads"] is None and result.filler == "a":
            key = (told["kind"], result.pairs[0].axiom, len(result.pairs), result.site)
            found.setdefault((*key, result.method), result)
    return found


def text_of(page):
    path = ROOT / page if page.endswith(".md") else ROOT / "tutorials/src" / page
    return " ".join(path.read_text(encoding="utf-8").replace("\n#", "\n").split())


@pytest.mark.parametrize("shown", MAPS, ids=lambda shown: "-".join(map(str, shown)))
def test_the_leading_cell_of_what_is_shown_is_significant_and_its_interval_has_ends(shipped, shown):
    recovery = shipped[shown].recovery()
    lead = np.unravel_index(np.abs(recovery.value).argmax(), recovery.value.shape)
    assert recovery.q[lead] < 0.05
    assert np.isfinite([recovery.low[lead], recovery.high[lead]]).all()
    assert recovery.low[lead] > 0


def test_every_map_says_whether_its_largest_cell_is_significant(shipped):
    """Also those of the other ranker in a notebook's form, which no text is about."""
    said = {}
    for key, result in shipped.items():
        recovery = result.recovery()
        q = recovery.q.ravel()[np.abs(recovery.value).argmax()]
        sentence = f"the largest is not significant (q = {q:.2g})"
        below_the_map = any(note.startswith(sentence) for note in notes_of(recovery))
        in_words = sentence.capitalize() in me.plots.alt_text(recovery)
        assert below_the_map == in_words == (not q < 0.05), key
        said[key] = in_words
    assert len(said) >= 20
    assert said["dot", "TFC1", 72, "mlp_out", "exact"]
    assert said["dot", "TFC1", 60, "head", "exact"]


def smallest_found(result):
    """Recovery from which on a typical cell, and the leading one, is found by such a study."""
    ids = [pair.query_id for pair in result.pairs]
    size = {"query_ids": ids, "n_pairs": len(ids), "n_queries": len(set(ids))}
    effects = result.effect().reshape(-1, len(ids))
    level = 0.05 / len(effects)
    smallest = [me.stats.minimum_detectable_effect(x, level=level, **size) for x in effects]
    lead = np.abs(effects.mean(1)).argmax()
    change = abs((result.donor - result.recipient).mean())
    return np.median(smallest) / change, smallest[lead] / change


@pytest.mark.parametrize("page", SHOWN)
def test_the_text_says_what_the_power_table_gives_for_its_pairs(shipped, page):
    told = set(re.findall(r"(0\.\d\d) on\b", text_of(page)))
    here = [shown for shown in SHOWN[page] if shown[1] == "TFC1"]
    typical, leading = zip(*(smallest_found(shipped[shown]) for shown in here), strict=True)
    expected = {f"{value:.2f}" for value in leading}
    if page != "README.md":
        expected |= {f"{value:.2f}" for value in typical}
    assert told == expected


# What computes without a bar: another program, a small call for each query, scores of single texts,
# or as it was told.
SILENT = re.compile(r"subprocess\.run|progress=False|me\.term_attention|\.score\(")


@pytest.mark.parametrize("name", load_costs())
def test_a_silent_cell_of_more_than_five_seconds_is_announced_with_its_seconds(name):
    seconds, told = load_costs()[name]["seconds"], ""
    for cell in nbformat.read(ROOT / f"tutorials/{name}.ipynb", as_version=4).cells:
        if cell.cell_type == "markdown":
            told = cell.source
        elif seconds.get(cell.id, 0) >= 5 and SILENT.search(cell.source):
            assert re.search(r"seconds|minutes?\b", told), cell.id


def test_the_readme_shows_what_its_pairs_give(shipped):
    block = text_of("README.md").split("n_pairs n_queries")[1].split("```")[0].split()
    (shown,) = SHOWN["README.md"]
    table = me.plots.top_heads(shipped[shown].recovery(), k=3).round(3)
    rows = np.array(block, float).reshape(3, -1)[:, 1:]
    np.testing.assert_allclose(rows, table.to_numpy(float), atol=1e-3)
