"""Query likelihood: equal to plain Hugging Face, patched token by token, refused where unclear."""

import copy

import numpy as np
import pytest
import torch
from patching_helpers import PAIRS, assert_same, patched
from small_models import build_model, save, save_model
from small_tokenizers import decoder_bpe
from tokenizers import processors

from mechir_edu import Cat, Pair, Role, align
from mechir_edu.rankers.likelihood import TEMPLATE

QUERY = "what is a coral reef?"  # the space before it is a token of its own
GLUED = "coral reefs"  # the space and the first word are one token
TEXTS = ["The reef is full of fish.", "Sea", "(warm) water and 3.5 e-mail"]


def loaded(folder, family="qwen3", **options):
    save_model(family, "ForCausalLM", folder)
    return Cat(str(folder), readout="query likelihood", **options)


@pytest.fixture(scope="module")
def ranker(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("lm"))


def test_the_tokenizer_glues_the_space_to_some_words_alone():
    first = [decoder_bpe().tokenize(f"Query: {query}")[-8:] for query in (QUERY, GLUED)]
    assert "Ġ" in first[0]
    assert "Ġ" not in first[1]


@torch.no_grad()
def mean_log_p(model, tokenizer, text, query, template=TEMPLATE):
    """By Hugging Face alone: the whole text is read once; the tokens that reach into the query."""
    whole = template.replace("{document}", text).replace("{query}", query)
    ids = torch.tensor([tokenizer(whole)["input_ids"]])
    ends = tokenizer(whole, return_offsets_mapping=True)["offset_mapping"]
    log_p = model(ids).logits[0].log_softmax(dim=-1)
    own = [i for i, (_, end) in enumerate(ends) if end > len(whole) - len(query)]
    return torch.stack([log_p[i - 1, ids[0, i]] for i in own]).mean().item()


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "gemma3"])
def test_scores_are_those_of_plain_hugging_face(tmp_path, family):
    ours, plain = loaded(tmp_path, family), build_model(family, "ForCausalLM")
    for query in (QUERY, GLUED):
        expected = [mean_log_p(plain, decoder_bpe(), text, query) for text in TEXTS]
        assert_same(ours.score(query, TEXTS), np.array(expected))
    np.testing.assert_allclose(ours.probability(np.array(expected)), np.exp(expected))


def test_a_template_of_ones_own_and_a_token_before_every_text(tmp_path):
    tokenizer, model = copy.deepcopy(decoder_bpe()), build_model("llama", "ForCausalLM")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)]
    )
    template = "{document}\n a question on it: {query}"
    save(model, tokenizer, tmp_path)
    ours = Cat(str(tmp_path), readout="query likelihood", template=template)
    expected = [mean_log_p(model, tokenizer, text, QUERY, template) for text in TEXTS]
    assert_same(ours.score(QUERY, TEXTS), np.array(expected))
    assert ours.settings["readout"] == "query likelihood"


def test_the_longest_text_is_cut_and_the_query_is_not(ranker):
    read = ranker.texts_read([(QUERY, "(warm) water " * 40)], "both")[0]
    ids = ranker.tokenize(*read)["input_ids"]
    end = decoder_bpe()(f"\nQuery: {QUERY}")["input_ids"]
    assert ids.shape[1] == ranker.max_length
    assert ids[0, -len(end) :].tolist() == end


def test_roles_follow_the_template(ranker):
    (pair,) = align(PAIRS[:1], ranker.tokenizer, kind="cat", prompts=ranker.prompts).aligned
    roles = [Role(role).name for role in pair.roles]
    order = [role for i, role in enumerate(roles) if i == 0 or role != roles[i - 1]]
    assert order == ["PROMPT", "DOCUMENT", "EDIT", "PROMPT", "QUERY"]
    read = ranker.texts_read([(PAIRS[0].query, PAIRS[0].perturbed)], "both")[0]
    assert pair.perturbed_ids.tolist() == ranker.tokenize(*read)["input_ids"][0].tolist()


@pytest.mark.parametrize(("site", "by"), [("v", None), ("mlp_out", "role")])
def test_exact_patching_equals_naive(ranker, site, by):
    exact, naive = (
        patched(ranker, PAIRS[:1], site=site, by=by, method=m) for m in ("exact", "naive")
    )
    assert_same(exact.scores, naive.scores)
    assert np.ptp(exact.scores) > 0


def test_an_edited_query_with_a_masked_filler_is_foreseen_across_it(ranker):
    text = PAIRS[0].baseline
    edited = Pair("q", "d", "coral reef", text, text, "mine", 1, perturbed_query="coral fish reef")
    result = patched(ranker, [edited], filler="pad", heads=[(0, 0)])
    scores = sorted([result.recipient[0], result.donor[0]])
    # Positions behind the filler are one further on, so the baseline alone differs a little.
    whole = [ranker.score(query, [text])[0] for query in ("coral reef", "coral fish reef")]
    assert min(abs(score - whole[1]) for score in scores) < 1e-5
    assert max(scores) < 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"readout": "likelihood"}, "readout must be 'query likelihood'"),
        ({"readout": "query likelihood", "true_token": 3}, "without true_token"),
        ({"readout": "query likelihood", "template": "{query} {document}"}, "at its very end"),
        ({"readout": "query likelihood", "template": "{document}{query}"}, "words behind it"),
        ({}, 'readout="query likelihood"'),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path, options, message):
    folder = save_model("qwen3", "ForCausalLM", tmp_path)
    with pytest.raises(ValueError, match=message):
        Cat(str(folder), **options)


def test_a_query_of_white_space_is_refused(ranker):
    with pytest.raises(ValueError, match="white space alone"):
        ranker.score("  ", ["A reef."])


def test_a_text_that_holds_the_template_is_refused(ranker):
    with pytest.raises(ValueError, match="2 times in a text"):
        ranker.score(QUERY, ["A reef.\nQuery: fish"])
