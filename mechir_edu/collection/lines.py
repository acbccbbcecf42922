"""Open any text file that people bring, line by line; what cannot be read is named.

A line ends at a line feed, before which a carriage return may stand (Windows). Nothing else ends a
line: a carriage return, a form feed or one of Unicode's line separators inside a text is a part of
it. The encoding is UTF-8, with or without a byte order mark. A file may be gzipped, whatever its
name. Any other packing or encoding is refused with what to do.
"""

import codecs
import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from mechir_edu.files import GIT_LFS_POINTER

_UNPACK = "unpack it first"
_CONVERT = "convert it first: iconv -f {} -t UTF-8 FILE > NEW"
# What a file begins with -> what it is, and what to do.
_SIGNATURES = (
    (b"PK\x03\x04", "a zip archive (or a spreadsheet)", _UNPACK),
    (b"BZh", "packed with bzip2", "unpack it first, or pack it with gzip"),
    (b"\xfd7zXZ\x00", "packed with xz", "unpack it first, or pack it with gzip"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "unpack it first, or pack it with gzip"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x1f\x9d", "packed with compress", "unpack it first, or pack it with gzip"),
    (b"\x1f\x8b", "packed with gzip twice", "unpack it once"),
    (b"PAR1", "a Parquet table", "write it as JSON lines"),
    (b"ARROW1", "an Arrow table", "write it as JSON lines"),
    (b"\x93NUMPY", "a NumPy array", "write it as JSON lines"),
    (b"\x80\x04", "a Python pickle", "write it as JSON lines"),
    (b"\x80\x05", "a Python pickle", "write it as JSON lines"),
    (b"SQLite format 3", "an SQLite database", "write it as JSON lines"),
    (b"%PDF-", "a PDF document", "extract its text first"),
    (b"\xff\xfe\x00\x00", "in UTF-32", _CONVERT.format("UTF-32")),
    (b"\x00\x00\xfe\xff", "in UTF-32", _CONVERT.format("UTF-32")),
    (b"\xff\xfe", "in UTF-16", _CONVERT.format("UTF-16")),
    (b"\xfe\xff", "in UTF-16", _CONVERT.format("UTF-16")),
    (GIT_LFS_POINTER, "a pointer of Git LFS in place of the file", "run: git lfs pull"),
)
_PAGE = re.compile(rb"\s*<(!doctype|html|head|\?xml)", re.IGNORECASE)
_GZIP = b"\x1f\x8b"
_TAR = slice(257, 262)  # where a tar archive says that it is one


def read_lines(path: str | Path, what: str) -> Iterator[tuple[str, str]]:
    """Yield (place, line) for each line that is not blank, without its end.

    Parameters
    ----------
    path : the file.
    what : what it should hold, such as "queries".

    Yields
    ------
    place : file and number of the line, for messages.
    line : its text.

    Raises
    ------
    TypeError
        If the path is none.
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is a folder, holds nothing, or is in a form that is not read.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"needed the path of a file of {what}, got {type(path).__name__}")
    if Path(path).is_dir():
        raise _refusal(path, what, "a folder", "name the file in it")
    if not Path(path).is_file():
        raise FileNotFoundError(f"needed a file of {what}, there is none at {path}")
    is_empty = True
    with Path(path).open("rb") as opened:
        file = gzip.GzipFile(fileobj=opened) if opened.peek(2).startswith(_GZIP) else opened
        try:
            _refuse_other_forms(file.peek(1024), path, what)
            for number, line in enumerate(_without_ends(file, path, what), start=1):
                place = f"{path}, line {number}"
                if (text := _decode(line, place)).strip():
                    is_empty = False
                    yield place, text
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            damage = f"a damaged gzip file ({error})"
            raise _refusal(path, what, damage, "copy or download it again") from error
    if is_empty:
        raise _refusal(path, what, "an empty file", "look where it comes from")


def _refuse_other_forms(head: bytes, path: str | Path, what: str) -> None:
    """Refuse a file whose beginning says that it is no text in UTF-8."""
    for signature, form, advice in _SIGNATURES:
        if head.startswith(signature):
            raise _refusal(path, what, form, advice)
    if head[_TAR] == b"ustar":
        raise _refusal(path, what, "a tar archive", _UNPACK)
    if _PAGE.match(head):
        raise _refusal(path, what, "a web page", "download the file itself, such as its raw form")
    if head.count(0) > len(head) / 4:
        raise _refusal(path, what, "in UTF-16 or no text at all", _CONVERT.format("UTF-16LE"))


def _without_ends(file: Iterable[bytes], path: str | Path, what: str) -> Iterator[bytes]:
    """Split at line feeds alone; drop those, a carriage return before, and a byte order mark."""
    for number, line in enumerate(file):
        if number == 0:
            line = line.removeprefix(codecs.BOM_UTF8)
            if not line.endswith(b"\n") and b"\r" in line.rstrip(b"\r"):
                form = "a file that has carriage returns but no line feed"
                raise _refusal(path, what, form, "convert it first: tr '\\r' '\\n' < FILE > NEW")
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def _decode(line: bytes, place: str) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        around = line[max(error.start - 20, 0) : error.start + 20]
        raise ValueError(
            f"{place}: needed UTF-8, got the byte 0x{line[error.start]:02x} in {around!r}; if the "
            f"file is in Windows-1252 (Latin-1), {_CONVERT.format('WINDOWS-1252')}"
        ) from error


def _refusal(path: str | Path, what: str, form: str, advice: str) -> ValueError:
    return ValueError(f"needed a text file of {what} in UTF-8, got {form}: {path}; {advice}")
