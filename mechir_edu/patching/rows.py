"""Which positions one patch touches, and where its score stands: for a pair, a role or a position.

``by`` of `mechir_edu.patch` chooses one of three ways. Each knows its axes, the positions of its
patches (one *mask* a patch), and the place of a mask's scores behind the axes of the cell.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Int8
from torch import Tensor

from mechir_edu.alignment.aligned import N_ROLES

By = Literal["pos", "role"] | None
Masks = Bool[Tensor, "mask pair pos"]
Roles = Int8[Tensor, "pair pos"]
Lengths = np.ndarray  # tokens of each pair, [pair]


@runtime_checkable
class Rows(Protocol):
    """One way to tell positions apart."""

    axes: ClassVar[tuple[str, ...]]

    def masks(self, roles: Roles) -> Masks:
        """Positions that each patch touches."""

    def shape(self, lengths: Lengths) -> tuple[int, ...]:
        """Shape of the scores of one cell."""

    def place(self, mask: int, pairs: np.ndarray, lengths: Lengths) -> tuple:
        """Index, behind the cell's own, of the scores of a mask for some pairs."""

    def columns(self, roles: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """What a result has to say of its rows, given the roles of each pair."""


class AllPositions:
    """``by=None``: one patch touches all positions; one score a pair."""

    axes: ClassVar[tuple[str, ...]] = ("pair",)

    def masks(self, roles: Roles) -> Masks:  # noqa: D102
        return torch.ones_like(roles, dtype=torch.bool).unsqueeze(0)

    def shape(self, lengths: Lengths) -> tuple[int, ...]:  # noqa: D102
        return (len(lengths),)

    def place(self, mask: int, pairs: np.ndarray, lengths: Lengths) -> tuple:  # noqa: D102
        return (pairs,)

    def columns(self, roles: Sequence[np.ndarray]) -> dict[str, np.ndarray]:  # noqa: D102
        return {}


class EachRole:
    """``by="role"``: one patch touches all positions of one role, of so many roles."""

    axes: ClassVar[tuple[str, ...]] = ("role", "pair")

    def __init__(self, n_roles: int = N_ROLES) -> None:
        self.n_roles = n_roles

    def masks(self, roles: Roles) -> Masks:  # noqa: D102
        each_role = torch.arange(self.n_roles, device=roles.device)
        return roles.unsqueeze(0) == each_role.view(-1, 1, 1)

    def shape(self, lengths: Lengths) -> tuple[int, ...]:  # noqa: D102
        return self.n_roles, len(lengths)

    def place(self, mask: int, pairs: np.ndarray, lengths: Lengths) -> tuple:  # noqa: D102
        return mask, pairs

    def columns(self, roles: Sequence[np.ndarray]) -> dict[str, np.ndarray]:  # noqa: D102
        return {}


class EachPosition:
    """``by="pos"``: one patch touches one position.

    Pairs of different length leave no rectangle, so the last axis is *row*: (pair, position).
    """

    axes: ClassVar[tuple[str, ...]] = ("row",)

    def masks(self, roles: Roles) -> Masks:  # noqa: D102
        n_pairs, n_pos = roles.shape
        is_patched = torch.eye(n_pos, dtype=torch.bool, device=roles.device)
        return is_patched.unsqueeze(1).expand(n_pos, n_pairs, n_pos)

    def shape(self, lengths: Lengths) -> tuple[int, ...]:  # noqa: D102
        return (int(lengths.sum()),)

    def place(self, mask: int, pairs: np.ndarray, lengths: Lengths) -> tuple:  # noqa: D102
        first_row = np.cumsum(lengths) - lengths
        return (first_row[pairs] + mask,)

    def columns(self, roles: Sequence[np.ndarray]) -> dict[str, np.ndarray]:  # noqa: D102
        lengths = [len(of_pair) for of_pair in roles]
        return {
            "row_pair": np.repeat(np.arange(len(roles)), lengths),
            "row_pos": np.concatenate([np.arange(length) for length in lengths]),
            "row_role": np.concatenate(roles),
        }


ROWS: dict[By, Rows] = {None: AllPositions(), "role": EachRole(), "pos": EachPosition()}
