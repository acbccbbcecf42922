"""The results that travel with the package: taken where they are the very ones, else computed."""

import contextlib
import itertools
import json
import sys
from copy import deepcopy
from functools import partial
from types import SimpleNamespace

import keep_results
import nbformat
import numpy as np
import pytest
from notebooks import execution
from notebooks.sources import contents
from patching_helpers import assert_same_bits

import mechir_edu as me
from mechir_edu.checks import tutorial
from mechir_edu.patching.paths import PathResult
from mechir_edu.patching.result import PatchingResult

HEADS = [(0, 0), (1, 1)]
MEASURED = {PatchingResult: ["scores"], me.CircuitResult: ["effects", "random_effects"]}


@pytest.fixture(scope="module")
def ranker(small_ranker):
    return small_ranker("bert", "dot")


@pytest.fixture(scope="module")
def pairs(collection):
    return list(me.make_pairs(collection, "TFC1", n=3, seed=0))


@pytest.fixture
def kept(ranker, pairs, tmp_path, monkeypatch):
    """One result of each kind in the folder of those at hand; gives how often was computed."""
    monkeypatch.setenv("MECHIR_EDU_KEEP_RESULTS", str(tmp_path))
    tutorial.patch(ranker, pairs, heads=HEADS)
    tutorial.path_patch(ranker, pairs, receivers=[])
    tutorial.circuit(ranker, pairs, order=HEADS, n_random=0)
    monkeypatch.delenv("MECHIR_EDU_KEEP_RESULTS")
    monkeypatch.setattr(tutorial, "RESULTS", tmp_path)
    n_computed = []
    for name in ("compute_patch", "compute_path_patch", "compute_circuit"):
        compute = getattr(tutorial, name)
        counting = lambda *a, _compute=compute, **k: n_computed.append(1) or _compute(*a, **k)  # noqa: E731
        monkeypatch.setattr(tutorial, name, counting)
    return n_computed


def test_what_is_at_hand_is_loaded_and_is_what_would_be_computed(ranker, pairs, kept, capsys):
    at_hand = tutorial.patch(ranker, pairs, heads=HEADS)
    assert "Loaded: 3 pairs" in capsys.readouterr().out
    paths = tutorial.path_patch(ranker, pairs, receivers=[])
    assert not kept
    alone = tutorial.circuit(ranker, pairs, order=HEADS, n_random=0, ablation="other run")
    assert not kept
    assert_same_bits(at_hand, me.patch(ranker, pairs, heads=HEADS, progress=False))
    sets = me.circuit(ranker, pairs, order=HEADS, n_random=0, progress=False)
    np.testing.assert_array_equal(alone.effects, sets.effects)
    computed = me.path_patch(ranker, pairs, receivers=[], progress=False)
    np.testing.assert_array_equal(paths.to_score, computed.to_score)


def test_options_at_their_defaults_are_the_same_options(ranker, pairs, kept):
    tutorial.patch(ranker, pairs, heads=HEADS, method="exact", filler="a", progress=False)
    assert not kept


@pytest.mark.parametrize(
    "options",
    [
        {"heads": HEADS[:1]},
        {"heads": HEADS, "filler": "mask"},
        {"heads": HEADS, "by": "role"},
        {"heads": HEADS, "direction": "baseline_to_perturbed"},
    ],
)
def test_other_options_are_computed(ranker, pairs, kept, options):
    tutorial.patch(ranker, pairs, progress=False, **options)
    assert kept


def test_a_circuit_of_another_order_is_computed(ranker, pairs, kept):
    tutorial.circuit(ranker, pairs, order=HEADS[::-1], n_random=0, progress=False)
    assert kept


def test_other_pairs_another_ranker_and_planted_weights_are_computed(
    ranker, pairs, kept, small_ranker, planted
):
    tutorial.patch(ranker, pairs[:2], heads=HEADS, progress=False)
    tutorial.patch(small_ranker("bert", "cat"), pairs, heads=HEADS, progress=False)
    tutorial.patch(planted, pairs[:1], heads=HEADS, progress=False)
    assert len(kept) == 3


@pytest.fixture
def scored(ranker, pairs, tmp_path, monkeypatch):
    """Scores of pairs at hand, as they were computed, and how often was computed since."""
    monkeypatch.setenv("MECHIR_EDU_KEEP_RESULTS", str(tmp_path))
    before = tutorial.score_pairs(ranker, pairs)
    monkeypatch.delenv("MECHIR_EDU_KEEP_RESULTS")
    monkeypatch.setattr(tutorial, "RESULTS", tmp_path)
    n_computed, compute = [], tutorial.compute_scores
    counting = lambda r, p, **k: n_computed.append(len(p)) or compute(r, p, **k)  # noqa: E731
    monkeypatch.setattr(tutorial, "compute_scores", counting)
    return before, n_computed


def test_scores_at_hand_are_those_that_would_be_computed(ranker, pairs, scored, capsys):
    before, n_computed = scored
    at_hand = tutorial.score_pairs(ranker, pairs)
    assert "Loaded: 3 pairs" in capsys.readouterr().out
    assert n_computed == [2]  # the two that tell whether the ranker is as it was
    np.testing.assert_allclose(at_hand.score_change(), before.score_change(), atol=1e-6)
    assert (at_hand.pairs, at_hand.skipped) == (before.pairs, ())


def test_scores_at_hand_that_were_damaged_are_refused_by_name(ranker, pairs, scored):
    (file,) = tutorial.RESULTS.glob("*.json")
    kept = json.loads(file.read_text(encoding="utf-8"))
    kept["scores"]["perturbed"][-1] += 0.5
    for damaged in (json.dumps(kept), file.read_text(encoding="utf-8")[:-9]):
        file.write_text(damaged, encoding="utf-8")
        with pytest.raises(ValueError, match=f"{file.name} is damaged.*recompute"):
            tutorial.score_pairs(ranker, pairs)


def test_what_travels_holds_what_its_checksums_say():
    for file in tutorial.RESULTS.glob("*.json"):
        part = "run" if '"run"' in file.read_text(encoding="utf-8") else "scores"
        assert tutorial._read(file, part)


def test_scores_of_other_pairs_fillers_and_rankers_changed_since_are_computed(
    ranker, pairs, scored
):
    _, n_computed = scored
    tutorial.score_pairs(ranker, pairs[:2], progress=False)
    tutorial.score_pairs(ranker, pairs, filler="mask", progress=False)
    with ranker.bridge.hooks([("blocks.0.hook_mlp_out", lambda a, hook: a * 0)]):
        tutorial.score_pairs(ranker, pairs, progress=False)
    assert n_computed == [2, 3, 2, 3]


def test_a_demonstration_has_its_controls_scored_as_it_is_told(ranker, collection, pairs):
    asked = []

    def score(ranker, pairs, **options):
        asked.extend(pair.axiom for pair in pairs)
        return me.score_pairs(ranker, pairs, **options)

    me.demonstrate({"Dot": ranker}, collection, axioms=["TFC1"], n=8, progress=False, score=score)
    assert asked == ["TFC1-control"] * 8


def test_what_is_loaded_counts_as_done(ranker, pairs, kept):
    done = []
    tutorial.patch(ranker, pairs, heads=HEADS, progress=done.append)
    assert done == [3]


def test_loading_is_said_once_in_each_cell_of_a_notebook(ranker, pairs, kept, monkeypatch, capsys):
    shell = SimpleNamespace(execution_count=7)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    for _ in range(3):
        tutorial.patch(ranker, pairs, heads=HEADS)
    assert capsys.readouterr().out.count("Loaded") == 1
    shell.execution_count += 1
    tutorial.patch(ranker, pairs, heads=HEADS)
    assert capsys.readouterr().out.count("Loaded") == 1


def test_results_at_hand_are_kept_as_they_are_and_only_others_computed(
    ranker, pairs, kept, tmp_path, monkeypatch
):
    folder = tmp_path / "new"
    folder.mkdir()
    monkeypatch.setenv("MECHIR_EDU_KEEP_RESULTS", str(folder))
    tutorial.patch(ranker, pairs, heads=HEADS)
    assert not kept
    tutorial.patch(ranker, pairs, heads=HEADS[:1], progress=False)
    assert len(kept) == 1
    names = {file.name for file in folder.iterdir()}
    assert len(names) == 2
    assert len(names & {file.name for file in tmp_path.glob("*.npz")}) == 1


def test_the_fast_profile_says_whose_numbers_the_text_has(monkeypatch, capsys):
    monkeypatch.delenv("MECHIR_EDU_FAST", raising=False)
    assert tutorial.pick(60, 6) == 60
    assert not capsys.readouterr().out
    monkeypatch.setenv("MECHIR_EDU_FAST", "1")
    assert tutorial.pick(60, 6) == 6
    assert "those of the full profile" in capsys.readouterr().out


def test_results_of_both_rankers_are_kept_where_the_text_sends_readers_to_the_other():
    kinds = [
        [line for cell in notebook.cells for line in cell.source.splitlines() if "kind = " in line]
        for notebook in map(deepcopy, keep_results.notebooks("05_zoom_in"))
    ]
    assert sorted(line.split()[2] for lines in kinds for line in lines) == ['"cat"', '"dot"']
    assert len(list(keep_results.notebooks("04_tfc1_versus_tdc"))) == 1


@pytest.fixture
def ranked(ranker, collection, tmp_path, monkeypatch):
    """Rankings of two queries at hand; a function that asks for them, and how often it computed."""
    query_ids = list(collection.queries)[:2]
    direction = np.ones((2, ranker.hf_model.config.hidden_size // ranker.n_heads))
    changes = [None, me.Knockout(HEADS), me.Scale(HEADS, 2.0), me.Steer(HEADS, direction)]
    ask = lambda change, queries=query_ids: tutorial.evaluate(  # noqa: E731
        ranker, collection, intervention=change, query_ids=queries, progress=False
    )
    monkeypatch.setenv("MECHIR_EDU_KEEP_RESULTS", str(tmp_path))
    computed = [ask(change) for change in changes]
    monkeypatch.delenv("MECHIR_EDU_KEEP_RESULTS")
    monkeypatch.setattr(tutorial, "RESULTS", tmp_path)
    n_computed, compute = [], tutorial.compute_evaluate
    counting = lambda *a, **k: n_computed.append(1) or compute(*a, **k)  # noqa: E731
    monkeypatch.setattr(tutorial, "compute_evaluate", counting)
    return ask, changes, computed, n_computed


def test_rankings_at_hand_are_those_that_would_be_computed(ranked, capsys):
    ask, changes, computed, n_computed = ranked
    for change, before in zip(changes, computed, strict=True):
        at_hand = ask(change)
        assert (at_hand.what, at_hand.run) == (before.what, before.run)
        assert at_hand.query_ids == before.query_ids
        np.testing.assert_array_equal(at_hand.values["nDCG@10"], before.values["nDCG@10"])
    assert capsys.readouterr().out.count("Loaded: rankings of 2 queries") == len(changes)
    assert not n_computed


def test_other_queries_heads_factors_and_directions_are_ranked_anew(ranked, collection):
    ask, (*_, steer), _, n_computed = ranked
    ask(me.Knockout(HEADS[:1]))
    ask(me.Scale(HEADS, 3.0))
    ask(me.Steer(HEADS, -steer.direction))  # of the same shape, so that only its scores tell
    ask(None, list(collection.queries)[:1])
    assert len(n_computed) == 4


def test_a_ranker_changed_since_is_ranked_anew(ranker, ranked):
    ask, _, _, n_computed = ranked
    with ranker.bridge.hooks([("blocks.0.hook_mlp_out", lambda a, hook: a * 0)]):
        ask(None)
    assert n_computed


def test_bad_input_is_refused_as_by_evaluate(ranker, collection, kept, as_users_run):
    with pytest.raises(TypeError, match="ranker"):
        tutorial.evaluate("Dot", collection)
    with pytest.raises(ValueError, match="q99"):
        tutorial.evaluate(ranker, collection, query_ids=["q99"])
    with pytest.raises(ValueError, match="nDGC"):
        tutorial.evaluate(ranker, collection, query_ids=["q01"], measures=["nDGC@10"])
    with pytest.raises(TypeError, match="needed a Knockout"):
        tutorial.evaluate(ranker, collection, intervention="zero")


def test_a_ranker_with_a_hook_of_ones_own_is_computed(ranker, pairs, kept):
    with ranker.bridge.hooks([("blocks.0.hook_mlp_out", lambda a, hook: a * 0)]):
        changed = tutorial.patch(ranker, pairs, heads=HEADS, progress=False)
    assert kept
    assert not np.allclose(changed.recipient, tutorial.patch(ranker, pairs, heads=HEADS).recipient)


def test_a_ranker_whose_weights_were_changed_is_computed(ranker, pairs, kept):
    bias = ranker.hf_model.encoder.layer[0].output.dense.bias
    bias[0] += 5  # one number alone: LayerNorm takes a shift of all away
    try:
        tutorial.patch(ranker, pairs, heads=HEADS, progress=False)
        assert kept
    finally:
        bias[0] -= 5


@pytest.mark.parametrize("how", ["switch", "environment"])
def test_a_switch_computes_everything_here(ranker, pairs, kept, monkeypatch, how):
    if how == "switch":
        monkeypatch.setattr(tutorial, "recompute", True)
    else:
        monkeypatch.setenv("MECHIR_EDU_RECOMPUTE", "1")
    tutorial.patch(ranker, pairs, heads=HEADS, progress=False)
    assert kept


def test_pairs_that_are_aligned_already_and_a_ranker_under_an_intervention_are_computed(
    ranker, pairs, kept
):
    aligned = me.align(pairs, ranker.tokenizer, kind="dot", max_length=ranker.max_length)
    tutorial.patch(ranker, aligned, heads=HEADS, progress=False)
    tutorial.patch(ranker.under(me.Knockout([(0, 0)])), pairs, heads=HEADS, progress=False)
    assert len(kept) == 2


def test_bad_input_is_refused_as_by_patch(ranker, pairs, kept, as_users_run):
    with pytest.raises(TypeError, match="needed a list of Pair"):
        tutorial.patch(ranker, "TFC1")
    with pytest.raises(ValueError, match="did you mean 'exact'"):
        tutorial.patch(ranker, pairs, method="exakt")
    with pytest.raises(TypeError, match="sites"):
        tutorial.patch(ranker, pairs, sites="head")


def read(file):
    """A result of either class that patching keeps."""
    with np.load(file) as stored:
        is_circuit = "random_effects" in stored.files
    return (me.CircuitResult if is_circuit else PatchingResult).load(file)


def test_the_results_that_travel_are_small_whole_and_of_embedded_rankers(dot, cat):
    files = sorted(tutorial.RESULTS.glob("*.npz"))
    embedded = {dot.checksum, cat.checksum, me.Sparse("embedded").checksum}
    assert len(files) > 10
    whole = [*files, *tutorial.RESULTS.glob("*.json")]
    assert sum(file.stat().st_size for file in whole) < keep_results.MOST_BYTES
    for file in files:
        result = read(file)
        assert result.provenance["checksum"] in embedded
        measured = getattr(result, MEASURED[type(result)][0])
        assert measured.dtype == np.float32
        assert np.isfinite(measured).all()


def test_tutorials_that_take_results_are_those_of_the_long_part():
    assert set(keep_results.asking()) <= set(contents())
    assert {name[:2] for name in keep_results.asking()} >= {"04", "05", "06", "07", "08"}


# --- computed anew: slow, each result and each tutorial by itself ---------------------------------

KEPT = sorted(file.stem for file in tutorial.RESULTS.glob("*.npz"))
# Some were computed on a GPU: float32 scores are then the same to five digits.
ALIKE = {"rtol": 1e-5, "atol": 1e-4}


def subsets(**options):
    """The options as a tutorial may have given them: each, or left to its default."""
    for chosen in itertools.product((True, False), repeat=len(options)):
        yield {name: options[name] for name, on in zip(options, chosen, strict=True) if on}


def asked(result):
    """Options that may have made a result of patching."""
    told = result.provenance
    if getattr(result, "site", None) == "path":
        heads = {side: [tuple(head) for head in told[side]] for side in ("senders", "receivers")}
        more = {"direction": result.direction, "via": told["via"], "mlps": told["mlps"]}
        yield from subsets(**heads, **more)
    elif isinstance(result, me.CircuitResult):
        one = {"order": result.ordered_by if result.ranked_queries else list(result.order)}
        sizes = [int(number) for number in result.numbers]
        shapes = ({"sizes": sizes}, {"sizes": sizes[1:]}, {"sizes": sizes[1:-1]}, {})
        rest = {"ablation": result.ablation, "direction": result.direction}
        for shape, drawn in itertools.product(shapes, (0, len(result.random_effects), 20)):
            for chosen in subsets(**rest, ranked_on=told.get("ranked_on")):
                yield one | shape | {"n_random": drawn} | chosen
    else:
        heads = told["heads"] and [tuple(head) for head in told["heads"]]
        cells = {"site": result.site, "by": told["by"], "heads": heads, "method": result.method}
        for chosen in subsets(direction=result.direction, together=True):
            yield cells | {"filler": result.filler} | chosen


def pairs_of(result):
    """Its pairs; an order was found on other queries, too, of which a result has only ids."""
    if getattr(result, "ranked_queries", ()):
        return list(me.make_pairs(me.load_collection("embedded"), "TFC1", n=24, seed=3))
    return list(result.pairs)


@pytest.fixture(scope="module")
def made_by(dot, cat):
    """What made a file, ready to run: the file's name says with which options it was made."""
    rankers = {"dot": dot, "cat": cat, "sparse": me.Sparse("embedded")}

    def find(name, stored):
        ranker, pairs = rankers[stored.provenance["kind"]], pairs_of(stored)
        kinds = {"path": (PathResult, me.path_patch)}
        kind, run = kinds.get(getattr(stored, "site", None), (PatchingResult, me.patch))
        if isinstance(stored, me.CircuitResult):
            kind, run = me.CircuitResult, me.circuit
        for options in asked(stored):
            with contextlib.suppress(ValueError, TypeError):  # options that exclude each other
                if tutorial.key(kind, ranker, pairs, options) == name:
                    return partial(run, ranker, pairs, progress=False, **options)
        raise AssertionError(f"no options make {name}: {stored.provenance}")

    return find


@pytest.mark.parametrize("name", KEPT[:: len(KEPT) // 4])
def test_a_results_name_says_with_which_options_it_was_made(name, made_by):
    assert made_by(name, read(tutorial.RESULTS / f"{name}.npz"))


@pytest.mark.slow
@pytest.mark.parametrize("name", KEPT)
def test_a_result_that_travels_is_what_its_options_compute(name, made_by):
    stored = read(tutorial.RESULTS / f"{name}.npz")
    here = made_by(name, stored)()
    here = getattr(here, "paths", here)
    assert here.pairs == stored.pairs
    for field in (*MEASURED[type(stored)], "recipient", "donor"):
        np.testing.assert_allclose(getattr(here, field), getattr(stored, field), **ALIKE)


def only_loaded():
    """The kernel's first cell: maps and circuits are taken, scores and rankings computed."""
    return nbformat.v4.new_code_cell(
        "from mechir_edu.checks import tutorial as _t\n"
        "_is_there = _t._is_at_hand\n"
        "_t._is_at_hand = lambda name: name.endswith('.npz') and _is_there(name)"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(keep_results.asking()))
def test_scores_and_rankings_that_travel_are_what_their_tutorial_computes(
    name, tmp_path, monkeypatch
):
    monkeypatch.setenv("MECHIR_EDU_KEEP_RESULTS", str(tmp_path))
    for notebook in keep_results.notebooks(name):
        notebook.cells.insert(0, only_loaded())
        execution.run(notebook, strict=True, fast=False)
    kept = {file.name for file in tmp_path.iterdir()}
    assert kept
    assert kept <= {file.name for file in tutorial.RESULTS.iterdir()}
    for file in sorted(tmp_path.glob("*.json")):
        here, travels = (
            json.loads((f / file.name).read_text()) for f in (tmp_path, tutorial.RESULTS)
        )
        assert here["made_of"] == travels["made_of"]
        for what in ("run", "scores"):
            for key, scores in here.get(what, {}).items():
                assert scores == pytest.approx(travels[what][key], abs=1e-4)


@pytest.mark.slow
def test_what_travels_is_what_tutorials_ask_for(tmp_path):
    keep_results.compute(tmp_path, anew=False)
    assert {file.name for file in tmp_path.iterdir()} == {
        file.name for file in tutorial.RESULTS.iterdir()
    }


def test_reference_answers_draw_in_the_same_layers_and_choose_without_peeking():
    heads = [(0, 1), (2, 3), (2, 0)]
    drawn = tutorial.random_heads(heads, 6, np.random.default_rng(0))
    assert sorted(layer for layer, _ in drawn) == [0, 2, 2]
    assert not set(drawn) & set(heads)
    change = {"a": np.array([0.2, 0.1, 0.9]), "b": np.array([0.3, 0.4, -0.5])}
    chosen = tutorial.choose_best(change, np.array([True, True, False]))
    assert chosen == ("b", pytest.approx(0.35), -0.5)
