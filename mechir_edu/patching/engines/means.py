"""What a hook point says on average over texts."""

from collections.abc import Iterable

import torch
from torch import Tensor

from mechir_edu.patching.engines.hooks import activations
from mechir_edu.rankers.base import Ranker


@torch.no_grad()
def mean_activations(
    ranker: Ranker, runs: Iterable[dict[str, Tensor]], names: list[str]
) -> dict[str, Tensor]:
    """Mean over the tokens of all runs of the activations at some hook points, each [*rest].

    Parameters
    ----------
    ranker : of any kind.
    runs : `Ranker.model_inputs` of each; what the attention mask hides does not count.
    names : hook points whose activations are [batch, pos, *rest].
    """
    sums, n_rows = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
    for inputs in runs:
        seen = inputs["attention_mask"].bool()
        for name, activation in activations(ranker, inputs, list(sums)).items():
            # A decoder of one step has one row, which counts.
            counted = seen if activation.shape[1] == seen.shape[1] else seen[:, :1]
            sums[name] = sums[name] + activation[counted].sum(dim=0)
            n_rows[name] += int(counted.sum())
    return {name: total / n_rows[name] for name, total in sums.items()}
