"""Results that version 0.1.0 wrote: they load, and patching the same pairs still gives them.

The files in ``fixtures/written_by_0.1.0`` were written by that version's own code, and
``expected.json`` says what it saw in them. They are never written again.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import mechir_edu as me
from mechir_edu.patching.long_runs.runs import patch_into_folder

WRITTEN = Path(__file__).parent / "fixtures" / "written_by_0.1.0"
FILES = {"heads": "heads.npz", "positions": "positions.npz", "run": "run"}


@pytest.fixture(scope="module")
def expected():
    return json.loads((WRITTEN / "expected.json").read_text())


@pytest.fixture(scope="module")
def pairs(collection):
    return me.make_pairs(collection, "TFC1", n=6, seed=5)


def load(name):
    return me.PatchingResult.load(WRITTEN / FILES[name])


@pytest.mark.parametrize("name", FILES)
def test_an_old_file_holds_what_the_old_version_saw_in_it(expected, name):
    result, seen = load(name), expected[name]
    assert list(result.scores.shape) == seen["shape"]
    assert list(result.axes) == seen["axes"]
    assert result.scores.sum(dtype=np.float64) == pytest.approx(seen["sum"], abs=1e-9)
    assert result.recipient.tolist() == seen["recipient"]
    assert result.donor.tolist() == seen["donor"]
    assert result.direction == seen["direction"]
    assert [pair.doc_id for pair in result.pairs] == seen["doc_ids"]
    assert [pair.term for pair in result.pairs] == seen["terms"]
    assert sorted(result.provenance) == seen["provenance"]


@pytest.mark.parametrize("name", FILES)
def test_an_old_file_holds_the_pairs_that_are_made_today(pairs, name):
    result = load(name)
    assert list(result.pairs) == list(pairs)[: len(result.pairs)]


def test_an_old_file_is_used_like_one_of_today():
    result = load("heads")
    assert result.recovery().value.shape == (4, 4)
    assert len(result.to_dataframe()) == result.scores.size
    assert load("positions").rows_of(1).shape[0] == 4


def assert_same_scores(result, old):
    assert (result.axes, result.direction, result.site) == (old.axes, old.direction, old.site)
    for name in ("scores", "recipient", "donor"):
        np.testing.assert_allclose(getattr(result, name), getattr(old, name), atol=1e-5)
    for name in ("row_pair", "row_pos", "row_role"):
        np.testing.assert_array_equal(getattr(result, name), getattr(old, name))


def test_heads_patched_today_have_the_old_scores(planted, pairs):
    assert_same_scores(me.patch(planted, pairs, progress=False), load("heads"))


def test_positions_patched_today_have_the_old_scores(planted, pairs):
    options = {"site": "resid_pre", "by": "pos", "progress": False}
    assert_same_scores(me.patch(planted, pairs[:2], **options), load("positions"))


def test_a_run_of_today_has_the_old_scores(planted, pairs, tmp_path):
    run = patch_into_folder(planted, pairs, tmp_path, shard_size=4)
    assert_same_scores(me.PatchingResult.load(run.path), load("run"))
