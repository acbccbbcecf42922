"""Verify at load that every site is causal: editing it must change the output."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from mechir_edu.rankers.agreement import VerificationError

# The second is tried where the first changed nothing: in a layer that hardly tells tokens apart, as
# in an untrained model, attention depends so little on queries that rounding hides a small edit.
AMOUNTS = 1.0, 1000.0


@torch.no_grad()
def verify_causal(ranker: Any, inputs: dict[str, Tensor]) -> None:
    """Edit every site in one run: each in its own row, all rows copies of one text.

    Parameters
    ----------
    ranker : a wrapped `mechir_edu.rankers.base.Ranker`.
    inputs : of one text.

    Raises
    ------
    VerificationError
        Naming sites and layers.
    """
    cells = [cell for stack in ranker.stacks for cell in stack.cells()]
    copies = {name: tensor.repeat(len(cells), 1) for name, tensor in inputs.items()}

    def run(amount: float) -> Tensor:
        hooks = [(name, partial(_disturb, row, amount)) for row, (*_, name) in enumerate(cells)]
        return ranker.run_with_hooks(fwd_hooks=hooks, **copies)

    # The reference has the same hooks, changing nothing. A run without hooks takes other code
    # paths, whose rounding would make a dead site look alive.
    untouched = run(0.0)
    same = torch.ones(len(cells), dtype=torch.bool)
    for amount in AMOUNTS:
        if same.any():
            same &= (run(amount) == untouched).view(len(cells), -1).all(dim=1).cpu()
    named = zip(cells, same, strict=True)
    dead = [
        f"{site} of layer {layer} ({name})" for (site, layer, name), is_dead in named if is_dead
    ]
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
