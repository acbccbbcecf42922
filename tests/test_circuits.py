"""Circuits: sets of heads put in fast, both questions about them, and the answer that is known."""

from contextlib import nullcontext
from dataclasses import fields
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from patching_helpers import APPENDED, LIKE_OTHERS, PAIRS, assert_same, hook_name, patched
from small_models import FAMILIES, save_model

import mechir_edu as me
from mechir_edu.patching.circuits import circuit as circuit_module
from mechir_edu.patching.circuits import folder as circuit_folder
from mechir_edu.patching.circuits.circuit import circuit_into_folder
from mechir_edu.patching.circuits.measure import Measure, Tried, room_for_runs, set_job
from mechir_edu.patching.circuits.options import ABLATIONS, ORDERS, CircuitOptions
from mechir_edu.patching.circuits.orders import SEARCHES, eliminate, grow, n_sets, prune, shuffled
from mechir_edu.patching.circuits.sets import HookedSets, all_heads
from mechir_edu.patching.engines.hooks import activations
from mechir_edu.patching.scoring import align_for

DIRECTION = "perturbed_to_baseline"
SETS = [
    frozenset(),
    frozenset({(1, 2)}),
    frozenset({(0, 1), (1, 0), (1, 3)}),
    frozenset({(0, 1), (1, 0)}),
    frozenset(product(range(2), range(4))),
]


def measure_on(ranker, pairs=PAIRS, ablation="other run", memory=None, room=0):
    job = set_job(ranker, align_for(ranker, pairs, "a"), memory)
    return Measure(job, DIRECTION, ablation, room=room)


def measured(ranker, pairs=APPENDED, **options):
    return me.circuit(ranker, pairs, **{"n_random": 0, "progress": False, **options})


def hook_by_hook(ranker, batch, side, heads, given):
    """A whole run of one side of a batch, with the z of heads replaced one hook after another."""

    def replace(head):
        def hook_z(z, hook):
            z = z.clone()
            z[:, :, head[1]] = given[head[0]][:, :, head[1]]
            return z

        return hook_name("head", head[0]), hook_z

    with ranker.bridge.hooks(fwd_hooks=[replace(head) for head in heads]):
        return float(batch.score(ranker, batch.side(side))[0])


def z_of(ranker, batch, side):
    names = [hook_name("head", layer) for layer in range(ranker.n_layers)]
    kept = activations(ranker, batch.side(side), names)
    return [kept[name] for name in names]


# Every family, and both kinds of each engine: BERT is computed on its weights, ModernBERT by hooks.
ON_EACH_FAMILY = {(family, ("cat", "dot")[k % 2]) for k, family in enumerate(FAMILIES)}
ON_EACH_FAMILY |= set(product(("bert", "modernbert"), ("cat", "dot")))


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        pytest.param(*which, marks=[pytest.mark.long] * (which[0] in LIKE_OTHERS))
        for which in sorted(ON_EACH_FAMILY)
    ],
)
@torch.no_grad()
def test_sets_put_in_together_equal_runs_hook_by_hook(small_ranker, family, kind):
    ranker, pair = small_ranker(family, kind), PAIRS[1]
    measure = measure_on(ranker, [pair, PAIRS[2]])
    restored, survives = measure.effects(SETS, SETS)
    (batch,) = (batch for batch in measure.job.batches if batch.index.tolist() == [0])
    before, after = (z_of(ranker, batch, side) for side in ("baseline", "perturbed"))
    plain = hook_by_hook(ranker, batch, "baseline", (), before)
    everything = set(all_heads(ranker))
    for k, heads in enumerate(SETS):
        alone = hook_by_hook(ranker, batch, "baseline", heads, after)
        without = hook_by_hook(ranker, batch, "perturbed", everything - heads, before)
        size = max(1.0, abs(plain))
        assert abs(restored[k, 0] - (alone - plain)) < 1e-5 * size
        assert abs(survives[k, 0] - (without - plain)) < 1e-5 * size


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_both_engines_measure_the_same_whatever_stands_outside(small_ranker, ablation):
    fast = measure_on(small_ranker("bert", "cat"), ablation=ablation)
    slow = measure_on(small_ranker("bert", "cat"), ablation=ablation)
    slow.__dict__["engine"] = HookedSets(slow.job.ranker, 100, may_skip=False)
    for first, second in zip(fast.effects(SETS, SETS), slow.effects(SETS, SETS), strict=True):
        assert_same(first, second)


def test_layers_put_in_whole_or_in_part_or_not_at_all_give_what_hooks_give(planted, planted_pairs):
    of_layer = [(), (1,), range(planted.n_heads)]
    sets = [
        frozenset((layer, head) for layer, heads in enumerate(chosen) for head in heads)
        for chosen in product(of_layer, repeat=planted.n_layers)
    ]
    curve = shuffled(all_heads(planted), 0, 1)  # each set with a head more than the one before
    sets += [frozenset(curve[:number]) for number in range(1, len(curve))]
    fast, slow = (measure_on(planted, planted_pairs[:1]) for _ in range(2))
    slow.__dict__["engine"] = HookedSets(planted, 2000, may_skip=False)
    for first, second in zip(fast.effects(sets, sets), slow.effects(sets, sets), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-4)


def test_a_set_restores_what_patching_it_together_does(small_ranker):
    ranker = small_ranker("bert", "dot")
    restored, _ = measure_on(ranker).effects(SETS[2:3], [])
    heads = sorted(SETS[2])
    together = patched(ranker, heads=heads, together=True, direction=DIRECTION)
    assert_same(restored[0], together.effect()[0])


def test_little_memory_changes_nothing(small_ranker):
    ranker = small_ranker("bert", "cat")
    little = measure_on(ranker, memory=2_000_000).effects(SETS, SETS)
    for first, second in zip(little, measure_on(ranker).effects(SETS, SETS), strict=True):
        assert_same(first, second)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_all_heads_are_enough_and_none_leave_nothing_behind_cls(small_ranker, ablation):
    result = measured(small_ranker("bert", "cat"), order=[(0, 1)], sizes=[0, 8], ablation=ablation)
    np.testing.assert_allclose(result.survives().value, [0, 1], atol=1e-4)
    np.testing.assert_allclose(result.restored().value, [0, 1], atol=1e-4)
    assert "empty circuit is 0" in result.note


def test_behind_mean_pooling_the_edited_token_counts_itself_and_the_result_says_so(tmp_path):
    ranker = me.Dot(str(save_model("bert", "Model", tmp_path)), pooling="mean")
    result = measured(ranker, order=[(0, 1)], sizes=[0, 8])
    assert abs(result.survives().value[0]) > 0.01
    np.testing.assert_allclose(result.survives().value[1], 1, atol=1e-4)
    assert "need not be 0" in result.note


@pytest.fixture(scope="module")
def planted_pairs(collection):
    return me.make_pairs(collection, "TFC1", n=4, seed=3)


@pytest.fixture(scope="module")
def by_exact_effect(planted, planted_pairs):
    """With the sizes of MIB; tests leave it as it is."""
    return measured(planted, planted_pairs)


@pytest.fixture(scope="module")
def with_random(planted, planted_pairs):
    """The planted heads in order, and random orders beside; tests leave it as it is."""
    return measured(planted, planted_pairs, order=sorted(planted.planted_heads), n_random=20)


@pytest.mark.parametrize("direction", ["perturbed_to_baseline", "baseline_to_perturbed"])
def test_the_planted_heads_are_enough_and_needed(planted, planted_pairs, direction):
    heads = sorted(planted.planted_heads)
    result = measured(planted, planted_pairs, order=heads, sizes=[0, 3, 16], direction=direction)
    for curve in (result.restored(), result.survives()):
        np.testing.assert_allclose(curve.value, [0, 1, 1], atol=1e-4)


def require_planted(result, planted):
    assert set(result.heads(3)) == set(planted.planted_heads)
    survives = result.survives().value[result.numbers.tolist().index(3)]
    assert survives == pytest.approx(1, abs=1e-4)
    assert result.ranked_queries
    assert not set(result.ranked_queries) & set(result.query_ids)


def test_exact_effects_find_the_planted_heads(planted, by_exact_effect):
    require_planted(by_exact_effect, planted)


@pytest.mark.parametrize("order", [order for order in ORDERS if order not in ("exact", "random")])
def test_every_other_order_but_random_finds_them(planted, planted_pairs, order):
    require_planted(measured(planted, planted_pairs, order=order, sizes=[0, 3, 16]), planted)


def test_random_circuits_do_not_find_them(planted, planted_pairs, with_random):
    band = with_random.random("survives")
    assert band.draws.shape == (20, 5)
    assert band.value[3] < 0.5
    np.testing.assert_allclose(band.low[[0, -1]], [0, 1], atol=1e-4)
    result = measured(planted, planted_pairs, order="random", sizes=[3])
    assert set(result.heads(3)) != set(planted.planted_heads)
    assert len(result.pairs) == len(planted_pairs)  # none is needed to rank heads


def test_a_curves_intervals_are_computed_once_for_the_same_options(by_exact_effect):
    assert by_exact_effect.survives() is by_exact_effect.survives()
    assert by_exact_effect.survives() is not by_exact_effect.survives(n_boot=500)
    assert by_exact_effect.survives() is not by_exact_effect.restored()


def test_areas_are_those_of_trapezoids_between_the_shares(by_exact_effect):
    f = by_exact_effect.survives().value
    widths = np.diff(by_exact_effect.shares)
    cpr = float((widths * (f[:-1] + f[1:]) / 2).sum())
    missing = np.abs(1 - f)
    cmd = float((widths * (missing[:-1] + missing[1:]) / 2).sum())
    assert by_exact_effect.cpr().value == pytest.approx(cpr, abs=1e-6)
    assert by_exact_effect.cmd().value == pytest.approx(cmd, abs=1e-6)
    assert by_exact_effect.cpr().low <= cpr + 1e-6
    assert cpr - 1e-6 <= by_exact_effect.cpr().high


def test_the_default_sizes_are_those_of_mib_rounded_down(by_exact_effect):
    assert by_exact_effect.numbers.tolist() == [0, 0, 0, 0, 0, 0, 1, 3, 8, 16]
    shares = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    assert by_exact_effect.shares.tolist() == shares


def test_the_table_has_shares_means_of_ratios_and_the_spread_over_pairs(with_random):
    table = with_random.to_dataframe()
    assert len(table) == 2 * 5
    assert (table["pair_10"] <= table["pair_90"]).all()
    full = table[table["heads"] == 16]
    np.testing.assert_allclose(full["mean_of_ratios"], 1, atol=1e-3)
    assert (table["random_low"] <= table["random_high"] + 1e-6).all()


def test_a_search_runs_each_side_of_a_batch_once_where_there_is_room(small_ranker):
    measure = measure_on(small_ranker("bert", "cat"), room=10**9)
    first, second = (measure.effects(SETS, SETS) for _ in range(2))
    assert len(measure.held) == len(measure.job.batches)
    for k, batch in enumerate(measure.job.batches):
        assert measure.held[k].recipient.scores.shape == (batch.n_pairs,)
    narrow = measure_on(small_ranker("bert", "cat"), room=measure.held[0].size)
    third = narrow.effects(SETS, SETS)
    assert list(narrow.held) == [0]
    for same in (second, third):
        assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))


def test_a_budget_leaves_room_for_runs_only_beside_its_passes(small_ranker):
    aligned = align_for(small_ranker("bert", "cat"), PAIRS, "a")
    jobs = [set_job(small_ranker("bert", "cat"), aligned, n) for n in (None, 10**6, 10**8)]
    free, tight, wide = map(room_for_runs, jobs)
    assert tight < 4_000 < wide < 10**8 < free  # less than a token, of a budget that passes fill


# A ranker of two layers in which the two heads of layer 1 read head (0, 0); both are needed.


def chain_of_heads(sets):
    return [float((0, 0) in s) * (0.5 * ((1, 0) in s) + 0.5 * ((1, 1) in s)) for s in sets]


GRID = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize(
    "search",
    [lambda value: grow(value, GRID, 3), lambda v: eliminate(v, GRID), lambda v: prune(v, GRID)],
)
def test_searches_find_heads_that_do_nothing_alone(search):
    order = search(chain_of_heads)
    assert set(order[:3]) == {(0, 0), (1, 0), (1, 1)}
    assert sorted(order) == GRID


@torch.no_grad()
def test_pruning_drops_what_a_loop_of_whole_runs_drops(small_ranker):
    ranker = small_ranker("bert", "cat")
    measure, heads = measure_on(ranker, PAIRS[1:2]), all_heads(ranker)
    (batch,) = measure.job.batches
    before = z_of(ranker, batch, "baseline")
    sign = 1e3  # any change of score; only which set's share is largest counts
    kept, dropped = set(heads), []
    while kept:
        scores = {
            h: hook_by_hook(ranker, batch, "perturbed", {*heads} - kept | {h}, before) for h in kept
        }
        dropped.append(max(scores, key=scores.get))
        kept.remove(dropped[-1])
    assert prune(Tried(measure, sign), heads) == tuple(reversed(dropped))


@pytest.mark.parametrize("how", SEARCHES)
def test_the_bar_of_a_search_knows_its_number_of_sets(planted, planted_pairs, monkeypatch, how):
    totals, seen = [], []

    def bar(total, label, *, unit, shown):
        totals.append(total)
        return nullcontext(SimpleNamespace(update=seen.append))

    monkeypatch.setattr(circuit_module, "bar", bar)
    measured(planted, planted_pairs[:2], order=how, sizes=[0, 3, 16])
    (total,) = totals
    heads = all_heads(planted)
    assert total == n_sets(how, heads, 3)
    assert how == "backward" or 0.8 * total < sum(seen) <= total
    assert how != "pruning" or sum(seen) == total == len(heads) * (len(heads) + 1) // 2 - 1


def test_a_result_that_is_saved_comes_back(by_exact_effect, with_random, tmp_path):
    for result in (by_exact_effect, with_random):
        result.save(tmp_path / "circuit.npz")
        require_same(me.CircuitResult.load(tmp_path / "circuit.npz"), result)


def require_same(read, result):
    for name in (field.name for field in fields(result)):
        value, other = getattr(result, name), getattr(read, name)
        same = np.array_equal(value, other) if isinstance(value, np.ndarray) else value == other
        assert same, name


def test_of_a_file_with_a_changed_byte_nothing_else_is_ever_read(planted, planted_pairs, tmp_path):
    path = tmp_path / "circuit.npz"
    whole = measured(planted, planted_pairs, order=[(0, 0)])
    whole.save(path)
    content, n_refused = path.read_bytes(), 0
    places = range(0, len(content), 11)
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        try:
            read = me.CircuitResult.load(path)
        except ValueError:
            n_refused += 1
            continue
        # A byte that says nothing: a date or an attribute of the zip, or its padding.
        assert read.to_bytes() == whole.to_bytes()
    assert n_refused > 0.8 * len(places)
    path.write_bytes(content[:-9])
    with pytest.raises(ValueError, match="is not a whole circuit"):
        me.CircuitResult.load(path)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"order": "exakt"}, ValueError, "did you mean 'exact'"),
        ({"order": [(0, 9)]}, ValueError, "no head"),
        ({"order": [(0, 1), (0, 1)]}, ValueError, "different"),
        ({"sizes": [0.5, 2]}, ValueError, "ascend"),
        ({"sizes": [17]}, ValueError, "at most 16"),
        ({"sizes": [1.5]}, ValueError, "shares from 0.0 to 1.0"),
        ({"sizes": [True]}, TypeError, "whole number"),
        ({"sizes": []}, ValueError, "at least one size"),
        ({"sizes": "all"}, TypeError, "a list of numbers"),
        ({"order": [(0, 1)], "sizes": [2]}, ValueError, "at most 1 heads"),
        ({"ablation": "zero"}, ValueError, "other run"),
        ({"n_random": 3}, ValueError, "at least 20"),
        ({"ranked_on": 1}, ValueError, "between 0 and 1"),
        ({"seed": -1}, ValueError, "at least 0"),
        ({"direction": "up"}, ValueError, "direction"),
    ],
)
@pytest.mark.usefixtures("as_users_run")
def test_bad_arguments_are_refused_before_anything_is_run(planted, options, error, said):
    with pytest.raises(error, match=said):
        measured(planted, APPENDED, **options)


def test_one_query_cannot_be_ranked_on_and_measured(planted):
    with pytest.raises(ValueError, match="at least two queries"):
        measured(planted, APPENDED[:1])


def test_an_area_needs_sizes_from_one_head_to_all(planted, planted_pairs):
    result = measured(planted, planted_pairs[:1], order=[(0, 1), (0, 2)], sizes=[0, 1, 2])
    with pytest.raises(ValueError, match="to all 16"):
        result.cpr()


def test_the_planted_circuit_is_complete_and_a_part_of_it_is_not(planted, planted_pairs):
    heads = sorted(planted.planted_heads)
    whole = me.completeness(planted, planted_pairs, heads, progress=False)
    assert len(whole.knocked_out) == 20
    assert whole.worst < 1e-4
    assert all(set(out) <= set(heads) for out in whole.knocked_out)
    part = me.completeness(planted, planted_pairs, heads[:1], n_knockouts=2, progress=False)
    assert len(part.to_dataframe()) == 2


@pytest.mark.parametrize(
    ("heads", "error", "said"),
    [
        ([], ValueError, "at least one head"),
        ("exact", TypeError, "needed heads such as"),
        ([(0, 1), (0, 1)], ValueError, "different"),
        ([(9, 0)], ValueError, "no head"),
    ],
)
@pytest.mark.usefixtures("as_users_run")
def test_a_circuit_to_knock_out_needs_heads_of_the_ranker(planted, heads, error, said):
    with pytest.raises(error, match=said):
        me.completeness(planted, APPENDED, heads, progress=False)


def test_a_circuit_that_lacks_a_head_that_does_the_same_is_not_complete(planted, planted_pairs):
    distractor_free = [h for h in sorted(planted.planted_heads)][1:]
    gaps = me.completeness(planted, planted_pairs, distractor_free, progress=False)
    assert gaps.worst > 0.05


def test_the_planted_heads_alone_rank_as_the_planted_ranker_does(planted, collection):
    options = {"query_ids": ["q01", "q02", "q03", "q04"], "progress": False}
    alone = me.rank_faithfulness(planted, collection, planted.planted_heads, **options)
    # Passages without a word of the query differ by rounding alone, so tau is not quite 1: of those
    # that lie further apart all are in the same order.
    assert alone.tau().value > 0.95
    runs = alone.comparison.before.run, alone.comparison.after.run
    for full, left in (tuple(run[query_id] for run in runs) for query_id in options["query_ids"]):
        apart = [(a, b) for a, b in product(full, full) if full[a] - full[b] > 1e-3]
        assert len(apart) > 20
        assert all(left[a] > left[b] for a, b in apart)
    assert alone.comparison.difference("nDCG@10").value == pytest.approx(0, abs=0.01)
    none = me.rank_faithfulness(planted, collection, [], **options)
    assert abs(none.tau().value) < 0.5
    table = alone.to_dataframe()
    assert table["measure"].tolist() == ["nDCG@10", "RR(rel=2)@10", "Kendall's tau"]


def test_all_heads_rank_as_the_ranker_itself(planted, collection):
    heads = all_heads(planted)
    same = me.rank_faithfulness(planted, collection, heads, query_ids=["q01"], progress=False)
    assert same.taus.tolist() == [1.0]


def test_a_run_into_a_folder_resumes_and_ends_with_the_same_bits(
    planted, collection, tmp_path, monkeypatch
):
    options = {"order": "backward", "sizes": [0, 3, 16], "n_random": 0}
    options = CircuitOptions(**options)
    pairs = me.make_pairs(collection, "TFC1", n=8, seed=3)[:6]
    whole = circuit_into_folder(planted, pairs, tmp_path / "whole", options, progress=False)
    real, stopped = circuit_folder.store, tmp_path / "stopped"

    def store_two(path, content):
        if len(list(path.parent.glob("0*.npz"))) == 2:
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(circuit_folder, "store", store_two)
    with pytest.raises(KeyboardInterrupt):
        circuit_into_folder(planted, pairs, stopped, options, progress=False)
    with pytest.raises(ValueError, match="no finished circuit"):
        me.CircuitResult.load(stopped)
    monkeypatch.setattr(circuit_folder, "store", real)
    (stopped / "measured" / "00000.npz").write_bytes(b"damaged")
    circuit_into_folder(planted, pairs, stopped, options, progress=False)
    again = me.CircuitResult.load(stopped)
    for name in ("effects", "random_effects", "recipient", "donor"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name), err_msg=name)
    assert again.order == whole.order


def test_a_folder_of_another_circuit_is_refused(planted, planted_pairs, tmp_path):
    first = CircuitOptions(order=[(0, 1)], n_random=0)
    circuit_into_folder(planted, planted_pairs[:1], tmp_path / "run", first, progress=False)
    second = CircuitOptions(order=[(0, 2)], n_random=0)
    with pytest.raises(ValueError, match="cannot be mixed"):
        circuit_into_folder(planted, planted_pairs[:1], tmp_path / "run", second, progress=False)


def test_what_a_search_measured_is_added_line_by_line_and_a_torn_line_costs_itself_alone(tmp_path):
    file = tmp_path / circuit_folder.TRIED
    with circuit_folder.kept_in(tmp_path, {"run": 1}) as kept:
        kept.keep_tried({"[[0, 0]]": 0.5})
        first = file.read_bytes()
        kept.keep_tried({"[[0, 1]]": 0.25})
        assert file.read_bytes().startswith(first)
        assert kept.tried() == {"[[0, 0]]": 0.5, "[[0, 1]]": 0.25}
    file.write_bytes(file.read_bytes()[:-9])
    with circuit_folder.kept_in(tmp_path, {"run": 1}) as kept:
        kept.keep_tried({"[[0, 2]]": 0.75})
        assert kept.tried() == {"[[0, 0]]": 0.5, "[[0, 2]]": 0.75}
    file.write_bytes(first.replace(b"0.5", b"0.6"))
    with circuit_folder.kept_in(tmp_path, {"run": 1}) as kept:
        assert kept.tried() == {}
