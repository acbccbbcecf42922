"""Steering: a direction added to what heads say, or to the residual stream, for every text.

Where `mechir_edu.interventions.heads` takes away, this puts in: does more of what the edit of an
axiom adds (`mechir_edu.interventions.directions`) make a document score as if it had been edited?
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mechir_edu.interventions.heads import SIDES, Hooks, Side, head_hooks, require_finite, tidy
from mechir_edu.patching.options import require_known
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.hook_names import Head, require_layer


@dataclass(frozen=True, eq=False)
class Steer:
    """Heads to whose z a direction is added, ``strength`` times, at every position.

    Attributes
    ----------
    heads, side : as for `mechir_edu.interventions.heads.Knockout`.
    direction : [head, d_head] in the order of ``heads``, or [d_head] for a single head; for
        instance what an edit adds on average, `mechir_edu.interventions.directions.head_direction`.
    strength : any finite number; 0 changes nothing, below 0 pushes the other way.

    Raises
    ------
    ValueError
        For a direction that does not fit the heads, or is not finite.
    """

    heads: Sequence[Head]
    direction: np.ndarray = field(repr=False)
    strength: float | int = 1.0
    side: Side = "both"

    def __post_init__(self) -> None:
        tidy(self)
        require_finite("strength", self.strength)
        direction = np.atleast_2d(_finite_array(self.direction))
        if direction.ndim != 2 or len(direction) != len(self.heads):
            raise ValueError(
                f"direction needs the shape [head, d_head] with {len(self.heads)} rows, one for "
                f"each of heads, got {np.shape(self.direction)}"
            )
        object.__setattr__(self, "direction", direction)

    def hooks(self, ranker: Ranker, side: Side) -> Hooks:
        """Hook functions by hook point, for what is read on one side."""
        added = _as_tensor(self.direction, head_width(ranker), ranker) * self.strength
        return head_hooks(ranker, self.heads, lambda z, places: z + added[places])


@dataclass(frozen=True, eq=False)
class SteerResidual:
    """A direction added to the residual stream, ``strength`` times, at every position.

    Attributes
    ----------
    layer : it is added to ``resid_pre`` of this layer, the stream that the block before hands on;
        in a post-LN encoder that is behind the block's LayerNorm.
    direction : [d_model]; for instance `mechir_edu.interventions.directions.residual_direction`.
    strength, side : as for `Steer`.

    Raises
    ------
    ValueError
        For a direction that is not a finite vector; for a layer or a width that the ranker lacks
        when it is applied.
    """

    layer: int
    direction: np.ndarray = field(repr=False)
    strength: float | int = 1.0
    side: Side = "both"

    def __post_init__(self) -> None:
        require_known("side", self.side, SIDES)
        require_finite("strength", self.strength)
        if np.ndim(self.direction) != 1:
            raise ValueError(f"direction needs the shape [d_model], got {np.shape(self.direction)}")
        object.__setattr__(self, "direction", _finite_array(self.direction))

    def hooks(self, ranker: Ranker, side: Side) -> Hooks:
        """Hook functions by hook point, for what is read on one side."""
        require_layer(self.layer, ranker.n_layers)
        d_model = ranker.hf_model.config.hidden_size
        added = _as_tensor(self.direction, d_model, ranker) * self.strength
        return [
            (ranker.stack.hook_name("resid_pre", self.layer), lambda resid, hook: resid + added)
        ]


def head_width(ranker: Ranker) -> int:
    """Width of a head's z, d_head; in some families it is not d_model divided by the heads."""
    attention = getattr(ranker.stack.block(ranker.bridge, 0), ranker.stack.attention)
    return attention.o.weight.shape[1] // ranker.n_heads


def _finite_array(direction: np.ndarray) -> np.ndarray:
    direction = np.asarray(direction, dtype=np.float32)
    if not np.isfinite(direction).all():
        raise ValueError("direction must be finite, got NaN or infinity in it")
    return direction


def _as_tensor(direction: np.ndarray, width: int, ranker: Ranker) -> Tensor:
    if direction.shape[-1] != width:
        raise ValueError(
            f"a direction for {ranker.name} has {width} dimensions here, got {direction.shape[-1]}"
        )
    return torch.from_numpy(direction).to(ranker.device)
