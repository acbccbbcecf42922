from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from few import few
from patching_helpers import assert_same_bits, hook_name
from small_tokenizers import wordpiece
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
)

from mechir_edu.alignment.aligner import align
from mechir_edu.models import Cat, Dot
from mechir_edu.patching.activation import patch
from mechir_edu.patching.batches import make_batches
from mechir_edu.patching.budget import bytes_of_weights, bytes_per_token
from mechir_edu.patching.paths import VIAS, PathResult, path_patch
from mechir_edu.perturb.draw import make_pairs
from mechir_edu.perturb.pair import Pair
from mechir_edu.stats.recovered import recovery

SIZES = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
# Large weights, so that attention is not even and every path moves the score.
SHAPE = SIZES | {"num_hidden_layers": 3, "initializer_range": 0.3}
DISTIL = {"dim": 16, "n_heads": 2, "hidden_dim": 24, "n_layers": 3, "initializer_range": 0.3}
TINY = {
    "BERT cross-encoder": (Cat, BertForSequenceClassification, BertConfig(num_labels=1, **SHAPE)),
    "DistilBERT": (partial(Dot, pooling="mean"), DistilBertModel, DistilBertConfig(**DISTIL)),
    "MPNet": (Dot, MPNetModel, MPNetConfig(vocab_size=30522, **SHAPE)),
}
DIRECTIONS = ("perturbed_to_baseline", "baseline_to_perturbed")


def make_pair(i, document, word):
    query = f"coral reef {word}"
    return Pair(f"q{i}", f"d{i}", query, document, f"{document} {word}", "TFC1", 1, term=word)


PAIRS = [
    make_pair(0, "Warm water bleaches the reef.", "coral"),
    make_pair(1, "The sea is full of fish.", "reef"),
    make_pair(2, "Bread rises because yeast makes gas.", "unbelievable"),
]


def save_tiny(folder, model_class, config):
    torch.manual_seed(0)
    model_class(config).save_pretrained(folder)
    wordpiece().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", params=TINY)
def tiny(request, tmp_path_factory):
    kind, model_class, config = TINY[request.param]
    return kind(save_tiny(tmp_path_factory.mktemp("tiny"), model_class, config))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    _, model_class, config = TINY["BERT cross-encoder"]
    return Cat(save_tiny(tmp_path_factory.mktemp("bert"), model_class, config))


@pytest.fixture(scope="module")
def planted_pairs(collection):
    return make_pairs(collection, "TDC", n=8, seed=1)


# The reference: whole forward passes through hooks, everything off the path held by hand.


def put(values):
    return lambda activation, hook: values


def put_head(values, head):
    def hook(activation, hook):
        patched = activation.clone()
        patched[:, :, head] = values[:, :, head]
        return patched

    return hook


def run(ranker, batch, inputs, hooks=(), keep=()):
    """Scores [pair] of a run under hooks, and the activations at the names to keep."""
    kept = {}
    keepers = [(name, lambda x, hook, name=name: kept.update({name: x.clone()})) for name in keep]
    with torch.no_grad(), ranker.bridge.hooks(fwd_hooks=[*hooks, *keepers]):
        hidden = ranker.hidden(inputs)
        score = ranker.relevance(hidden, inputs["attention_mask"], batch.fixed)
    return score.numpy(), kept


def reference(ranker, batch, sender, via, direction, mlps):
    """Score of every receiver [receiver, pair], and of the direct path to the score [pair]."""
    layers, (sender_layer, sender_head) = range(ranker.n_layers), sender
    runs = batch.runs(direction)
    recipient, donor = runs.recipient, runs.donor
    site = {name: [hook_name(name, i) for i in layers] for name in ("head", "mlp_out", *"qkv")}
    held = site["head"] + (site["mlp_out"] if mlps == "frozen" else [])
    base, values = run(ranker, batch, recipient, keep=held)
    _, given = run(ranker, batch, donor, keep=site["head"])
    change = put_head(given[site["head"][sender_layer]], sender_head)
    freeze = [(name, put(values[name])) for name in held]
    hooks = [*freeze, (site["head"][sender_layer], change)]
    inputs = [name for letter in via for name in site[letter]]
    direct, arrived = run(ranker, batch, recipient, hooks, keep=inputs)
    scores = []
    for layer, head in product(layers, range(ranker.n_heads)):
        names = [site[letter][layer] for letter in via]
        hooks = [(name, put_head(arrived[name], head)) for name in names]
        scores.append(run(ranker, batch, recipient, hooks)[0] if layer > sender_layer else base)
    return np.stack(scores), direct


def assert_equals_reference(ranker, pairs, *, senders, via, direction, mlps, filler="a"):
    options = {"via": via, "direction": direction, "mlps": mlps}
    aligned = align(pairs, ranker.tokenizer, kind=ranker.kind, filler=filler)
    found = path_patch(ranker, aligned, senders=senders, progress=False, **options)
    for batch in make_batches(ranker, aligned.aligned, max_tokens=1000):
        for i, sender in enumerate(senders):
            scores, direct = reference(ranker, batch, sender, **options)
            np.testing.assert_allclose(found.scores[i][:, batch.index], scores, atol=1e-5)
            np.testing.assert_allclose(found.to_score[i][batch.index], direct, atol=1e-5)


WAYS = list(product(VIAS, [(DIRECTIONS[0], "frozen"), (DIRECTIONS[1], "recomputed")]))


@pytest.mark.parametrize(("via", "how"), few(WAYS, WAYS[::4] + WAYS[3::4]))
def test_paths_equal_whole_forward_passes_with_all_else_held(tiny, via, how):
    direction, mlps = how
    senders = [(0, 1), (1, 0), (2, 1)]
    assert_equals_reference(tiny, PAIRS, senders=senders, via=via, direction=direction, mlps=mlps)


def test_paths_equal_the_reference_where_a_filler_is_masked(tiny):
    options = {"via": "qkv", "direction": DIRECTIONS[0], "mlps": "frozen", "filler": "pad"}
    assert_equals_reference(tiny, PAIRS, senders=[(0, 1)], **options)


@pytest.mark.parametrize(("via", "direction"), [("qkv", DIRECTIONS[0]), ("q", DIRECTIONS[1])])
def test_paths_of_the_planted_ranker_equal_the_reference(planted, planted_pairs, via, direction):
    options = {"via": via, "direction": direction, "mlps": "frozen"}
    senders = sorted(planted.planted_heads)
    assert_equals_reference(planted, planted_pairs[:2], senders=senders, **options)


# What paths must find


@pytest.fixture(scope="module")
def idf_share(planted, planted_pairs):
    """Share of the planted score change that patching the idf head brings over."""
    options = {"heads": [find(planted, "idf")], "direction": DIRECTIONS[1], "progress": False}
    return patch(planted, planted_pairs, **options).recovery().value[0]


def planted_matrix(planted, pairs, via):
    # The perturbed run receives: there the idf head has something to lose.
    result = path_patch(planted, pairs, via=via, direction=DIRECTIONS[1], progress=False)
    return result.matrix().value


def find(planted, part):
    return sorted(planted.planted_heads)[("match", "idf", "aggregate").index(part)]


def edge(planted, sender, receiver):
    return tuple(np.ravel_multi_index(find(planted, part), (4, 4)) for part in (sender, receiver))


def test_the_idf_head_hears_of_a_match_through_its_query(planted, planted_pairs, idf_share):
    found = planted_matrix(planted, planted_pairs, "q")
    heard = edge(planted, "match", "idf")
    assert found[heard] == pytest.approx(idf_share, abs=0.01)
    found[heard] = 0
    assert np.abs(found).max() < 1e-3


def test_the_aggregating_head_takes_match_and_idf_as_values(planted, planted_pairs, idf_share):
    found = planted_matrix(planted, planted_pairs, "v")
    for sender, share in {"match": 1 - idf_share, "idf": idf_share}.items():
        taken = edge(planted, sender, "aggregate")
        assert found[taken] == pytest.approx(share, abs=0.01)
        found[taken] = 0
    assert np.abs(found).max() < 1e-3


def test_nothing_planted_travels_through_keys(planted, planted_pairs):
    assert np.abs(planted_matrix(planted, planted_pairs, "k")).max() < 1e-3


def test_only_the_aggregating_head_speaks_to_the_score(planted, planted_pairs):
    direct = path_patch(planted, planted_pairs, receivers=[], progress=False).direct().value
    aggregate = np.ravel_multi_index(find(planted, "aggregate"), (4, 4))
    assert direct[aggregate] == pytest.approx(1, abs=0.01)
    assert np.abs(np.delete(direct, aggregate)).max() < 1e-3


# What must hold whatever the ranker


def test_a_donor_equal_to_the_recipient_changes_no_score(tiny):
    aligned = align(PAIRS, tiny.tokenizer, kind=tiny.kind)
    same = [replace(pair, perturbed_ids=pair.baseline_ids) for pair in aligned.aligned]
    found = path_patch(tiny, replace(aligned, aligned=tuple(same)), progress=False)
    expected = np.broadcast_to(found.paths.recipient, found.paths.scores.shape)
    np.testing.assert_allclose(found.paths.scores, expected, atol=1e-6)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_head_of_the_last_layer_acts_directly_on_the_score_and_in_no_other_way(tiny, direction):
    senders = [(2, 0), (2, 1)]
    options = {"direction": direction, "progress": False}
    found = path_patch(tiny, PAIRS, senders=senders, mlps="recomputed", **options)
    whole = patch(tiny, PAIRS, heads=senders, **options)
    np.testing.assert_allclose(found.to_score, whole.scores, atol=1e-5)


def test_a_receiver_that_is_not_behind_the_sender_has_exactly_the_recipients_score(bert):
    found = path_patch(bert, PAIRS, progress=False)
    assert (found.scores[~found.is_path] == found.paths.recipient).all()
    assert (np.abs(found.scores - found.paths.recipient).max(axis=-1) > 1e-5)[found.is_path].all()


def test_mlps_on_the_way_change_what_arrives(bert):
    frozen, recomputed = (
        path_patch(bert, PAIRS, mlps=mlps, progress=False).scores
        for mlps in ("frozen", "recomputed")
    )
    assert np.abs(frozen - recomputed).max() > 1e-3


def test_chosen_heads_stand_in_the_order_asked_for(bert):
    senders, receivers = [(1, 1), (0, 0)], [(2, 1), (2, 0), (1, 0)]
    part = path_patch(bert, PAIRS, senders=senders, receivers=receivers, progress=False)
    whole = path_patch(bert, PAIRS, progress=False)
    assert (part.senders, part.receivers) == (senders, receivers)
    np.testing.assert_allclose(part.scores, whole.scores[[3, 0]][:, [5, 4, 2]], atol=1e-6)
    np.testing.assert_allclose(part.to_score, whole.to_score[[3, 0]], atol=1e-6)


def test_scores_do_not_depend_on_how_much_is_run_at_once(tmp_path):
    _, model_class, config = TINY["BERT cross-encoder"]
    bert = Cat(save_tiny(tmp_path, model_class, config), max_length=32)
    room_for_one_pair = bytes_of_weights(bert) + 32 * bytes_per_token(bert)
    whole = path_patch(bert, PAIRS, progress=False)
    in_parts = path_patch(bert, PAIRS, memory=room_for_one_pair, progress=False)
    np.testing.assert_allclose(in_parts.paths.scores, whole.paths.scores, atol=1e-6)


def test_a_memory_budget_too_small_for_one_sequence_is_refused(bert):
    with pytest.raises(ValueError, match="needed at least .* MB"):
        path_patch(bert, PAIRS, memory=1, progress=False)


def test_progress_is_told_in_pairs(bert):
    told = []
    path_patch(bert, PAIRS, senders=[(1, 0)], progress=told.append)
    assert sum(told) == len(PAIRS)


# Results


def test_the_matrix_corrects_over_the_paths_there_are(bert):
    result = path_patch(bert, PAIRS, progress=False)
    found, is_path = result.matrix(), result.is_path
    assert found.axes == ("sender", "receiver")
    whole, query_ids = result.paths, ["q0", "q1", "q2"]
    scores = result.scores[is_path]
    alone = recovery(scores, whole.recipient, whole.donor, axes=("path",), query_ids=query_ids)
    for name in ("value", "low", "high", "p", "q"):
        np.testing.assert_array_equal(getattr(found, name)[is_path], getattr(alone, name))
    assert not found.value[~is_path].any()
    assert (found.q[~is_path] == 1).all()


def test_a_matrix_without_paths_points_to_the_score(bert):
    result = path_patch(bert, PAIRS, senders=[(2, 0)], progress=False)
    with pytest.raises(ValueError, match=r"later layer than a sender.*direct\(\)"):
        result.matrix()
    assert result.direct().value.shape == (1,)


def test_a_saved_result_is_read_back_as_it_was(bert, tmp_path):
    result = path_patch(bert, PAIRS, senders=[(0, 1), (1, 0)], via="k", progress=False)
    result.save(tmp_path / "paths.npz")
    loaded = PathResult.load(tmp_path / "paths.npz")
    assert (loaded.senders, loaded.receivers) == (result.senders, result.receivers)
    assert_same_bits(loaded.paths, result.paths)


def test_a_result_of_patching_heads_is_not_one_of_paths(bert, tmp_path):
    patch(bert, PAIRS, heads=[(0, 0)], progress=False).save(tmp_path / "heads.npz")
    with pytest.raises(ValueError, match="got one of patching 'head'"):
        PathResult.load(tmp_path / "heads.npz")


# Errors


def test_a_pre_ln_ranker_is_refused_and_the_post_ln_families_are_named(tmp_path):
    config = ModernBertConfig(**SHAPE, vocab_size=30522, pad_token_id=0)
    ranker = Dot(save_tiny(tmp_path, ModernBertModel, config), verify=False)
    with pytest.raises(ValueError, match="one of bert, .*mpnet.*; got modernbert"):
        path_patch(ranker, PAIRS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"via": "z"}, "via must be one of 'q', 'k', 'v', 'qkv', got 'z'"),
        ({"mlps": "thawed"}, "mlps must be one of 'frozen', 'recomputed', got 'thawed'"),
        ({"senders": [(0, 2)]}, r"no head \(layer 0, head 2\)"),
        ({"receivers": [(3, 0)]}, r"no head \(layer 3, head 0\)"),
        ({"senders": []}, r"heads= needs different \(layer, head\)"),
    ],
)
def test_an_option_that_does_not_exist_is_refused(bert, options, message):
    with pytest.raises(ValueError, match=message):
        path_patch(bert, PAIRS, **options)
