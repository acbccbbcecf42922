"""What a pair is given, field by field: read as Python's own types, or refused when it is made."""

from collections.abc import Callable, Mapping
from typing import Any

from mechir_edu.collection.given import (
    checked_id,
    checked_kind,
    checked_number,
    checked_text,
)
from mechir_edu.perturb.edits import Edit, Span

_NEEDED: dict[str, Callable[[Any, str], Any]] = {
    "query_id": checked_id,
    "doc_id": checked_id,
    "query": checked_text,
    "baseline": checked_text,
    "perturbed": checked_text,
    "axiom": checked_text,
    "expected_sign": checked_number,
}
_OPTIONAL: dict[str, Callable[[Any, str], Any]] = {
    "relevance": checked_number,
    "term": checked_text,
    "perturbed_query": checked_text,
}


def checked_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Read the fields of a `mechir_edu.Pair`.

    Raises
    ------
    TypeError, ValueError
        For a field of another kind (`mechir_edu.collection.given`), a sign other than 1, -1 and 0,
        or an edit that does not make one version of the other.
    """
    pair = f"pair ({given['query_id']}, {given['doc_id']})"
    fields = {name: check(given[name], f"{name} of {pair}") for name, check in _NEEDED.items()}
    for name, check in _OPTIONAL.items():
        value = given[name]
        fields[name] = None if value is None else check(value, f"{name} of {pair}")
    if fields["expected_sign"] not in (1, -1, 0):
        raise ValueError(
            f"expected_sign of {pair} must be 1, -1 or 0 (a control), got {fields['expected_sign']}"
        )
    if given["edit"] is not None:
        versions = ("baseline", "perturbed")
        if fields["perturbed_query"] is not None:
            versions = ("query", "perturbed_query")
        fields["edit"] = _checked_edit(given["edit"], [fields[name] for name in versions], pair)
    return fields


def _checked_edit(edit: Any, versions: list[str], pair: str) -> Edit:
    """Read an edit, and make sure that the versions are equal outside its spans."""
    checked_kind(edit, Edit, f"edit of {pair}", "an Edit, as `difference` makes it")
    before, after = versions
    (start, end), (other_start, other_end) = spans = (
        _checked_span(edit.baseline, len(before), f"edit.baseline of {pair}"),
        _checked_span(edit.perturbed, len(after), f"edit.perturbed of {pair}"),
    )
    made = before[:start] + after[other_start:other_end] + before[end:]
    if start != other_start or made != after:
        raise ValueError(
            f"edit of {pair} needs versions that are equal before and after its spans, got "
            f"{spans[0]} and {spans[1]}, outside of which they differ; mechir_edu.perturb."
            "difference finds the spans of two texts, or leave the edit out"
        )
    return Edit(*spans)


def _checked_span(span: Any, length: int, place: str) -> Span:
    if not isinstance(span, tuple | list) or len(span) != 2:
        raise TypeError(f"{place} is {span!r}; needed (start, end) in characters")
    start, end = (checked_number(at, place, least=0, most=length) for at in span)
    if start > end:
        raise ValueError(f"{place} is ({start}, {end}); needed a start that is not behind the end")
    return start, end
