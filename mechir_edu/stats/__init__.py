"""Say what a set of pairs shows, and how certain that is.

Conventions
-----------
Arrays have the axes ``[*cell, pair]``: a cell is whatever was patched (layer and head, layer and
role), and pairs come last. A *score change* is perturbed score minus baseline score, an *effect* is
the score after a patch minus the recipient's; both are in units of the relevance score. *Recovery*
is effect over (donor - recipient): 0 none, 1 all, negative if the patch moved the score the other
way. Intervals and p values treat queries, not pairs, as the independent units.

::

    clusters      sums over each query's pairs, and resamples of queries
    intervals     a bootstrapped t for means, ratios and their differences
    estimates     mean change, sign agreement, trend over grades
    comparisons   axiom minus control, start minus end
    recovered     recovery, with false-discovery control
    sign_flips    all cells tested together, by the dependence that they have
    maps          whether two sets of pairs rank the cells alike
    power         what a study of n pairs can detect
"""

from mechir_edu.stats.comparisons import HasIds, match_pairs, mean_difference, recovery_difference
from mechir_edu.stats.estimates import Estimate, grade_trend, mean_change, sign_agreement
from mechir_edu.stats.intervals import IntervalOptions
from mechir_edu.stats.maps import (
    Agreement,
    Correlation,
    Gap,
    profile_correlation,
    profile_gap,
    split_half_reliability,
)
from mechir_edu.stats.power import minimum_detectable_effect
from mechir_edu.stats.recovered import (
    How,
    Recovery,
    corrected,
    recovery,
)
from mechir_edu.stats.sign_flips import family_wise_p

__all__ = [
    "Agreement",
    "Correlation",
    "Estimate",
    "Gap",
    "HasIds",
    "How",
    "IntervalOptions",
    "Recovery",
    "corrected",
    "family_wise_p",
    "grade_trend",
    "match_pairs",
    "mean_change",
    "mean_difference",
    "minimum_detectable_effect",
    "profile_correlation",
    "profile_gap",
    "recovery",
    "recovery_difference",
    "sign_agreement",
    "split_half_reliability",
]
