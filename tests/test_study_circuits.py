"""The study's circuits: heads are ordered on some queries, and measured on others."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from study import circuits
from study.__main__ import parse
from study.compute import prepare, work
from study.folder import open_folder
from study.part import read_part
from study.plan import BY, STUDIED
from study.scores import read_scores, write_scores

from mechir_edu.collection.load import load_collection

KEYS = {(axiom, by) for axiom in STUDIED for by in BY}


@pytest.fixture(scope="module")
def halves():
    """The embedded collection as two whose queries differ."""
    whole = load_collection("embedded")
    ids = sorted(whole.qrels)[:8]
    return {
        name: replace(whole, name=name, qrels={q: whole.qrels[q] for q in ids[at::2]})
        for at, name in enumerate(("first", "second"))
    }


@pytest.fixture(scope="module")
def plan(tmp_path_factory, planted, halves):
    """A study of the planted cross-encoder with its circuits."""
    both = replace(halves["first"], qrels=halves["first"].qrels | halves["second"].qrels)
    folder = tmp_path_factory.mktemp("circuits")
    command = ["--out", str(folder), "--collections", "embedded", "--rankers", "cat"]
    args = parse([*command, "--cross", "planted", "--n", "8", "--block", "8", "--checks", "0"])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("study.compute.load_collection", lambda *ids: both)
        plan = prepare(planted, halves, args)
        work([plan])
        patched.setattr(circuits, "FEWEST_QUERIES", 2)
        patched.setattr("study.circuits.RANKED_BY", (0.5,))
        circuits.measure_circuits(planted, plan.folder, plan.versions, halves)
    return plan


@pytest.fixture(scope="module")
def part(plan):
    return read_part(plan.folder)


def test_every_axiom_has_a_circuit_by_both_orders(part):
    assert set(part.circuits) == KEYS
    assert {len(c.random_effects) for (_, by), c in part.circuits.items() if by == BY[0]} == {20}


def test_heads_are_ordered_on_the_first_collection_and_measured_on_the_second(part, halves):
    first, second = (set(collection.qrels) for collection in halves.values())
    rows = np.flatnonzero(np.isin(part.query_ids, list(first)))
    for (axiom, by), circuit in part.circuits.items():
        assert set(circuit.query_ids) == set(part.query_ids) & second
        assert circuit.order == circuits.order_heads(part, axiom, by, rows)


def test_the_signed_order_starts_with_the_planted_heads(part, planted):
    assert set(part.circuits["TFC1", "signed"].heads(3)) == set(planted.planted_heads)


def test_an_order_by_magnitude_falls_in_size(part):
    order = circuits.order_heads(part, "TDC", "magnitude", range(8))
    effect = part.effect(circuits.Condition("TDC", "end")).mean(axis=-1)
    sizes = [abs(effect[head]) for head in order]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(order)) == effect.size


def test_all_heads_together_bring_back_the_whole_score_change(part):
    for circuit in part.circuits.values():
        change = circuit.donor - circuit.recipient
        np.testing.assert_allclose(circuit.effects[:, -1], [change, change], atol=1e-4)


def test_a_kept_circuit_holds_no_text_and_the_band_of_random_circuits(part):
    circuit = part.circuits["TFC1", "signed"]
    assert {pair.query + pair.baseline + pair.perturbed for pair in circuit.pairs} == {""}
    assert {pair.term for pair in circuit.pairs} == {None}
    assert np.ptp(circuit.random_effects, axis=-1).max() == 0
    small = circuits.without_texts(circuit)
    np.testing.assert_array_equal(small.random("restored").draws, circuit.random("restored").draws)


def test_a_ranking_by_a_circuit_has_each_query_of_the_second_collection(part, halves):
    assert set(part.rankings) == {(axiom, 8) for axiom in STUDIED}
    for table in part.rankings.values():
        assert list(table.query_id) == list(halves["second"].qrels)
        assert table.tau.between(-1, 1).all()


def test_circuits_that_are_there_are_not_measured_again(plan, planted, halves, monkeypatch):
    monkeypatch.setattr(circuits, "FEWEST_QUERIES", 2)
    monkeypatch.setattr("study.circuits.RANKED_BY", (0.5,))
    for name in ("circuit_into_folder", "rank_faithfulness"):
        monkeypatch.setattr(circuits, name, None)
    circuits.measure_circuits(planted, plan.folder, plan.versions, halves)


def test_a_circuit_of_another_study_does_not_count(plan):
    other = replace(plan.folder, made_of={**plan.folder.made_of, "seed": 1})
    assert plan.folder.circuit("TFC1", "signed") is not None
    assert plan.folder.ranking("TFC1", 8) is not None
    assert other.circuit("TFC1", "signed") is None
    assert other.ranking("TFC1", 8) is None


def test_one_collection_has_no_circuit(plan, planted, halves, monkeypatch):
    monkeypatch.setattr(circuits, "circuit_into_folder", None)
    folder = replace(plan.folder, path=plan.folder.path)
    one = {**plan.folder.made_of, "queries": {"first": ["q01"]}}
    monkeypatch.setattr(circuits, "read_part", lambda f: replace(read_part(folder), made_of=one))
    circuits.measure_circuits(planted, folder, plan.versions, {"first": halves["first"]})


def test_circuits_come_back_from_the_scores_as_they_were(part, tmp_path):
    write_scores([part], tmp_path)
    (again,) = read_scores(tmp_path)
    assert set(again.circuits) == KEYS
    for key, circuit in part.circuits.items():
        assert again.circuits[key].to_bytes() == circuit.to_bytes()
    assert set(again.rankings) == set(part.rankings)
    for key, table in part.rankings.items():
        pd.testing.assert_frame_equal(again.rankings[key], table)


def test_a_folder_without_circuits_is_read_as_before(plan, tmp_path):
    bare = replace(open_folder(plan.folder.path), path=tmp_path)
    assert bare.circuit("TFC1", "signed") is None
    assert bare.ranking("TFC1", 8) is None
