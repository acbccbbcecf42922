"""What is called the stream is the stream, heads are counted by site, nothing is swallowed."""

import pytest
import torch
from patching_helpers import PAIRS, patched
from small_models import FAMILIES, save_model
from transformers import LlamaConfig

from mechir_edu import Dot, align
from mechir_edu.alignment.aligned import ROLE_NAMES, Role, role_names
from mechir_edu.patching.options import PatchOptions
from mechir_edu.rankers.components import EncoderBlockBridge, PreLNBlockBridge, hooked_attention
from mechir_edu.rankers.stacks import Stack, encoder_stack


@pytest.mark.parametrize("family", FAMILIES)
def test_putting_in_anothers_stream_gives_the_others_output(small_ranker, family):
    ranker = small_ranker(family, "dot")
    one, other = "warm coral reef water", "water reef coral warm"
    needed, cache = ranker.run_with_cache(other)
    for name in [name for name in ranker.hook_dict if ".hook_resid_" in name]:
        hook = (name, lambda x, hook, name=name: cache[name])
        got = ranker.run_with_hooks(one, fwd_hooks=[hook])
        torch.testing.assert_close(got, needed, atol=1e-4, rtol=1e-4, msg=name)


def test_a_pre_ln_block_has_no_hook_between_its_sublayers(small_ranker):
    ranker = small_ranker("modernbert", "dot")
    assert not any(name.endswith("hook_resid_mid") for name in ranker.hook_dict)
    with pytest.raises(ValueError, match=r"is hook_resid_pre \+ hook_attn_out.*is ln2.hook_in"):
        ranker.run_with_cache("a", names_filter="blocks.0.hook_resid_mid")


def test_a_branch_that_is_called_the_stream_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(PreLNBlockBridge, "__init__", EncoderBlockBridge.__init__)
    with pytest.raises(RuntimeError, match=r"output behind blocks.0.hook_resid_mid differs from"):
        Dot(str(save_model("modernbert", "Model", tmp_path)))


@pytest.mark.parametrize("argument", ["s_aux"])
def test_what_attention_does_not_compute_is_refused(argument):
    q = torch.randn(1, 2, 3, 4)
    with pytest.raises(TypeError, match=f"Identity hands on {argument}, which is not computed"):
        hooked_attention(torch.nn.Identity(), q, q, q, None, **{argument: torch.tensor(1.0)})
    hooked_attention(torch.nn.Identity(), q, q, q, None, **{argument: None})


def test_a_key_and_value_head_serves_a_group_of_heads():
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, 5, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    z, _ = hooked_attention(torch.nn.Identity(), q, k, v, None)
    one, _ = hooked_attention(torch.nn.Identity(), q[:, 3:], k[:, 1:], v[:, 1:], None)
    torch.testing.assert_close(z[:, :, 3:], one)


def test_heads_are_counted_by_site(small_ranker, monkeypatch):
    stack = encoder_stack(LlamaConfig(num_attention_heads=8, num_key_value_heads=2))
    assert [stack.heads_at(site) for site in ("head", "q", "k", "v")] == [8, 8, 2, 2]
    ranker = load_small_view(small_ranker("bert", "dot"), Stack(2, 4, 2), monkeypatch)
    assert PatchOptions(site="k").sweep(ranker).cell_shape == (2, 2)
    assert PatchOptions(site="q").sweep(ranker).cell_shape == (2, 4)
    with pytest.raises(ValueError, match="heads 0-1"):
        PatchOptions(site="v", heads=[(0, 3)]).sweep(ranker)


def load_small_view(ranker, stack, monkeypatch):
    monkeypatch.setattr(Dot, "stacks", (stack,))
    return ranker


def test_hooks_are_named_by_stack_and_attention():
    stack = Stack(1, 2, 2, "decoder", "cross", attn_out="hook_cross_out", sites=("head", "q"))
    assert stack.hook_name("pattern", 0) == "decoder.0.cross.hook_pattern"
    assert stack.hook_name("attn_out", 0) == "decoder.0.hook_cross_out"
    names = [name for *_, name in stack.cells()]
    assert names == ["decoder.0.cross.hook_z", "decoder.0.cross.hook_q"]


def test_a_prompt_has_a_role_of_its_own_and_rows_of_its_own(small_ranker):
    ranker = small_ranker("bert", "dot")
    pair = PAIRS[0]
    (with_prompt,) = align(
        [pair], ranker.tokenizer, kind="dot", prompts=("", "reef fish: ")
    ).aligned
    (without,) = align([pair], ranker.tokenizer, kind="dot").aligned
    n = (with_prompt.roles == Role.PROMPT).sum()
    assert n == 3
    assert with_prompt.roles.tolist() == [0, *[Role.PROMPT] * n, *without.roles[1:]]
    assert role_names(("", "a ")) == ROLE_NAMES
    assert patched(ranker, site="resid_pre", by="role").scores.shape == (2, 6, len(PAIRS))
