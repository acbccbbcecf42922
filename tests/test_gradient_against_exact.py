"""The script that compares estimates by gradient with exact patching."""

import gradient_against_exact
import pandas as pd
import pytest


@pytest.fixture
def study():
    """Part of a study's heads.csv: two heads under an axiom and its control."""
    rows = [
        ("cat", "TFC1", "end", 0, 0, 0.5, 8),
        ("cat", "TFC1", "end", 0, 1, -0.1, 8),
        ("cat", "TFC1-control", "end", 0, 0, 0.02, 8),
        ("cat", "TFC1-control", "end", 0, 1, 0.01, 8),
    ]
    return pd.DataFrame(
        rows, columns=["kind", "axiom", "place", "layer", "head", "effect", "n_pairs"]
    )


def test_a_study_agrees_with_itself(study):
    text = gradient_against_exact.compare_studies(study, study)
    assert "| cross-encoder | TFC1 | end | 8 | 1.000 | 1.000 | 0% |" in text


def test_a_controls_error_is_a_share_of_the_axioms_largest_effect(study):
    estimated = study.assign(effect=[0.5, -0.1, 0.01, 0.02])
    text = gradient_against_exact.compare_studies(study, estimated)
    assert "| cross-encoder | TFC1-control | end | 8 | -1.000 | -1.000 | 2% |" in text


def test_studies_of_different_pairs_are_refused(study):
    with pytest.raises(ValueError, match="same pairs"):
        gradient_against_exact.compare_studies(study, study.assign(n_pairs=9))
