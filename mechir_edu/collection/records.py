"""What records of every kind share: how an id looks, and what a second value for one id means."""

from collections.abc import Callable, Hashable, Iterator
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Records = Callable[[], Iterator[tuple[str, Key, Value]]]  # reads (place, key, value) from the file

_ID_COLUMNS = "id _id query_id qid q_id topic topic_id doc_id docid did docno document_id pid"
ID_COLUMNS = frozenset([*_ID_COLUMNS.split(), "passage_id", "corpus_id"])


def read_id(text: str, place: str) -> str:
    """Take white space off both ends of an id.

    Raises
    ------
    ValueError
        If nothing is left, or what is left holds white space or invisible characters, which no
        file of judgments could name.

    Examples
    --------
    >>> read_id(" d1 ", "docs.tsv, line 1")
    'd1'
    """
    if not (key := text.strip()) or " " in key or not key.isprintable():
        raise ValueError(
            f"{place}: needed an id without white space or invisible characters, got {text[:60]!r}"
        )
    return key


def column_name(text: str) -> str:
    """Spell the name of a column as we do: "Query-ID" is query_id."""
    return text.strip().lower().replace("-", "_").replace(" ", "_")


def keep_once(records: Records[Key, Value], *, may_repeat: bool = True) -> dict[Key, Value]:
    """Read records into a dictionary; the same key may come again with the same value.

    Parameters
    ----------
    records : reads the file from its beginning.
    may_repeat : False refuses a key that comes again, whatever its value.

    Raises
    ------
    ValueError
        If a key comes with two values; names both lines.
    """
    values: dict[Key, Value] = {}
    for place, key, value in records():
        if key in values and not (may_repeat and values[key] == value):
            before = next(where for where, other, _ in records() if other == key)
            raise ValueError(
                f"{place}: ids must be unique, got {key!r} a second time, with "
                f"{str(value)[:40]!r}; it has {str(values[key])[:40]!r} in {before}; remove one"
            )
        values[key] = value
    return values
