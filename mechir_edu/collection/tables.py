"""Read tables of an id and a text, with a tab between them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mechir_edu.collection.lines import read_lines
from mechir_edu.collection.records import ID_COLUMNS, column_name, read_id

_TEXT_COLUMNS = "text query contents content passage body segment title document doc question"
TEXT_COLUMNS = frozenset([*_TEXT_COLUMNS.split(), "query_text", "doc_text", "passage_text"])
_UNQUOTED = (
    "write it without quotes (pandas: to_csv(..., sep='\\t', quoting=csv.QUOTE_NONE)) or as JSON "
    "lines"
)


def read_table(path: str | Path, what: str) -> Iterator[tuple[str, str, str]]:
    """Yield (place, id, text) for each line ``id<TAB>text``; a text may hold further tabs.

    A first line that names both columns is skipped. Quotes belong to the text.

    Raises
    ------
    ValueError
        For a line without a tab, a header in another place or of other columns, and for a table
        whose cells look quoted, because its quotes and line breaks would become part of the texts.
    """
    quotes = _Quotes()
    is_first = True
    for place, line in read_lines(path, what):
        cell, tab, text = line.partition("\t")
        if not tab:
            raise ValueError(
                f"{place}: needed 'id<TAB>text', got {line[:60]!r} without a tab; a text that "
                "holds line breaks has to be written as JSON lines"
            )
        is_header = _names_columns(cell, text, place, may=is_first)
        is_first = False
        if not is_header:
            key = read_id(cell, place)
            quotes.look_at(place, key, text)
            yield place, key, text
    quotes.look_back(path)


def _names_columns(cell: str, text: str, place: str, *, may: bool) -> bool:
    """Tell whether a line is a header; refuse one that names something else or comes later."""
    names = (column_name(cell), column_name(text))
    if names[0] not in ID_COLUMNS and not (names[0] in TEXT_COLUMNS and names[1] in ID_COLUMNS):
        return False
    if may and names[0] in ID_COLUMNS and names[1] in TEXT_COLUMNS:
        return True
    raise ValueError(
        f"{place}: needed an id and a text, or in the first line a header of these two columns "
        f"(such as 'qid<TAB>query'), got {cell!r} and {text[:60]!r}; reduce the file to these two "
        "columns, or remove the header"
    )


@dataclass
class _Quotes:
    """Sees whether a table was written with quoted cells, as pandas and Excel do.

    They double the quotes inside a quoted cell, and quote a cell that holds a quote, a tab or a
    line break; or they quote all texts.
    """

    n_texts: int = 0
    n_quoted: int = 0  # texts with quotes at both ends
    opened: tuple[str, str] | None = None  # place and shape of an id whose cell was not closed

    def look_at(self, place: str, key: str, text: str) -> None:
        """Refuse an id or a text that is certainly quoted."""
        text = text.strip()
        inside, shape = text[1:-1], re.sub(r"\d+", "0", key)
        is_quoted = len(text) > 1 and text[0] == text[-1] == '"'
        is_quoted = is_quoted and '"' not in inside.replace('""', "")
        if '"' in (key[0], key[-1]) or (is_quoted and ('""' in inside or "\t" in inside)):
            raise ValueError(f"{place}: needed a plain cell, got a quoted one; {_UNQUOTED}")
        if self.opened and self.opened[1] == shape:
            self.opened = None  # the next record: the quote was a part of the text
        is_odd = text.count('"') % 2 == 1
        if self.opened and is_odd and text.endswith('"'):
            raise ValueError(
                f"{place}: needed one record a line, got the end of a quoted cell that begins in "
                f"{self.opened[0]}; {_UNQUOTED}"
            )
        if is_odd and text.startswith('"'):
            self.opened = (place, shape)
        self.n_texts += 1
        self.n_quoted += is_quoted

    def look_back(self, path: str | Path) -> None:
        """Refuse a table all of whose texts are quoted."""
        if 0 < self.n_quoted == self.n_texts:
            raise ValueError(
                f"{path}: needed plain texts, got quotes around each of them; {_UNQUOTED}"
            )
