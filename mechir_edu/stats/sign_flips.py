"""Test all cells of a map together by turning the signs of whole queries.

Where a patch changes no score, exchanging donor and recipient of a query would only have turned the
sign of its effects, so every pattern of signs over the queries was equally likely (this needs
effects that are symmetric around zero). Turning a query's sign in all cells at once keeps what the
cells have to do with each other: two heads that move together do so in every pattern. A correction
that uses this pays only for as many tests as there really are, whereas that of Benjamini and
Yekutieli (`mechir_edu.stats.recovered`) provides for any dependence.

The statistic of a cell is Student's t over the sums per query. Its p value is the share of patterns
in which the largest t among the cells that are no more extreme reaches that of the cell: the
step-down max-T of Westfall and Young, *Resampling-based multiple testing* (Wiley, 1993). The chance
that any cell without an effect falls below 0.05 is at most 5 %, whichever cells have one.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from mechir_edu.stats.clusters import QueryIds, query_sums
from mechir_edu.stats.given import checked_whole

MOST_QUERIES = 14  # up to as many, all patterns of signs are counted: 2^13 without mirror images
_AT_ONCE = 1000  # patterns


def family_wise_p(
    effect: Float[np.ndarray, "*cell pair"],
    *,
    query_ids: QueryIds,
    n_flips: int = 9999,
    seed: int = 0,
) -> Float[np.ndarray, "*cell"]:
    """Two-sided p of each cell for "no effect", corrected for all cells of the map (see above).

    Parameters
    ----------
    effect : score after a patch minus the recipient's.
    query_ids : the query of each pair.
    n_flips : random patterns of signs, where there are too many queries to count all of them. The
        smallest p is then ``1 / (n_flips + 1)``; with n queries it is never below ``2 / 2**n``, so
        that fewer than six queries cannot reach 0.05.
    seed : of the patterns.

    Raises
    ------
    TypeError, ValueError
        For what `mechir_edu.stats.given` refuses.

    Examples
    --------
    >>> effect = np.array([[1.0, 2, 3, 4, 5, 6], [1, -1, 2, -2, 3, -3]])
    >>> family_wise_p(effect, query_ids=list("abcdef")).tolist()
    [0.0625, 1.0]
    """
    checked_whole(n_flips, "n_flips", least=99)
    checked_whole(seed, "seed", least=0)
    sums = query_sums(effect, query_ids)
    return stepped_down(sums, n_flips=n_flips, seed=seed)


def stepped_down(
    sums: Float[np.ndarray, "*cell query"], *, n_flips: int, seed: int
) -> Float[np.ndarray, "*cell"]:
    """Do as `family_wise_p`, from sums per query."""
    cells = sums.reshape(-1, sums.shape[-1])
    length = np.sqrt((cells**2).sum(axis=1))
    # Signs leave the sum of squares as it is, so t grows with |sum| / sqrt(sum of squares), and the
    # cells can be compared by it. A cell without any effect is the least extreme in every pattern.
    units = np.divide(cells, length[:, None], out=np.zeros_like(cells), where=length[:, None] > 0)
    reached = np.abs(units.sum(axis=1))
    order = np.argsort(-reached, kind="stable")
    at_least = np.zeros(len(cells))
    n_patterns = 0
    for signs in _patterns(sums.shape[-1], n_flips, seed):
        flipped = np.abs(signs @ units[order].T)
        # The largest of each cell and those behind it.
        largest = np.maximum.accumulate(flipped[:, ::-1], axis=1)[:, ::-1]
        # A pattern that gives the same t must count, whatever the order of summation has rounded.
        at_least += (largest >= reached[order] * (1 - 1e-9)).sum(axis=0)
        n_patterns += len(signs)
    p = np.empty(len(cells))
    p[order] = np.maximum.accumulate(at_least / n_patterns)
    return p.reshape(sums.shape[:-1])


def _patterns(n_queries: int, n_flips: int, seed: int) -> Iterator[Float[np.ndarray, "flip query"]]:
    """All patterns of signs but mirror images, or random ones behind the pattern that was seen."""
    if n_queries <= MOST_QUERIES:
        numbers = np.arange(2 ** (n_queries - 1))[:, None]
        yield 1.0 - 2.0 * (numbers >> np.arange(n_queries) & 1)
        return
    yield np.ones((1, n_queries))
    rng = np.random.default_rng(seed)
    for start in range(0, n_flips, _AT_ONCE):
        yield rng.choice([-1.0, 1.0], (min(_AT_ONCE, n_flips - start), n_queries))
