"""Decoders: every family means what Hugging Face means, whichever side the checkpoint pads."""

import copy

import pytest
import torch
from patching_helpers import PAIRS, Wrapped, assert_same, patched
from small_models import DECODERS, build_model, save_model

from mechir_edu import Cat, Dot
from mechir_edu.rankers.adapters import convert, family_of, position_ids
from mechir_edu.rankers.decoders import LlamaAdapter
from mechir_edu.rankers.hook_names import HEAD_SITES
from mechir_edu.rankers.stacks import encoder_stack

SUFFIXES = ("Model", "ForCausalLM", "ForSequenceClassification")
IDS = torch.randint(5, 390, (2, 11), generator=torch.Generator().manual_seed(1))
MASK = torch.ones_like(IDS)
MASK[1, 7:], IDS[1, 7:] = 0, 1


def padded_left(tensor):
    return torch.stack([tensor[0], tensor[1].roll(4)])


class Twins(Wrapped):
    """A decoder twice: as Hugging Face has it, and wrapped."""

    def __init__(self, family, suffix, **settings):
        self.plain = build_model(family, suffix, **settings)
        self.wrapped = copy.deepcopy(self.plain)
        self.bridge = convert(self.wrapped)
        self.stack = encoder_stack(self.plain.config)
        at = position_ids(self.wrapped, IDS, MASK)
        self.inputs = {"input_ids": IDS, "attention_mask": MASK, "position_ids": at}


@pytest.fixture(scope="module", params=[(f, s) for f in DECODERS for s in SUFFIXES], ids="-".join)
def either(request):
    return Twins(*request.param)


@pytest.fixture(scope="module", params=DECODERS)
def twins(request):
    return Twins(request.param, "Model")


def close(got, expected):
    size = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(got, expected, atol=1e-5 * size, rtol=0)


def at_last(out):
    """What stands at the last token of each text, of a batch that is padded on the right."""
    return out if out.dim() == 2 else out[[0, 1], MASK.sum(dim=1) - 1]


@torch.no_grad()
def test_the_wrapped_model_computes_what_hugging_face_does_on_either_side(either):
    got = at_last(either.run())
    close(got, at_last(either.plain(IDS, MASK)[0]))
    left = either.plain(padded_left(IDS), padded_left(MASK))[0]
    close(got, left if left.dim() == 2 else left[:, -1])


@torch.no_grad()
def test_looking_at_the_pattern_changes_no_output(twins):
    seen = [(twins.stack.hook_name("pattern", layer), lambda x, hook: x) for layer in (0, 1)]
    close(at_last(twins.run(*seen)), at_last(twins.run()))


def test_key_and_value_heads_are_fewer(twins):
    names = [twins.stack.hook_name(site, 0) for site in HEAD_SITES]
    shapes = dict(zip(HEAD_SITES, twins.cache(*names), strict=True))
    for site in ("head", "q", "k", "v"):
        assert shapes[site].shape[2] == twins.stack.heads_at(site)
    assert shapes["pattern"].shape == (2, 4, 11, 11)
    assert (shapes["pattern"].triu(1) == 0).all()


@torch.no_grad()
def test_a_soft_cap_bounds_the_scores():
    capped = Twins("gemma2", "Model")
    uncapped = Twins("gemma2", "Model", attn_logit_softcapping=None)
    close(at_last(uncapped.run()), at_last(uncapped.plain(IDS, MASK)[0]))
    assert (at_last(capped.run()) - at_last(uncapped.run())).abs().max() > 0.01


@torch.no_grad()
def test_blocks_before_a_layer_may_be_passed_over(twins):
    name = twins.stack.hook_name("resid_pre", 1)
    (stream,), expected = twins.cache(name), twins.run()
    twins.bridge.blocks[0].skipped = True
    try:
        close(twins.run((name, lambda x, hook: stream)), expected)
    finally:
        twins.bridge.blocks[0].skipped = False


def test_every_family_is_causal_unless_it_says_otherwise(twins):
    config = twins.plain.config
    assert issubclass(family_of(twins.plain), LlamaAdapter)
    assert family_of(twins.plain).is_causal(config)
    config = copy.deepcopy(config)
    config.use_bidirectional_attention = True
    assert not family_of(twins.plain).is_causal(config)


# As rankers; loading verifies every site against Hugging Face


# Loading verifies the others; make long patches them too.
PATCHED = ("llama", "qwen3", "gemma3")
EMBEDDERS = [
    family if family in PATCHED else pytest.param(family, marks=pytest.mark.long)
    for family in DECODERS
]


@pytest.fixture(scope="module", params=EMBEDDERS)
def embedder(request, tmp_path_factory):
    folder = save_model(request.param, "Model", tmp_path_factory.mktemp(request.param))
    return Dot(str(folder), pooling="lasttoken", similarity="cosine")


@pytest.mark.parametrize("site", ["head", "k", "mlp_out"])
def test_patching_many_cells_at_once_equals_one_forward_pass_a_cell(embedder, site):
    exact, naive = (patched(embedder, PAIRS[:1], site=site, method=m) for m in ("exact", "naive"))
    assert_same(exact.scores, naive.scores)
    assert exact.scores.shape[:-1] == {"head": (2, 4), "k": (2, 2), "mlp_out": (2,)}[site]


def test_a_pooling_of_the_first_position_is_refused(tmp_path):
    folder = save_model("llama", "Model", tmp_path)
    with pytest.raises(ValueError, match="sees no other token in a decoder; pass the pooling"):
        Dot(str(folder))


@pytest.fixture(scope="module", params=DECODERS)
def classifier(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    save_model(request.param, "ForSequenceClassification", folder, num_labels=1)
    return folder, Cat(str(folder))


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_classifier_scores_as_hugging_face_does(classifier, side):
    from transformers import AutoModelForSequenceClassification

    folder, ranker = classifier
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    texts = ["The reef is full of fish.", "Sea."]
    options = {"padding": True, "padding_side": side, "return_tensors": "pt"}
    expected = model(**ranker.tokenizer(["coral reef"] * 2, texts, **options)).logits[:, 0]
    assert_same(ranker.score("coral reef", texts), expected.numpy())


@torch.no_grad()
def test_a_classifier_passes_over_padding_tokens_that_end_a_text(tmp_path):
    folder = save_model("qwen3", "ForSequenceClassification", tmp_path, num_labels=1)
    ranker = Cat(str(folder))
    ids = torch.cat([IDS[:1], torch.full((1, 1), ranker.tokenizer.pad_token_id)], dim=1)
    close(ranker.forward(ids), ranker.forward(IDS[:1]))
    close(ranker.forward(ids), build_model("qwen3", SUFFIXES[2], num_labels=1)(ids).logits[:, 0])
