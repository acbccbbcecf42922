"""What a circuit can be asked for, as one value; checked before any work starts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mechir_edu.patching.budget import require_budget
from mechir_edu.patching.numbers import plain_heads, whole_number
from mechir_edu.patching.options import DIRECTIONS, Direction, require_known
from mechir_edu.patching.sweep import require_different
from mechir_edu.rankers.hook_names import Head, require_heads

# Shares of the heads at which MIB measures.
SIZES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
ORDERS = (
    "exact",
    "exact_magnitude",
    "gradient",
    "gradient_magnitude",
    "greedy",
    "backward",
    "pruning",
    "random",
)
ABLATIONS = ("other run", "mean", "resample")
FEWEST_DRAWS = 20  # of random orders: a band of fewer says little


@dataclass(frozen=True, kw_only=True)
class CircuitOptions:
    """Options of `mechir_edu.circuit`, which explains them; checked as far as no ranker is needed.

    Raises
    ------
    ValueError
        For an unknown order, ablation or direction, a head twice, or a number out of its range.
    TypeError
        For what is no number, no head, or no list of sizes.
    """

    order: str | Sequence[Head] = "exact"
    sizes: Sequence[int | float] | None = None
    ablation: str = "other run"
    direction: Direction = "auto"
    filler: str = "a"
    n_random: int = FEWEST_DRAWS
    ranked_on: float = 0.5
    seed: int = 0
    memory: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.order, str):
            require_known("order", self.order, ORDERS)
        else:
            heads = plain_heads(self.order)
            require_different(heads)
            object.__setattr__(self, "order", heads)
        if self.sizes is not None:
            object.__setattr__(self, "sizes", _plain_sizes(self.sizes))
        require_known("ablation", self.ablation, ABLATIONS)
        require_known("direction", self.direction, ("auto", *DIRECTIONS))
        object.__setattr__(self, "seed", whole_number("seed", self.seed, least=0))
        n_random = whole_number("n_random", self.n_random, least=0)
        if 0 < n_random < FEWEST_DRAWS:
            raise ValueError(
                f"n_random needs at least {FEWEST_DRAWS} random orders for a band, or 0 for none, "
                f"got {n_random}"
            )
        object.__setattr__(self, "n_random", n_random)
        is_share = isinstance(self.ranked_on, float | np.floating) and 0 < self.ranked_on < 1
        if not is_share:
            raise ValueError(
                "ranked_on needs the share of the queries on which heads are ranked, between 0 "
                f"and 1, such as 0.5; got {self.ranked_on!r}"
            )
        object.__setattr__(self, "ranked_on", float(self.ranked_on))
        require_budget(self.memory)

    @property
    def is_ranked(self) -> bool:
        """Whether heads are ranked by what they do, on queries of their own."""
        return isinstance(self.order, str) and self.order != "random"

    def shares_and_numbers(self, n_layers: int, n_heads: int) -> list[tuple[float, int]]:
        """For each size its share of all heads, as asked, and its number of heads, ascending.

        Raises
        ------
        ValueError
            For a head that the ranker lacks; for a size that the ranker or the listed heads cannot
            fill; for sizes that do not ascend.
        """
        n_all = n_layers * n_heads
        listed = n_all
        if not isinstance(self.order, str):
            require_heads(self.order, n_layers, n_heads)
            listed = len(self.order)
        sizes = self.sizes
        if sizes is None:
            sizes = SIZES if listed == n_all else (*range(listed + 1), n_all)
        sized = [_sized(size, n_all) for size in sizes]
        for size, (_, number) in zip(sizes, sized, strict=True):
            if number > n_all or listed < number < n_all:
                raise ValueError(
                    f"sizes needs at most {listed} heads (the order lists {listed} of {n_all}), or "
                    f"all {n_all}; got {size!r}"
                )
        if sized != sorted(set(sized)):
            raise ValueError(f"sizes needs to ascend, each once, got {list(sizes)}")
        return sized


def _plain_sizes(sizes: Any) -> tuple[int | float, ...]:
    if isinstance(sizes, str) or not isinstance(sizes, Sequence | np.ndarray | range):
        raise TypeError(
            "sizes needs a list of numbers of heads (0, 1, 2, ...) or shares of all heads (0.1, "
            f"1.0), got {sizes!r}"
        )
    plain = tuple(_plain_size(size) for size in sizes)
    if not plain:
        raise ValueError("sizes needs at least one size, got none")
    return plain


def _plain_size(size: Any) -> int | float:
    if isinstance(size, float | np.floating):
        if not 0 <= size <= 1:
            raise ValueError(
                f"sizes needs shares from 0.0 to 1.0, or whole numbers of heads, got {size!r}"
            )
        return float(size)
    return whole_number("sizes", size, least=0)


def _sized(size: int | float, n_all: int) -> tuple[float, int]:
    """Share and number; a share is rounded down to whole heads, as MIB does with edges."""
    if isinstance(size, int):
        return size / n_all, size
    return size, math.floor(size * n_all + 1e-9)
