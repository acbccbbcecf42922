"""Checks of 01_look_inside: what a head adds to the stream, and whether it matters to a score."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from mechir_edu.checks._planted import (
    ON_THE_PLANTED,
    QUERY,
    TEXT,
    planted_ranker,
    trying,
)
from mechir_edu.checks._report import attempt, checker, mistake_in
from mechir_edu.rankers.base import Ranker


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
        "you took the first head's W_O for all of them; each head has its own, W_O[head].": (
            torch.einsum("phd,dm->hpm", z, weight[0])
        ),
        "you took the last head's W_O for all of them; each head has its own, W_O[head].": (
            torch.einsum("phd,dm->hpm", z, weight[-1])
        ),
        "you took the first head's z for all of them; each head has its own, z[:, head].": (
            torch.einsum("pd,hdm->hpm", z[:, 0], weight)
        ),
        "you summed over the heads already; keep them apart, [head, pos, d_model].": right.sum(0),
        "that is attn_out itself, the sum of the heads and b_O; keep the heads apart.": right.sum(0)
        + bias,
        "the axes are [pos, head, d_model]; heads come first, [head, pos, d_model].": right.permute(
            1, 0, 2
        ),
    }
    return mistake_in(attempt(answer, z, weight, bias), right, mistakes)


@checker(
    "a hook that changes the score is causal; the sign says which way the head pushed.",
    trying=ON_THE_PLANTED,
)
def check_effect_of_head(answer: Callable) -> str | None:
    """Check ``effect_of_head(ranker, query, text, layer, head)``: score without it minus score."""
    ranker = planted_ranker()
    heads = sorted(ranker.planted_heads)
    with trying():
        given = [float(attempt(answer, ranker, QUERY, TEXT, *at)) for at in heads]
    right, mistakes = _effects()
    wrong = (abs(torch.tensor(given) - right) > 1e-4).nonzero().ravel().tolist()
    layer, head = heads[wrong[0] if wrong else 0]
    otherwise = (
        f"the effect is wrong for {len(wrong)} of the {len(heads)} heads tried, first for layer "
        f"{layer}, head {head}; set that head's z to zero at all positions, and take score minus "
        "score."
    )
    return mistake_in(torch.tensor(given), right, mistakes, otherwise=otherwise)


@cache
def _effects() -> tuple[Tensor, dict[str, Tensor]]:
    """The effect of each planted head, and what each mistake makes of it."""
    ranker = planted_ranker()
    plain = ranker.forward(QUERY, TEXT)

    def effects(edit: Callable[[Tensor, int], object]) -> Tensor:
        heads = sorted(ranker.planted_heads)
        return torch.cat([_edited(ranker, layer, head, edit) for layer, head in heads]) - plain

    right = effects(lambda z, head: z[:, :, head].zero_())
    return right, {
        "nothing changed; a hook has to hand back the edited activation, edited at all "
        "positions.": right * 0,
        "the sign is reversed; take the score without the head minus the score with it.": -right,
        "that is the score without the head; take off the score with it.": right + plain,
        "you silenced all heads of the layer; z is [batch, pos, head, d_head], choose "
        "one.": effects(lambda z, head: z.zero_()),
        "you silenced a position, not a head; z is [batch, pos, head, d_head].": effects(
            lambda z, head: z[:, head].zero_()
        ),
        "you silenced the head at [CLS] only; take all positions.": effects(
            lambda z, head: z[:, 0, head].zero_()
        ),
        "you turned the head round instead of silencing it; set its z to zero.": effects(
            lambda z, head: z[:, :, head].neg_()
        ),
    }


def _edited(ranker: Ranker, layer: int, head: int, edit: Callable[[Tensor, int], object]) -> Tensor:
    """Score after an edit of a layer's z."""

    def hook(z: Tensor, hook: object) -> Tensor:
        z = z.clone()
        edit(z, head)
        return z

    name = f"blocks.{layer}.attn.hook_z"
    return ranker.run_with_hooks(QUERY, TEXT, fwd_hooks=[(name, hook)])
