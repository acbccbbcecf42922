"""Embedders made of decoders: equal to sentence-transformers' on either padding side, by role."""

import copy

import numpy as np
import pytest
from patching_helpers import PAIRS, assert_same, patched
from small_models import build_model, save
from small_tokenizers import decoder_bpe
from tokenizers import processors

from mechir_edu import Dot, Pair, Role, align

END = "<|endoftext|>"
QUERY = "what is a coral reef?"
TEXTS = ["The reef is full of fish.", "Sea", "(warm) water " * 80]
PROMPTS = {"query": "Instruct: Find passages.\nQuery:", "document": ""}


def ending_in_padding(side):
    """A tokenizer like Qwen3-Embedding's: the padding token is written behind every text, too."""
    tokenizer = copy.deepcopy(decoder_bpe())
    tokenizer.pad_token, tokenizer.padding_side = END, side
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, tokenizer.convert_tokens_to_ids(END))]
    )
    return tokenizer


def saved(folder, family="qwen3", side="left"):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    tokenizer = ending_in_padding(side)
    model = build_model(family)
    model.config.pad_token_id = tokenizer.pad_token_id
    encoder = Transformer(str(save(model, tokenizer, folder / "plain")))
    pool = Pooling(encoder.get_embedding_dimension(), pooling_mode="lasttoken")
    whole = SentenceTransformer(modules=[encoder, pool, Normalize()], device="cpu", prompts=PROMPTS)
    whole.save(str(folder / "saved"), create_model_card=False)
    return whole


def order(pair):
    roles = [Role(role).name for role in pair.roles]
    return [role for i, role in enumerate(roles) if i == 0 or role != roles[i - 1]]


@pytest.fixture(scope="module")
def ranker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedder")
    saved(folder)
    return Dot(folder / "saved")


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["qwen3", "gemma2"])
def test_scores_are_the_publishers_whichever_side_is_padded(tmp_path, family, side):
    publishers, ours = saved(tmp_path, family, side), Dot(tmp_path / "saved")
    assert ours.head.pooling == "lasttoken"
    assert_same(ours.embed(TEXTS).numpy(), publishers.encode(TEXTS))
    needed = publishers.similarity(
        publishers.encode_query([QUERY]), publishers.encode_document(TEXTS)
    )
    assert_same(ours.score(QUERY, TEXTS), needed[0].numpy())


def test_a_text_that_is_too_long_keeps_its_end(ranker):
    ids, mask = (ranker.tokenize(TEXTS)[name] for name in ("input_ids", "attention_mask"))
    last = ids[[0, 1, 2], mask.sum(dim=1) - 1]
    assert last.tolist() == [ranker.tokenizer.pad_token_id] * 3
    assert ids.shape[1] == ranker.max_length


def test_roles_are_those_of_an_embedder(ranker):
    (pair,) = align(PAIRS[:1], ranker.tokenizer, kind="dot", prompts=ranker.prompts).aligned
    assert order(pair) == ["DOCUMENT", "EDIT", "END"]
    query = ranker.tokenize(PROMPTS["query"] + PAIRS[0].query)["input_ids"][0]
    assert pair.fixed_ids.tolist() == query.tolist()


def test_an_instruction_before_an_edited_query_has_a_role_of_its_own(ranker):
    text = "Warm water makes corals lose their algae."
    edited = Pair("q", "d", "coral reef", text, text, "mine", 1, perturbed_query="coral reef fish")
    (pair,) = align([edited], ranker.tokenizer, kind="dot", prompts=ranker.prompts).aligned
    assert order(pair) == ["PROMPT", "QUERY", "EDIT", "END"]
    result = patched(ranker, [edited], by="role")
    assert result.scores.shape[2] == len(Role)


@pytest.mark.parametrize(("site", "by"), [("head", "role"), ("v", None), ("resid_pre", "pos")])
def test_exact_patching_equals_naive(ranker, site, by):
    exact, naive = (
        patched(ranker, PAIRS[:2], site=site, by=by, method=m) for m in ("exact", "naive")
    )
    assert_same(exact.scores, naive.scores)
    assert np.ptp(exact.scores) > 0
