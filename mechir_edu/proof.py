"""A ranker proves itself when it is loaded.

Three checks on two tiny texts: the wrapped model's output equals the Hugging Face model's, every
site is *causal* (editing it changes the output), and the heads add up to ``attn_out``. A hook that
silently drops edits looks exactly like a component that does nothing, so this is worth a second.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mechir_edu.sites import HOOK_POINTS, hook_name

if TYPE_CHECKING:
    from mechir_edu.rankers import Ranker

QUERY = "why is the sea salty"
TEXTS = ["Rivers carry dissolved salts into the sea.", "Tea."]
TOLERANCE = 1e-5


def proof_inputs(ranker: "Ranker") -> dict[str, Tensor]:
    """Two tiny texts of unequal length, padded, ready for the ranker."""
    texts = (TEXTS,) if ranker.kind == "dot" else (QUERY, TEXTS)
    return ranker.model_inputs(**ranker.tokenize(*texts))


@torch.no_grad()
def run_reference(ranker: "Ranker") -> Tensor:
    """What the untouched Hugging Face model gives, before it is wrapped."""
    inputs = proof_inputs(ranker)
    out = ranker.hf_model(**inputs)[0]
    return ranker.output(out, inputs["attention_mask"]) if ranker.kind == "dot" else out


@torch.no_grad()
def prove(ranker: "Ranker", reference: Tensor) -> None:
    """Check a wrapped ranker against the untouched model's output.

    Raises
    ------
    RuntimeError
        Naming the layer and site that fail, and by how much.
    """
    inputs = proof_inputs(ranker)
    output = ranker.run_with_hooks(**_tokens(inputs))
    if ranker.kind == "cat":
        reference = reference[:, ranker.label]
    _close("output", output, reference, "the Hugging Face model's")
    for layer in range(ranker.n_layers):
        _prove_sum_of_heads(ranker, inputs, layer)
        for site in HOOK_POINTS:
            _prove_causal(ranker, inputs, output, site, layer)


def _tokens(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in inputs.items() if name != "position_ids"}


def _close(what: str, got: Tensor, needed: Tensor, whose: str) -> None:
    error = (got - needed).abs().max().item()
    if not error <= TOLERANCE * max(1.0, needed.abs().max().item()):
        raise RuntimeError(f"{what} differs from {whose} by {error:.2g}; the adapter is not fit")


def _prove_causal(ranker: "Ranker", inputs: dict, output: Tensor, site: str, layer: int) -> None:
    def disturb(activation: Tensor, hook: Any) -> Tensor:
        # A seeded, uneven factor: LayerNorm would undo an even one.
        noise = torch.rand(activation.shape, generator=torch.Generator().manual_seed(layer))
        return activation * noise.to(activation)

    hooks = [(hook_name(site, layer), disturb)]
    if torch.equal(ranker.run_with_hooks(fwd_hooks=hooks, **_tokens(inputs)), output):
        raise RuntimeError(
            f"editing {site} of layer {layer} changes nothing: this checkpoint's hook is dead "
            "(or the layer is); load with verify=False only to study why"
        )


def _prove_sum_of_heads(ranker: "Ranker", inputs: dict, layer: int) -> None:
    names = [hook_name("head", layer), hook_name("attn_out", layer)]
    _, cache = ranker.run_with_cache(names_filter=names, **_tokens(inputs))
    z, attn_out = (cache[name] for name in names)
    projection = ranker.bridge.blocks[layer].attn.o
    weight = projection.weight.view(-1, *z.shape[-2:])  # [d_model, head, d_head]
    summed = torch.einsum("bphe,dhe->bpd", z, weight)
    if projection.bias is not None:
        summed = summed + projection.bias
    _close(f"sum of heads of layer {layer}", summed, attn_out, "attn_out")
