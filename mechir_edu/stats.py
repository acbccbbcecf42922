"""Say what a set of pairs shows, and how sure one can be of it.

Conventions
-----------
Arrays have the axes ``[*cell, pair]``: a cell is whatever was patched (layer and head, layer and
role), and pairs come last. A *score change* is perturbed score minus baseline score, an *effect* is
the score after a patch minus the recipient's; both are in units of the relevance score. *Recovery*
is effect over (donor - recipient): 0 none, 1 all, negative if the patch moved the score the other
way. Intervals and p values treat queries, not pairs, as the independent units, see
:mod:`mechir_edu.clusters`.

False discovery
---------------
``q`` is p after the correction of Benjamini and Yekutieli (2001) over all cells of the grid. Heads
are read off the same pairs and help or oppose each other, so their p values depend on each other in
both directions; Benjamini and Hochberg's milder correction promises its rate only for independent
or positively dependent ones, this one for any. In the simulations of
:func:`mechir_edu.clusters.p_values` (144 dependent heads, none with an effect; 300 runs for each
of six settings) 0-2 % of the runs showed any q below 0.05; with Benjamini and Hochberg up to 5 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import false_discovery_control
from scipy.stats import t as student_t

from mechir_edu.clusters import QueryIds, Ratio, estimate_ratio, query_sums

How = Literal["ratio_of_means", "mean_of_ratios"]


@dataclass(frozen=True)
class Estimate:
    """A mean over pairs (or a trend), for one number or for each cell.

    ``value``, ``low`` and ``high`` are in the unit of what was averaged; ``p`` is two-sided, for a
    true value of zero, not corrected for the number of cells. ``sign_agreement`` is the share of
    pairs that moved as the axiom expects, None where it expects nothing.
    """

    value: float | np.ndarray
    low: float | np.ndarray
    high: float | np.ndarray
    p: float | np.ndarray
    n_pairs: int
    n_queries: int
    interval: float = 0.95
    sign_agreement: float | None = None


@dataclass(frozen=True)
class Recovery:
    """Recovery of each cell, [*cell] in each array, unitless.

    Attributes
    ----------
    value, low, high : the estimate and its interval.
    p, q : two-sided, for "the patch changes no score"; q is p corrected over the whole grid.
    how : ``"ratio_of_means"`` or ``"mean_of_ratios"``.
    denominator : mean of donor minus recipient score, with its interval.
    axes : names of the cell's axes.
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
    axes: tuple[str, ...] = ("layer", "head")

    @property
    def denominator_significant(self) -> bool:
        """Whether the interval of donor minus recipient leaves out zero."""
        return bool(self.denominator.low > 0 or self.denominator.high < 0)

    @property
    def warning(self) -> str | None:
        """What forbids to read the values as shares of a change; None if nothing does."""
        if self.denominator_significant:
            return None
        return (
            f"the mean score change ({self.denominator.value:.3g}) cannot be told from zero with "
            f"{self.n_pairs} pairs of {self.n_queries} queries, so there is no change to recover: "
            "use more queries, or look at effects in score units"
        )

    def significant(self, level: float = 0.05) -> np.ndarray:
        """Cells whose effect stands after false-discovery control, bool [*cell]."""
        return self.q < level


def recovery(
    patched: Float[np.ndarray, "*cell pair"],
    recipient: Float[np.ndarray, " pair"],
    donor: Float[np.ndarray, " pair"],
    *,
    query_ids: QueryIds,
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
    how : see above.
    interval : coverage of ``low`` to ``high``.
    n_boot, seed : resamples of the queries.

    Raises
    ------
    ValueError
        If there is nothing to divide by, `how` is unknown, or a score is missing or not finite.

    Examples
    --------
    >>> recipient, donor = np.zeros(8), np.array([1.0, 2, 1, 2, 1, 2, 1, 2])
    >>> r = recovery(donor / 4, recipient, donor, query_ids=list("aabbccdd"))
    >>> float(r.value)
    0.25
    """
    change = np.subtract(donor, recipient, dtype=np.float64)
    effect = np.subtract(patched, recipient, dtype=np.float64)
    numerator, denominator = _as_sums(effect, change, query_ids, how)
    options = {"interval": interval, "n_boot": n_boot, "seed": seed}
    ratio = estimate_ratio(numerator, denominator, **options)
    found = Recovery(
        value=ratio.value,
        low=ratio.low,
        high=ratio.high,
        p=ratio.p,
        q=false_discovery_control(ratio.p.ravel(), method="by").reshape(ratio.p.shape),
        how=how,
        interval=interval,
        n_pairs=len(change),
        n_queries=len(denominator),
        denominator=mean_change(change, query_ids=query_ids, **options),
        axes=("layer", "head", "role")[: ratio.value.ndim],
    )
    if how == "mean_of_ratios" or found.denominator_significant:
        return found
    low, high = (np.full_like(found.value, end) for end in (-np.inf, np.inf))
    return replace(found, low=low, high=high)


def mean_change(
    change: Float[np.ndarray, "*cell pair"],
    *,
    query_ids: QueryIds,
    expected_sign: int | None = None,
    interval: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Mean score change (or mean effect of each cell) over pairs, in score units.

    Parameters
    ----------
    change : score change of each pair.
    query_ids : the query of each pair.
    expected_sign : 1 or -1, the direction that the axiom predicts; 0 or None for a control.
    interval, n_boot, seed : as in :func:`recovery`; the interval is ``(-inf, inf)`` with fewer
        than four queries.
    """
    sums, counts = query_sums(change, query_ids), _pairs_per_query(query_ids)
    ratio = estimate_ratio(sums, counts, interval=interval, n_boot=n_boot, seed=seed)
    agreement = float((np.sign(change) == expected_sign).mean()) if expected_sign else None
    return _estimate(ratio, len(query_ids), len(counts), interval, agreement)


@runtime_checkable
class HasIds(Protocol):
    """Anything that belongs to one query and one document, such as a Pair."""

    query_id: str
    doc_id: str


def contrast(
    first: Float[np.ndarray, "*cell pair"],
    second: Float[np.ndarray, "*cell other"],
    *,
    first_pairs: Sequence[HasIds],
    second_pairs: Sequence[HasIds],
    interval: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Mean of `first` minus `second` over the query-document pairs that both have.

    Axiom minus neutral control separates "a query term was added" from "a term was added"; end
    minus start of the document separates position from match. The comparison is paired: what a
    document does to both sides cancels out.

    Parameters
    ----------
    first, second : score changes, or effects of each cell, in score units.
    first_pairs, second_pairs : what each column belongs to.
    interval, seed : as in :func:`recovery`.

    Raises
    ------
    ValueError
        If the two sets share no pair, or one of them has a pair twice.
    """
    here, there = match_pairs(first_pairs, second_pairs)
    difference = np.subtract(first[..., here], second[..., there], dtype=np.float64)
    query_ids = [first_pairs[i].query_id for i in here]
    return mean_change(difference, query_ids=query_ids, interval=interval, seed=seed)


def match_pairs(first: Sequence[HasIds], second: Sequence[HasIds]) -> tuple[np.ndarray, np.ndarray]:
    """Indices into both sequences of the query-document pairs that they share, in equal order."""
    places = [_places(pairs) for pairs in (first, second)]
    shared = [key for key in places[0] if key in places[1]]
    if not shared:
        raise ValueError(
            f"needed pairs of the same queries and documents on both sides, got {len(first)} and "
            f"{len(second)} pairs with none in common; make both from one sample (same seed and n)"
        )
    return tuple(np.array([place[key] for key in shared]) for place in places)


def grade_trend(
    change: Float[np.ndarray, "*cell pair"],
    relevance: Sequence[int] | Int[np.ndarray, " pair"],
    *,
    query_ids: QueryIds,
    interval: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Slope of the score change over the relevance grade, in score units per grade.

    Least squares over pairs, with an interval over queries.

    Raises
    ------
    ValueError
        If all pairs have the same grade.
    """
    grade = np.asarray(relevance, dtype=np.float64)
    grade = grade - grade.mean()
    if not grade.any():
        raise ValueError(
            "a trend needs pairs of two grades at least, got one; sample with grades=None"
        )
    centred = change - change.mean(axis=-1, keepdims=True, dtype=np.float64)
    numerator, denominator = query_sums(centred * grade, query_ids), query_sums(grade**2, query_ids)
    ratio = estimate_ratio(numerator, denominator, interval=interval, seed=seed)
    return _estimate(ratio, len(grade), len(denominator), interval)


def minimum_detectable_effect(
    change: Float[np.ndarray, " pair"],
    *,
    query_ids: QueryIds,
    n_pairs: int,
    n_queries: int,
    power: float = 0.8,
    level: float = 0.05,
) -> float:
    """Smallest true mean, in score units, that a study of this size finds with this power.

    The variance within and between queries is taken from pilot data (one-way random effects, by
    the moments of unequal groups); the study has equally many pairs for each query.

    Parameters
    ----------
    change : score changes, or effects of one cell, of the pilot.
    query_ids : the query of each pilot pair.
    n_pairs, n_queries : size of the study.
    power : probability to find it.
    level : of the two-sided test; divide it by the number of heads where many are tested.

    Raises
    ------
    ValueError
        If no pilot query has two pairs, or the pilot or the study has fewer than two queries.
    """
    counts = _pairs_per_query(query_ids)
    if min(len(counts), n_queries) < 2 or counts.max() < 2:
        raise ValueError(
            f"needed two queries at least, and two pairs of one, got a pilot of {len(counts)} "
            f"queries with up to {int(counts.max())} pairs, and {n_queries} queries planned"
        )
    within, between = _variances(np.asarray(change, dtype=np.float64), query_ids)
    error = np.sqrt(between / n_queries + within / n_pairs)
    quantiles = student_t.ppf([1 - level / 2, power], n_queries - 1)
    return float(quantiles.sum() * error)


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
    return query_sums(effect / change, query_ids), _pairs_per_query(query_ids)


def _pairs_per_query(query_ids: QueryIds) -> np.ndarray:
    return query_sums(np.ones(len(query_ids)), query_ids)


def _estimate(
    ratio: Ratio, n_pairs: int, n_queries: int, interval: float, agreement: float | None = None
) -> Estimate:
    fields = (ratio.value, ratio.low, ratio.high, ratio.p)
    plain = (float(field) if field.ndim == 0 else field for field in fields)
    return Estimate(*plain, n_pairs, n_queries, interval, agreement)


def _places(pairs: Sequence[HasIds]) -> dict[tuple[str, str], int]:
    places = {(pair.query_id, pair.doc_id): i for i, pair in enumerate(pairs)}
    if len(places) < len(pairs):
        raise ValueError(
            f"a paired comparison needs each query and document once, got {len(pairs)} pairs of "
            f"{len(places)}; compare one axiom, place and grade at a time"
        )
    return places


def _variances(change: np.ndarray, query_ids: QueryIds) -> tuple[float, float]:
    """Variance within queries and between them, from the two mean squares of unequal groups."""
    counts, sums = _pairs_per_query(query_ids), query_sums(change, query_ids)
    n_pairs, n_queries = counts.sum(), len(counts)
    explained = (sums**2 / counts).sum()
    within = ((change**2).sum() - explained) / (n_pairs - n_queries)
    among = (explained - sums.sum() ** 2 / n_pairs) / (n_queries - 1)
    typical_size = (n_pairs - (counts**2).sum() / n_pairs) / (n_queries - 1)
    return float(within), max(0.0, float((among - within) / typical_size))
