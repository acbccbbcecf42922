"""Rerankers that answer yes or no: equal to sentence-transformers', and patched role by role."""

import numpy as np
import pytest
import torch
from patching_helpers import PAIRS, assert_same, patched
from small_models import DECODERS, build_model, save, save_model, save_yes_no
from small_tokenizers import decoder_bpe

from mechir_edu import Cat, Role, align

QUERY = "what is a coral reef?"
TEXTS = ["The reef is full of fish.", "Sea", "(warm) water " * 40]
TEMPLATE = "Query: {query} Document: {document}\nRelevant:"


@pytest.fixture(scope="module", params=DECODERS)
def both(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    publishers = save_yes_no(folder, request.param)
    return publishers, Cat(str(folder / "saved"))


@pytest.fixture(scope="module")
def ranker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    save_yes_no(folder, prompts={"web": "Be fair."}, default_prompt_name="web")
    return Cat(str(folder / "saved"))


def differences(publishers, texts):
    pairs = [(QUERY, text) for text in texts]
    return publishers.predict(pairs, activation_fn=torch.nn.Identity())


def test_scores_and_probabilities_are_the_publishers(both):
    publishers, ours = both
    scores = ours.score(QUERY, TEXTS)
    assert_same(scores, differences(publishers, TEXTS))
    published = publishers.predict([(QUERY, text) for text in TEXTS])
    np.testing.assert_allclose(ours.probability(scores), published, atol=1e-5)


def test_the_longest_text_keeps_the_end_of_the_template(both):
    ours = both[1]
    ids = ours.tokenize(*ours.texts_read([(QUERY, TEXTS[2])], "both")[0])["input_ids"][0]
    assert len(ids) == ours.max_length
    end = decoder_bpe()("</s>\n<s>assistant\n")["input_ids"]
    assert ids[-len(end) :].tolist() == end


def test_a_default_prompt_is_the_system_message(tmp_path):
    publishers = save_yes_no(tmp_path, prompts={"web": "Be fair."}, default_prompt_name="web")
    assert_same(Cat(str(tmp_path / "saved")).score(QUERY, TEXTS), differences(publishers, TEXTS))


def test_one_answer_alone_scores_by_its_logit(tmp_path):
    publishers = save_yes_no(tmp_path, answers=(300,))
    assert_same(Cat(str(tmp_path / "saved")).score(QUERY, TEXTS), differences(publishers, TEXTS))


def test_roles_follow_the_template(ranker):
    (pair,) = align(PAIRS[:1], ranker.tokenizer, kind="cat", prompts=ranker.prompts).aligned
    order = [int(role) for i, role in enumerate(pair.roles) if not i or role != pair.roles[i - 1]]
    names = [Role(role).name for role in order]
    assert names == ["PROMPT", "QUERY", "PROMPT", "DOCUMENT", "EDIT", "END"]
    read = ranker.texts_read([(PAIRS[0].query, PAIRS[0].perturbed)], "both")[0]
    assert pair.perturbed_ids.tolist() == ranker.tokenize(*read)["input_ids"][0].tolist()


@pytest.mark.parametrize("by", [None, "role"])
def test_exact_patching_equals_naive(ranker, by):
    exact, naive = (patched(ranker, PAIRS[:1], by=by, method=m) for m in ("exact", "naive"))
    assert_same(exact.scores, naive.scores)
    score = ranker.score(PAIRS[0].query, [PAIRS[0].perturbed])
    assert_same(
        exact.recipient[:1] if "to_perturbed" in exact.direction else exact.donor[:1], score
    )


@torch.no_grad()
def test_a_classifier_whose_row_is_yes_minus_no_scores_alike(tmp_path):
    folder = save_model("qwen3", "ForCausalLM", tmp_path / "lm")
    answering = Cat(str(folder), true_token=300, false_token=301)
    model = build_model("qwen3", "ForSequenceClassification", num_labels=1)
    language = build_model("qwen3", "ForCausalLM")
    model.model.load_state_dict(language.model.state_dict())
    model.score.weight.copy_(language.lm_head.weight[300:301] - language.lm_head.weight[301:302])
    classifier = Cat(str(save(model, decoder_bpe(), tmp_path / "classifier")))
    assert_same(answering.score(QUERY, TEXTS), classifier.score(QUERY, TEXTS))


@torch.no_grad()
def test_answers_and_a_template_may_be_given(tmp_path):
    folder = save_model("llama", "ForCausalLM", tmp_path)
    ours = Cat(str(folder), true_token=" reef", false_token=" fish", template=TEMPLATE)
    assert ours.settings["template"] == TEMPLATE
    text = TEMPLATE.replace("{query}", QUERY).replace("{document}", TEXTS[1])
    tokenizer, model = decoder_bpe(), build_model("llama", "ForCausalLM")
    logits = model(torch.tensor([tokenizer(text)["input_ids"]])).logits[0, -1]
    yes, no = (tokenizer(word)["input_ids"] for word in (" reef", " fish"))
    assert_same(ours.score(QUERY, TEXTS[1:2]), (logits[yes] - logits[no]).numpy())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "pass true_token= and false_token="),
        ({"false_token": 3}, "needed true_token="),
        ({"true_token": "coral reefs and"}, "needed an answer that is one token"),
        ({"true_token": 10**6}, "an id below"),
        ({"true_token": 5, "false_token": 5}, "two different answers"),
        (
            {"true_token": 5, "template": "{document} {query}"},
            "does not hold one query and, behind",
        ),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path, options, message):
    folder = save_model("qwen3", "ForCausalLM", tmp_path)
    with pytest.raises(ValueError, match=message):
        Cat(str(folder), **options)
