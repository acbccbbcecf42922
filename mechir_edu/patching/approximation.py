"""How far a gradient's estimates are from exact patching."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import pearsonr, spearmanr

from mechir_edu.patching.result import PatchingResult


@dataclass(frozen=True, eq=False)
class ApproximationError:
    """How far estimated effects are from exact ones, as means over pairs.

    Attributes
    ----------
    pearson, spearman : correlation over cells.
    top_k, overlap : share of the exact ``top_k`` (by absolute effect) that the estimates' hold.
    error : estimated minus exact effect of each cell, [*cell], in score units.
    n_pairs : how many pairs the means are over.
    """

    pearson: float
    spearman: float
    top_k: int
    overlap: float
    error: Float[np.ndarray, "*cell"]
    n_pairs: int

    @property
    def largest(self) -> float:
        """Largest absolute error of a cell, in score units."""
        return float(np.abs(self.error).max())

    @property
    def worst(self) -> tuple[int, ...]:
        """Index of the cell with the largest error."""
        return tuple(
            int(i) for i in np.unravel_index(np.abs(self.error).argmax(), self.error.shape)
        )


def approximation_error(
    estimated: PatchingResult, exact: PatchingResult, *, top_k: int = 10
) -> ApproximationError:
    """Compare a gradient's estimates with exact patching of the same pairs.

    Raises
    ------
    ValueError
        If the results are of different pairs, sites, axes or directions, or by position.
    """
    compared = ("pairs", "site", "axes", "direction")
    sides = ((r.pairs, r.site, r.axes, r.direction) for r in (estimated, exact))
    for name, here, there in zip(compared, *sides, strict=True):
        if here != there:
            raise ValueError(f"needed two results with the same {name}; patch both alike")
    estimate, truth = (r.effect().mean(axis=-1, dtype=np.float64) for r in (estimated, exact))
    leading = [set(np.argsort(-np.abs(effect.ravel()))[:top_k]) for effect in (estimate, truth)]
    return ApproximationError(
        pearson=float(pearsonr(estimate.ravel(), truth.ravel()).statistic),
        spearman=float(spearmanr(estimate.ravel(), truth.ravel()).statistic),
        top_k=top_k,
        overlap=len(set.intersection(*leading)) / len(leading[1]),
        error=estimate - truth,
        n_pairs=len(exact.pairs),
    )
