"""Estimate what the study is about: score changes beyond a control, and heads that carry them.

Corrections
-----------
Statements about scores come in tables, and the intervals of one table hold all together with 95 %
(Bonferroni: each has a coverage of ``1 - 0.05 / number of intervals``). Heads are many and are
chosen for their effect, so their q values control false discovery over the map (see
`mechir_edu.stats`), and their intervals the share of wrong ones among those of the heads chosen:
each has a coverage of ``1 - R * 0.05 / (m * (1 + 1/2 + ... + 1/m))`` for R chosen of m heads
(Benjamini and Yekutieli, False discovery rate-adjusted multiple confidence intervals for selected
parameters, JASA 100, 2005).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from mechir_edu.stats import Estimate, Recovery, corrected, mean_change, recovery
from mechir_edu.study_plan import CONTROL_OF, PLACES, STUDIED, Condition
from mechir_edu.study_results import Part

Kept = slice | np.ndarray  # of the pairs
ALL = slice(None)
LEVEL = 0.05
N_BOOT = 20_000  # corrected intervals need quantiles far out


def is_up(found: Estimate) -> bool:
    """Whether the interval lies above zero."""
    return bool(found.low > 0)


def is_down(found: Estimate) -> bool:
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
    recovery : share of the score change, its intervals corrected for the choice of heads.
    effect : in score units.
    contrast : effect minus that of the control, in score units; None for a control.
    contrast_q : its p, corrected over the map.
    """

    condition: Condition
    recovery: Recovery
    effect: Estimate
    contrast: Estimate | None
    contrast_q: np.ndarray | None

    @property
    def moves(self) -> Bool[np.ndarray, "layer head"]:
        """Heads that change the score, after correction."""
        return self.recovery.significant(LEVEL) & ((self.effect.low > 0) | (self.effect.high < 0))

    @property
    def carries(self) -> Bool[np.ndarray, "layer head"]:
        """Heads that move the score as the edit does, and differ so from the control's."""
        sign = np.sign(self.recovery.denominator.value)
        return self._specific & (sign * self.effect.value > 0) & (sign * self.contrast.value > 0)

    @property
    def opposes(self) -> Bool[np.ndarray, "layer head"]:
        """Heads that move the score against the edit, and differ so from the control's."""
        sign = np.sign(self.recovery.denominator.value)
        return self._specific & (sign * self.effect.value < 0) & (sign * self.contrast.value < 0)

    @property
    def _specific(self) -> Bool[np.ndarray, "layer head"]:
        return self.moves & (self.contrast_q < LEVEL)


def estimate_heads(part: Part, condition: Condition, keep: Kept = ALL) -> Heads:
    """Estimate every head's recovery, effect and contrast, over all pairs or some."""
    result, query_ids = part.main[condition], part.query_ids[keep]
    effect = part.effect(condition)[..., keep]
    change = (result.donor - result.recipient)[keep]
    chosen = corrected(mean_change(effect, query_ids=query_ids).p) < LEVEL
    options = {"query_ids": query_ids, "n_boot": N_BOOT, "interval": coverage(chosen)}
    found = recovery(effect, np.zeros_like(change), change, **options)
    contrast = contrast_q = None
    if condition.axiom in CONTROL_OF:
        _, control = edit_and_control(condition.axiom, condition.place)
        contrast = mean_change(effect - part.effect(control)[..., keep], **options)
        contrast_q = corrected(contrast.p)
    return Heads(condition, found, mean_change(effect, **options), contrast, contrast_q)


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
    recovered = {"recovery": "value", "low": "low", "high": "high", "p": "p", "q": "q"}
    columns |= {name: getattr(heads.recovery, of).ravel() for name, of in recovered.items()}
    for name, found in (("effect", heads.effect), ("contrast", heads.contrast)):
        columns |= _interval_columns(name, found, layer.size)
    is_control = heads.contrast is None
    columns["contrast_q"] = np.nan if is_control else heads.contrast_q.ravel()
    table = pd.DataFrame(columns).assign(
        n_pairs=heads.effect.n_pairs, n_queries=heads.effect.n_queries
    )
    about = {"ranker": part.manifest.made_of["ranker"], "kind": part.kind}
    about |= {"axiom": heads.condition.axiom, "place": heads.condition.place}
    for at, (name, value) in enumerate(about.items()):
        table.insert(at, name, value)
    return table


def _interval_columns(
    name: str, found: Estimate | None, n_heads: int
) -> dict[str, Float[np.ndarray, " head"]]:
    names = (name, f"{name}_low", f"{name}_high")
    if found is None:
        return {column: np.full(n_heads, np.nan) for column in names}
    values = (found.value, found.low, found.high)
    return {column: value.ravel() for column, value in zip(names, values, strict=True)}
