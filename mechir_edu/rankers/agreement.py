"""Two computations of the same numbers have to agree to rounding."""

from torch import Tensor

TOLERANCE = 1e-5


class VerificationError(ValueError, RuntimeError):
    """A checkpoint, or an adapter, that does not do what it should."""


def difference(got: Tensor, needed: Tensor, tolerance: float = TOLERANCE) -> float | None:
    """Largest difference of two results, where it is more than rounding; None where it is not.

    ``tolerance`` is relative to the largest number needed, or to 1 where that is larger.
    """
    apart = (got - needed).abs().max().item()
    is_rounding = apart <= tolerance * max(1.0, needed.abs().max().item())  # of NaN it is not
    return None if is_rounding else apart


def require_close(
    what: str, got: Tensor, needed: Tensor, whose: str, tolerance: float = TOLERANCE
) -> None:
    """Refuse a result that differs from another by more than rounding.

    Raises
    ------
    VerificationError
        Saying by how much.
    """
    if (error := difference(got, needed, tolerance)) is not None:
        raise VerificationError(f"{what} differs from {whose} by {error:.2g}; its adapter is wrong")
