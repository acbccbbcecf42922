"""Cuts of attention: identities, the same mask by hand in plain Hugging Face, bad input."""

import numpy as np
import pytest
import torch
from patching_helpers import EACH_FAMILY, PAIRS, assert_same, patched
from small_models import FAMILIES, build_model
from test_multi_vector import save_stanford

import mechir_edu as me
from mechir_edu.alignment.read_roles import role_reader
from mechir_edu.collection.judged import Judged

QUERY, TEXTS = "coral reef bleaching", [pair.perturbed for pair in PAIRS]
ROLES = ("[CLS]", "query", "[SEP]", "document")
ACROSS = me.Cut("query", "document", both_ways=True)


@pytest.fixture(params=EACH_FAMILY)
def family(request):
    return request.param


def scores(ranker, cut=None):
    return (ranker if cut is None else ranker.under(cut)).score(QUERY, TEXTS)


def patterns(ranker, cut, layer=0):
    """Attention of a layer under a cut, [text, head, pos, pos], and the roles of positions."""
    inputs = ranker.model_inputs(**ranker.tokenize(QUERY, TEXTS))
    kept = []
    with ranker.under(cut)._in_place("both"):
        hook = (f"blocks.{layer}.attn.hook_pattern", lambda p, hook: kept.append(p.clone()))
        with ranker.bridge.hooks(fwd_hooks=[hook]):
            ranker.hidden(inputs)
    return kept[0], role_reader(ranker, "both").read(inputs["input_ids"].numpy())


def roles_by_hand(ids, special):
    """Roles of [CLS] query [SEP] ([SEP]) document [SEP], by counting special tokens."""
    roles, n_seen = [], 0
    for token in ids:
        is_special = token in special
        before = [r for r in roles if r == "[SEP]"]
        n_seen += bool(is_special)
        if is_special:
            roles.append("[CLS]" if n_seen == 1 else "[SEP]")
        else:
            roles.append("document" if before else "query")
    return np.array(roles)


@torch.no_grad()
def by_hand(family, ranker, text, cuts):
    """Score of plain eager attention with a mask [pos, pos] written by hand."""
    model = build_model(family, "ForSequenceClassification", attn_implementation="eager")
    encoded = ranker.tokenizer(QUERY, text, return_tensors="pt")
    special = set(ranker.tokenizer.all_special_ids)
    roles = roles_by_hand(encoded["input_ids"][0].tolist(), special)
    mask = torch.zeros(1, 1, len(roles), len(roles))
    for looking, seen in cuts:
        mask[0, 0][np.ix_(roles == looking, roles == seen)] = -1e9
    encoded["attention_mask"] = mask
    logits = model(**encoded).logits[0]
    return (logits[-1] - logits[0] if len(logits) == 2 else logits[0]).item()


@pytest.mark.parametrize(
    ("cut", "cuts"),
    [
        (me.Cut("[CLS]", "query"), [("[CLS]", "query")]),
        (ACROSS, [("query", "document"), ("document", "query")]),
    ],
    ids=["one way", "both ways"],
)
@pytest.mark.parametrize("family", ["bert", "distilbert", "electra", "roberta", "xlm-roberta"])
def test_a_cut_is_the_mask_that_one_writes_by_hand(small_ranker, family, cut, cuts):
    ranker = small_ranker(family, "cat")
    expected = [by_hand(family, ranker, text, cuts) for text in TEXTS]
    assert_same(scores(ranker, cut), expected)
    assert np.abs(expected - scores(ranker)).max() > 1e-3


@torch.no_grad()
def test_a_cut_of_one_layer_is_a_mask_in_that_layer(small_ranker):
    ranker, model = small_ranker("bert", "cat"), build_model("bert", "ForSequenceClassification")
    model.set_attn_implementation("eager")
    encoded = ranker.tokenizer(QUERY, TEXTS[0], return_tensors="pt")
    types = encoded["token_type_ids"][0].bool()
    is_query = ~types & (torch.arange(len(types)) > 0) & (encoded["input_ids"][0] != 102)
    is_document = types & (encoded["input_ids"][0] != 102)

    def mask(module, args, kwargs):
        added = torch.zeros(1, 1, len(types), len(types))
        added[0, 0][is_document.unsqueeze(1) & is_query.unsqueeze(0)] = -1e9
        position = list(args)
        if "attention_mask" in kwargs:
            kwargs["attention_mask"] = added
        else:
            position[1] = added
        return tuple(position), kwargs

    module = model.bert.encoder.layer[1].attention.self
    module.register_forward_pre_hook(mask, with_kwargs=True)
    logits = model(**encoded).logits[0]
    expected = (logits[-1] - logits[0] if len(logits) == 2 else logits[0]).item()
    cut = me.Cut("document", "query", layers=[1])
    np.testing.assert_allclose(scores(ranker, cut)[0], expected, atol=1e-4)
    assert abs(scores(ranker, me.Cut("document", "query", layers=[0]))[0] - expected) > 1e-4


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "modernbert"])
def test_rows_sum_to_one_nothing_passes_and_the_rest_grows_in_proportion(small_ranker, family):
    ranker = small_ranker(family, "cat")
    (whole, roles), (cut, _) = (
        patterns(ranker, me.Cut("query", "document", [])),
        patterns(ranker, me.Cut("query", "document")),
    )
    between = torch.from_numpy((roles == 1)[:, :, None] & (roles == 3)[:, None]).unsqueeze(1)
    torch.testing.assert_close(cut.sum(dim=-1), torch.ones(cut.shape[:-1]))
    assert (cut * between == 0).all()
    left = whole * ~between
    torch.testing.assert_close(cut, left / left.sum(dim=-1, keepdim=True))


def test_cutting_no_layer_changes_no_bit(small_ranker, family):
    ranker = small_ranker(family, "cat")
    assert (scores(ranker, me.Cut("query", "document", layers=())) == scores(ranker)).all()


def test_a_score_under_a_cut_does_not_depend_on_the_batch(small_ranker, family):
    ranker = small_ranker(family, "cat")
    alone = np.concatenate([ranker.under(ACROSS).score(QUERY, [text]) for text in TEXTS])
    assert_same(scores(ranker, ACROSS), alone)


def test_without_any_way_from_the_query_the_query_does_not_matter(small_ranker):
    ranker = small_ranker("bert", "cat")
    blind = ranker.under(me.Cut(("[CLS]", "document", "[SEP]"), "query"))
    first, second = (blind.score(query, TEXTS) for query in ("coral reef", "trains late"))
    assert_same(first, second)  # both are two tokens long, so positions are the same


def test_patching_under_a_cut_is_exact_and_cuts_both_runs(small_ranker, family):
    under = small_ranker(family, "cat").under(ACROSS)
    options = {"site": "head", "direction": "perturbed_to_baseline"}
    fast, slow = (patched(under, method=m, **options) for m in ("exact", "naive"))
    assert_same(fast.scores, slow.scores)
    assert np.abs(fast.effect()).max() > 1e-5
    own = me.score_pairs(under, PAIRS, progress=False)
    assert_same(fast.recipient, own.baseline)
    assert "Cut" in fast.provenance["intervention"]


def test_a_pattern_can_be_read_under_a_cut(planted):
    attention = me.pair_attention(
        planted.under(me.Cut("document", "query")), PAIRS[0], layer=0, head=0
    )
    np.testing.assert_allclose(attention.pattern.sum(axis=1), 1, atol=1e-5)
    n_query = list(attention.tokens).index("[SEP]")
    assert (attention.pattern[n_query + 1 : -1, 1:n_query] == 0).all()


def test_cutting_what_the_planted_heads_use_silences_every_match(planted):
    match = me.Cut("document", "query")
    assert np.ptp(scores(planted, match)) < 1e-4 < np.ptp(scores(planted))
    assert_same(scores(planted, me.Cut("query", "document")), scores(planted))


def test_the_ranking_under_a_cut_can_be_measured(planted, collection):
    cut, options = me.Cut("document", "query"), {"query_ids": ["q01", "q02"], "progress": False}
    effect = me.compare(planted, collection, cut, **options)
    assert np.ptp(list(effect.after.run["q01"].values())) < 1e-4
    assert np.abs(effect.change("nDCG@10")).max() > 0


def test_one_side_of_a_bi_encoder_is_cut_alone(small_ranker):
    dot = small_ranker("bert", "dot")
    query = dot.under(me.Cut("[CLS]", "query"))
    document = dot.under(me.Cut("[CLS]", "document"))
    assert (query.encode_documents(TEXTS) == dot.encode_documents(TEXTS)).all()
    assert (document.encode_query(QUERY) == dot.encode_query(QUERY)).all()
    changed = dot.compare(query.encode_query(QUERY), document.encode_documents(TEXTS))
    both = dot.under(me.Cut("[CLS]", ("query", "document")))
    np.testing.assert_allclose(both.score(QUERY, TEXTS), changed, rtol=1e-5)


def test_a_multi_vector_ranker_is_cut_on_either_side(tmp_path):
    ranker = me.MultiVector(str(save_stanford(tmp_path)))
    for cut in (me.Cut("query", "query"), me.Cut("document", "document")):
        assert np.abs(scores(ranker, cut) - scores(ranker)).max() > 1e-3


def test_a_separator_in_a_text_is_told_by_token_types_or_refused(small_ranker):
    bert, roberta = small_ranker("bert", "cat"), small_ranker("roberta", "cat")
    inputs = bert.tokenize("coral [SEP] reef", ["warm [SEP] water"])
    reader = role_reader(bert, "both")
    roles = reader.read(inputs["input_ids"].numpy(), inputs["token_type_ids"].numpy())[0]
    assert roles.tolist() == [0, 1, 1, 1, 2, 3, 3, 3, 2]
    with pytest.raises(ValueError, match="told apart"):
        roberta.under(ACROSS).score("coral</s></s>reef", TEXTS)


def test_roles_are_those_of_the_alignment(small_ranker, family):
    ranker = small_ranker(family, "cat")
    pairs = [Judged("q", "d", QUERY, text, 1) for text in TEXTS]
    inputs = ranker.tokenize(QUERY, [pair.text for pair in pairs])
    types = inputs.get("token_type_ids")
    read = role_reader(ranker, "both").read(
        inputs["input_ids"].numpy(), None if types is None else types.numpy()
    )
    special = set(ranker.tokenizer.all_special_ids)
    for row, ids, mask in zip(read, inputs["input_ids"], inputs["attention_mask"], strict=True):
        names = [ROLES[role] for role in row[mask.bool().numpy()]]
        assert names == roles_by_hand(ids[mask.bool()].tolist(), special).tolist()
        assert (row[~mask.bool().numpy()] == me.Role.END).all()


def test_a_row_of_local_attention_that_would_be_empty_is_refused(small_ranker):
    ranker = small_ranker("modernbert", "cat")
    long = " ".join(TEXTS)
    with pytest.raises(ValueError, match=r"nothing to look at in blocks\.1"):
        ranker.under(me.Cut("document", "document")).score(QUERY, [long])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: me.Cut("querry", "document"), "did you mean 'query'"),
        (lambda: me.Cut((), "document"), "from_role must be one of"),
        (lambda: me.Cut("query", "edited span"), "to_role must be one of"),
        (lambda: me.Cut("query", "document", 3), "range"),
        (lambda: me.Cut("query", "document", [0.5]), "whole number"),
        (lambda: me.Cut("query", "document", [4]), "no layer 4"),
        (lambda: me.Cut("query", "document", [-1]), "no layer -1"),
        (lambda: me.Cut("query", "document", both_ways="yes"), "both_ways"),
        (lambda: me.Cut("query", "document", side="document"), "together"),
        (lambda: me.Cut("query", ROLES), "look at something"),
    ],
)
def test_what_cannot_be_cut_is_named(planted, as_users_run, make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        planted.under(make())


def test_a_bi_encoder_has_nothing_to_cut_between_query_and_document(small_ranker):
    with pytest.raises(ValueError, match="reads query and document apart"):
        small_ranker("bert", "dot").under(ACROSS)
