"""The study's results as tables on disk, and what follows from them.

::

    heads.csv       every head under every condition (`study.heads`)
    estimates.csv   everything else (`study.estimates`)
    made_of.json    for each kind of ranker: its name, weights, versions, seed and sizes

The text of the report needs nothing else.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from mechir_edu.files import write_whole
from mechir_edu.stats.estimates import Estimate
from mechir_edu.stats.recovered import Recovery
from study.estimates import estimates_table
from study.heads import LEVEL, heads_table
from study.part import Part
from study.plan import MAIN

HEADS, ESTIMATES, MADE_OF = FILES = ("heads.csv", "estimates.csv", "made_of.json")
_ASKED = ("n", "seed", "block", "checks", "method")
_MADE_OF = ("ranker", "n_layers", *_ASKED, "checksum", "device", "versions")


@dataclass(frozen=True)
class Value:
    """An estimate; its interval's ends are not numbers where it has none."""

    value: float
    low: float
    high: float

    @property
    def is_above(self) -> bool:
        """Whether its interval lies above zero."""
        return self.low > 0

    @property
    def is_below(self) -> bool:
        """Whether its interval lies below zero."""
        return self.high < 0


class MissingEstimate(ValueError):
    """The results do not hold what was asked for."""


@dataclass(frozen=True, eq=False)
class Results:
    """The tables of a study, see the module."""

    heads: pd.DataFrame
    estimates: pd.DataFrame
    made_of: Mapping[str, Mapping[str, Any]]

    def name(self, kind: str) -> str:
        """Which ranker of a kind it is.

        Raises
        ------
        MissingEstimate
            If there is none of this kind.
        """
        if kind not in self.made_of:
            raise MissingEstimate(f"there are no results of {kind}")
        return self.made_of[kind]["ranker"]

    @property
    def kinds(self) -> list[str]:
        """Kinds of the rankers, such as "dot"."""
        return list(self.made_of)

    def rows(self, kind: str, quantity: str, axiom: str = "", place: str = "") -> dict[str, Value]:
        """Estimates of a quantity by their detail."""
        return self._estimates.get((kind, quantity, axiom, place), {})

    @cached_property
    def _estimates(self) -> dict[tuple[str, ...], dict[str, Value]]:
        by_key: dict[tuple[str, ...], dict[str, Value]] = {}
        for row in self.estimates.itertuples():
            key = (row.kind, row.quantity, row.axiom, row.place)
            by_key.setdefault(key, {})[row.detail] = Value(row.value, row.low, row.high)
        return by_key

    @cached_property
    def _heads(self) -> dict[tuple[str, ...], pd.DataFrame]:
        ordered = self.heads.sort_values(["layer", "head"])
        return dict(iter(ordered.groupby(["kind", "axiom", "place"])))

    def find(
        self, kind: str, quantity: str, axiom: str = "", place: str = "", detail: str = ""
    ) -> Value | None:
        """One estimate; None where there is none."""
        return self.rows(kind, quantity, axiom, place).get(detail)

    def get(
        self, kind: str, quantity: str, axiom: str = "", place: str = "", detail: str = ""
    ) -> Value:
        """One estimate.

        Raises
        ------
        MissingEstimate
            If there is none.
        """
        estimate = self.find(kind, quantity, axiom, place, detail)
        if estimate is None:
            asked = ", ".join(filter(None, (kind, axiom, place, detail)))
            raise MissingEstimate(f"there is no estimate of {quantity!r} ({asked})")
        return estimate

    def column(
        self, kind: str, axiom: str, place: str, column: str
    ) -> Float[np.ndarray, "layer head"]:
        """A column of ``heads.csv`` as a map.

        Raises
        ------
        MissingEstimate
            If the condition is not there.
        """
        rows = self._heads.get((kind, axiom, place))
        if rows is None:
            raise MissingEstimate(f"there are no heads of {kind}, {axiom}, {place}")
        return rows[column].to_numpy(np.float64).reshape(rows.layer.max() + 1, -1)

    def n_heads(self, kind: str) -> int:
        """How many heads a ranker has."""
        return self.moves(kind, MAIN[0].axiom, MAIN[0].place).size

    def moves(self, kind: str, axiom: str, place: str) -> Bool[np.ndarray, "layer head"]:
        """Heads whose effect on the score is significant."""
        return self.column(kind, axiom, place, "q") < LEVEL

    def carries(self, kind: str, axiom: str, place: str) -> Bool[np.ndarray, "layer head"]:
        """Heads that significantly do, over the control, what the edit does over the control."""
        return self._over_control(kind, axiom, place) > 0

    def opposes(self, kind: str, axiom: str, place: str) -> Bool[np.ndarray, "layer head"]:
        """Heads that significantly do the opposite of that."""
        return self._over_control(kind, axiom, place) < 0

    def _over_control(self, kind: str, axiom: str, place: str) -> Float[np.ndarray, "layer head"]:
        """Effect over the control, positive as the edit's; zero where it is not significant."""
        is_significant = self.column(kind, axiom, place, "contrast_q") < LEVEL
        sign = np.sign(self.get(kind, "over control", axiom, place).value)
        return is_significant * sign * self.column(kind, axiom, place, "contrast")

    def recovery(self, kind: str, axiom: str, place: str) -> Recovery:
        """A condition's recovery, as figures and `Recovery.significant` want it."""
        names = ("recovery", "low", "high", "p", "q", "effect", "n_pairs", "n_queries")
        maps = {name: self.column(kind, axiom, place, name) for name in names}
        n_pairs, n_queries = (int(maps.pop(name).flat[0]) for name in ("n_pairs", "n_queries"))
        value, effect = maps.pop("recovery"), maps.pop("effect")
        largest = np.argmax(np.abs(value))
        change = float(effect.flat[largest] / value.flat[largest])
        # Recovery has bounded intervals only where the score change differs from zero.
        reach = 0.0 if np.isfinite(maps["low"]).any() else np.inf
        changed = Estimate(change, change - reach, change + reach, 0.0, n_pairs, n_queries)
        return Recovery(
            value,
            **maps,
            how="ratio_of_means",
            interval=1 - LEVEL,
            n_pairs=n_pairs,
            n_queries=n_queries,
            denominator=changed,
            axes=("layer", "head"),
        )

    def write(self, folder: Path) -> None:
        """Write the three files."""
        for name, table in ((HEADS, self.heads), (ESTIMATES, self.estimates)):
            write_whole(folder / name, written(table).encode())
        write_whole(folder / MADE_OF, (json.dumps(self.made_of, indent=1) + "\n").encode())


def written(table: pd.DataFrame) -> str:
    """Write a table as it is kept on disk."""
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def estimate(parts: Sequence[Part]) -> Results:
    """Make the tables of all rankers."""
    heads = pd.concat([heads_table(part) for part in parts], ignore_index=True)
    estimates = pd.concat([estimates_table(part) for part in parts], ignore_index=True)
    return Results(heads, estimates, made_of_parts(parts))


def made_of_parts(parts: Sequence[Part]) -> dict[str, dict[str, Any]]:
    """What a reader has to know of what the results are made of, for each kind of ranker."""
    made_of = {}
    for part in parts:
        made_of[part.kind] = {name: part.made_of[name] for name in _MADE_OF}
        made_of[part.kind] |= {"conditions": len(MAIN), "collections": list(part.collections)}
    return made_of


def read_results(folder: Path) -> Results:
    """Read the three files.

    Raises
    ------
    FileNotFoundError
        If one is missing.
    """
    names = ("kind", "quantity", "axiom", "place", "detail")
    estimates = pd.read_csv(folder / ESTIMATES, dtype=dict.fromkeys(names, str), na_filter=False)
    for name in ("value", "low", "high"):
        estimates[name] = pd.to_numeric(estimates[name], errors="coerce")
    made_of = json.loads((folder / MADE_OF).read_text(encoding="utf-8"))
    return Results(pd.read_csv(folder / HEADS), estimates, made_of)
