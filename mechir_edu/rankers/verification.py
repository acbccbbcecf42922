"""Verify a ranker when it is loaded: every hook is tested, editing it must change the output.

Three tests on tiny texts: the wrapped model's output equals the Hugging Face model's, the heads
add up to ``attn_out``, and every site is *causal* (editing it changes the output). A hook that
silently drops edits looks exactly like a component that does nothing, so this is worth a second.
`Dot` and `Cat` have a fourth, `mechir_edu.patching.engines.choice.require_agreement`.
"""

from functools import partial

import torch
from torch import Tensor

from mechir_edu.collection.progress import next_stage
from mechir_edu.rankers.adapters import convert
from mechir_edu.rankers.agreement import VerificationError, require_close
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.checkpoint.token_checks import check_tokens
from mechir_edu.rankers.hook_names import HOOK_POINTS, hook_name

QUERY = "sea salt"
TEXTS = ["Rivers carry dissolved salts into the sea.", "Tea."]
# The second is tried where the first changed nothing: in a layer that hardly tells tokens apart, as
# in an untrained model, attention depends so little on queries that rounding hides a small edit.
AMOUNTS = 1.0, 1000.0


@torch.no_grad()
def wrap(ranker: Ranker, *, verify: bool) -> None:
    """Put the hooks into a ranker's model, record its modules and, if asked to, verify the hooks.

    Raises
    ------
    ValueError
        For a tokenizer that does not fit the model, verified or not.
    VerificationError
        For a checkpoint that fails; names the layer and site, and by how much.
    """
    check_tokens(
        ranker.name,
        ranker.tokenizer,
        ranker.hf_model,
        pair=ranker.reads_together,
        reads_first_position_only=ranker.reads_first_position_only,
    )
    next_stage("comparing with Hugging Face's model" if verify else "adding hooks")
    reference = run_reference(ranker) if verify else None
    ranker.bridge = convert(ranker.hf_model)
    ranker.record_modules()
    if reference is not None:
        verify_hooks(ranker, reference)
        ranker.verify_further()


def tiny_inputs(ranker: Ranker, texts: list[str]) -> dict[str, Tensor]:
    """Inputs for the Hugging Face model, padded; without positions, which it counts itself."""
    read = ranker.texts_read([(QUERY, text) for text in texts], ranker.sides[-1])
    tokens = ranker.tokenize(*map(list, zip(*read, strict=True)))
    inputs = ranker.model_inputs(**tokens)
    return {name: tensor for name, tensor in inputs.items() if name != "position_ids"}


@torch.no_grad()
def run_reference(ranker: Ranker) -> Tensor:
    """Output of the untouched Hugging Face model, before it is wrapped."""
    return ranker.publisher_output(tiny_inputs(ranker, TEXTS))


@torch.no_grad()
def verify_hooks(ranker: Ranker, reference: Tensor) -> None:
    """Verify a wrapped ranker, given the untouched model's output.

    Raises
    ------
    VerificationError
        Naming the layer and site that fail, and by how much.
    """
    inputs = tiny_inputs(ranker, TEXTS)
    require_close("output", ranker.forward(**inputs), reference, "the Hugging Face model's")
    _verify_sums_of_heads(ranker, inputs)
    _verify_causal(ranker)


def _verify_sums_of_heads(ranker: Ranker, inputs: dict[str, Tensor]) -> None:
    layers = range(ranker.n_layers)
    names = [hook_name(site, layer) for site in ("head", "attn_out") for layer in layers]
    _, cache = ranker.run_with_cache(names_filter=names, **inputs)
    for layer in layers:
        z = cache[hook_name("head", layer)]
        projection = ranker.bridge.blocks[layer].attn.o
        weight = projection.weight.view(-1, *z.shape[-2:])  # [d_model, head, d_head]
        summed = torch.einsum("bphe,dhe->bpd", z, weight)
        if projection.bias is not None:
            summed = summed + projection.bias
        attn_out = cache[hook_name("attn_out", layer)]
        require_close(f"sum of heads of layer {layer}", summed, attn_out, "attn_out")


def _verify_causal(ranker: Ranker) -> None:
    """Edit every site in one run: each in its own row, all rows copies of one text."""
    cells = [(site, layer) for layer in range(ranker.n_layers) for site in HOOK_POINTS]
    copies = tiny_inputs(ranker, TEXTS[-1:] * len(cells))

    def run(amount: float) -> Tensor:
        hooks = [
            (hook_name(*cell), partial(_disturb, row, amount)) for row, cell in enumerate(cells)
        ]
        return ranker.run_with_hooks(fwd_hooks=hooks, **copies)

    # The reference has the same hooks, changing nothing. A run without hooks takes other code
    # paths, whose rounding would make a dead site look alive.
    untouched = run(0.0)
    same = torch.ones(len(cells), dtype=torch.bool)
    for amount in AMOUNTS:
        if same.any():
            same &= (run(amount) == untouched).view(len(cells), -1).all(dim=1).cpu()
    dead = [f"{site} of layer {layer}" for (site, layer), at in zip(cells, same, strict=True) if at]
    if dead:
        raise VerificationError(
            f"editing {', '.join(dead[:4])}{' ...' if len(dead) > 4 else ''} changes nothing: a "
            "dead hook, or a dead layer; load with verify=False only to study why"
        )


def _disturb(row: int, amount: float, activation: Tensor, hook: object) -> Tensor:
    """Scale one row by seeded factors, uneven because LayerNorm would undo a common one.

    An amount of 0 changes nothing, 1 shrinks each number, 1000 flips its sign and enlarges it.
    """
    noise = torch.rand(activation.shape[1:], generator=torch.Generator().manual_seed(row))
    disturbed = activation.clone()
    disturbed[row] *= 1 - amount * noise.to(activation)
    return disturbed
