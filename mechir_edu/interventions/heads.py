"""Interventions: changes inside a ranker, the same for every text that it reads.

Patching moves activations between two versions of one document. An intervention needs no pair: it
makes the same change whatever is read, so its effect on a ranking can be measured
(`mechir_edu.evaluate`)::

    ranker.under(Knockout([(2, 3)])).score(query, texts)

============================  ==================================================================
`Knockout`                    a head says nothing, or the same everywhere (its mean)
`Scale`                       a head says the same, louder or softer; 0 is a knockout, 1 nothing
`steering.Steer`              a direction is added to what a head says
`steering.SteerResidual`      a direction is added to the residual stream
`cuts.Cut`                    no attention from one role's tokens to another's
============================  ==================================================================

What a head *says* is its z, [d_head] at each position: the attended values, before W_O. Every
position is changed, special tokens included. A bi-encoder reads twice, so its ``side`` decides
whether queries, documents or both are read under the intervention; a cross-encoder reads once.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mechir_edu.collection.judged import Judged
from mechir_edu.patching.engines.means import mean_activations
from mechir_edu.patching.numbers import plain_heads
from mechir_edu.patching.options import require_known
from mechir_edu.patching.sweep import require_different
from mechir_edu.rankers.base import BATCH_SIZE, Hook, Inputs, Ranker, Side
from mechir_edu.rankers.hook_names import Head

SIDES = ("both", "query", "document")
Hooks = list[tuple[str, Hook]]
# From z of the heads of a layer, [batch, pos, head, d_head], and their places in the intervention's
# own list of heads, to the z that replaces it.
HeadEdit = Callable[[Tensor, list[int]], Tensor]


@dataclass(frozen=True)
class Knockout:
    """Heads whose z is replaced by zeros, or by their own mean.

    Zeros are simple, but far from anything that the model has seen, and overstate effects; the
    mean leaves what a head always says and takes away what differs between texts
    (`mechir_edu.patching.ablation`).

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
        tidy(self)
        object.__setattr__(self, "over", tuple(self.over))
        require_known("to", self.to, ("zero", "mean"))
        if (self.to == "mean") != bool(self.over):
            raise ValueError(
                'to="mean" needs over=, the texts to take the mean over (such as '
                f'collection.sample(64).judged), and "zero" none; got to={self.to!r} and '
                f"{len(self.over)} texts"
            )

    def hooks(self, ranker: Ranker, side: Side) -> Hooks:
        """Hook functions by hook point, for what is read on one side."""
        if self.to == "zero":
            return head_hooks(ranker, tuple(self.heads), lambda z, places: torch.zeros_like(z))
        mean = head_mean(ranker, self.over, tuple(self.heads), side=side)
        return head_hooks(ranker, tuple(self.heads), lambda z, places: mean[places].expand_as(z))


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
        tidy(self)
        require_finite("factor", self.factor)

    def hooks(self, ranker: Ranker, side: Side) -> Hooks:
        """Hook functions by hook point, for what is read on one side."""
        return head_hooks(ranker, tuple(self.heads), lambda z, places: z * self.factor)


def head_hooks(ranker: Ranker, heads: Sequence[Head], edit: HeadEdit) -> Hooks:
    """Make one hook function for each layer that has a head to edit.

    Parameters
    ----------
    ranker : whose heads they are.
    heads : the (layer, head) to edit.
    edit : gives the new z of heads; other heads keep theirs.
    """
    places_of = defaultdict(list)
    for place, (layer, _) in enumerate(heads):
        places_of[layer].append(place)
    return [
        (ranker.stack.hook_name("head", layer), _hook([heads[i][1] for i in places], places, edit))
        for layer, places in places_of.items()
    ]


def _hook(heads: list[int], places: list[int], edit: HeadEdit) -> Hook:
    def hook_z(z: Tensor, hook: object) -> Tensor:
        edited = z.clone()
        edited[:, :, heads] = edit(z[:, :, heads], places)
        return edited

    return hook_z


def tidy(intervention: Any) -> None:
    """Make heads plain and immutable, in place, and check heads and side.

    Raises
    ------
    ValueError, TypeError
        For no head, a head twice, or a side that is none of `SIDES`; for what is no head.
    """
    heads = plain_heads(intervention.heads)
    require_different(heads)
    object.__setattr__(intervention, "heads", heads)
    require_known("side", intervention.side, SIDES)


def require_finite(name: str, value: float | int) -> None:
    """Refuse a number that is NaN or infinite.

    Raises
    ------
    ValueError
        Naming the number.
    """
    if not isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}")


def head_mean(
    ranker: Ranker,
    judged: Sequence[Judged],
    heads: Sequence[tuple[int, int]],
    *,
    side: Literal["both", "query", "document"] = "both",
) -> Float[Tensor, "head d_head"]:
    """Mean z of heads over all tokens of queries and passages, each read once.

    Parameters
    ----------
    ranker : of any kind.
    judged : the queries and passages, such as ``collection.sample(64).judged``.
    heads : the (layer, head) to read; rows come in this order.
    side : of a bi-encoder "query" or "document", which are read apart; of a cross-encoder "both".
    """
    names = [ranker.stack.hook_name("head", layer) for layer, _ in heads]
    means = mean_activations(ranker, _read(ranker, judged, side), names)
    rows = [means[name][head] for name, (_, head) in zip(names, heads, strict=True)]
    return torch.stack(rows)


def _read(ranker: Ranker, judged: Sequence[Judged], side: str) -> Iterator[Inputs]:
    """What a ranker reads of queries and passages on one side, each text once, in batches."""
    read = ranker.texts_read([(pair.query, pair.text) for pair in judged], side)
    rows = list(dict.fromkeys(read))
    for start in range(0, len(rows), BATCH_SIZE):
        columns = zip(*rows[start : start + BATCH_SIZE], strict=True)
        yield ranker.model_inputs(**ranker.tokenize(*map(list, columns)))
