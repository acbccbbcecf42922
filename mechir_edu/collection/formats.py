"""Read queries, passages and judgments from files: the embedded collection's, or your own.

Queries and passages are TSV (``id<TAB>text``, no header) or JSON lines; qrels are TREC's four
columns, ``query_id iteration doc_id relevance``, of which the second is ignored. Any of them may
be gzipped (``.gz``). Blank lines are skipped; any other line that cannot be read is an error that
names its file and number.
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

# The names under which common exports keep an id and a text, in order of preference.
_ID_FIELDS = ("query_id", "doc_id", "_id", "id", "qid", "docno", "pid")
_TEXT_FIELDS = ("text", "query", "contents", "passage", "body")


def read_texts(path: str | Path) -> dict[str, str]:
    """Read queries or passages: id -> text.

    Parameters
    ----------
    path : ``.jsonl`` (or ``.jsonl.gz``) is read as JSON lines with an id and a text; where there
        is a ``title``, it is put before the text. Anything else is read as TSV.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line cannot be read or an id occurs twice; names the file and the line.
    """
    parse = _from_json if ".jsonl" in Path(path).suffixes else _from_tsv
    texts: dict[str, str] = {}
    for place, line in _lines(path):
        key, text = parse(line, place)
        if key in texts:
            raise ValueError(f"{place}: ids must be unique, got {key!r} a second time; remove one")
        texts[key] = text
    return texts


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Read TREC qrels: query_id -> doc_id -> relevance.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line does not hold four columns of which the last is a whole number; names the file
        and the line.
    """
    qrels: dict[str, dict[str, int]] = {}
    for place, line in _lines(path):
        columns = line.split()
        if len(columns) != 4 or not columns[3].lstrip("-").isdigit():
            raise ValueError(
                f"{place}: needed 'query_id 0 doc_id relevance', got {line!r}; "
                "see the TREC qrels format"
            )
        qrels.setdefault(columns[0], {})[columns[2]] = int(columns[3])
    return qrels


def _lines(path: str | Path) -> Iterator[tuple[str, str]]:
    """Yield (place, line) for each line that is not blank; the place is for messages."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"needed a file of queries, docs or qrels, there is none at {path}")
    open_text = gzip.open if str(path).endswith(".gz") else open
    with open_text(path, "rt", encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield f"{path}, line {number}", line.rstrip("\r\n")


def _from_tsv(line: str, place: str) -> tuple[str, str]:
    key, tab, text = line.partition("\t")
    if not tab:
        raise ValueError(f"{place}: needed 'id<TAB>text', got {line[:60]!r} without a tab")
    return key, text


def _from_json(line: str, place: str) -> tuple[str, str]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place}: needed a JSON object, got {line[:60]!r} ({error})") from error
    key = next((record[name] for name in _ID_FIELDS if name in record), None)
    text = next((record[name] for name in _TEXT_FIELDS if name in record), None)
    if key is None or text is None:
        raise ValueError(
            f"{place}: needed an id ({', '.join(_ID_FIELDS)}) and a text "
            f"({', '.join(_TEXT_FIELDS)}), got the fields {sorted(record)}"
        )
    return str(key), f"{record['title']} {text}" if record.get("title") else text
