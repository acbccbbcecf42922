"""Everything that the report says about one ranker, estimated once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from study.agreement import AxiomComparison, Replication, compare_axioms, compare_checks, replicate
from study.effects import (
    LEVEL,
    Heads,
    ScoreRow,
    by_grade,
    edit_and_control,
    estimate_heads,
    mean_of,
    score_rows,
)
from study.plan import MAIN, OF_AXIOMS, PLACES, STUDIED, Condition
from study.results import Part

from mechir_edu.stats.estimates import Estimate, sign_agreement
from mechir_edu.stats.maps import Correlation
from mechir_edu.stats.power import minimum_detectable_effect


@dataclass(frozen=True)
class Penalty:
    """What an appended query term costs or gains (TFC1), taken apart.

    Attributes
    ----------
    raw : query term at the end, against the untouched document.
    control : neutral word at the end, against the untouched document.
    match : query term minus neutral word, both at the end.
    loses : share of documents whose score the query term lowers.
    position : neutral word at the end minus the same one at the start.
    match_by_position : `match` minus the same at the start.
    by_grade : `raw` for each grade, highest first.
    """

    raw: Estimate
    control: Estimate
    match: Estimate
    loses: Estimate
    position: Estimate
    match_by_position: Estimate
    by_grade: Mapping[int, Estimate]


@dataclass(frozen=True, eq=False)
class Findings:
    """One ranker's estimates.

    Attributes
    ----------
    part : the results they come from.
    scores, grades : what the edits do to the score; beyond the control, by grade.
    heads : for each condition of `MAIN`.
    penalty : of an appended query term.
    axioms : TDC's map against TFC1's, for each place.
    replications : for each condition of an axiom.
    checks : other fillers, other direction.
    detectable, detectable_head : smallest true mean beyond the control at the end that this many
        pairs would show with a power of 0.8, and the same for the median head after a Bonferroni
        correction over the map; for each axiom, in score units. Not a number where no query has
        two pairs.
    """

    part: Part
    scores: tuple[ScoreRow, ...]
    grades: Mapping[tuple[str, str], Mapping[int, Estimate]]
    heads: Mapping[Condition, Heads]
    penalty: Penalty
    axioms: Mapping[str, AxiomComparison | None]
    replications: Mapping[Condition, Replication | None]
    checks: Mapping[Condition, Correlation]
    detectable: Mapping[str, float]
    detectable_head: Mapping[str, float]


def find(part: Part) -> Findings:
    """Estimate all that is to be said about a ranker."""
    scores = score_rows(part)
    return Findings(
        part=part,
        scores=tuple(scores),
        grades={(a, place): by_grade(part, a, place) for a in STUDIED for place in PLACES},
        heads={one: estimate_heads(part, one) for one in MAIN},
        penalty=find_penalty(part, scores),
        axioms={place: compare_axioms(part, place) for place in PLACES},
        replications={one: replicate(part, one, len(OF_AXIOMS)) for one in OF_AXIOMS},
        checks=compare_checks(part),
        detectable={axiom: _detectable(part, axiom) for axiom in STUDIED},
        detectable_head={axiom: _detectable_head(part, axiom) for axiom in STUDIED},
    )


def find_penalty(part: Part, scores: Sequence[ScoreRow]) -> Penalty:
    """Take apart what an appended query term does to the score, beginning with its score row."""
    (row,) = (row for row in scores if (row.axiom, row.place) == ("TFC1", PLACES[0]))
    (term, control), (term_first, control_first) = (
        [part.raw_change(one) for one in edit_and_control("TFC1", place)] for place in PLACES
    )
    grades = sorted(set(part.grades.tolist()), reverse=True)
    n = 6 + len(grades)  # with the row's three, whose own correction is at least as strict
    places = {
        "position": control - control_first,
        "match_by_position": (term - control) - (term_first - control_first),
    }
    return Penalty(
        raw=row.raw,
        control=row.control,
        match=row.beyond,
        loses=sign_agreement(term, -1, query_ids=part.query_ids, interval=1 - LEVEL / n),
        by_grade={g: mean_of(part, term, n, np.flatnonzero(part.grades == g)) for g in grades},
        **{name: mean_of(part, values, n) for name, values in places.items()},
    )


def _beyond(part: Part, axiom: str) -> np.ndarray:
    edit, control = edit_and_control(axiom, PLACES[0])
    return part.raw_change(edit) - part.raw_change(control)


def _detectable(part: Part, axiom: str) -> float:
    n_statements = len(STUDIED) * len(PLACES)
    return _smallest(part, _beyond(part, axiom), LEVEL / n_statements)


def _detectable_head(part: Part, axiom: str) -> float:
    effect = part.effect(Condition(axiom, PLACES[0]))
    each = effect.reshape(-1, effect.shape[-1])
    return float(np.median([_smallest(part, one, LEVEL / len(each)) for one in each]))


def _smallest(part: Part, values: np.ndarray, level: float) -> float:
    n_queries = len(set(part.query_ids))
    if n_queries in (1, part.n_pairs):
        return float("nan")
    size = {"n_pairs": part.n_pairs, "n_queries": n_queries, "level": level}
    return minimum_detectable_effect(values, query_ids=part.query_ids, **size)
