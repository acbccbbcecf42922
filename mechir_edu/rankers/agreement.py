"""Two computations of the same numbers have to agree to rounding."""

from torch import Tensor

TOLERANCE = 1e-5


class VerificationError(ValueError, RuntimeError):
    """A checkpoint, or an adapter, that does not do what it should."""


def require_close(what: str, got: Tensor, needed: Tensor, whose: str) -> None:
    """Refuse a result that differs from another by more than rounding.

    Raises
    ------
    VerificationError
        Saying by how much.
    """
    error = (got - needed).abs().max().item()
    if not error <= TOLERANCE * max(1.0, needed.abs().max().item()):  # NaN fails too
        raise VerificationError(f"{what} differs from {whose} by {error:.2g}; its adapter is wrong")
