"""Every site of every family means what the drawing says, by plain Hugging Face modules."""

import copy

import pytest
import torch
import transformers
from patching_helpers import Wrapped, hook_name
from small_models import FAMILIES, build_model

from mechir_edu.rankers.adapters import convert, position_ids
from mechir_edu.rankers.families import FAMILIES as ADAPTERS
from mechir_edu.rankers.hook_names import BLOCK_SITES, HEAD_SITES

KINDS = ("Model", "ForSequenceClassification")
TEXTS = ["coral reef fish in warm water (bleaching)", "sea"]
LAYERS = (0, 1)
POST_LN = [name for name in FAMILIES if name != "modernbert"]

# Where plain Hugging Face keeps the linear layers of a block.
BERT = {
    **dict.fromkeys("qkv", "encoder.layer.{}.attention.self."),
    "o": "encoder.layer.{}.attention.output.dense",
    "mlp": "encoder.layer.{}.output.dense",
}
BERT = {**BERT, "q": BERT["q"] + "query", "k": BERT["k"] + "key", "v": BERT["v"] + "value"}
PLACES = dict.fromkeys(("bert", "electra", "electra-narrow", "roberta", "xlm-roberta"), BERT)
PLACES["distilbert"] = {
    **{name: f"transformer.layer.{{}}.attention.{name}_lin" for name in "qkv"},
    "o": "transformer.layer.{}.attention.out_lin",
    "mlp": "transformer.layer.{}.ffn.lin2",
}
PLACES["mpnet"] = {name: f"encoder.layer.{{}}.attention.attn.{name}" for name in "qkvo"}
PLACES["mpnet"] |= {"mlp": BERT["mlp"]}
PLACES["modernbert"] = {"o": "layers.{}.attn.Wo", "mlp": "layers.{}.mlp.Wo"}


class Twins(Wrapped):
    """A model twice: as Hugging Face has it, and wrapped; and one batch with padding."""

    def __init__(self, family, suffix="Model", **settings):
        self.family = family
        self.plain = build_model(family, suffix, **settings)
        self.wrapped = copy.deepcopy(self.plain)
        self.bridge = convert(self.wrapped)
        self.tokenizer = FAMILIES[family][2]()
        tokens = self.tokenizer(TEXTS, padding=True, return_tensors="pt")
        if not getattr(self.plain.config, "type_vocab_size", 0):
            tokens.pop("token_type_ids", None)
        positions = position_ids(self.plain, tokens["input_ids"], tokens["attention_mask"])
        self.inputs = {**tokens, "position_ids": positions}
        self.real = tokens["attention_mask"].bool()

    def linear(self, part, layer):
        return self.plain.base_model.get_submodule(PLACES[self.family][part].format(layer))

    @torch.no_grad()
    def run_plain(self, **options):
        return self.plain(**self.inputs, **options)

    def seen(self, part, layer):
        """Input and output of a linear layer in the plain model."""
        kept = []
        handle = self.linear(part, layer).register_forward_hook(
            lambda module, args, out: kept.extend([args[0].clone(), out.clone()])
        )
        self.run_plain()
        handle.remove()
        return kept

    def output(self, run, **options):
        """Output at real tokens (a classifier's has none)."""
        out = run(**options)
        out = out if isinstance(out, torch.Tensor) else out[0]
        return out[self.real] if out.dim() == 3 else out

    def heads(self, flat):
        return flat.unflatten(-1, (4, 8))


@pytest.fixture(scope="module", params=FAMILIES)
def twins(request):
    return Twins(request.param)


@pytest.fixture(scope="module", params=[(f, k) for f in FAMILIES for k in KINDS], ids="-".join)
def either(request):
    return Twins(*request.param)


def close(got, expected, atol=1e-5):
    torch.testing.assert_close(got, expected, atol=atol, rtol=1e-5)


# The wrapped model computes what the untouched one does


def test_wrapping_changes_no_output(either):
    close(either.output(either.run), either.output(either.run_plain))


@pytest.mark.filterwarnings("ignore:hooks. skipped")
def test_watching_every_hook_changes_no_output(either):
    watched = either.run((lambda name: True, lambda activation, hook: None))
    watched = watched[either.real] if watched.dim() == 3 else watched
    close(watched, either.output(either.run_plain))


def test_padding_changes_no_output(twins):
    short = {name: tensor[1:, : twins.real[1].sum()] for name, tensor in twins.inputs.items()}
    close(twins.run(**short)[0], twins.run()[1][twins.real[1]])


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_modernbert_classifies_by_either_pooling(pooling):
    both = Twins("modernbert", "ForSequenceClassification", classifier_pooling=pooling)
    close(both.run(), both.run_plain().logits)


# Sites mean what the drawing says


def test_resid_pre_is_the_stream_between_blocks(twins):
    hidden = twins.run_plain(output_hidden_states=True).hidden_states
    streams = twins.cache("blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre")
    for stream, expected in zip(streams, hidden, strict=False):
        close(stream[twins.real], expected[twins.real])


@pytest.mark.parametrize("family", POST_LN)
def test_the_last_resid_post_is_the_output_of_a_post_ln_encoder(family):
    both = Twins(family)
    (stream,) = both.cache("blocks.1.hook_resid_post")
    close(stream[both.real], both.run_plain()[0][both.real])


@pytest.mark.parametrize("layer", LAYERS)
def test_z_enters_the_output_projection_and_attn_out_leaves_it(twins, layer):
    z, attn_out = twins.cache(hook_name("head", layer), hook_name("attn_out", layer))
    entered, left = twins.seen("o", layer)
    close(z[twins.real], twins.heads(entered)[twins.real])
    close(attn_out[twins.real], left[twins.real])


@pytest.mark.parametrize("layer", LAYERS)
def test_mlp_out_is_what_the_mlp_adds(twins, layer):
    (mlp_out,) = twins.cache(hook_name("mlp_out", layer))
    close(mlp_out[twins.real], twins.seen("mlp", layer)[1][twins.real])


def test_the_stream_plus_attn_out_is_resid_mid(twins):
    if twins.family not in POST_LN:  # the sum goes round the MLP and stands at no hook
        with pytest.raises(KeyError, match="hook_resid_mid"):
            twins.cache("blocks.1.hook_resid_mid")
        return
    names = [f"blocks.1.hook_{site}" for site in ("resid_pre", "attn_out", "resid_mid")]
    resid_pre, attn_out, resid_mid = twins.cache(*names)
    close(resid_pre + attn_out, resid_mid)


@pytest.mark.parametrize("layer", LAYERS)
def test_heads_add_up_to_attn_out(twins, layer):
    z, attn_out = twins.cache(hook_name("head", layer), hook_name("attn_out", layer))
    w_o, b_o = twins.linear("o", layer).weight, twins.linear("o", layer).bias
    by_head = torch.einsum("bphe,dhe->bphd", z, twins.heads(w_o))
    close(by_head.sum(dim=2) + b_o, attn_out)


@pytest.mark.parametrize("family", POST_LN)
@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_q_k_and_v_are_the_projections_by_head(family, part):
    both = Twins(family)
    (given,) = both.cache(hook_name(part, 1))
    close(given[both.real], both.heads(both.seen(part, 1)[1])[both.real])


@pytest.mark.parametrize("layer", LAYERS)
def test_the_pattern_is_hugging_faces(twins, layer):
    eager = copy.deepcopy(twins.plain)
    eager.set_attn_implementation("eager")
    expected = eager(**twins.inputs, output_attentions=True).attentions[layer]
    (pattern,) = twins.cache(hook_name("pattern", layer))
    rows = twins.real[:, None, :].expand(-1, 4, -1)
    close(pattern[rows], expected[rows])
    close(pattern[rows].sum(dim=-1), torch.ones(int(rows.sum())))


@pytest.mark.parametrize("layer", LAYERS)
def test_the_pattern_times_v_is_z(twins, layer):
    pattern, v, z = twins.cache(*[hook_name(site, layer) for site in ("pattern", "v", "head")])
    close(torch.einsum("bhqk,bkhe->bqhe", pattern, v)[twins.real], z[twins.real])


@pytest.mark.parametrize("layer", LAYERS)
def test_the_pattern_is_the_softmax_of_q_k_and_the_mask(twins, layer):
    names = [hook_name("pattern", layer), f"blocks.{layer}.attn.hook_attn_scores"]
    pattern, scores = twins.cache(*names)
    close(scores.softmax(dim=-1), pattern)


def test_a_token_of_a_local_layer_sees_its_neighbours_only():
    both = Twins("modernbert")
    (pattern,) = both.cache(hook_name("pattern", 1))
    far = (torch.arange(pattern.shape[-1])[:, None] - torch.arange(pattern.shape[-1])).abs() > 3
    assert pattern[0][:, far].max() == 0
    assert pattern[0][:, ~far].min() > 0


# Edits are causal, and do what the same edit does by hand


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("site", [*HEAD_SITES, *BLOCK_SITES, "scores"])
def test_every_site_is_causal(either, site, layer):
    name = f"blocks.{layer}.attn.hook_attn_scores" if site == "scores" else hook_name(site, layer)
    noise = torch.Generator().manual_seed(0)
    same = either.run((name, lambda x, hook: x))
    edited = either.run((name, lambda x, hook: x * torch.rand(x.shape, generator=noise)))
    assert (edited - same)[:, 0].abs().max() > 1e-3


def test_ablating_a_head_is_ablating_its_part_of_w_os_input(twins):
    def ablate(z, hook):
        return z.clone().index_fill_(2, torch.tensor([2]), 0)

    handle = twins.linear("o", 0).register_forward_pre_hook(
        lambda module, args: (ablate(twins.heads(args[0]), None).flatten(2),)
    )
    expected = twins.output(twins.run_plain)
    handle.remove()
    close(twins.run((hook_name("head", 0), ablate))[twins.real], expected)


def test_an_even_pattern_makes_z_the_mean_of_v(twins):
    v, z = twins.cache(hook_name("v", 0), hook_name("head", 0))
    weights = twins.real / twins.real.sum(dim=1, keepdim=True)
    mean = torch.einsum("bp,bpe->be", weights, v[:, :, 1]).unsqueeze(1).expand_as(z[:, :, 1])

    def attend_evenly(pattern, hook):
        even = weights[:, None, :].expand_as(pattern[:, 1])
        return torch.stack([pattern[:, 0], even, pattern[:, 2], pattern[:, 3]], dim=1)

    def replace_z(z, hook):
        return torch.stack([z[:, :, 0], mean, z[:, :, 2], z[:, :, 3]], dim=2)

    by_pattern = twins.run((hook_name("pattern", 0), attend_evenly))
    by_z = twins.run((hook_name("head", 0), replace_z))
    close(by_pattern[twins.real], by_z[twins.real])
    assert (by_pattern - twins.run())[twins.real].abs().max() > 1e-2


@pytest.mark.parametrize("part", ["q", "k", "v"])
@pytest.mark.parametrize("family", POST_LN)
def test_editing_a_projection_is_editing_its_linear_layer(family, part):
    both = Twins(family)
    handle = both.linear(part, 1).register_forward_hook(lambda module, args, out: out.roll(1, 1))
    expected = both.output(both.run_plain)
    handle.remove()
    edited = both.run((hook_name(part, 1), lambda x, hook: x.roll(1, 1)))
    close(edited[both.real], expected)


def test_the_stream_of_another_run_brings_its_output(twins):
    reverse = {"input_ids": twins.inputs["input_ids"].flip(0)}
    (stream,) = twins.cache("blocks.0.hook_resid_pre", **reverse)
    patched = twins.run(("blocks.0.hook_resid_pre", lambda x, hook: stream))
    close(patched, twins.run(**reverse))


def test_a_skipped_block_hands_its_input_on(twins):
    for block in twins.bridge.blocks:
        block.skipped = True
    out = twins.wrapped.base_model(**twins.inputs)[0]
    for block in twins.bridge.blocks:
        block.skipped = False
    embedded = twins.run_plain(output_hidden_states=True).hidden_states[0]
    final = getattr(twins.plain, "final_norm", torch.nn.Identity())
    close(out, final(embedded))


# Positions


def test_positions_are_those_that_the_model_counts_itself(twins):
    alone = {name: tensor for name, tensor in twins.inputs.items() if name != "position_ids"}
    close(twins.plain(**alone)[0][twins.real], twins.output(twins.run_plain))


def test_a_masked_filler_does_not_renumber_the_tokens_behind_it(twins):
    mask = twins.inputs["attention_mask"].clone()
    mask[0, 3] = 0
    shown = mask.bool()
    (stream,) = twins.cache("blocks.0.hook_resid_pre", attention_mask=mask)
    close(stream[shown], twins.cache("blocks.0.hook_resid_pre")[0][shown])
    expected = twins.plain(**{**twins.inputs, "attention_mask": mask})[0]
    close(twins.run(attention_mask=mask)[shown], expected[shown])


def test_what_is_masked_has_no_influence(twins):
    mask, other = twins.inputs["attention_mask"].clone(), twins.inputs["input_ids"].clone()
    mask[0, 3] = 0
    other[0, 3] = twins.tokenizer.mask_token_id
    outs = [
        twins.run(attention_mask=mask, input_ids=ids) for ids in (twins.inputs["input_ids"], other)
    ]
    close(outs[0][mask.bool()], outs[1][mask.bool()])


def test_mpnet_counts_from_2_whatever_its_padding_is():
    def first_position(config):
        return ADAPTERS[config.model_type].first_position(config)

    assert first_position(transformers.MPNetConfig(pad_token_id=0)) == 2
    assert first_position(transformers.RobertaConfig(pad_token_id=5)) == 6
    assert first_position(transformers.BertConfig(pad_token_id=5)) == 0


# Nothing else is touched


def test_an_untouched_model_that_shares_the_configuration_still_works(twins):
    before = twins.output(twins.run_plain)
    sharing = type(twins.plain)(twins.wrapped.config).eval()
    sharing.load_state_dict(twins.plain.state_dict())
    close(sharing(**twins.inputs)[0][twins.real], before)


def test_other_models_keep_their_attention_and_gradients_stay_on(twins):
    kept = twins.plain.config._attn_implementation
    assert convert(build_model(twins.family)) is not None
    assert twins.plain.config._attn_implementation == kept != "mechir_edu_hooked"
    assert torch.is_grad_enabled()


def test_another_architecture_is_refused_with_those_there_are():
    model = transformers.GPT2Model(transformers.GPT2Config(n_embd=8, n_layer=1, n_head=1))
    with pytest.raises(ValueError, match="no encoder adapter for GPT2Model.*BertModel.*subclass"):
        convert(model)
