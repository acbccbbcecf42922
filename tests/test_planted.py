import copy
import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from mechir_edu.alignment.aligner import align
from mechir_edu.perturb.draw import make_pairs
from mechir_edu.rankers import planted
from mechir_edu.stats.recovered import recovery

DOCUMENTS = [
    "Coral reefs bleach when the sea grows warm; a reef can recover in cool water.",
    "The sea is warm in summer and the reef is full of fish.",
    "Bread rises because yeast makes gas in warm water.",
    "A lighthouse keeper wrote of the sea, of fish and of bread.",
    "Granite forms when magma cools slowly; basalt cools fast in water.",
    "The city council met in the hall and talked about water and bread.",
]
QUERY = "what makes coral and granite in a sea"
DOCUMENT = "The sea is full of fish and the city is full of bread"
COMMON, RARE, NEUTRAL = "sea", "granite", "council"  # sea is in 3 of the documents, granite in 1
ALL_HEADS = list(np.ndindex(planted.N_LAYERS, planted.N_HEADS))


@pytest.fixture(
    scope="module", params=[0, pytest.param(1, marks=pytest.mark.long)], ids="seed {}".format
)
def ranker(request):
    return planted.build(request.param, documents=DOCUMENTS)


@pytest.fixture(scope="module")
def default():
    return planted.load()


def encode(ranker, query, texts):
    return ranker.tokenizer([query] * len(texts), texts, padding=True, return_tensors="pt")


@torch.no_grad()
def score(ranker, query, *texts):
    return ranker.model(**encode(ranker, query, list(texts))).logits[:, 0].numpy()


def head_of(ranker, part):
    return next(at for at, does in ranker.planted_heads.items() if does.startswith(part))


@torch.no_grad()
def pattern(ranker, part, query, text):
    """Attention pattern [pos, pos] of a planted head, and the tokens."""
    ranker.model.set_attn_implementation("eager")
    inputs = encode(ranker, query, [text])
    attentions = ranker.model(**inputs, output_attentions=True).attentions
    layer, head = head_of(ranker, part)
    tokens = ranker.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
    return attentions[layer][0, head].numpy(), tokens


@contextmanager
def before_w_o(model, layer, hook):
    dense = model.bert.encoder.layer[layer].attention.output.dense
    handle = dense.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def replace_head(head, z):
    columns = slice(head * planted.D_HEAD, (head + 1) * planted.D_HEAD)

    def hook(_, args):
        patched = args[0].clone()
        patched[..., columns] = z[..., columns]
        return (patched,)

    return hook


@torch.no_grad()
def patch_every_head(model, recipient, donor):
    """Score change over the recipient [head], heads in the order of layers; and the donor's."""
    base, scores = model(**recipient).logits.item(), []
    for layer in range(planted.N_LAYERS):
        kept = []
        with before_w_o(model, layer, lambda _, args, kept=kept: kept.append(args[0])):
            target = model(**donor).logits.item()
        for head in range(planted.N_HEADS):
            with before_w_o(model, layer, replace_head(head, kept[0])):
                scores.append(model(**recipient).logits.item())
    return np.array(scores), base, target


def recovery_of_one_pair(ranker, recipient, donor):
    sides = (encode(ranker, QUERY, [text]) for text in (recipient, donor))
    scores, base, target = patch_every_head(ranker.model, *sides)
    shares = (scores - base) / (target - base)
    return dict(zip(ALL_HEADS, shares, strict=True))


def both_sides(aligned):
    for ids, mask in (
        (aligned.baseline_ids, aligned.baseline_mask),
        (aligned.perturbed_ids, aligned.perturbed_mask),
    ):
        named = {"input_ids": ids, "attention_mask": mask, "token_type_ids": aligned.token_type_ids}
        yield {name: torch.tensor(values)[None] for name, values in named.items()}


def expected_score(query, text, df, n_documents):
    """Score a text by the formula of the module's docstring, from the words alone."""
    words = text.lower().split()
    evidence = sum(
        0.5 + 1 - math.log(df[word]) / math.log(n_documents)
        for word in words
        if word in query.split()
    )
    evidence *= planted.SINK / (planted.SINK + len(words) + 1)
    return planted.CEILING * math.tanh(planted.UNIT * evidence / planted.CEILING)


# Construction


def test_equal_seeds_build_equal_weights(ranker):
    first, second = (planted.build(5, documents=DOCUMENTS).model.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_seed_decides_which_heads_are_planted():
    places = {tuple(planted.build(seed, documents=DOCUMENTS).planted_heads) for seed in range(4)}
    assert len(places) > 2


def test_planted_heads_act_in_the_order_match_idf_aggregate(ranker):
    layers = [head_of(ranker, part)[0] for part in ("match", "idf", "aggregate")]
    assert layers == sorted(set(layers))


def test_building_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    planted.build(3, documents=DOCUMENTS)
    assert torch.equal(torch.rand(1), expected)


def test_every_weight_is_finite(ranker):
    assert all(parameter.isfinite().all() for parameter in ranker.model.parameters())


def test_one_document_is_too_few_for_an_idf_table():
    with pytest.raises(ValueError, match="at least 2 documents.*got 1"):
        planted.build(documents=DOCUMENTS[:1])


def test_a_saved_ranker_loads_with_equal_scores(ranker, tmp_path):
    ranker.model.save_pretrained(tmp_path)
    ranker.tokenizer.save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    loaded = planted.Planted(model, AutoTokenizer.from_pretrained(tmp_path), {})
    np.testing.assert_array_equal(
        score(loaded, QUERY, *DOCUMENTS), score(ranker, QUERY, *DOCUMENTS)
    )


def test_pairs_are_encoded_as_bert_does(ranker):
    encoded = ranker.tokenizer("coral", "reef sea")
    tokens = ranker.tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    assert tokens == ["[CLS]", "coral", "[SEP]", "reef", "sea", "[SEP]"]
    assert encoded["token_type_ids"] == [0, 0, 0, 1, 1, 1]


def test_layer_norm_only_rescales_the_stream_and_hardly_that(ranker):
    norms = []
    for name, module in ranker.model.named_modules():
        if name.endswith("LayerNorm"):
            module.register_forward_hook(lambda _, args, out: norms.append((args[0], out)))
    score(ranker, QUERY, *DOCUMENTS)
    for before, after in norms:
        scale = (after * before).sum(-1) / (before * before).sum(-1)
        assert (scale - 1).abs().max() < 0.03
        torch.testing.assert_close(after, scale[..., None] * before, atol=1e-4, rtol=0)


def test_no_two_words_have_similar_codes(default):
    weights = default.model.bert.embeddings.word_embeddings.weight.detach()
    layer, head = head_of(default, "match")
    key = default.model.bert.encoder.layer[layer].attention.self.key.weight.detach()
    codes = weights @ key[head * planted.D_HEAD :][:40].T
    codes = torch.nn.functional.normalize(codes[codes.norm(dim=1) > codes.norm(dim=1).max() / 2])
    nearest = max((block @ codes.T).topk(2).values[:, 1].max() for block in codes.split(512))
    assert nearest < 0.85


# What each head does


def test_the_match_head_attends_from_document_words_to_equal_query_words(ranker):
    attention, tokens = pattern(ranker, "match", QUERY, "granite and a coral sea of bread")
    for word in ("coral", "granite", "sea"):
        asked, answering = (place for place, token in enumerate(tokens) if token == word)
        assert attention[answering, asked] > 0.99


def test_the_match_head_rests_on_cls_where_nothing_is_equal(ranker):
    attention, tokens = pattern(ranker, "match", QUERY, "granite and a coral sea of bread")
    unmatched = [p for p, token in enumerate(tokens) if tokens.count(token) == 1 or token == "a"]
    assert attention[unmatched, 0].min() > 0.99


def test_the_idf_head_attends_where_the_match_head_has_marked(ranker):
    attention, tokens = pattern(ranker, "idf", QUERY, "a granite council")
    asked, answering = (place for place, token in enumerate(tokens) if token == "granite")
    assert attention[answering, asked] > 0.99
    assert attention[tokens.index("council"), 0] > 0.99


def test_the_idf_head_stays_shut_without_the_match_head(ranker):
    layer, head = head_of(ranker, "match")
    with before_w_o(ranker.model, layer, replace_head(head, torch.zeros(planted.D_MODEL))):
        attention, _ = pattern(ranker, "idf", QUERY, "a granite council")
    assert attention[:, 0].min() > 0.99


def test_the_aggregating_head_spreads_cls_evenly_over_the_document(ranker):
    attention, tokens = pattern(ranker, "aggregate", QUERY, DOCUMENT)
    document = attention[0, tokens.index("[SEP]") + 1 :]
    np.testing.assert_allclose(document, 1 / (planted.SINK + len(document)), rtol=0.02)


def test_only_cls_aggregates(ranker):
    attention, _ = pattern(ranker, "aggregate", QUERY, DOCUMENT)
    assert attention[1:, 0].min() > 0.999


# How it scores


def test_scores_follow_the_stated_formula(ranker):
    df = {"sea": 3, "fish": 2, "granite": 1, "coral": 1, "council": 1}
    texts = ["sea sea fish", "granite sea a the", "coral granite sea council", "fish"]
    query = "coral granite sea"
    expected = [expected_score(query, text, df, len(DOCUMENTS)) for text in texts]
    measured = score(ranker, query, *texts) - score(ranker, query, "fish")
    np.testing.assert_allclose(measured, expected, rtol=0.02, atol=1e-5)


def test_each_further_query_word_raises_the_score(ranker):
    texts = [DOCUMENT + more for more in ("", " coral", " coral granite", " coral granite sea")]
    assert (np.diff(score(ranker, QUERY, *texts)) > 0.1).all()


def test_a_rarer_query_word_raises_the_score_by_more(ranker):
    base, common, rare = score(ranker, QUERY, *(f"{DOCUMENT} {w}" for w in ("a", COMMON, RARE)))
    assert rare - base > 1.3 * (common - base) > 0


def test_repeating_a_query_word_raises_the_score_again(ranker):
    assert (np.diff(score(ranker, QUERY, *(DOCUMENT + " sea" * n for n in range(5)))) > 0.1).all()


def test_the_filler_scores_as_a_neutral_word_does_though_the_query_holds_it(ranker):
    filler, neutral = score(ranker, QUERY, DOCUMENT + " a", f"{DOCUMENT} {NEUTRAL}")
    assert abs(filler - neutral) < 1e-5


def test_a_neutral_word_hardly_changes_the_score(ranker):
    base, neutral, rare = score(
        ranker, QUERY, DOCUMENT, f"{DOCUMENT} {NEUTRAL}", f"{DOCUMENT} {RARE}"
    )
    assert -0.01 < (neutral - base) / (rare - base) <= 0


def test_the_score_never_passes_its_ceiling(ranker):
    low, high = score(ranker, "coral", "bread", "coral " * 400)
    assert 5 < high - low < planted.CEILING


def test_batch_mates_and_padding_do_not_change_a_score(ranker):
    together = score(ranker, QUERY, *DOCUMENTS, "sea " * 200)
    alone = [score(ranker, QUERY, text)[0] for text in (*DOCUMENTS, "sea " * 200)]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_masked_query_word_at_the_end_of_the_document_is_not_seen(ranker):
    inputs = encode(ranker, QUERY, [DOCUMENT + " granite"])
    inputs["attention_mask"][0, -2] = 0
    with torch.no_grad():
        masked = ranker.model(**inputs).logits.item()
    assert masked == pytest.approx(score(ranker, QUERY, DOCUMENT)[0], abs=1e-4)


@pytest.mark.parametrize(
    "text", ["", " ", "éà Ω 日本", "x" * 300, "a-b_c 3.14 \U0001f41f", "qzxv\n\tq"]
)
def test_any_text_has_a_score(ranker, text):
    assert np.isfinite(score(ranker, text, text, DOCUMENT)).all()


def test_a_word_outside_the_vocabulary_matches_by_its_pieces(ranker):
    assert len(ranker.tokenizer.tokenize("zyxomma")) > 1
    without, filler, within = score(ranker, "zyxomma", "bread", "bread a", "bread zyxomma")
    assert within - filler > 0.5
    assert abs(filler - without) < 1e-5


# What patching must find


@pytest.mark.parametrize("word", [COMMON, RARE])
def test_patching_into_the_baseline_finds_the_shares_of_the_docstring(ranker, word):
    shares = recovery_of_one_pair(ranker, f"{DOCUMENT} a", f"{DOCUMENT} {word}")
    idf = 1 - math.log({COMMON: 3, RARE: 1}[word]) / math.log(len(DOCUMENTS))
    expected = {"match": 0.5 / (0.5 + idf), "idf": idf / (0.5 + idf), "aggregate": 1}
    for part, share in expected.items():
        assert shares.pop(head_of(ranker, part)) == pytest.approx(share, abs=0.02)
    assert np.abs(list(shares.values())).max() < 1e-5


def test_patching_into_the_perturbed_shows_that_idf_needs_the_match(ranker):
    shares = recovery_of_one_pair(ranker, f"{DOCUMENT} {RARE}", f"{DOCUMENT} a")
    expected = {"match": 1, "idf": 1 / 1.5, "aggregate": 1}
    for part, share in expected.items():
        assert shares.pop(head_of(ranker, part)) == pytest.approx(share, abs=0.02)
    assert np.abs(list(shares.values())).max() < 1e-5


def test_distractors_move_the_scores_of_a_query_all_alike(ranker):
    bare = copy.deepcopy(ranker)
    for layer, head in set(ALL_HEADS) - set(ranker.planted_heads):
        dense = bare.model.bert.encoder.layer[layer].attention.output.dense
        dense.weight.data[:, head * planted.D_HEAD : (head + 1) * planted.D_HEAD] = 0
    queries = DOCUMENTS[0].split()
    moved = np.array([score(ranker, q, *DOCUMENTS) - score(bare, q, *DOCUMENTS) for q in queries])
    assert moved.std(axis=0).min() > 0.03
    assert np.ptp(moved, axis=1).max() < 1e-3


@pytest.mark.parametrize("axiom", ["TFC1", "TDC"])
def test_exact_head_patching_of_real_pairs_finds_the_planted_heads_and_no_other(
    default, collection, axiom
):
    pairs = make_pairs(collection, axiom, n=20, seed=1)
    aligned = align(pairs, default.tokenizer, kind="cat").aligned
    runs = [patch_every_head(default.model, *both_sides(pair)) for pair in aligned]
    patched, recipient, donor = (np.stack(part, axis=-1) for part in zip(*runs, strict=True))
    query_ids = [pair.pair.query_id for pair in aligned]
    result = recovery(patched, recipient, donor, query_ids=query_ids)
    is_planted = np.array([at in default.planted_heads for at in ALL_HEADS])
    assert result.value[is_planted].min() > 0.1
    assert result.value[is_planted].min() > 1000 * np.abs(result.value[~is_planted]).max()
    assert ((result.low <= 0) & (result.high >= 0))[~is_planted].all()
