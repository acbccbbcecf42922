"""The folder of a long run while it is written; `mechir_edu.patching.storage` has its form.

Each file is written whole or not at all. When the writer is killed or the disk is full, whole files
are left behind, and at most the shards that were being computed are lost.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Float

from mechir_edu.files import write_whole
from mechir_edu.patching.result import PatchingResult
from mechir_edu.patching.storage import MANIFEST, UNREADABLE, Manifest, read_shard, shard_file
from mechir_edu.perturb.pair import Pair

_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}")  # what a killed `write_whole` leaves


def need_same(there: Mapping[str, Any], now: Mapping[str, Any], where: object) -> None:
    """Refuse to mix two runs.

    Raises
    ------
    ValueError
        If anything differs; names each thing that does, and what to do.
    """
    there, now = _flat(there), _flat(now)
    names = [name for name in {**there, **now} if there.get(name) != now.get(name)]
    if names:
        differing = (f"{name} {there.get(name)!r}, now {now.get(name)!r}" for name in names)
        raise ValueError(
            f"{where} holds results made with {'; '.join(differing)}. They cannot be mixed: ask "
            "for the same again, take another folder (--out), or delete this one"
        )


def describe_pairs(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Number and SHA-256 of the pairs, for what a run is made of."""
    digest = hashlib.sha256()
    for i in range(len(pairs)):
        digest.update(json.dumps(asdict(pairs[i])).encode())
    return {"number of pairs": len(pairs), "digest of the pairs": digest.hexdigest()[:16]}


def _flat(made_of: Mapping[str, Any]) -> dict[str, Any]:
    """Name what is nested, such as a package's version."""
    flat: dict[str, Any] = {}
    for name, value in made_of.items():
        nested = isinstance(value, Mapping)
        flat |= {f"{name}: {key}": v for key, v in value.items()} if nested else {name: value}
    return flat


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Make a folder and be the only process that writes to it; a dead holder does not count.

    Raises
    ------
    BlockingIOError
        If another process writes to it.
    FileExistsError
        If it holds files that are not a run's.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / MANIFEST).exists() and any(_strangers(folder)):
        raise FileExistsError(f"needed a new or empty folder, or that of a run; got {folder}")
    try:
        with FileLock(folder / ".lock", timeout=0):
            for path in folder.rglob(".*"):
                if _UNFINISHED.fullmatch(path.name):
                    path.unlink()
            yield
    except Timeout:
        raise BlockingIOError(
            f"another process is writing to {folder}; wait for it, stop it, or take another folder"
        ) from None
    except BaseException:
        if made and not any(_strangers(folder)):  # nothing was begun: leave nothing behind
            (folder / ".lock").unlink(missing_ok=True)
            for place in made:
                place.rmdir()
        raise


def _strangers(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if not path.name.startswith("."))


@dataclass(frozen=True)
class RunFolder:
    """The shards of a run.

    Attributes
    ----------
    path : the folder.
    manifest : what is, or will be, in it.
    """

    path: Path
    manifest: Manifest

    def file_of(self, stage: str, shard: int) -> Path:
        """Where a shard of a stage ("scores" or "patched") is kept."""
        return shard_file(self.path, stage, shard)

    def store(self, stage: str, shard: int, content: bytes) -> None:
        """Keep a shard.

        Raises
        ------
        OSError
            If it cannot be written, as on a full disk; what was kept before stays.
        """
        store(self.file_of(stage, shard), content)

    def missing(self, stage: str) -> list[int]:
        """Shards of a stage that are not there, or are damaged, or belong to another run."""
        read = self.patched if stage == "patched" else self.scores
        return [k for k in range(len(self.manifest.shards)) if read(k) is None]

    def scores(self, shard: int) -> Float[np.ndarray, "2 pair"] | None:
        """Scores of the baselines and of the perturbed versions; None where there are none."""
        try:
            with np.load(self.file_of("scores", shard), allow_pickle=False) as stored:
                scores, run = stored["scores"], str(stored["run"])
                stated = str(stored["sha256"]) if "sha256" in stored.files else None
        except UNREADABLE:
            return None
        shape = (2, len(self.manifest.shards[shard]))
        is_whole = scores.shape == shape and scores.dtype == np.float32
        is_whole = is_whole and stated in (None, _digest(scores))
        return scores if is_whole and run == self.manifest.fingerprint else None

    def patched(self, shard: int) -> PatchingResult | None:
        """Result of a shard; None where there is none."""
        fields = read_shard(self.path, self.manifest, shard)
        return None if fields is None else PatchingResult(**fields)


def store(path: Path, content: bytes) -> None:
    """Write one file of a run.

    Raises
    ------
    OSError
        If it cannot be written, as on a full disk; what was kept before stays.
    """
    with _saying_what_is_kept(path):
        write_whole(path, content)


def add(path: Path, content: bytes) -> None:
    """Add to the end of a file of a run; it may end in a part of it after a kill or a full disk.

    Raises
    ------
    OSError
        As for `store`.
    """
    with _saying_what_is_kept(path), path.open("ab") as file:
        file.write(content)


@contextmanager
def _saying_what_is_kept(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            f"could not write {path} ({error.strerror or error}). What was done before is kept: "
            "make room and run the same command again to resume"
        ) from error


def pack_scores(scores: Float[np.ndarray, "2 pair"], fingerprint: str) -> bytes:
    """Content of a shard of the stage "scores"."""
    file = io.BytesIO()
    np.savez(file, scores=scores, run=np.array(fingerprint), sha256=np.array(_digest(scores)))
    return file.getvalue()


def _digest(scores: np.ndarray) -> str:
    return hashlib.sha256(scores.tobytes()).hexdigest()
