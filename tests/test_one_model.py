"""Whatever changes what a module returns holds in both runs of every method, or is refused."""

import copy
import pickle
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from few import few
from patching_helpers import KINDS, PAIRS, assert_same, patched
from small_models import save_model
from torch import nn
from torch.nn.utils import parametrize, prune
from transformers.models.bert.modeling_bert import BertIntermediate

import mechir_edu as me
from mechir_edu.patching.budget import require_budget
from mechir_edu.patching.engines.choice import choose_engine
from mechir_edu.patching.numbers import plain_heads, whole_number
from mechir_edu.rankers.agreement import VerificationError
from mechir_edu.rankers.bi_encoder import BiEncoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A function (family, kind) -> folder of a random checkpoint."""
    made = {}

    def folder_of(family, kind):
        if (family, kind) not in made:
            place = tmp_path_factory.mktemp(f"{family}-{kind}")
            made[family, kind] = str(save_model(family, KINDS[kind][1], place))
        return made[family, kind]

    return folder_of


@pytest.fixture
def load(folder):
    """Load a ranker that a test may spoil."""
    return lambda family="bert", kind="dot": KINDS[kind][0](folder(family, kind), verify=False)


def halve(activation, hook):
    return activation * 0.5


def halve_output(module, given, out):
    return (out[0] * 0.5, *out[1:]) if isinstance(out, tuple) else out * 0.5


def halve_input(module, given):
    return (given[0] * 0.5, *given[1:])


def module(ranker, *parts):
    """The first module whose name holds these parts."""
    return next(m for name, m in ranker.hf_model.named_modules() if all(p in name for p in parts))


def plain(ranker, layer, name):
    """A projection of Hugging Face's own, without the bridge around it."""
    return module(ranker, layer, f"{name}._original_component")


def at_point(name):
    return lambda ranker: ranker.hook_dict[name].add_hook(halve)


def replace_forward(ranker):
    linear = plain(ranker, "layer.1", "query")
    linear.forward = lambda x: nn.functional.linear(x, linear.weight) * 0.5


def other_activation(ranker):
    for m in list(ranker.hf_model.modules()):
        if type(m) is BertIntermediate:
            m.intermediate_act_fn = nn.Tanh()


def warmer_attention(ranker):
    module(ranker, "layer.0", "self").scaling = 0.05


class Double(nn.Module):
    def forward(self, weight):
        return weight * 2


def other_class(ranker):
    class Halved(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 0.5

    plain(ranker, "layer.0", "value").__class__ = Halved


def carry_between_blocks(ranker):
    kept = []
    ranker.hook_dict["blocks.0.attn.hook_z"].add_hook(lambda z, hook: kept.append(z))
    ranker.hook_dict["blocks.1.attn.hook_z"].add_hook(lambda z, hook: z + kept.pop())


def with_peft(ranker, config_class, **options):
    peft = pytest.importorskip("peft")
    targets = r".*layer\.\d.*(query|intermediate\.dense)\._original_component"
    config = getattr(peft, config_class)(target_modules=targets, **options)
    peft.inject_adapter_in_model(config, ranker.hf_model)
    for name, weight in ranker.hf_model.named_parameters():
        if "lora_" in name or "ia3_" in name:
            weight.data = torch.linspace(-1, 1, weight.numel()).view_as(weight)
    ranker.hf_model.eval()


CHANGES = {
    "hook on z": at_point("blocks.1.attn.hook_z"),
    "hook on the pattern": at_point("blocks.0.attn.hook_pattern"),
    "hook on the scores": at_point("blocks.1.attn.hook_attn_scores"),
    "hook on resid_post": at_point("blocks.0.hook_resid_post"),
    "hook on mlp_out": at_point("blocks.1.hook_mlp_out"),
    "hook on the query projection's input": at_point("blocks.1.attn.q.hook_in"),
    "hook inside a LayerNorm": at_point("blocks.0.ln1.hook_normalized"),
    "hook on the embedding": at_point("embed.hook_out"),
    "permanent hook": lambda r: r.hook_dict["blocks.0.hook_mlp_out"].add_perma_hook(halve),
    "hooks that speak to each other": carry_between_blocks,
    "forward hook on a projection": lambda r: plain(r, "layer.1", "value").register_forward_hook(
        halve_output
    ),
    "pre-hook on a projection": lambda r: plain(r, "layer.0", "query").register_forward_pre_hook(
        halve_input
    ),
    "forward hook on a block": lambda r: r.bridge.blocks[0].register_forward_hook(halve_output),
    "pre-hook on a block of Hugging Face": lambda r: r.bridge.blocks[
        1
    ].original_component.register_forward_pre_hook(halve_input),
    "forward hook on the model": lambda r: r.hf_model.base_model.encoder.register_forward_hook(
        lambda m, given, out: type(out)(out[0] * 0.5)
    ),
    "forward hook on a dropout": lambda r: module(
        r, "layer.0", "output.dropout"
    ).register_forward_hook(halve_output),
    "replaced forward": replace_forward,
    "another activation": other_activation,
    "another scale of attention": warmer_attention,
    "another class": other_class,
    "parametrised weight": lambda r: parametrize.register_parametrization(
        plain(r, "layer.0", "query"), "weight", Double()
    ),
    "pruned weight": lambda r: prune.l1_unstructured(plain(r, "layer.1", "query"), "weight", 0.5),
    "LoRA": lambda r: with_peft(r, "LoraConfig", r=2),
    "IA3": lambda r: with_peft(r, "IA3Config", feedforward_modules=[]),
}


# One of each way: hooks of TransformerLens, of PyTorch, other code, other weights.
EACH_WAY = [
    "hook on z",
    "hooks that speak to each other",
    "forward hook on a projection",
    "pre-hook on a block of Hugging Face",
    "replaced forward",
    "another scale of attention",
    "parametrised weight",
    "LoRA",
]
FEW = {"heads": [(0, 1), (1, 2)]}


@pytest.fixture(scope="module")
def unchanged(small_ranker):
    return patched(small_ranker("bert", "dot"), PAIRS[:2], method="naive", **FEW)


@pytest.mark.parametrize("change", few(list(CHANGES), EACH_WAY))
def test_what_changes_a_module_holds_in_both_runs_of_every_method(load, change, unchanged):
    ranker = load()
    CHANGES[change](ranker)
    naive, exact, screened, estimated = (
        patched(ranker, PAIRS[:2], method=method, direction=unchanged.direction, top_k=2, **FEW)
        for method in ("naive", "exact", "screened", "gradient")
    )
    assert np.abs(naive.recipient - unchanged.recipient).max() > 1e-3  # it does change something
    assert "through hooks: " in exact.provenance["engine"]
    for result in (exact, screened):
        assert_same(result.scores, naive.scores)
        assert_same(result.recipient, naive.recipient)
    assert_same(estimated.recipient, naive.recipient)


@pytest.mark.parametrize("how", ["zero", "mean", "resample"])
def test_ablation_obeys_a_hook(load, how):
    ranker = load()
    CHANGES["hook on mlp_out"](ranker)
    exact, naive = (
        me.ablate(ranker, PAIRS, how=how, method=method, progress=False)
        for method in ("exact", "naive")
    )
    assert_same(exact.scores, naive.scores)


@pytest.mark.parametrize(
    ("family", "site"),
    [("distilbert", "pattern"), ("distilbert", "attn_out"), ("mpnet", "v"), ("modernbert", "q")],
)
def test_other_families_and_sites_obey_hooks_of_the_users_own(load, family, site):
    ranker = load(family, "cat")
    ranker.hook_dict["blocks.0.hook_mlp_out"].add_hook(halve)
    with ranker.bridge.hooks(fwd_hooks=[("blocks.1.attn.o.hook_in", halve)]):
        exact, naive = (patched(ranker, PAIRS[:1], site=site, method=m) for m in ("exact", "naive"))
    assert_same(exact.scores, naive.scores)
    assert exact.provenance["engine"].startswith("whole runs")


def test_a_set_of_heads_obeys_a_hook(load):
    ranker = load()
    carry_between_blocks(ranker)
    exact, naive = (
        patched(ranker, heads=[(0, 1), (1, 2)], together=True, method=m) for m in ("exact", "naive")
    )
    assert_same(exact.scores, naive.scores)


@pytest.mark.parametrize("point", ["pooler.hook_out", "classifier.hook_in", "pooler.dense.hook_in"])
def test_hooks_behind_the_encoder_hold(load, point):
    ranker = load(kind="cat")
    ranker.hook_dict[point].add_hook(halve)
    exact, naive = (patched(ranker, PAIRS[:2], method=m) for m in ("exact", "naive"))
    assert_same(exact.scores, naive.scores)
    assert_same(exact.recipient, naive.recipient)


def test_a_hook_on_all_modules_of_the_process_holds(load):
    ranker = load()

    def hook(module, given, out):
        return out * 0.5 if type(module) is nn.Linear else None

    handle = nn.modules.module.register_module_forward_hook(hook)
    try:
        exact, naive = (patched(ranker, PAIRS[:2], method=m) for m in ("exact", "naive"))
    finally:
        handle.remove()
    assert_same(exact.scores, naive.scores)
    assert "all modules" in exact.provenance["engine"]
    assert patched(ranker, PAIRS[:2]).provenance["engine"] == "post-LN suffix"


def test_a_forward_that_is_replaced_in_the_class_holds(load, monkeypatch):
    ranker = load()
    forward = BertIntermediate.forward
    monkeypatch.setattr(BertIntermediate, "forward", lambda self, x: forward(self, x) * 0.5)
    exact, naive = (patched(ranker, PAIRS[:2], method=m) for m in ("exact", "naive"))
    assert_same(exact.scores, naive.scores)


def test_a_removed_hook_gives_the_fast_engine_back(load):
    ranker = load()
    before = patched(ranker)
    handle = plain(ranker, "layer.1", "value").register_forward_hook(halve_output)
    with ranker.bridge.hooks(fwd_hooks=[("blocks.0.hook_mlp_out", halve)]):
        assert patched(ranker).provenance["engine"] != "post-LN suffix"
    handle.remove()
    np.testing.assert_array_equal(patched(ranker).scores, before.scores)
    assert choose_engine(ranker).is_fast


def test_weights_changed_in_place_need_no_hooks(load):
    ranker = load()
    with torch.no_grad():
        plain(ranker, "layer.1", "value").weight.mul_(0.5)
    exact, naive = (patched(ranker, method=m) for m in ("exact", "naive"))
    assert_same(exact.scores, naive.scores)
    assert exact.provenance["engine"] == "post-LN suffix"


@pytest.mark.parametrize(
    "hook",
    [
        lambda z, hook: z + torch.randn_like(z),
        lambda z, hook: z - z.mean(dim=0),
        lambda z, hook: z * (torch.arange(len(z)) == 0).view(-1, 1, 1, 1),
    ],
    ids=["random", "mean of the batch", "first row"],
)
def test_a_hook_that_is_not_the_same_for_every_row_and_run_is_refused(load, hook):
    ranker = load()
    ranker.hook_dict["blocks.0.attn.hook_z"].add_hook(hook)
    for method in ("exact", "naive", "gradient"):
        with pytest.raises(ValueError, match="depends on the run or on its neighbours"):
            patched(ranker, method=method)


def test_gradients_refuse_a_hook_that_cuts_or_changes_the_gradient(load):
    ranker = load()
    with ranker.bridge.hooks(fwd_hooks=[("blocks.1.hook_attn_out", lambda x, hook: x.detach())]):
        with pytest.raises(ValueError, match="the gradient is not the slope"):
            patched(ranker, method="gradient")
        assert_same(patched(ranker).scores, patched(ranker, method="naive").scores)
    with (
        ranker.bridge.hooks(bwd_hooks=[("blocks.1.hook_mlp_out", lambda x, hook: (x * 2,))]),
        pytest.raises(ValueError, match="hook_out has a backward hook"),
    ):
        patched(ranker, method="screened")


@pytest.mark.parametrize("change", ["hook on z", "LoRA", "replaced forward"])
def test_path_patching_refuses_what_it_would_not_see(load, change):
    ranker = load()
    CHANGES[change](ranker)
    with pytest.raises(ValueError, match="path patching reads the model's weights alone"):
        me.path_patch(ranker, PAIRS, progress=False)


# --- under an intervention -------------------------------------------------------------------


def interventions(ranker):
    direction = np.linspace(-1, 1, ranker.d_model, dtype=np.float32)
    return {
        "knockout": me.Knockout([(0, 1), (1, 2)]),
        "scale": me.Scale([(0, 0)], 3.0),
        "steer": me.Steer([(1, 1)], direction[: ranker.d_model // ranker.n_heads]),
        "residual": me.SteerResidual(1, direction),
    }


def by_hand(ranker, changed, pair, layer, head):
    """Score of one pair after patching one head, through the bridge's hooks alone."""
    aligned = me.align([pair], ranker.tokenizer, kind=ranker.kind).aligned[0]
    side = ranker.sides[-1]
    name = f"blocks.{layer}.attn.hook_z"
    kept = {}

    def read(ids, hooks=()):
        inputs = ranker.model_inputs(torch.from_numpy(ids)[None], None, types)
        with ranker.bridge.hooks(fwd_hooks=[*changed.hooks[side], *hooks]):
            return ranker.hidden(inputs), inputs["attention_mask"]

    def keep(z, hook):
        kept["z"] = z.clone()

    def put(z, hook):
        z = z.clone()
        z[:, :, head] = kept["z"][:, :, head]
        return z

    types = torch.from_numpy(aligned.token_type_ids)[None]
    fixed = None
    if not ranker.reads_together:
        fixed = changed.encode_query(pair.query)
    read(aligned.perturbed_ids, [(name, keep)])
    return ranker.relevance(*read(aligned.baseline_ids, [(name, put)]), fixed).item()


@pytest.mark.parametrize("kind", ["dot", "cat"])
@pytest.mark.parametrize(
    "name", few(["knockout", "scale", "steer", "residual"], ["scale", "residual"])
)
def test_a_ranker_under_an_intervention_is_patched_as_by_hand(small_ranker, kind, name):
    ranker = small_ranker("bert", kind)
    changed = ranker.under(interventions(ranker)[name])
    options = {"direction": "perturbed_to_baseline"}
    exact, naive = (patched(changed, PAIRS[:2], method=m, **options) for m in ("exact", "naive"))
    assert_same(exact.scores, naive.scores)
    heads = [(0, 1), (1, 2)]
    expected = [[by_hand(ranker, changed, p, *head) for p in PAIRS[:2]] for head in heads]
    assert_same(np.stack([exact.scores[head] for head in heads]), np.array(expected))
    assert np.abs(exact.recipient - patched(ranker, PAIRS[:2], **options).recipient).max() > 1e-4
    assert "intervention" not in exact.provenance["engine"]
    assert exact.provenance["intervention"] == repr(changed.intervention)
    screened = patched(changed, PAIRS[:2], method="screened", top_k=8, **options)
    assert_same(screened.scores, naive.scores)


@pytest.mark.parametrize("side", ["query", "document"])
def test_an_intervention_holds_on_the_sides_that_it_names(small_ranker, side):
    ranker = small_ranker("bert", "dot")
    changed = ranker.under(me.Scale([(0, 0), (1, 3)], 2.0, side=side))
    scores = me.score_pairs(changed, PAIRS)
    expected = [changed.score(p.query, [p.perturbed])[0] for p in scores.pairs]
    assert_same(scores.perturbed, np.array(expected))
    exact, naive = (patched(changed, method=m) for m in ("exact", "naive"))
    assert_same(exact.scores, naive.scores)


def test_what_else_takes_pairs_takes_a_ranker_under_an_intervention(small_ranker):
    ranker = small_ranker("bert", "cat")
    changed = ranker.under(me.Knockout([(0, 0)]))
    pair = PAIRS[0]
    assert me.read_pair(changed, pair).perturbed_score == pytest.approx(
        float(changed.score(pair.query, [pair.perturbed])[0]), rel=1e-5
    )
    exact, naive = (
        me.ablate(changed, PAIRS, how="zero", method=m, progress=False) for m in ("exact", "naive")
    )
    assert_same(exact.scores, naive.scores)
    assert_same(exact.scores[0, 0], exact.recipient)  # knocked out already
    with pytest.raises(ValueError, match="weights alone.*Knockout.*patch heads with me.patch"):
        me.path_patch(changed, PAIRS, progress=False)
    assert not any(
        point.has_hooks(including_permanent=False) for point in ranker.hook_dict.values()
    )


def test_a_zero_in_place_of_a_steered_head_is_a_zero(small_ranker):
    ranker = small_ranker("bert", "dot")
    steered = ranker.under(me.Steer([(1, 1)], np.full(8, 3.0)))
    silent = ranker.under(me.Knockout([(1, 1)], side="document"))
    zero = me.ablate(steered, PAIRS, how="zero", heads=[(1, 1)], progress=False)
    fixed = [steered.encode_query(pair.query) for pair in zero.pairs]
    documents = [silent.encode_documents([pair.perturbed]) for pair in zero.pairs]
    expected = [ranker.compare(q, d)[0] for q, d in zip(fixed, documents, strict=True)]
    assert_same(zero.scores[0], np.array(expected))


# --- what would leave hooks dead, or numbers random ------------------------------------------


def compiled(ranker):
    ranker.hf_model._compiled_call_impl = ranker.hf_model.forward  # as hf_model.compile() leaves it


BREAKS = {
    "the attention implementation was changed": lambda r: r.hf_model.set_attn_implementation(
        "eager"
    ),
    "bridge's own hooks at .* were removed": lambda r: r.bridge.reset_hooks(
        including_permanent=True
    ),
    "training mode": lambda r: r.hf_model.train(),
    "layer.0.* is in training mode": lambda r: module(r, "layer.0", "dropout").train(),
    "torch.float16": lambda r: r.hf_model.half(),
    "torch.bfloat16": lambda r: r.bridge.blocks[1].to(torch.bfloat16),
    "num_attention_heads was 4 at load and is 2": lambda r: setattr(
        r.hf_model.config, "num_attention_heads", 2
    ),
    "config.hidden_act": lambda r: setattr(r.hf_model.config, "hidden_act", "relu"),
    "compiled": compiled,
    "would never run": lambda r: r.bridge.blocks[0].mlp.register_forward_hook(halve_output),
    "a hook of PyTorch": lambda r: r.hook_dict["blocks.0.attn.hook_pattern"].register_forward_hook(
        halve_output
    ),
}
RUNS = {
    "score": lambda r: r.score("reef", ["coral"]),
    "hooks": lambda r: r.run_with_hooks("reef", fwd_hooks=[("blocks.0.hook_mlp_out", halve)]),
    "patch": patched,
    "under": lambda r: r.under(me.Scale([(0, 0)], 1.0)).score("reef", ["coral"]),
}


@pytest.mark.parametrize("said", BREAKS)
def test_a_model_that_was_broken_is_not_run(load, said):
    ranker = load()
    BREAKS[said](ranker)
    for run in RUNS.values():
        with pytest.raises(RuntimeError, match=said):
            run(ranker)


def test_a_model_that_is_set_right_again_runs_again(load):
    ranker = load()
    scores = ranker.score("reef", ["coral"])
    ranker.hf_model.train().set_attn_implementation("sdpa")
    ranker.hf_model.eval().set_attn_implementation("mechir_edu_hooked")
    ranker.hf_model.config.output_hidden_states = True
    np.testing.assert_array_equal(ranker.score("reef", ["coral"]), scores)


@pytest.mark.parametrize("where", ["whole model", "dropout"])
def test_a_hook_on_a_module_that_a_cross_encoder_does_not_run_is_refused(load, where):
    ranker = load("distilbert", "cat")
    of = ranker.hf_model if where == "whole model" else ranker.hf_model.dropout
    of.register_forward_hook(halve_output)
    with pytest.raises(RuntimeError, match="would never run"):
        ranker.score("reef", ["coral"])


def test_a_model_may_be_trained_by_its_forward(load):
    ranker = load()
    ranker.hf_model.train().requires_grad_()
    ranker.forward("reef").sum().backward()
    assert any(weight.grad is not None for weight in ranker.hf_model.parameters())


@pytest.mark.parametrize("kind", ["dot", "cat"])
def test_a_deep_copy_has_hooks_of_its_own_and_the_originals_weights(load, kind):
    ranker = load(kind=kind)
    with torch.no_grad():
        ranker.bridge.blocks[0].attn.v.weight.mul_(2)
    copied = copy.deepcopy(ranker)
    np.testing.assert_array_equal(
        copied.score("reef", ["coral", "a"]), ranker.score("reef", ["coral", "a"])
    )
    ranker.hook_dict["blocks.0.hook_mlp_out"].add_hook(halve)
    del ranker
    exact, naive = (patched(copied, PAIRS[:2], method=m) for m in ("exact", "naive"))
    assert_same(exact.scores, naive.scores)
    assert exact.provenance["engine"] == "post-LN suffix"


def test_a_copy_of_a_changed_ranker_and_a_pickle_are_refused(load):
    ranker = load()
    with pytest.raises(TypeError, match="cannot be pickled.*load it anew"):
        pickle.dumps(ranker)
    CHANGES["hook on z"](ranker)
    with pytest.raises(TypeError, match="as it was loaded can be copied, but .*has a hook"):
        copy.deepcopy(ranker)
    assert copy.copy(ranker).hf_model is ranker.hf_model


# --- settings of PyTorch around a call -------------------------------------------------------


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def medium_precision():
    torch.set_float32_matmul_precision("medium")
    try:
        yield
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


AROUND = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "meta": lambda: default_device("meta"),
    "with meta": lambda: torch.device("meta"),
    "medium": medium_precision,
}


def all_numbers(ranker):
    """What a ranker answers to all that it is asked."""
    aligned = me.align(PAIRS[:2], ranker.tokenizer, kind=ranker.kind)
    changed = ranker.under(me.Scale([(0, 1)], 2.0))
    yield ranker.score("coral reef", ["a reef", "a longer text about a coral reef"])
    yield changed.score("coral reef", ["a reef"])
    for method in ("exact", "naive", "gradient", "screened"):
        yield patched(ranker, aligned, method=method, **FEW).scores
    yield patched(changed, PAIRS[:2], method="gradient").scores
    yield me.ablate(ranker, PAIRS[:2], how="mean", progress=False, **FEW).scores
    yield me.path_patch(ranker, PAIRS[:1], senders=[(0, 1)], progress=False).scores
    yield ranker.run_with_cache(*["a reef"] * (1 + ranker.reads_together))[0].detach().numpy()
    yield np.array(me.read_pair(ranker, PAIRS[0]).score_change)


@pytest.fixture(scope="module", params=["dot", "cat"])
def numbers(request, small_ranker):
    ranker = small_ranker("bert", request.param)
    return ranker, list(all_numbers(ranker))


@pytest.mark.parametrize(
    "around", few(list(AROUND), ["autocast", "inference_mode", "float64", "with meta"])
)
def test_settings_around_a_call_change_no_number(numbers, around):
    ranker, expected = numbers
    with AROUND[around]():
        for got, needed in zip(all_numbers(ranker), expected, strict=True):
            assert got.dtype == needed.dtype
            np.testing.assert_array_equal(got, needed)


@pytest.mark.parametrize("around", ["inference_mode", "float64", "meta"])
def test_a_ranker_is_loaded_as_ever_inside_of_them(folder, around):
    with AROUND[around]():
        inside = me.Dot(folder("bert", "dot"))
    inside, outside = (
        patched(ranker, PAIRS[:1], method="gradient").scores
        for ranker in (inside, me.Dot(folder("bert", "dot"), verify=False))
    )
    np.testing.assert_array_equal(inside, outside)


# --- verification at load --------------------------------------------------------------------


def test_a_fast_engine_that_disagrees_with_hooks_is_refused_at_load(folder, monkeypatch):
    from mechir_edu.patching.engines.suffix import Layer

    monkeypatch.setattr(Layer, "inner", lambda self, x: nn.functional.linear(x, self.w_in))
    with pytest.raises(VerificationError, match="a fast patch differs from a patch through hooks"):
        me.Dot(folder("bert", "dot"))
    ranker = BiEncoder(folder("bert", "dot"))  # as the command line loads it, without patching
    with pytest.raises(ValueError, match="a fast patch differs"):
        patched(ranker)


# --- what is no ranker and no pair -----------------------------------------------------------

TAKE_PAIRS = {
    "patch": patched,
    "ablate": lambda *given: me.ablate(*given, progress=False),
    "path_patch": lambda *given: me.path_patch(*given, progress=False),
    "score_pairs": me.score_pairs,
    "head_direction": lambda *given: me.head_direction(*given, [(0, 0)]),
}
NO_PAIRS = {
    "a single Pair; write": lambda: PAIRS[0],
    "got None": lambda: None,
    "got str": lambda: "TFC1",
    r"pairs\[1\] to be a Pair, got str": lambda: [PAIRS[0], "reef"],
    "got a table": lambda: __import__("pandas").DataFrame([{"query_id": "1"}]),
    "got dict": lambda: {"q1": PAIRS[0]},
    "got float": lambda: 0.5,
}


@pytest.mark.parametrize("function", TAKE_PAIRS)
def test_what_is_no_ranker_or_no_pairs_is_named(small_ranker, function):
    ranker, take = small_ranker("bert", "dot"), TAKE_PAIRS[function]
    for said, make in NO_PAIRS.items():
        with pytest.raises(TypeError, match=said):
            take(ranker, make())
    with pytest.raises(TypeError, match="did you swap them"):
        take(PAIRS, ranker)
    with pytest.raises(TypeError, match=r"got str 'embedded'; me.Dot\('embedded'\) loads one"):
        take("embedded", PAIRS)
    with pytest.raises(TypeError, match="got the class Dot itself"):
        take(me.Dot, PAIRS)
    with pytest.raises(TypeError, match="got BertModel"):
        take(ranker.hf_model, PAIRS)


def test_a_generator_of_pairs_is_taken_and_a_list_is_no_pair(small_ranker):
    ranker = small_ranker("bert", "dot")
    assert_same(patched(ranker, (p for p in PAIRS)).scores, patched(ranker).scores)
    with pytest.raises(TypeError, match="needed pair to be a Pair, got list"):
        me.read_pair(ranker, PAIRS)


@pytest.mark.parametrize(
    "heads", [[(0.9, 1.2)], [("0", "1")], [(True, False)], [(0, 1.0)], [(0, 1, 2)], (0, 1), "01", 3]
)
def test_heads_that_are_no_whole_numbers_are_refused(heads):
    with pytest.raises(TypeError, match="needed|needs"):
        plain_heads(heads)


@pytest.mark.parametrize("memory", [float("nan"), float("inf"), -1, 0, True, "1GB", [1]])
def test_a_budget_that_is_no_number_of_bytes_is_refused(memory):
    with pytest.raises((TypeError, ValueError), match="memory needs"):
        require_budget(memory)


@pytest.mark.parametrize("top_k", [0, -1, 2.5, True, "3", None])
def test_a_top_k_that_is_no_whole_number_is_refused(top_k):
    with pytest.raises((TypeError, ValueError), match="top_k needs"):
        whole_number("top_k", top_k, least=1)


def test_options_are_checked_before_any_work_and_numpys_whole_numbers_are_taken():
    for wrong in ({"heads": [(True, False)]}, {"memory": -1}, {"memory": True}, {"top_k": 0}):
        with pytest.raises((TypeError, ValueError), match="needs"):
            me.PatchOptions(**wrong)
    assert plain_heads(np.array([(0, 1), (1, 2)])) == ((0, 1), (1, 2))
    assert whole_number("top_k", np.int32(3)) == 3
    require_budget(1e9)
