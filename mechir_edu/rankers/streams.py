"""Verify at load that what is called the stream is the stream.

Whoever replaces the stream of one run by that of another must get the other run's output, because
nothing passes beside it. A hook on a branch (in a pre-LN block, what enters the MLP's LayerNorm) is
causal as well, so that testing whether an edit changes something does not tell the two apart.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mechir_edu.rankers.agreement import require_close

STREAMS = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post")


@torch.no_grad()
def verify_streams(ranker: Any, inputs: dict[str, Tensor]) -> None:
    """Put the stream of another text into a run, at every hook that is called the stream.

    Parameters
    ----------
    ranker : a wrapped `mechir_edu.rankers.base.Ranker`.
    inputs : of one text, of which two or more tokens are not special.

    Raises
    ------
    VerificationError
        Naming the hook, and saying by how much the outputs differ.
    """
    names = [
        name
        for stack in ranker.stacks
        if stack.is_all_that_goes_on
        for layer in range(stack.n_layers)
        for site in STREAMS
        if (name := f"{stack.name}.{layer}.{site}") in ranker.hook_dict
    ]
    other = {**inputs, "input_ids": _turned(inputs["input_ids"], ranker)}
    needed, cache = ranker.run_with_cache(names_filter=names, **other)
    copies = {name: tensor.repeat(len(names), 1) for name, tensor in inputs.items()}
    hooks = [(name, _put_into(row, cache[name])) for row, name in enumerate(names)]
    got = ranker.run_with_hooks(fwd_hooks=hooks, **copies)
    for row, name in enumerate(names):
        whose = "that of the run whose stream was put in"
        require_close(f"the output behind {name}", got[row : row + 1], needed, whose)


def _turned(ids: Tensor, ranker: Any) -> Tensor:
    """The same tokens in another order; special ones, and what no score reads, in their places."""
    special = torch.tensor(ranker.tokenizer.all_special_ids, device=ids.device)
    # A head whose score is about some of the tokens says which others may be exchanged.
    head = getattr(ranker, "head", None)
    counted = getattr(head, "exchangeable", ranker.counts)(ranker.model_inputs(ids)).bool()
    words = counted & ~torch.isin(ids, special)
    turned = ids.clone()
    turned[words] = ids[words].roll(1)
    return turned


def _put_into(row: int, stream: Tensor) -> Callable[[Tensor, Any], Tensor]:
    def put(activation: Tensor, hook: Any) -> Tensor:
        changed = activation.clone()
        changed[row] = stream[0]
        return changed

    return put
