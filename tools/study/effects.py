"""Estimate what the study is about: score changes beyond a control, and heads that carry them.

Corrections
-----------
Statements about scores come in tables, and the intervals of one table hold all together with 95 %
(Bonferroni: each has a coverage of ``1 - 0.05 / number of intervals``). Heads are many and are
chosen for their effect, so their q values control false discovery over the map (see
`mechir_edu.stats.recovered`), and their intervals the share of wrong ones among those of the heads chosen:
each has a coverage of ``1 - R * 0.05 / (m * (1 + 1/2 + ... + 1/m))`` for R chosen of m heads
(Benjamini and Yekutieli, False discovery rate-adjusted multiple confidence intervals for selected
parameters, JASA 100, 2005).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from study.plan import CONTROL_OF, PLACES, STUDIED, Condition
from study.results import Part

from mechir_edu.stats.estimates import Estimate, mean_change
from mechir_edu.stats.maps import Correlation, Gap
from mechir_edu.stats.recovered import Recovery, corrected, recovery

Interval = Estimate | Correlation | Gap
Kept = slice | np.ndarray  # of the pairs
ALL = slice(None)
LEVEL = 0.05
N_BOOT = 20_000  # corrected intervals need quantiles far out


def is_up(found: Interval) -> bool:
    """Whether the interval lies above zero."""
    return bool(found.low > 0)


def is_down(found: Interval) -> bool:
    """Whether the interval lies below zero."""
    return bool(found.high < 0)


def mean_of(part: Part, values: np.ndarray, n_statements: int, keep: Kept = ALL) -> Estimate:
    """Mean over pairs, its interval as one of so many statements."""
    options = {"interval": 1 - LEVEL / n_statements, "n_boot": N_BOOT}
    return mean_change(values[..., keep], query_ids=part.query_ids[keep], **options)


@dataclass(frozen=True)
class ScoreRow:
    """What one edit does to the score: to the document as it was, and beyond its control."""

    axiom: str
    place: str
    raw: Estimate  # perturbed minus the untouched document
    control: Estimate  # the control's perturbed minus the untouched document
    beyond: Estimate  # perturbed minus the control's perturbed


def score_rows(part: Part) -> list[ScoreRow]:
    """Estimate the score changes of every axiom and place of a ranker."""
    n = 3 * len(STUDIED) * len(PLACES)
    rows = []
    for axiom in STUDIED:
        for place in PLACES:
            raw, control = (part.raw_change(one) for one in edit_and_control(axiom, place))
            three = (mean_of(part, values, n) for values in (raw, control, raw - control))
            rows.append(ScoreRow(axiom, place, *three))
    return rows


def edit_and_control(axiom: str, place: str) -> tuple[Condition, Condition]:
    """Conditions of an axiom and of its control."""
    return Condition(axiom, place), Condition(CONTROL_OF[axiom], place)


def by_grade(part: Part, axiom: str, place: str) -> dict[int, Estimate]:
    """Score change beyond the control for each grade, highest first."""
    edit, control = (part.raw_change(one) for one in edit_and_control(axiom, place))
    grades = sorted(set(part.grades.tolist()), reverse=True)
    n = len(grades) * len(STUDIED) * len(PLACES)
    return {
        grade: mean_of(part, edit - control, n, np.flatnonzero(part.grades == grade))
        for grade in grades
    }


@dataclass(frozen=True, eq=False)
class Heads:
    """Every head of a ranker under one condition, arrays [layer, head].

    Attributes
    ----------
    condition : what was patched.
    effect : in score units.
    recovery : share of the score change; like the others, None for a control, which may change
        no score at all.
    contrast : effect minus that of the control, in score units.
    beyond : score change minus that of the control.

    Intervals are corrected for the choice of heads (see the module).
    """

    condition: Condition
    effect: Estimate
    recovery: Recovery | None = None
    contrast: Estimate | None = None
    beyond: Estimate | None = None

    @property
    def moves(self) -> Bool[np.ndarray, "layer head"]:
        """Heads that change the score, after correction."""
        return stands(self.effect)

    @property
    def carries(self) -> Bool[np.ndarray, "layer head"]:
        """Heads that do, beyond the control's, what the edit does beyond its control."""
        return stands(self.contrast) & (self.contrast.value * self.beyond.value > 0)

    @property
    def opposes(self) -> Bool[np.ndarray, "layer head"]:
        """Heads that do the opposite of that."""
        return stands(self.contrast) & (self.contrast.value * self.beyond.value < 0)


def stands(found: Estimate) -> Bool[np.ndarray, "*cell"]:
    """Cells that stand after correction: q below 0.05, and an interval without zero."""
    return (corrected(found.p) < LEVEL) & ((found.low > 0) | (found.high < 0))


def estimate_heads(part: Part, condition: Condition) -> Heads:
    """Estimate every head's recovery, effect and contrast."""
    result, effect = part.main[condition], part.effect(condition)
    found = over_heads(effect, part.query_ids)
    if condition.axiom not in CONTROL_OF:
        return Heads(condition, found)
    change = result.donor - result.recipient
    options = {"query_ids": part.query_ids, "n_boot": N_BOOT, "interval": found.interval}
    shares = recovery(effect, np.zeros_like(change), change, **options)
    _, control = edit_and_control(condition.axiom, condition.place)
    contrast = over_heads(effect - part.effect(control), part.query_ids)
    beyond = mean_of(part, part.raw_change(condition) - part.raw_change(control), 1)
    return Heads(condition, found, shares, contrast, beyond)


def over_heads(effect: Float[np.ndarray, "layer head pair"], query_ids: np.ndarray) -> Estimate:
    """Mean effect of each head, its interval corrected for the choice of heads."""
    options = {"query_ids": query_ids, "n_boot": N_BOOT}
    chosen = corrected(mean_change(effect, query_ids=query_ids).p) < LEVEL
    return mean_change(effect, interval=coverage(chosen), **options)


def coverage(chosen: Bool[np.ndarray, "*cell"]) -> float:
    """Coverage of each interval, of which so many are reported (see the module).

    Examples
    --------
    >>> coverage(np.array([True, False]))
    0.9833...
    """
    m = chosen.size
    n_chosen = max(1, int(chosen.sum()))
    return 1 - n_chosen * LEVEL / (m * float((1 / np.arange(1, m + 1)).sum()))


def heads_table(part: Part, some: list[Heads]) -> pd.DataFrame:
    """One row for each head under each condition: the content of ``heads.csv``."""
    return pd.concat([_table_of(part, heads) for heads in some], ignore_index=True)


def _table_of(part: Part, heads: Heads) -> pd.DataFrame:
    layer, head = np.indices(heads.effect.value.shape).reshape(2, -1)
    columns = {"layer": layer, "head": head}
    columns |= _interval_columns(("recovery", "low", "high"), heads.recovery, layer.size)
    columns |= {"p": heads.effect.p.ravel(), "q": corrected(heads.effect.p).ravel()}
    for name, found in (("effect", heads.effect), ("contrast", heads.contrast)):
        names = (name, f"{name}_low", f"{name}_high")
        columns |= _interval_columns(names, found, layer.size)
    is_control = heads.contrast is None
    columns["contrast_q"] = np.nan if is_control else corrected(heads.contrast.p).ravel()
    table = pd.DataFrame(columns).assign(
        n_pairs=heads.effect.n_pairs, n_queries=heads.effect.n_queries
    )
    about = {"ranker": part.manifest.made_of["ranker"], "kind": part.kind}
    about |= {"axiom": heads.condition.axiom, "place": heads.condition.place}
    for at, (name, value) in enumerate(about.items()):
        table.insert(at, name, value)
    return table


def _interval_columns(
    names: tuple[str, str, str], found: Estimate | Recovery | None, n_heads: int
) -> dict[str, Float[np.ndarray, " head"]]:
    if found is None:
        return {column: np.full(n_heads, np.nan) for column in names}
    values = (found.value, found.low, found.high)
    return {column: value.ravel() for column, value in zip(names, values, strict=True)}
