import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from patching_helpers import assert_same_bits

from mechir_edu import stats
from mechir_edu.alignment.aligned import ROLE_NAMES
from mechir_edu.collection.judged import Skipped
from mechir_edu.patching.result import PatchingResult
from mechir_edu.perturb.edits import Edit
from mechir_edu.perturb.pair import Pair

N_PAIRS = 40


def make_pair(i):
    return Pair(
        query_id=f"q{i % 10}",
        doc_id=f"d{i}",
        query="coral bleaching",
        baseline="Reefs lose colour – früher 白",
        perturbed="Reefs lose colour – früher 白 coral",
        axiom="TFC1",
        expected_sign=1,
        relevance=None if i == 5 else i % 4,
        term="coral",
        edit=Edit((28, 28), (28, 34)) if i % 2 else None,
    )


def make_result(axes=("layer", "head"), shape=(3, 4), **changes):
    rng = np.random.default_rng(0)
    recipient, change = rng.random((2, N_PAIRS), dtype=np.float32)
    share = rng.random((*shape, 1), dtype=np.float32)
    noise = rng.random((*shape, N_PAIRS), dtype=np.float32)
    result = PatchingResult(
        scores=recipient + share * (change + 0.5) + 0.01 * noise,
        axes=(*axes, "pair"),
        recipient=recipient,
        donor=recipient + change + np.float32(0.5),
        direction="perturbed_to_baseline",
        pairs=tuple(make_pair(i) for i in range(N_PAIRS)),
        skipped=(Skipped("q1", "d99", "empty document"),),
        site="head",
        method="exact",
        filler="a",
        provenance={"ranker": "tiny", "seed": 5, "heads": None, "versions": {"torch": "2.13"}},
    )
    return replace(result, **changes)


def make_result_by_pos():
    lengths = [5, 3, 4]
    whole = make_result()
    return replace(
        whole,
        scores=np.arange(2 * 12, dtype=np.float32).reshape(2, 12),
        axes=("layer", "row"),
        **{name: getattr(whole, name)[:3] for name in ("recipient", "donor", "pairs")},
        row_pair=np.repeat([0, 1, 2], lengths),
        row_pos=np.concatenate([np.arange(n) for n in lengths]),
        row_role=np.array([0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2, 5], dtype=np.int8),
    )


@pytest.fixture
def saved(tmp_path):
    make_result().save(tmp_path / "run.npz")
    return tmp_path / "run.npz"


def test_the_score_change_is_perturbed_minus_baseline_in_both_directions():
    result = make_result()
    swapped = replace(
        result,
        direction="baseline_to_perturbed",
        recipient=result.donor,
        donor=result.recipient,
    )
    np.testing.assert_array_equal(result.score_change(), result.donor - result.recipient)
    np.testing.assert_array_equal(swapped.score_change(), result.score_change())


def test_recovery_is_that_of_the_statistics_module_by_query():
    result = make_result()
    ids = [pair.query_id for pair in result.pairs]
    expected = stats.recovery(result.scores, result.recipient, result.donor, query_ids=ids)
    found = result.recovery()
    np.testing.assert_array_equal(found.low, expected.low)
    assert (found.axes, found.n_queries) == (("layer", "head"), 10)


def test_recovery_over_roles_keeps_the_name_of_its_axes():
    assert make_result(("layer", "role"), (3, 6)).recovery().axes == ("layer", "role")


@pytest.mark.parametrize("axes", [("layer", "head"), ("layer", "role"), ("layer",)])
def test_a_saved_result_comes_back_exactly(tmp_path, axes):
    result = make_result(axes, (3, 6)[: len(axes)])
    result.save(tmp_path / "run.npz")
    assert_same_bits(PatchingResult.load(tmp_path / "run.npz"), result)


def test_a_saved_result_by_position_comes_back_exactly(tmp_path):
    result = make_result_by_pos()
    result.save(tmp_path / "sub" / "run.npz")
    assert_same_bits(PatchingResult.load(tmp_path / "sub" / "run.npz"), result)


def test_a_saved_result_needs_no_pickle(saved):
    with np.load(saved, allow_pickle=False) as stored:
        assert all(stored[name].dtype.kind in "fu" for name in stored.files)


def test_a_run_killed_while_writing_leaves_the_old_file_whole(saved):
    old = saved.read_bytes()
    script = f"""
import os, signal
from mechir_edu.patching.result import PatchingResult
result = PatchingResult.load({str(saved)!r}).select(grade=1)
os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
result.save({str(saved)!r})
"""
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    assert saved.read_bytes() == old


def test_a_full_disk_leaves_the_old_file_and_nothing_else(saved, monkeypatch):
    def full(*names):
        raise OSError(28, "No space left on device")

    old = saved.read_bytes()
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        make_result(site="mlp_out").save(saved)
    assert saved.read_bytes() == old
    assert [file.name for file in saved.parent.iterdir()] == ["run.npz"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="found none at .*nothing.npz"):
        PatchingResult.load(tmp_path / "nothing.npz")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_an_error_that_says_so(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="cut short"):
        PatchingResult.load(saved)


def test_a_file_with_a_flipped_byte_is_an_error(saved):
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 0xFF
    saved.write_bytes(content)
    with pytest.raises(ValueError, match="not a whole result"):
        PatchingResult.load(saved)


def test_a_file_of_another_program_is_an_error(tmp_path):
    np.savez(tmp_path / "other.npz", weights=np.ones(3))
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name in ("other.npz", "pickled.npy"):
        with pytest.raises(ValueError, match="from another program"):
            PatchingResult.load(tmp_path / name)


def test_a_file_of_a_newer_version_asks_for_an_update(saved, monkeypatch):
    monkeypatch.setattr("mechir_edu.patching.storage.FORMAT_VERSION", 2)
    make_result().save(saved)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="version 2, .* update mechir-edu"):
        PatchingResult.load(saved)


@pytest.mark.parametrize("value", [(1, 2), np.int64(3), float("nan")])
def test_provenance_that_json_would_change_is_refused(tmp_path, value):
    with pytest.raises(ValueError, match="provenance needs"):
        make_result(provenance={"seed": value}).save(tmp_path / "run.npz")
    assert not list(tmp_path.iterdir())


def test_the_long_table_has_a_row_for_each_score():
    result = make_result()
    table = result.to_dataframe()
    assert len(table) == 3 * 4 * N_PAIRS
    row = table.query("layer == 2 and head == 1 and doc_id == 'd7'").iloc[0]
    assert row.patched == result.scores[2, 1, 7]
    assert (row.query_id, row.relevance, row.donor) == ("q7", 3, result.donor[7])
    assert table[table.doc_id == "d5"].relevance.isna().all()


def test_the_long_table_names_roles():
    table = make_result(("layer", "role"), (3, len(ROLE_NAMES))).to_dataframe()
    assert list(table.role.unique()) == list(ROLE_NAMES)


def test_the_long_table_by_position_has_pos_and_role():
    table = make_result_by_pos().to_dataframe()
    row = table.query("layer == 1 and doc_id == 'd2' and pos == 3").iloc[0]
    assert (row.patched, row.role) == (23, "other occurrences")


def test_the_table_of_heads_carries_intervals_and_what_they_rest_on():
    result = make_result()
    table, found = result.heads_table(), result.recovery()
    assert list(table) == "layer head recovery low high q n_pairs n_queries".split()
    row = table.query("layer == 1 and head == 3").iloc[0]
    assert (row.recovery, row.high, row.q) == (found.value[1, 3], found.high[1, 3], found.q[1, 3])
    assert (row.n_pairs, row.n_queries) == (N_PAIRS, 10)


def test_chosen_heads_appear_in_tables_as_layer_and_head():
    result = make_result(("cell",), (2,), provenance={"heads": [[5, 1], [0, 11]]})
    for table in (result.heads_table(), result.to_dataframe()):
        assert table[["layer", "head"]].drop_duplicates().values.tolist() == [[5, 1], [0, 11]]


def test_selecting_a_grade_keeps_its_pairs_and_their_scores():
    result = make_result()
    part = result.select(grade=3)
    assert {pair.relevance for pair in part.pairs} == {3}
    np.testing.assert_array_equal(part.scores, result.scores[..., 3::4])
    np.testing.assert_array_equal(part.donor, result.donor[3::4])


def test_selecting_by_mask_renumbers_rows_by_position():
    result = make_result_by_pos()
    part = result.select(np.array([True, False, True]))
    np.testing.assert_array_equal(part.rows_of(1), result.rows_of(2))
    assert part.pairs == (result.pairs[0], result.pairs[2])


def test_selecting_nothing_names_the_grades_there_are():
    with pytest.raises(ValueError, match=r"grade=7.*\[0, 1, 2, 3\]"):
        make_result().select(grade=7)


def test_rows_of_one_pair_are_its_positions_in_order():
    result = make_result_by_pos()
    np.testing.assert_array_equal(result.rows_of(1), [[5, 6, 7], [17, 18, 19]])


def test_positions_of_different_documents_are_never_averaged():
    with pytest.raises(ValueError, match="rows_of"):
        make_result_by_pos().recovery()


def test_rows_of_a_result_that_is_not_by_position_is_an_error():
    with pytest.raises(ValueError, match='by="pos"'):
        make_result().rows_of(0)


def test_axes_that_do_not_fit_the_scores_are_an_error():
    with pytest.raises(ValueError, match="a name for each axis"):
        replace(make_result(), axes=("layer", "pair"))


def test_a_contrast_with_a_control_that_does_half_leaves_the_other_half():
    axiom = make_result()
    half = (axiom.recipient + axiom.donor) / 2
    control = replace(axiom, donor=half, scores=(axiom.recipient + axiom.scores) / 2)
    found = axiom.contrast(control)
    assert found.change.value == pytest.approx(axiom.score_change().mean() / 2, rel=1e-5)
    np.testing.assert_allclose(found.recovery.value, axiom.recovery().value, rtol=1e-5)
    np.testing.assert_allclose(found.effect.value, axiom.effect().mean(axis=-1) / 2, rtol=1e-4)


def test_a_contrast_is_the_same_whichever_way_the_pairs_are_ordered():
    axiom, control = make_result(), make_result(shape=(3, 4))
    control = replace(control, donor=control.recipient + np.float32(0.1))
    mixed = control._at(np.random.default_rng(1).permutation(N_PAIRS))
    np.testing.assert_allclose(
        axiom.contrast(control).effect.low, axiom.contrast(mixed).effect.low, atol=1e-12
    )


def test_a_contrast_of_two_directions_is_refused():
    other = make_result(direction="baseline_to_perturbed")
    with pytest.raises(ValueError, match="same direction"):
        make_result().contrast(other)


def moved(result, **changes):
    """The same pairs with their edits at the other end of the document."""
    changes |= {"edit": None}  # the old one is of the end
    pairs = tuple(replace(p, perturbed=f"{p.term} {p.baseline}", **changes) for p in result.pairs)
    return replace(result, pairs=pairs)


def test_a_place_that_makes_no_difference_has_a_contrast_that_may_be_zero():
    end = make_result()
    noise = 1e-3 * np.random.default_rng(1).standard_normal(N_PAIRS).astype(np.float32)
    found = moved(replace(end, donor=end.donor + noise)).position_contrast(end)
    assert found.change.low < 0 < found.change.high
    assert not found.recovery.denominator_significant


def test_a_start_that_moves_the_score_twice_as_far_through_the_same_heads_differs_in_effect_only():
    end = make_result()
    end = replace(end, donor=end.recipient + 1 + np.abs(end.donor))
    twice = replace(end, **{k: 2 * getattr(end, k) for k in ("scores", "recipient", "donor")})
    found = moved(twice).position_contrast(end)
    assert found.change.value == pytest.approx(end.score_change().mean(), rel=1e-5)
    np.testing.assert_allclose(found.effect.value, end.effect().mean(axis=-1), rtol=1e-4)
    np.testing.assert_allclose(found.difference.value, 0, atol=1e-6)


def test_a_position_contrast_refuses_another_term_and_the_same_place():
    end = make_result()
    with pytest.raises(ValueError, match="same edit on both sides"):
        moved(end, axiom="TDC").position_contrast(end)
    with pytest.raises(ValueError, match="edits at two places"):
        end.position_contrast(end)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize(
    "mask",
    [
        np.ones(N_PAIRS - 1, dtype=bool),
        np.ones((1, N_PAIRS), dtype=bool),
        np.ones(N_PAIRS),
        np.full(N_PAIRS, np.nan),
        np.arange(N_PAIRS),
        [True] * (N_PAIRS - 1) + [None],
        ["yes"] * N_PAIRS,
        True,
        [],
    ],
    ids="short,deep,floats,NaN,places,gap,words,one,empty".split(","),
)
def test_a_mask_that_is_not_one_flag_a_pair_is_refused(mask):
    with pytest.raises(ValueError, match=r"mask needs .*shape \(40,\); got \S+ of shape"):
        make_result().select(mask)


@pytest.mark.usefixtures("as_users_run")
def test_a_mask_may_be_a_list_or_a_column():
    result, flags = make_result(), [i % 3 == 0 for i in range(N_PAIRS)]
    expected = result.select(np.array(flags)).pairs
    assert result.select(flags).pairs == result.select(pd.Series(flags)).pairs == expected


@pytest.mark.usefixtures("as_users_run")
def test_a_grade_and_a_pair_are_whole_numbers():
    result = make_result()
    assert result.select(grade=np.int64(3)).pairs == result.select(grade=3).pairs
    for wrong in (3.0, True, "3", [3]):
        with pytest.raises(TypeError, match="grade is .*needed a whole number"):
            result.select(grade=wrong)
    by_pos = make_result_by_pos()
    assert by_pos.rows_of(np.int32(1)).shape == by_pos.rows_of(1).shape
    for wrong in (1.5, 1.0, True, "1", None, [0]):
        with pytest.raises(TypeError, match="pair is .*needed a whole number"):
            by_pos.rows_of(wrong)
    for wrong in (-1, 3, 10**12):
        with pytest.raises(IndexError, match="needed a pair from 0 to 2"):
            by_pos.rows_of(wrong)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("wrong", [None, "run.npz", 3, pd.DataFrame({"a": [1]}), PatchingResult])
def test_a_contrast_needs_another_result(wrong):
    with pytest.raises(TypeError, match="control is .*needed a PatchingResult"):
        make_result().contrast(wrong)
    with pytest.raises(TypeError, match="end is .*needed a PatchingResult"):
        make_result().position_contrast(wrong)


@pytest.mark.usefixtures("as_users_run")
def test_numbers_of_numpy_are_saved_as_pythons(tmp_path):
    pairs = tuple(
        replace(make_pair(i), query_id=np.int64(i % 10), relevance=np.int8(i % 4))
        for i in range(N_PAIRS)
    )
    result = make_result(pairs=pairs)
    result.save(tmp_path / "run.npz")
    loaded = PatchingResult.load(tmp_path / "run.npz")
    assert loaded.pairs == result.pairs
    assert {(type(p.query_id), type(p.relevance)) for p in loaded.pairs} == {(str, int)}


@pytest.mark.usefixtures("as_users_run")
def test_what_cannot_be_saved_is_named(tmp_path):
    for name, change in (
        ("provenance", {"provenance": {"heads": np.arange(2)}}),
        ("skipped", {"skipped": (Skipped("q", "d", {1}),)}),
    ):
        with pytest.raises((TypeError, ValueError), match=f"{name} needs"):
            make_result(**change).save(tmp_path / "run.npz")
