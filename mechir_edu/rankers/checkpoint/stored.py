"""Read the small files of a checkpoint, or say which of them is not what it should be.

A file that is missing is an empty dictionary or list: what has to be there, the reader says.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mechir_edu.files import GIT_LFS_POINTER

Rule = str | tuple[object, ...]  # a tuple: the only values that are taken
EMPTY: tuple[object, ...] = (None, False, "", {}, [])
TEXTS_OF_TOKENIZERS = ("*.json", "*.txt", "*.model")


def read_object(path: Path) -> dict[str, Any]:
    """Content of a JSON file that holds one object.

    Raises
    ------
    ValueError
        For a file that is a git-lfs pointer, not JSON, or JSON of another kind.
    """
    return _read(path, dict, "an object {...}")


def read_list(path: Path) -> list[Any]:
    """Content of a JSON file that holds one list; else as `read_object`."""
    return _read(path, list, "a list [...]")


def _read(path: Path, kind: type, in_words: str) -> Any:
    if not path.exists():
        return kind()
    refuse_pointers([path])
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # of JSON or of UTF-8
        raise ValueError(f"{path} is no JSON file: {error}; download the file anew") from error
    if not isinstance(content, kind):
        raise ValueError(f"{path} must hold {in_words}, got {shown(content)}")
    return content


def refuse_pointers(files: Iterable[Path]) -> None:
    """Refuse files that git left as pointers because it had no git-lfs.

    Raises
    ------
    ValueError
        Naming the first such file and the command that downloads it.
    """
    for path in files:
        with path.open("rb") as file:
            if file.read(len(GIT_LFS_POINTER)) == GIT_LFS_POINTER:
                raise ValueError(
                    f"{path} is a pointer of git-lfs, not the file itself; run `git lfs pull` in "
                    "its folder"
                )


def small_files(folder: Path) -> list[Path]:
    """Settings and vocabularies of a folder."""
    return sorted(file for name in TEXTS_OF_TOKENIZERS for file in folder.glob(name))


def whole(value: object, where: str, *, least: int = 1) -> int:
    """A whole number of at least ``least``, as a file states it.

    Raises
    ------
    ValueError
        For anything else; ``where`` says which file and key.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{where} must be a whole number of at least {least}, got {shown(value)}")
    return value


def small_positive(value: object, where: str) -> None:
    """Refuse what cannot be added to a variance: anything but a number above 0 and below 1."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 < number < 1:  # NaN neither
        raise ValueError(f"{where} must be a number between 0 and 1, got {shown(value)}")


def shown(value: object, most: int = 80) -> str:
    """A value as a message shows it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def obey(file: str, content: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Refuse settings that would change a score and are not obeyed.

    Parameters
    ----------
    file : named in the message.
    content : its keys and values.
    rules : what is done with each known key; any other key has to be empty.

    Raises
    ------
    ValueError
        Naming the file, the key, its value and what would be taken.
    """
    for key, value in content.items():
        taken = rules.get(key, EMPTY)
        if isinstance(taken, str) or any(_same(value, other) for other in taken):
            continue
        needed = "no such key" if taken is EMPTY else " or ".join(map(repr, taken))
        raise ValueError(
            f"{file} sets {key} to {shown(value)}, which this toolkit does not obey; needed "
            f"{needed}. Without it the scores would not be the publisher's"
        )


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other  # True is not 1
