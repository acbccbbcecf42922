"""Recovery: the share of a score change that a patch brings over, for each cell.

False discovery
---------------
``q`` is p after the correction of Benjamini and Yekutieli (2001) over all cells of the grid. Heads
are read off the same pairs and help or oppose each other, so their p values depend on each other in
both directions; Benjamini and Hochberg's milder correction promises its rate only for independent
or positively dependent ones, this one for any. ``docs/study/validation.md`` has the share of
simulated studies without any effect that still show a head below 0.05.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.stats import false_discovery_control

from mechir_edu.stats.clusters import QueryIds, pairs_per_query, query_sums
from mechir_edu.stats.estimates import Estimate, mean_change
from mechir_edu.stats.given import check_scores, check_share
from mechir_edu.stats.intervals import IntervalOptions, estimate_mean, estimate_ratio

How = Literal["ratio_of_means", "mean_of_ratios"]


@dataclass(frozen=True)
class Recovery:
    """Recovery of each cell, [*cell] in each array, unitless.

    Attributes
    ----------
    value, low, high : the estimate and its interval.
    p, q : two-sided, for "the patch changes no score"; q is p corrected over the whole grid.
    how : ``"ratio_of_means"`` or ``"mean_of_ratios"``.
    denominator : mean of donor minus recipient score, with its interval.
    axes : names of the cell's axes, such as ``("layer", "head")``.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    q: np.ndarray
    how: How
    interval: float
    n_pairs: int
    n_queries: int
    denominator: Estimate
    axes: tuple[str, ...]

    @property
    def denominator_significant(self) -> bool:
        """Whether the interval of donor minus recipient leaves out zero."""
        return bool(self.denominator.low > 0 or self.denominator.high < 0)

    @property
    def warning(self) -> str | None:
        """Why the values are not shares of a change, or None if they are."""
        if self.denominator_significant:
            return None
        return (
            f"the mean score change ({self.denominator.value:.3g}) cannot be told from zero with "
            f"{self.n_pairs} pairs of {self.n_queries} queries, so there is no change to recover: "
            "use more queries, or look at effects in score units"
        )

    def significant(self, level: float = 0.05) -> np.ndarray:
        """Cells whose effect is significant after false-discovery control, bool [*cell]."""
        check_share(level, "level", 0.05)
        return self.q < level


def recovery(
    patched: Float[np.ndarray, "*cell pair"],
    recipient: Float[np.ndarray, " pair"],
    donor: Float[np.ndarray, " pair"],
    *,
    query_ids: QueryIds,
    axes: tuple[str, ...] | None = None,
    how: How = "ratio_of_means",
    interval: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Recovery:
    """Share of the score change that each patch brings over: 0 none, 1 all.

    ``"ratio_of_means"`` divides the mean effect by the mean of donor minus recipient. Where the
    interval of that denominator covers zero (or there are fewer than four queries) the value is
    still returned, but with the interval ``(-inf, inf)``, ``denominator_significant`` False and
    a ``warning``: any recovery would then fit the data. ``p`` and ``q`` keep their meaning, for
    they are about the effect alone.

    ``"mean_of_ratios"``, the MechIR paper's, averages one ratio per pair. A pair whose score
    hardly changed divides by almost nothing, and a few such pairs can make up a whole map.

    Parameters
    ----------
    patched : relevance score after each patch.
    recipient, donor : scores of the two runs without a patch.
    query_ids : the query of each pair.
    axes : names of the cell's axes, which pictures and tables go by: ``("layer", "head")``;
        when omitted, the first of ("layer", "head", "role"), as many as there are axes.
    how : see above.
    interval : coverage of ``low`` to ``high``.
    n_boot, seed : resamples of the queries.

    Raises
    ------
    TypeError, ValueError
        If there is nothing to divide by, `how` is unknown, a score is missing or not finite, an
        axis has no name or a name no axis, or for what `mechir_edu.stats.given` refuses.

    Examples
    --------
    >>> recipient, donor = np.zeros(8), np.array([1.0, 2, 1, 2, 1, 2, 1, 2])
    >>> share = recovery(donor / 4, recipient, donor, query_ids=list("aabbccdd"))
    >>> float(share.value)
    0.25
    """
    check_scores(patched, recipient, donor)
    change = np.subtract(donor, recipient, dtype=np.float64)
    effect = np.subtract(patched, recipient, dtype=np.float64)
    options: IntervalOptions = {"interval": interval, "n_boot": n_boot, "seed": seed}
    numerator, denominator = _as_sums(effect, change, query_ids, how)
    estimate = estimate_ratio if how == "ratio_of_means" else estimate_mean
    ratio = estimate(numerator, denominator, **options)
    measured = Recovery(
        value=ratio.value,
        low=ratio.low,
        high=ratio.high,
        p=ratio.p,
        q=corrected(ratio.p),
        how=how,
        interval=interval,
        n_pairs=len(change),
        n_queries=len(denominator),
        denominator=mean_change(change, query_ids=query_ids, **options),
        axes=_named(axes, ratio.value.shape),
    )
    if how == "mean_of_ratios" or measured.denominator_significant:
        return measured
    low, high = (np.full_like(measured.value, end) for end in (-np.inf, np.inf))
    return replace(measured, low=low, high=high)


def corrected(p: Float[np.ndarray, "*cell"]) -> Float[np.ndarray, "*cell"]:
    """Correct p values for the number of cells, over the whole grid (see above)."""
    return false_discovery_control(p.ravel(), method="by").reshape(p.shape)


def _named(axes: tuple[str, ...] | None, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names of a cell's axes."""
    if axes is None:
        axes = ("layer", "head", "role")[: len(shape)]
    if len(axes) != len(shape):
        raise ValueError(f"axes needs one name per axis of the cells, shape {shape}; got {axes}")
    return axes


def _as_sums(
    effect: np.ndarray, change: np.ndarray, query_ids: QueryIds, how: How
) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator of recovery, summed by query."""
    if how == "ratio_of_means":
        if change.mean() == 0:
            raise ValueError(
                "recovery needs donor and recipient scores that differ in the mean, got a mean "
                "change of exactly 0; check that donor and recipient are not the same run"
            )
        return query_sums(effect, query_ids), query_sums(change, query_ids)
    if how != "mean_of_ratios":
        raise ValueError(f"how needs 'ratio_of_means' or 'mean_of_ratios', got {how!r}")
    if not change.all():
        raise ValueError(
            f"mean_of_ratios needs a score change in each pair, got {np.sum(change == 0)} pairs "
            "without one; use how='ratio_of_means', or leave those pairs out and report them"
        )
    return query_sums(effect / change, query_ids), pairs_per_query(query_ids)
