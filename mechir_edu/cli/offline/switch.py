"""Change many files at once: whatever stops the program, all are old or all are new.

What comes is laid down beside, in a hidden folder of each place (``.unfinished-...``). There, each
entry of the place that will change (a model's folder, a collection's, a file) is built anew whole:
the old files linked, the new ones over them. Then a *journal* lists the entries, and each is
exchanged by two renames. A program that is killed before the journal was there has changed nothing;
after it, `finish` exchanges what is left. `finish` also sweeps the hidden folders away.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mechir_edu.files import write_whole

PREFIX = ".unfinished-"
_LOCK, _JOURNAL = "lock", "journal.json"
Exchange = tuple[Path, Path, Path]  # an entry, what takes its place, and where the old one goes


def finish(places: Iterable[Path]) -> None:
    """Finish or sweep away what a killed program left in these places.

    Raises
    ------
    BlockingIOError
        If a program is at work there.
    OSError
        If something cannot be moved.
    """
    hidden = [path for place in places for path in sorted(place.glob(f"{PREFIX}*"))]
    with ExitStack() as stack:
        for folder in hidden:
            _hold(folder, stack)
        # All journals before any folder goes: one may list what lies in several.
        for journal in (folder / _JOURNAL for folder in hidden):
            if journal.exists():
                listed = json.loads(journal.read_bytes())
                _exchange((Path(entry), Path(new), Path(old)) for entry, new, old in listed)
                journal.unlink()
    for folder in hidden:
        shutil.rmtree(folder)


@contextmanager
def beside(places: Iterable[Path]) -> Iterator[dict[Path, Path]]:
    """Give a hidden folder in each place, held by this program, and sweep it away afterwards.

    Raises
    ------
    OSError
        As `finish`, which comes first.
    """
    places = list(dict.fromkeys(places))
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    finish(places)
    folders = {place: place / f"{PREFIX}{uuid.uuid4().hex[:12]}" for place in places}
    try:
        with ExitStack() as held:
            for folder in folders.values():
                folder.mkdir()
                _hold(folder, held)
            yield folders
    finally:
        if not any((folder / _JOURNAL).exists() for folder in folders.values()):
            for folder in folders.values():
                shutil.rmtree(folder, ignore_errors=True)


def switch(moves: Iterable[tuple[Path, Path]], folders: dict[Path, Path]) -> None:
    """Put files in their places, all of them or none.

    Parameters
    ----------
    moves : each new file, in one of the folders, and its target.
    folders : place -> hidden folder, as `beside` gives them.

    Raises
    ------
    OSError
        If something cannot be moved; then everything is as it was.
    """
    exchanges: dict[Path, Exchange] = {}
    for new, target in moves:
        real = target.parent.resolve() / target.name
        place = next(place for place in folders if real.is_relative_to(place))
        inside = real.relative_to(place)
        entry = place / inside.parts[0]
        if entry not in exchanges:
            number = len(exchanges)
            built, old = (folders[place] / f"{name}-{number}" for name in ("new", "old"))
            exchanges[entry] = (entry, built, old)
            if entry.is_dir():
                shutil.copytree(entry, built, symlinks=True, copy_function=_link)
            elif os.path.lexists(entry) and len(inside.parts) > 1:
                raise FileExistsError(f"needed a folder at {entry}, there is a file; remove it")
        to = exchanges[entry][1].joinpath(*inside.parts[1:])
        to.parent.mkdir(parents=True, exist_ok=True)
        os.replace(new, to)
    journal = next(iter(folders.values())) / _JOURNAL
    write_whole(journal, json.dumps([[*map(str, e)] for e in exchanges.values()]).encode())
    try:
        _exchange(exchanges.values())
    except BaseException:
        for entry, built, old in exchanges.values():
            if not os.path.lexists(built):
                os.replace(entry, built)
            if os.path.lexists(old):
                os.replace(old, entry)
        journal.unlink()
        raise
    journal.unlink()


def _exchange(exchanges: Iterable[Exchange]) -> None:
    """Exchange what has not been exchanged yet."""
    for entry, built, old in exchanges:
        if os.path.lexists(built):
            if os.path.lexists(entry):
                os.replace(entry, old)
            os.replace(built, entry)


def _link(old: str, new: str) -> None:
    try:
        os.link(old, new)
    except OSError:  # a file system without links
        shutil.copy2(old, new)


def _hold(folder: Path, stack: ExitStack) -> None:
    try:
        stack.enter_context(FileLock(folder / _LOCK, timeout=0))
    except Timeout:
        raise BlockingIOError(
            f"another program is installing into {folder.parent}; wait for it and try again"
        ) from None
