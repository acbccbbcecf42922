"""Interventions: what is changed inside a ranker, for every text that it reads.

Patching moves activations between two versions of one document. An intervention needs no pair: it
makes the same change whatever is read, so that one can ask what the change does to a ranking
(`mechir_edu.evaluate`)::

    ranker.under(Knockout([(2, 3)])).score(query, texts)

============================  ==================================================================
`Knockout`                    a head says nothing, or the same everywhere (its mean)
`Scale`                       a head says the same, louder or softer; 0 is a knockout, 1 nothing
`Steer`                       a direction is added to what a head says
`SteerResidual`               a direction is added to the residual stream
============================  ==================================================================

What a head *says* is its z, [d_head] at each position: the attended values, before W_O. Every
position is changed, special tokens included. A bi-encoder reads twice, so its ``side`` decides
whether queries, documents or both are read under the intervention; a cross-encoder reads once.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from mechir_edu.collection import Judged
from mechir_edu.directions import head_mean
from mechir_edu.sites import hook_name

if TYPE_CHECKING:
    from mechir_edu.hooked import Hook, Ranker

Head = tuple[int, int]  # (layer, head)
Side = Literal["both", "query", "document"]
SIDES = ("both", "query", "document")
Hooks = list[tuple[str, "Hook"]]
# z of some heads [batch, pos, head, d_head], and their places in the intervention's own list.
Change = Callable[[Tensor, list[int]], Tensor]


@dataclass(frozen=True)
class Knockout:
    """Heads whose z is replaced by zeros, or by their own mean.

    Zeros are simple, but far from anything that the model has seen, and overstate effects; the
    mean leaves what a head always says and takes away what differs between texts
    (`mechir_edu.ablation`).

    Attributes
    ----------
    heads : the (layer, head) to knock out, at once.
    to : "zero" or "mean".
    over : with "mean", the queries and passages whose tokens the mean is taken over, such as
        ``tuple(collection.sample(64).judged)``. A bi-encoder has one mean for queries and one for
        documents.
    side : "both", "query" or "document".

    Raises
    ------
    ValueError
        For an unknown option, or ``over`` without "mean" or the other way round; for a head that
        the ranker lacks when it is applied (`Ranker.under`).
    """

    heads: Iterable[Head]
    to: Literal["zero", "mean"] = "zero"
    over: Sequence[Judged] = field(default=(), repr=False)
    side: Side = "both"

    def __post_init__(self) -> None:
        _tidy(self)
        object.__setattr__(self, "over", tuple(self.over))
        if self.to not in ("zero", "mean"):
            raise ValueError(f'to must be "zero" or "mean", got {self.to!r}')
        if (self.to == "mean") != bool(self.over):
            raise ValueError(
                'to="mean" needs over=, the texts to take the mean over (such as '
                f'collection.sample(64).judged), and "zero" none; got to={self.to!r} and '
                f"{len(self.over)} texts"
            )

    def hooks(self, ranker: "Ranker", side: Side) -> Hooks:
        """Hook functions by hook point, for what is read on one side."""
        is_mean = self.to == "mean"
        says = head_mean(ranker, self.over, self.heads, side=side) if is_mean else None

        def replace(z: Tensor, at: list[int]) -> Tensor:
            return torch.zeros_like(z) if says is None else says[at].expand_as(z)

        return _head_hooks(self.heads, replace)


@dataclass(frozen=True)
class Scale:
    """Heads whose z is multiplied by a factor: 0 knocks out, 1 changes nothing, 2 doubles.

    Attributes
    ----------
    heads, side : as for `Knockout`.
    factor : any finite number.
    """

    heads: Iterable[Head]
    factor: float | int
    side: Side = "both"

    def __post_init__(self) -> None:
        _tidy(self)
        _check_finite("factor", self.factor)

    def hooks(self, ranker: "Ranker", side: Side) -> Hooks:
        """Hook functions by hook point, for what is read on one side."""
        return _head_hooks(self.heads, lambda z, at: z * self.factor)


@dataclass(frozen=True, eq=False)
class Steer:
    """Heads to whose z a direction is added, ``strength`` times, at every position.

    Attributes
    ----------
    heads, side : as for `Knockout`.
    direction : [head, d_head] in the order of ``heads``, or [d_head] for a single head; for
        instance what an edit adds on average, `mechir_edu.directions.head_direction`.
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
        _tidy(self)
        _check_finite("strength", self.strength)
        direction = np.atleast_2d(_finite_array(self.direction))
        if direction.ndim != 2 or len(direction) != len(self.heads):
            raise ValueError(
                f"direction needs the shape [head, d_head] with {len(self.heads)} rows, one for "
                f"each of heads, got {np.shape(self.direction)}"
            )
        object.__setattr__(self, "direction", direction)

    def hooks(self, ranker: "Ranker", side: Side) -> Hooks:
        """Hook functions by hook point, for what is read on one side."""
        d_head = ranker.hf_model.config.hidden_size // ranker.n_heads
        added = _as_tensor(self.direction, d_head, ranker) * self.strength
        return _head_hooks(self.heads, lambda z, at: z + added[at])


@dataclass(frozen=True, eq=False)
class SteerResidual:
    """A direction added to the residual stream, ``strength`` times, at every position.

    Attributes
    ----------
    layer : it is added to ``resid_pre`` of this layer, the stream that the block before hands on;
        in a post-LN encoder that is behind the block's LayerNorm.
    direction : [d_model]; for instance `mechir_edu.directions.residual_direction`.
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
        _check_side(self.side)
        _check_finite("strength", self.strength)
        if np.ndim(self.direction) != 1:
            raise ValueError(f"direction needs the shape [d_model], got {np.shape(self.direction)}")
        object.__setattr__(self, "direction", _finite_array(self.direction))

    def hooks(self, ranker: "Ranker", side: Side) -> Hooks:
        """Hook functions by hook point, for what is read on one side."""
        if not 0 <= self.layer < ranker.n_layers:
            raise ValueError(f"no layer {self.layer}: layers are 0-{ranker.n_layers - 1}")
        d_model = ranker.hf_model.config.hidden_size
        added = _as_tensor(self.direction, d_model, ranker) * self.strength
        return [(hook_name("resid_pre", self.layer), lambda resid, hook: resid + added)]


Intervention = Knockout | Scale | Steer | SteerResidual


def _head_hooks(heads: Sequence[Head], change: Change) -> Hooks:
    """One hook for each layer that has a head to change."""
    places = defaultdict(list)
    for place, (layer, _) in enumerate(heads):
        places[layer].append(place)
    return [
        (hook_name("head", layer), _edit([heads[i][1] for i in at], at, change))
        for layer, at in places.items()
    ]


def _edit(heads: list[int], at: list[int], change: Change) -> "Hook":
    def edit(z: Tensor, hook: object) -> Tensor:
        edited = z.clone()
        edited[:, :, heads] = change(z[:, :, heads], at)
        return edited

    return edit


def _tidy(intervention: Intervention) -> None:
    """Make heads plain and immutable, and check the side."""
    heads = tuple((int(layer), int(head)) for layer, head in intervention.heads)
    object.__setattr__(intervention, "heads", heads)
    _check_side(intervention.side)


def _check_side(side: Side) -> None:
    if side not in SIDES:
        raise ValueError(f"side must be one of {', '.join(SIDES)}, got {side!r}")


def _check_finite(name: str, value: float | int) -> None:
    if not isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}")


def _finite_array(direction: np.ndarray) -> np.ndarray:
    direction = np.asarray(direction, dtype=np.float32)
    if not np.isfinite(direction).all():
        raise ValueError("direction must be finite, got NaN or infinity in it")
    return direction


def _as_tensor(direction: np.ndarray, width: int, ranker: "Ranker") -> Tensor:
    if direction.shape[-1] != width:
        raise ValueError(
            f"a direction for {ranker.name} has {width} dimensions here, got {direction.shape[-1]}"
        )
    return torch.from_numpy(direction).to(ranker.device)
