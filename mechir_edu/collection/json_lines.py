"""Read JSON lines of objects that hold an id and a text."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mechir_edu.collection.given import checked_text
from mechir_edu.collection.lines import read_lines
from mechir_edu.collection.records import read_id

# The names under which common exports keep an id and a text.
ID_FIELDS = ("query_id", "doc_id", "_id", "id", "qid", "docno", "pid")
WHOLE_DOCUMENT = "docid"  # MS MARCO's documents; its passages have a "pid" besides
TEXT_FIELDS = ("text", "contents", "passage", "body", "segment", "query")


def read_objects(path: str | Path, what: str) -> Iterator[tuple[str, str, str]]:
    """Yield (place, id, text) for each line.

    A ``title`` is put before the text, as in BEIR; not before ``contents``, which holds all there
    is (Pyserini).

    Raises
    ------
    ValueError
        For a line that is no JSON object, whose id or text is missing or of another type, or that
        has several different ones.
    """
    for place, line in read_lines(path, what):
        record = _parse(line, place)
        ids = _given(record, ID_FIELDS) or _given(record, (WHOLE_DOCUMENT,))
        texts = _given(record, TEXT_FIELDS)
        if not ids or not texts:
            raise ValueError(
                f"{place}: needed an id ({', '.join(ID_FIELDS)}) and a text "
                f"({', '.join(TEXT_FIELDS)}), got the fields {sorted(record)}"
                f"{_without_value(record)}"
            )
        name, text = _only({name: _text(name, t, place) for name, t in texts.items()}, place)
        if name != "contents" and record.get("title") is not None:
            title = _text("title", record["title"], place)
            text = f"{title} {text}" if title and text else title or text
        _, key = _only({name: _id(name, value, place) for name, value in ids.items()}, place)
        yield place, key, text


def _parse(line: str, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line, object_pairs_hook=_without_contradictions)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{place}: needed a JSON object on one line, got {line[:60]!r} ({error})"
        ) from error
    if not isinstance(record, dict):
        raise ValueError(f"{place}: needed a JSON object, got {line[:60]!r}")
    return record


def _without_contradictions(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    for name, value in pairs:
        if record[name] is not value and record[name] != value:
            raise ValueError(f"the field {name!r} has two values")
    return record


def _given(record: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: record[name] for name in names if record.get(name) is not None}


def _without_value(record: dict[str, Any]) -> str:
    empty = [name for name in (*ID_FIELDS, *TEXT_FIELDS) if name in record and record[name] is None]
    return f", null in {', '.join(empty)}" if empty else ""


def _only(values: dict[str, str], place: str) -> tuple[str, str]:
    """The first of several fields, which must agree."""
    if len(set(values.values())) > 1:
        raise ValueError(
            f"{place}: needed one field for the id and one for the text, got {', '.join(values)} "
            "with different values; keep one of them"
        )
    return next(iter(values.items()))


def _id(name: str, value: Any, place: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(
            f"{place}: the id in {name!r} has to be a string or a whole number, got {value!r:.60}"
        )
    return read_id(str(value), place)


def _text(name: str, value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise ValueError(
            f"{place}: {name!r} has to be a string, got {value!r:.60} ({type(value).__name__})"
        )
    return checked_text(value, f"{place}: {name!r}")
