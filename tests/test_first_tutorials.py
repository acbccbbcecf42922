"""What the texts of tutorials 00 to 03 say is what their cells print and draw."""

import re

import nbformat
import pytest
from notebooks.sources import notebook_path, source_path

NAMES = ("00_start_here", "01_look_inside", "02_perturb_with_an_axiom", "03_patch_by_hand")


@pytest.fixture(scope="module")
def printed():
    """What each notebook's cells print, solutions in full."""
    texts = {}
    for name in NAMES:
        cells = nbformat.read(notebook_path(name, "solutions"), as_version=4).cells
        outputs = [output for cell in cells for output in cell.get("outputs", ())]
        texts[name[:2]] = "\n".join(
            output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs
        )
    return texts


@pytest.mark.parametrize("name", NAMES)
def test_no_cell_is_silent_about_its_progress(name):
    assert "progress=False" not in source_path(name).read_text()


def test_no_score_is_printed_before_the_reader_predicts_the_order():
    source = source_path(NAMES[0]).read_text()
    before = source.split("**Predict.** Which ranker puts the relevant passage first?")[0]
    assert "_scores[1]" not in before


def test_00_one_word_lifts_the_advertisement_in_the_cross_encoder_alone(printed):
    assert re.search(r"Dot: the advertisement, .* stays behind", printed["00"])
    assert re.search(r"Cat: the advertisement, .* beats", printed["00"])
    changes = re.findall(r"Cat \+ prey: \+(\S+) relevant, \+(\S+) not", printed["00"])
    assert 1.8 < float(changes[0][1]) / float(changes[0][0]) < 2.2  # "twice"
    assert re.search(r"Dot \+ spoon: -\S+ relevant, -\S+ not", printed["00"])
    assert re.search(r"Cat \+ spoon: \S+ relevant, \+\S+ not", printed["00"])


def test_01_training_has_found_a_matching_head(printed):
    assert "The drawing holds" in printed["01"]
    assert re.search(r"equal word in the query: a matching head", printed["01"])
    assert "among them 3 of the 3 planted ones" in printed["01"]


def test_02_the_control_lowers_scores_by_a_tenth_of_what_a_query_term_adds(printed):
    share = int(re.search(r"control changes the score by (\d+)%", printed["02"])[1])
    assert 7 <= share <= 13
    low, high = re.search(r"TFC1-control +\S+ +(\S+) +(\S+)", printed["02"]).groups()
    assert float(low) < float(high) < 0


def test_02_irrelevant_passages_gain_more_in_both_rankers(printed):
    for name in ("Cat", "Dot"):
        assert re.search(rf"{name}: -.*: irrelevant passages gain more", printed["02"])


def test_03_the_idf_head_has_the_larger_share_under_tdc(printed):
    shares = dict(re.findall(r"(\w+): the idf head \(1, 0\) has recovery (\S+)", printed["03"]))
    assert float(shares["TDC"]) > float(shares["TFC1"])
    assert "The two intervals do not overlap." in printed["03"]
    assert "The control changes scores by nothing, to five digits" in printed["03"]
