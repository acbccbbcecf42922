"""A long run on disk: a folder of shards and a manifest, each file written whole or not at all.

::

    run/
      manifest.json       what the run is made of, and which pairs stand in which shard
      scores/00003.npz    scores of both versions of the pairs in shard 3, without any patch
      patched/00003.npz   a `PatchingResult` of the pairs in shard 3
      .lock               held by the process that writes

Whoever kills the writer, or fills the disk, leaves whole files behind: at most the shards that
were being computed are lost. Every shard carries the fingerprint of its run, so a file of another
run is never taken for one of this. Nothing here can run code when it is read.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Float

from mechir_edu.collection import Skipped
from mechir_edu.files import write_whole
from mechir_edu.results import UNREADABLE, PatchingResult

FORMAT, FORMAT_VERSION = "mechir-edu patching run", 1
MANIFEST = "manifest.json"
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}")  # what a killed `write_whole` leaves


@dataclass(frozen=True)
class Manifest:
    """What a run is made of, and how its pairs are cut into shards.

    Attributes
    ----------
    made_of : everything that the scores depend on, by the name that a user knows it by.
    shards : indices of the pairs of each shard, longest pairs first.
    skipped : pairs that are in no shard.
    """

    made_of: Mapping[str, Any]
    shards: tuple[tuple[int, ...], ...]
    skipped: tuple[Skipped, ...]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of `made_of`."""
        return hashlib.sha256(json.dumps(self.made_of, sort_keys=True).encode()).hexdigest()

    @property
    def n_pairs(self) -> int:
        """Number of pairs in all shards."""
        return sum(map(len, self.shards))

    def to_bytes(self) -> bytes:
        """Content of ``manifest.json``."""
        return json.dumps({"format": FORMAT, "version": FORMAT_VERSION, **asdict(self)}).encode()


def read_manifest(folder: Path) -> Manifest | None:
    """Read what a run is made of; None where no run was begun.

    Raises
    ------
    ValueError
        If the manifest is damaged or comes from a newer version.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_bytes())
        form, version = stored.pop("format"), stored.pop("version")
        shards = tuple(tuple(shard) for shard in stored["shards"])
        skipped = tuple(Skipped(**skip) for skip in stored["skipped"])
        manifest = Manifest(stored["made_of"], shards, skipped)
    except UNREADABLE as error:
        raise ValueError(
            f"{path} is damaged ({error}), so its shards cannot be trusted; "
            "delete the folder, or take another"
        ) from error
    if (form, version) != (FORMAT, FORMAT_VERSION):
        raise ValueError(
            f"{path} holds {form!r} in version {version}, this package reads {FORMAT!r} in "
            f"version {FORMAT_VERSION}; update mechir-edu, or take another folder"
        )
    return manifest


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
        found = "; ".join(f"{name} {there.get(name)!r}, now {now.get(name)!r}" for name in names)
        raise ValueError(
            f"{where} holds results made with {found}. They cannot be mixed: ask for the same "
            "again, take another folder (--out), or delete this one"
        )


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
        return self.path / stage / f"{shard:05}.npz"

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
        except UNREADABLE:
            return None
        return scores if run == self.manifest.fingerprint else None

    def patched(self, shard: int) -> PatchingResult | None:
        """Result of a shard; None where there is none."""
        try:
            result = PatchingResult.load(self.file_of("patched", shard))
        except (ValueError, OSError):
            return None
        of_this_run = {"run": self.manifest.fingerprint, "shard": shard}
        found = {name: result.provenance.get(name) for name in of_this_run}
        return result if found == of_this_run else None


def store(path: Path, content: bytes) -> None:
    """Write one file of a run.

    Raises
    ------
    OSError
        If it cannot be written, as on a full disk; what was kept before stays.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise OSError(
            f"could not write {path} ({error.strerror or error}). What was done before is kept: "
            "make room and run the same command again, and it goes on from there"
        ) from error


def pack_scores(scores: Float[np.ndarray, "2 pair"], fingerprint: str) -> bytes:
    """Content of a shard of the stage "scores"."""
    file = io.BytesIO()
    np.savez(file, scores=scores, run=np.array(fingerprint))
    return file.getvalue()


def read_folder(path: Path) -> PatchingResult:
    """Read the result of a finished run, its pairs in the order in which they were given.

    Raises
    ------
    FileNotFoundError
        If there is no run in the folder.
    ValueError
        If the run is not finished, or a file is damaged.
    """
    manifest = read_manifest(path)
    if manifest is None:
        raise FileNotFoundError(f"needed the folder of a run, found no {MANIFEST} in {path}")
    folder = RunFolder(path, manifest)
    results = [folder.patched(k) for k in range(len(manifest.shards))]
    shards = [result for result in results if result is not None]
    if len(shards) < len(results):
        raise ValueError(
            f"{path} has {len(shards)} of {len(results)} shards so far; run the same command "
            "again, and it goes on from there"
        )
    joined = join(shards, np.concatenate([np.array(shard) for shard in manifest.shards]))
    kept = {name: value for name, value in joined.provenance.items() if name != "shard"}
    return replace(
        joined, skipped=manifest.skipped, provenance=kept | {"made_of": dict(manifest.made_of)}
    )


def join(shards: list[PatchingResult], index: np.ndarray) -> PatchingResult:
    """Put results one behind the other, then their pairs in the order of ``index``."""
    order = np.argsort(index)
    pairs = [pair for shard in shards for pair in shard.pairs]
    rows, last = {}, order
    if shards[0].row_pair is not None:
        rows, last = _join_rows(shards, order)
    return replace(
        shards[0],
        scores=np.concatenate([shard.scores for shard in shards], axis=-1)[..., last],
        recipient=np.concatenate([shard.recipient for shard in shards])[order],
        donor=np.concatenate([shard.donor for shard in shards])[order],
        pairs=tuple(pairs[i] for i in order),
        **rows,
    )


def _join_rows(
    shards: list[PatchingResult], order: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    sizes = [len(shard.pairs) for shard in shards]
    starts = np.cumsum(sizes) - sizes
    place = np.argsort(order)  # of each pair, in the wanted order
    of_shards = [shard.row_pair + at for shard, at in zip(shards, starts, strict=True)]
    row_pair = place[np.concatenate(of_shards)]
    last = np.argsort(row_pair, kind="stable")
    others = {
        name: np.concatenate([getattr(shard, name) for shard in shards])[last]
        for name in ("row_pos", "row_role")
    }
    return {"row_pair": row_pair[last], **others}, last
