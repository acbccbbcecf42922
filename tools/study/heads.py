"""Estimate what every head does: the table ``heads.csv``.

A head is *significant* if q < 0.05: p after control of false discovery over the map
(`mechir_edu.stats.corrected`). Intervals of heads are corrected for the choice of the significant
ones among them (`mechir_edu.stats.intervals.selective_coverage`); they say how large an effect is,
not whether there is one.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float

from mechir_edu.stats.estimates import Estimate, mean_change
from mechir_edu.stats.intervals import selective_coverage
from mechir_edu.stats.recovered import Recovery, corrected, recovery
from study.part import Part
from study.plan import CONTROL_OF, MAIN, STUDIED, Condition

LEVEL = 0.05
N_BOOT = 20_000  # corrected intervals need quantiles far out


def heads_table(part: Part) -> pd.DataFrame:
    """Estimate every head under every condition of `MAIN`: one row each.

    ``effect`` is in score units, ``recovery`` a share of the score change, ``contrast`` the effect
    minus that of the control; ``p`` and ``q`` are about the effect. What a control has not is
    empty: it may change no score at all, so there is no share of it.
    """
    return pd.concat([_table(part, condition) for condition in MAIN], ignore_index=True)


def _table(part: Part, condition: Condition) -> pd.DataFrame:
    effect = part.effect(condition)
    estimate = _mean_of_heads(effect, part.query_ids)
    shares = contrast = None
    if condition.axiom in STUDIED:
        shares = _recovery(part, condition, estimate.interval)
        control = Condition(CONTROL_OF[condition.axiom], condition.place)
        contrast = _mean_of_heads(effect - part.effect(control), part.query_ids)
    layer, head = np.indices(estimate.value.shape).reshape(2, -1)
    columns = {"ranker": part.made_of["ranker"], "kind": part.kind}
    columns |= {"axiom": condition.axiom, "place": condition.place, "layer": layer, "head": head}
    columns |= _columns(("recovery", "low", "high"), shares)
    columns |= {"p": estimate.p.ravel(), "q": corrected(estimate.p).ravel()}
    columns |= _columns(("effect", "effect_low", "effect_high"), estimate)
    columns |= _columns(("contrast", "contrast_low", "contrast_high"), contrast)
    columns["contrast_q"] = np.nan if contrast is None else corrected(contrast.p).ravel()
    return pd.DataFrame(columns).assign(n_pairs=estimate.n_pairs, n_queries=estimate.n_queries)


def _recovery(part: Part, condition: Condition, interval: float) -> Recovery:
    effect, change = part.effect(condition), part.change_with_filler(condition)
    options = {"query_ids": part.query_ids, "n_boot": N_BOOT, "interval": interval}
    return recovery(effect, np.zeros_like(change), change, **options)


def _mean_of_heads(effect: Float[np.ndarray, "layer head pair"], query_ids: np.ndarray) -> Estimate:
    """Mean effect of each head, its interval corrected for the choice of heads."""
    options = {"query_ids": query_ids, "n_boot": N_BOOT}
    selected = corrected(mean_change(effect, query_ids=query_ids).p) < LEVEL
    return mean_change(effect, interval=selective_coverage(selected, LEVEL), **options)


def _columns(
    names: tuple[str, str, str], estimate: Estimate | Recovery | None
) -> dict[str, Float[np.ndarray, " head"] | float]:
    if estimate is None:
        return dict.fromkeys(names, np.nan)
    values = (estimate.value, estimate.low, estimate.high)
    return {name: value.ravel() for name, value in zip(names, values, strict=True)}
