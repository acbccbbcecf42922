"""The scores of single pairs on disk, without their texts: what a report can be made from again.

::

    scores/
      manifest.json    for each ranker what its scores are made of; SHA-256 of the other files
      dot.csv          the bi-encoder's pairs: query, document, grade, and the word of each edit
      dot.npz          its scores in float32, an array for each name below
      cat.csv, cat.npz the cross-encoder's
      dot-TFC1-signed.npz   a circuit, as `mechir_edu.CircuitResult.load` reads it
      dot-rankings.csv      how circuits alone rank, a row for each query

``untouched`` is the score of each document as it was, [pair]. For every condition, such as
``TFC1-end`` or the check ``TFC1-end-mask``: ``TFC1-end.recipient`` and ``TFC1-end.donor``, the
scores of the two runs without a patch, [pair]; ``TFC1-end.patched``, the score after each head's
patch, [layer, head, pair]; and ``TFC1-end.pair``, each pair's row in the table, counted from 0.
Nothing here can run code when it is read.
"""

import io
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from mechir_edu.collection.judged import Skipped
from mechir_edu.files import check_sha256, sha256, write_whole
from mechir_edu.patching.circuits.result import CircuitResult
from study.part import Part, Scores
from study.plan import BY, CHECKS, MAIN, STUDIED, Condition

SCORES = "scores"
MANIFEST = "manifest.json"
_ARRAYS = ("recipient", "donor", "patched", "pair")


def write_scores(parts: Sequence[Part], folder: Path) -> None:
    """Write the scores of all rankers.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    manifest: dict[str, dict] = {"files": {}, "rankers": {}}
    for part in parts:
        contents = {f"{part.kind}.csv": _table(part), f"{part.kind}.npz": _arrays(part)}
        for key, circuit in part.circuits.items():
            contents[_circuit_file(part.kind, *key)] = circuit.to_bytes()
        if part.rankings:
            contents[f"{part.kind}-rankings.csv"] = _rankings(part)
        for name, content in contents.items():
            write_whole(folder / name, content)
            manifest["files"][name] = sha256(folder / name)
        manifest["rankers"][part.kind] = {
            "made_of": part.made_of,
            "n_planned": part.n_planned,
            "skipped": [asdict(skipped) for skipped in part.skipped],
        }
    write_whole(folder / MANIFEST, (json.dumps(manifest) + "\n").encode())


def _table(part: Part) -> bytes:
    return _as_csv(part.pairs)


def _as_csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()


def _circuit_file(kind: str, axiom: str, by: str) -> str:
    return f"{kind}-{axiom}-{by}.npz"


def _rankings(part: Part) -> bytes:
    tables = [table.assign(axiom=a, heads=n) for (a, n), table in part.rankings.items()]
    return _as_csv(pd.concat(tables))


def _read_rankings(path: Path) -> dict[tuple[str, int], pd.DataFrame]:
    table = pd.read_csv(path, dtype={"query_id": str})
    return {
        key: rows.drop(columns=["axiom", "heads"]).reset_index(drop=True)
        for key, rows in table.groupby(["axiom", "heads"], sort=False)
    }


def _arrays(part: Part) -> bytes:
    arrays = {"untouched": part.untouched}
    for condition, scores in (part.main | part.checks).items():
        arrays |= {f"{condition.name}.{name}": getattr(scores, name) for name in _ARRAYS}
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def read_scores(folder: Path) -> list[Part]:
    """Read the scores of all rankers.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is not the one that the manifest names.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for name, expected in manifest["files"].items():
        check_sha256(folder / name, expected)
    there = manifest["files"]
    return [_read(folder, kind, about, there) for kind, about in manifest["rankers"].items()]


def _read(folder: Path, kind: str, about: dict, there: Collection[str]) -> Part:
    # As text, for "null" is a word.
    pairs = pd.read_csv(folder / f"{kind}.csv", dtype=str, keep_default_na=False)
    with np.load(folder / f"{kind}.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}

    def conditions(among: Sequence[Condition]) -> dict[Condition, Scores]:
        return {
            condition: Scores(*(arrays[f"{condition.name}.{name}"] for name in _ARRAYS))
            for condition in among
            if f"{condition.name}.pair" in arrays
        }

    circuits = {(a, by): _circuit_file(kind, a, by) for a in STUDIED for by in BY}
    rankings = f"{kind}-rankings.csv"
    return Part(
        made_of=about["made_of"],
        n_planned=about["n_planned"],
        skipped=tuple(Skipped(**skipped) for skipped in about["skipped"]),
        pairs=pairs.astype({"grade": int}),
        untouched=arrays["untouched"],
        main=conditions(MAIN),
        checks=conditions(CHECKS),
        circuits={k: CircuitResult.load(folder / f) for k, f in circuits.items() if f in there},
        rankings=_read_rankings(folder / rankings) if rankings in there else {},
    )
