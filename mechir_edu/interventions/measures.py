"""Which measures can be computed, asked before any passage is scored.

Measures are computed by other programs, some of which end the whole process (nDCG@0), round a
parameter in silence (IPrec@0.123), or fail only at the end. So each parameter is held against the
values that make sense, and then the measures are tried on two passages a query.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import ir_measures

from mechir_edu.collection.given import described

MEASURES = ("nDCG@10", "RR(rel=2)@10")
Named = str | ir_measures.Measure
LARGEST = 1_000_000  # of a cutoff or a grade
_WHOLE = f"a whole number from 1 to {LARGEST}"
_WHOLE_NAMES = {"cutoff", "rel", "max_rel", "min_rel"}


def parse_measures(
    names: Sequence[Named], query_ids: Iterable[str] = ("q1",)
) -> list[ir_measures.Measure]:
    """Look measures up by name, and make sure that they can be computed here.

    Parameters
    ----------
    names : as ir_measures writes them, or its measures themselves; each is kept once.
    query_ids : of the queries that will be measured.

    Raises
    ------
    TypeError
        For anything but a list of measures.
    ValueError
        For no measure, an unknown one, one with an impossible parameter, or one that cannot be
        computed on this machine, from these query ids, or from judgments that are plain grades.
    """
    if isinstance(names, str | ir_measures.Measure) or not isinstance(names, Iterable):
        raise TypeError(f"measures is {described(names)}; needed a list such as {list(MEASURES)}")
    parsed = list(dict.fromkeys(_parse(name) for name in names))
    if not parsed:
        raise ValueError(f"needed at least one measure, such as {', '.join(MEASURES)}; got none")
    for measure in parsed:
        _try(measure, list(query_ids))
    return parsed


def _parse(name: Any) -> ir_measures.Measure:
    if not isinstance(name, str | ir_measures.Measure):
        raise TypeError(
            f"needed the name of a measure, such as {MEASURES[0]!r}, got {described(name)}"
        )
    try:
        measure = ir_measures.parse_measure(name)
        measure.validate_params()
    except Exception as error:  # its parser lets many kinds out, AssertionError among them
        raise _refusal(name, str(error).replace("@c", "@cutoff")) from error
    for parameter, value in measure.params.items():
        if problem := _problem(parameter, value):
            raise _refusal(name, f"its {parameter} needs {problem}, got {value!r}")
    return measure


def _problem(parameter: str, value: Any) -> str:
    """What a parameter needs to be, where it is not."""
    if parameter in _WHOLE_NAMES:
        least = 0 if parameter == "min_rel" else 1
        return "" if _is_whole(value) and least <= value <= LARGEST else _WHOLE
    if parameter == "gains":
        pairs = [*value, *value.values()]
        fine = all(_is_whole(number) and abs(number) <= LARGEST for number in pairs)
        return "" if fine else "whole numbers, grade: gain"
    if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
        return "a number of 0 or more"
    if parameter in ("recall", "p", "alpha") and not 0 <= value <= 1:
        return "a number from 0 to 1"
    if parameter == "recall" and round(value, 2) != value:
        return "two decimals at most"
    return ""


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _try(measure: ir_measures.Measure, query_ids: list[str]) -> None:
    """Compute a measure on two passages a query."""
    qrels = {query_id: {"d1": 1, "d2": 0} for query_id in query_ids}
    run = {query_id: {"d1": 2.0, "d2": 1.0} for query_id in query_ids}
    try:
        values = {m.query_id: m.value for m in ir_measures.iter_calc([measure], qrels, run)}
    except Exception as error:  # whatever the program behind it raises
        raise _refusal(measure, f"it cannot be computed here ({error})") from error
    if values.keys() != qrels.keys() or not all(map(math.isfinite, values.values())):
        raise _refusal(measure, "it has no value for each query")


def _refusal(name: Any, why: str) -> ValueError:
    return ValueError(f"needed measures such as {', '.join(MEASURES)}, got {str(name)!r}: {why}")
