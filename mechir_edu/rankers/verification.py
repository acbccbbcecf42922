"""Verify a ranker when it is loaded: every hook is tested, editing it must change the output.

Four tests on tiny texts: the wrapped model's output equals the Hugging Face model's, the heads add
up to ``attn_out``, every site is *causal* (`mechir_edu.rankers.causality`), and the stream is the
stream (`mechir_edu.rankers.streams`). A hook that silently drops edits looks exactly like a
component that does nothing, so this is worth a second. The rankers of `mechir_edu.models` have a
fifth, `mechir_edu.patching.engines.choice.require_agreement`.
"""

import torch
from torch import Tensor

from mechir_edu.collection.progress import next_stage
from mechir_edu.rankers.adapters import convert
from mechir_edu.rankers.agreement import require_close
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.causality import verify_causal
from mechir_edu.rankers.checkpoint.token_checks import check_tokens
from mechir_edu.rankers.stacks import Stack
from mechir_edu.rankers.streams import verify_streams

QUERY = "sea salt"
TEXTS = ["Rivers carry dissolved salts into the sea.", "Tea."]


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
    for stack in ranker.stacks:
        _verify_sums_of_heads(ranker, stack, inputs)
    verify_causal(ranker, tiny_inputs(ranker, TEXTS[-1:]))
    verify_streams(ranker, tiny_inputs(ranker, TEXTS[:1]))


def _verify_sums_of_heads(ranker: Ranker, stack: Stack, inputs: dict[str, Tensor]) -> None:
    layers = range(stack.n_layers)
    names = [stack.hook_name(site, layer) for site in ("head", "attn_out") for layer in layers]
    _, cache = ranker.run_with_cache(names_filter=names, **inputs)
    for layer in layers:
        z = cache[stack.hook_name("head", layer)]
        block = stack.block(ranker.bridge, layer)
        projection = getattr(block, stack.attention).o
        weight = projection.weight.view(-1, *z.shape[-2:])  # [d_model, head, d_head]
        summed = torch.einsum("bphe,dhe->bpd", z, weight)
        if projection.bias is not None:
            summed = summed + projection.bias
        if hasattr(block, "ln1_post"):  # Gemma norms the sum before adding it to the stream
            summed = block.ln1_post.original_component(summed)
        attn_out = cache[stack.hook_name("attn_out", layer)]
        what = f"sum of heads of {stack.titled('layer')} {layer}"
        require_close(what, summed, attn_out, "attn_out")
