"""Causal scrubbing, the small form: test that some heads know a stated property and nothing else.

What the heads say is replaced by what they say in another pair (`mechir_edu.ablate` with
``how="resample"``): once in any other pair, and once in one that agrees on the property. If the
property is all that matters, the second replacement changes nothing::

    options = {"how": "resample", "heads": heads, "together": True}
    any_pair = me.ablate(ranker, pairs, **options)
    agreeing = me.ablate(ranker, pairs, among=lambda pair: pair.axiom, **options)
    scrubbed(agreeing, any_pair)

Sources
-------
L. Chan et al.: Causal scrubbing, 2022. There the measure is the model's loss; here a pair's loss is
the absolute change of its score, 0 for the ranker as it is.
"""

import numpy as np

from mechir_edu import stats
from mechir_edu.patching.result import PatchingResult


def scrubbed(
    agreeing: PatchingResult, any_pair: PatchingResult, *, interval: float = 0.95, seed: int = 0
) -> stats.Recovery:
    """Share of what resampling breaks that is kept where the other pair agrees on the property.

    1: the score stays, so the property is all that the heads tell the score; 0: a pair that
    agrees is as bad as any. Below 0 it is worse. It is ``1 - E|change agreeing| / E|change any|``,
    a ratio of means with an interval over queries; ``value`` is [set].

    Parameters
    ----------
    agreeing : `mechir_edu.ablate` of a set (``together=True``), ``how="resample"`` with ``among``.
    any_pair : the same without ``among``.
    interval, seed : as in `mechir_edu.stats.recovery`.

    Raises
    ------
    ValueError
        For results that are not resampled sets, or of other pairs, rankers or heads.
    """
    for result in (agreeing, any_pair):
        how = result.provenance.get("ablation")
        if result.axes != ("set", "pair") or how != "resample":
            raise ValueError(
                'needed two results of ablate(how="resample", heads=..., together=True), got axes '
                f"{result.axes} and how={how!r}"
            )
    for what in ("checksum", "heads", "ranker", "intervention"):
        here, there = (result.provenance.get(what) for result in (agreeing, any_pair))
        if here != there:
            raise ValueError(f"needed the same {what} in both results, got {here} and {there}")
    if agreeing.pairs != any_pair.pairs or agreeing.direction != any_pair.direction:
        raise ValueError("needed the same pairs, ablated on the same version, in both results")
    loss = np.abs(agreeing.effect())
    return stats.recovery(
        loss,
        np.abs(any_pair.effect()[0]),
        np.zeros_like(loss[0]),
        query_ids=agreeing.query_ids,
        axes=("set",),
        interval=interval,
        seed=seed,
    )
