"""Checks of 01_look_inside: what a head adds to the stream, and whether it matters to a score."""

from collections.abc import Callable

import torch
from torch import Tensor

from mechir_edu.checks._report import attempt, checker, mistake_in
from mechir_edu.models import Cat

QUERY = "why does salt melt ice on roads"
TEXT = "Salt lowers the freezing point of water, so ice on roads can melt below zero."


@checker("attn_out is the sum of its heads' outputs and one bias, so heads can be told apart.")
def check_head_outputs(answer: Callable) -> str | None:
    """Check a function ``head_outputs(z, W_O, b_O)``: what each head adds, [head, pos, d_model]."""
    generator = torch.Generator().manual_seed(1)
    z, weight, bias = (
        torch.randn(*shape, generator=generator) for shape in ((5, 3, 2), (3, 2, 4), (4,))
    )
    right = torch.einsum("phd,hdm->hpm", z, weight)
    mistakes = {
        "you added b_O to every head; it belongs to none of them, and would count three times in "
        "the sum.": right + bias,
        "you spread b_O over the heads; it is there whatever the heads do, so leave it out.": right
        + bias / 3,
        "you summed over the heads already; keep them apart, [head, pos, d_model].": right.sum(0),
        "that is attn_out itself, the sum of the heads and b_O; keep the heads apart.": right.sum(0)
        + bias,
        "the axes are [pos, head, d_model]; heads come first, [head, pos, d_model].": right.permute(
            1, 0, 2
        ),
    }
    return mistake_in(attempt(answer, z, weight, bias), right, mistakes)


@checker("a hook that changes the score is causal; the sign says which way the head pushed.")
def check_effect_of_head(answer: Callable) -> str | None:
    """Check ``effect_of_head(ranker, query, text, layer, head)``: score without it minus score."""
    ranker = Cat("planted", verify=False, device="cpu")
    heads = sorted(ranker.planted_heads)
    given = [attempt(answer, ranker, QUERY, TEXT, *at) for at in heads]
    plain = ranker.forward(QUERY, TEXT)

    def effects(edit: Callable[[Tensor, int], None]) -> Tensor:
        return torch.cat([_edited(ranker, layer, head, edit) for layer, head in heads]) - plain

    right = effects(lambda z, head: z[:, :, head].zero_())
    mistakes = {
        "nothing changed; a hook has to hand back the edited activation, edited at all "
        "positions.": right * 0,
        "the sign is reversed; take the score without the head minus the score with it.": -right,
        "that is the score without the head; take off the score with it.": right + plain,
        "you silenced all heads of the layer; z is [batch, pos, head, d_head], choose "
        "one.": effects(lambda z, head: z.zero_()),
        "you silenced a position, not a head; z is [batch, pos, head, d_head].": effects(
            lambda z, head: z[:, head].zero_()
        ),
    }
    return mistake_in(torch.tensor([float(effect) for effect in given]), right, mistakes)


def _edited(ranker: Cat, layer: int, head: int, edit: Callable[[Tensor, int], None]) -> Tensor:
    """Score after an edit of a layer's z."""

    def hook(z: Tensor, hook: object) -> Tensor:
        z = z.clone()
        edit(z, head)
        return z

    name = f"blocks.{layer}.attn.hook_z"
    return ranker.run_with_hooks(QUERY, TEXT, fwd_hooks=[(name, hook)])
