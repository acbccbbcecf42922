"""Checks of 04_tfc1_versus_tdc: significant heads, and whether two maps rank heads alike."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.stats import false_discovery_control, kendalltau, pearsonr, rankdata, spearmanr

from mechir_edu.checks._report import attempt, checker, mistake_in, same
from mechir_edu.rankers.hook_names import Head
from mechir_edu.stats.recovered import Recovery, recovery

# Chosen so that p, Bonferroni's correction, Benjamini and Hochberg's q, intervals and sizes all
# choose other heads than q does.
P = np.array([[0.0004, 0.008, 0.6, 0.001], [0.9, 0.02, 0.0002, 0.04]])
VALUE = np.array([[-0.21, 0.30, 0.01, 0.04], [0.00, 0.25, 0.12, -0.05]])
WIDTH = np.array([[0.05, 0.35, 0.04, 0.02], [0.06, 0.20, 0.05, 0.04]])
LEVEL = 0.05

FIRST = np.array([[0.05, -0.01, 0.30], [0.02, 0.00, 0.11]])
SECOND = np.array([[0.20, -0.30, 0.22], [0.01, 0.03, 0.05]])


@checker("q is corrected for the number of heads; a head counts whichever way it pushes.")
def check_significant_heads(answer: Callable) -> str | None:
    """Check ``significant_heads(recovery, level)``: the set of (layer, head) with q below level."""
    recovered = _recovery()
    listed = attempt(answer, recovered, LEVEL)
    if np.asarray(listed).dtype.kind == "b":
        return "that is a mask; list the (layer, head) at which it is true, as np.argwhere does."
    given = {(int(layer), int(head)) for layer, head in listed}
    right = _heads(recovered.q < LEVEL)
    mistakes = {
        "you divided the level by the number of heads, which is Bonferroni's correction; q "
        "is corrected already, and by a rule that finds more.": _heads(P < LEVEL / P.size),
        "you corrected p yourself, by Benjamini and Hochberg's rule, which asks for independent "
        "tests; heads are not independent, and q allows for it.": _heads(
            false_discovery_control(P.ravel()).reshape(P.shape) < LEVEL
        ),
        "you corrected twice; q is corrected for the number of heads already.": _heads(
            recovered.q < LEVEL / P.size
        ),
        "you kept the heads whose interval is free of zero; each interval is one head's own, and "
        "of this many some miss zero by chance. Go by q.": _heads(abs(VALUE) > WIDTH),
        "you went by p; with this many heads some have a small p by chance, so go by q.": _heads(
            recovered.p < LEVEL
        ),
        "you kept the heads that raise the score only; a head that works against the change can be "
        "significant too.": _heads((recovered.q < LEVEL) & (recovered.value > 0)),
        "those are the heads that are not significant; small q is strong evidence.": _heads(
            recovered.q >= LEVEL
        ),
        "you went by the size of the recovery; a large one can be noise, and a small one "
        "sure.": _heads(abs(recovered.value) > LEVEL),
    }
    return mistake_in(given, right, mistakes)


@checker("ranks compare two maps whatever their scale, and no single head decides.")
def check_rank_correlation(answer: Callable) -> str | None:
    """Check ``rank_correlation(first, second)``: Spearman's correlation of two maps of heads."""
    first, second = FIRST.ravel(), SECOND.ravel()
    right = spearmanr(first, second).statistic
    mistakes = {
        "that is Pearson's correlation, in which the largest head decides; correlate the "
        "ranks.": pearsonr(first, second).statistic,
        "argsort gives which head has each rank, not which rank each head has; apply it twice, or "
        "use rankdata.": pearsonr(first.argsort(), second.argsort()).statistic,
        "that is Kendall's correlation, which counts pairs of heads in order; Spearman's "
        "correlates the ranks.": kendalltau(first, second).statistic,
        "that is the correlation and its p; give the first of the two.": [
            right,
            spearmanr(first, second).pvalue,
        ],
        "that is the whole matrix of correlations; give the one between the two maps.": [
            [1, right],
            [right, 1],
        ],
        "you ranked one of the maps only; rank both.": lambda given: any(
            same(given, pearsonr(*ranked).statistic)
            for ranked in ((rankdata(first), second), (first, rankdata(second)))
        ),
        "rank all heads of a map together, not row by row.": pearsonr(
            rankdata(FIRST, axis=1).ravel(), rankdata(SECOND, axis=1).ravel()
        ).statistic,
        "the sign matters: a head that helps in one map and hinders in the other is no "
        "agreement.": spearmanr(abs(first), abs(second)).statistic,
    }
    return mistake_in(attempt(answer, FIRST.copy(), SECOND.copy()), right, mistakes)


def _recovery() -> Recovery:
    """A recovery with chosen values, p and q; its other fields come from made-up pairs."""
    rng = np.random.default_rng(0)
    donor = 1 + rng.random(8)
    patched = VALUE[..., None] * donor
    made_up = recovery(patched, np.zeros(8), donor, query_ids=list("abcdefgh"))
    q = false_discovery_control(P.ravel(), method="by").reshape(P.shape)
    return replace(made_up, value=VALUE, low=VALUE - WIDTH, high=VALUE + WIDTH, p=P, q=q)


def _heads(mask: np.ndarray) -> set[Head]:
    return {(int(layer), int(head)) for layer, head in np.argwhere(mask)}
