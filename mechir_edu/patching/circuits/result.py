"""Hold what a circuit was measured to do, and say it with intervals over queries.

Two accepted protocols both claim that a circuit is faithful, and they need not agree (Miller,
Chughtai and Saunders, Transformer circuit faithfulness metrics are not robust, COLM 2024):

restored(C) = (E s(r, C from d) - E s(r)) / (E s(d) - E s(r))
    sufficiency by denoising: the circuit's heads alone are put into the recipient's run.
survives(C) = (E s(d, all but C from r) - E s(r)) / (E s(d) - E s(r))
    f of MIB (Mueller et al., MIB: a mechanistic interpretability benchmark, ICML 2025): everything
    outside the circuit is taken away. With an ablation the two differences are those that are left
    when both runs are ablated outside the circuit (`mechir_edu.patching.circuits.measure`).

CPR = area under f over the share of heads kept (more is better); CMD = area between f and 1 (less
is better); both by trapezoids between the sizes, over a linear axis, as MIB defines them. MIB
computes CPR for heads ranked by signed effects and CMD for heads ranked by magnitude.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Unpack, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float

from mechir_edu import stats
from mechir_edu.collection.judged import Skipped
from mechir_edu.files import write_whole
from mechir_edu.patching.intact import explaining, require_fields, seal, unsealed
from mechir_edu.patching.options import require_known
from mechir_edu.patching.storage import decode_pair
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.hook_names import Head

FORMAT, FORMAT_VERSION = "mechir-edu circuit", 1
WHOLE = "circuit.npz"  # of a finished folder
Protocol = Literal["restored", "survives"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
_ARRAYS = ("effects", "random_effects", "recipient", "donor", "shares", "numbers")
_PLAIN = ("order", "ordered_by", "ablation", "direction", "filler", "ranked_queries", "provenance")
_FIELDS = {"format", "version", "pairs", "skipped", *_PLAIN}


@dataclass(frozen=True, eq=False)
class Band:
    """What random circuits of the same sizes do, [size] in each array.

    Attributes
    ----------
    value : mean over the draws.
    low, high : between which nine of ten draws lie.
    draws : share of each draw, [draw, size].
    """

    value: Float[np.ndarray, " size"]
    low: Float[np.ndarray, " size"]
    high: Float[np.ndarray, " size"]
    draws: Float[np.ndarray, "draw size"]


# Compared by identity: arrays have no single answer to ==.
@dataclass(frozen=True, eq=False)
class CircuitResult:
    """What the first heads of an order restore, and what survives with them alone.

    Attributes
    ----------
    effects : [protocol, size, pair], float32, in score units, towards the donor; the protocols are
        restored and survives.
    random_effects : the same for random orders, [draw, protocol, size, pair].
    recipient, donor : scores of the two runs as they are, [pair].
    shares : share of all heads at each size, as asked; `numbers`: the number of heads.
    order : (layer, head), the first taken up first; it may end before all heads.
    ordered_by : what it was ordered by, a name of `ORDERS` or "list".
    ablation : "other run", "mean" or "resample".
    direction : which run gives, as in `mechir_edu.PatchingResult`.
    pairs : those that were measured, in the order of the last axis.
    ranked_queries : queries on whose pairs heads were ranked; none of them is measured.
    skipped : pairs that could not be aligned, and why.
    provenance : ranker, checksums, versions and seeds; only what JSON can hold.
    """

    effects: Float[np.ndarray, "protocol size pair"]
    random_effects: Float[np.ndarray, "draw protocol size pair"]
    recipient: Float[np.ndarray, " pair"]
    donor: Float[np.ndarray, " pair"]
    shares: Float[np.ndarray, " size"]
    numbers: np.ndarray
    order: tuple[Head, ...]
    ordered_by: str
    ablation: str
    direction: str
    filler: str
    pairs: tuple[Pair, ...]
    ranked_queries: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        shape = (2, len(self.numbers), len(self.pairs))
        if self.effects.shape != shape or self.random_effects.shape[1:] != shape:
            raise ValueError(
                f"needed effects of shape {shape}, and random ones of the same for each draw; got "
                f"{self.effects.shape} and {self.random_effects.shape}"
            )
        if not len(self.recipient) == len(self.donor) == len(self.pairs):
            raise ValueError(f"needed a recipient and a donor score for {len(self.pairs)} pairs")

    @property
    def query_ids(self) -> list[str]:
        """The query of each pair."""
        return [pair.query_id for pair in self.pairs]

    @property
    def note(self) -> str:
        """What the empty circuit means for this ranker."""
        if self.provenance["reads_first_position_only"]:
            return (
                "The score is read off [CLS] alone, and only attention moves anything there: "
                "without any head nothing of the edit is left, so the empty circuit is 0."
            )
        return (
            "The score is read off all tokens, the edited one among them: without any head its "
            "embedding still counts, so what survives with the empty circuit need not be 0."
        )

    def heads(self, number: int) -> tuple[Head, ...]:
        """The circuit of so many heads.

        Raises
        ------
        ValueError
            If the order has not so many.
        """
        if not 0 <= number <= len(self.order):
            raise ValueError(f"needed 0 to {len(self.order)} heads, got {number}")
        return self.order[:number]

    def restored(
        self, how: stats.How = "ratio_of_means", **options: Unpack[stats.IntervalOptions]
    ) -> stats.Recovery:
        """Share of the score change that the circuit alone restores, [size], with intervals.

        Parameters
        ----------
        how : "ratio_of_means", or "mean_of_ratios", which a few pairs of small change can rule.
        options : ``interval``, ``n_boot`` and ``seed`` of `mechir_edu.stats.recovery`.
        """
        return self._curve("restored", how, options)

    def survives(
        self, how: stats.How = "ratio_of_means", **options: Unpack[stats.IntervalOptions]
    ) -> stats.Recovery:
        """Share of the score change that survives without the rest, [size]; as `restored`."""
        return self._curve("survives", how, options)

    def per_pair(self, protocol: Protocol) -> Float[np.ndarray, "size pair"]:
        """Share of each pair's own score change; NaN where its score did not change."""
        change = self._change
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(change == 0, np.nan, self.effects[_place(protocol)] / change)

    def random(self, protocol: Protocol) -> Band:
        """Ratio of means of random circuits, and the band that nine of ten of them fill.

        Raises
        ------
        ValueError
            If no random order was measured.
        """
        if not len(self.random_effects):
            raise ValueError("needed random orders, but n_random was 0")
        effects = self.random_effects[:, _place(protocol)]
        draws = effects.mean(axis=-1, dtype=np.float64) / self._change.mean()
        low, high = np.quantile(draws, [0.05, 0.95], axis=0)
        return Band(draws.mean(axis=0), low, high, draws)

    def cpr(
        self, protocol: Protocol = "survives", **options: Unpack[stats.IntervalOptions]
    ) -> stats.Recovery:
        """MIB's circuit performance ratio: the area under the curve, a single cell.

        Raises
        ------
        ValueError
            If the sizes do not reach from at most one head, or one in a hundred, to all.
        """
        area = np.tensordot(self._trapezoids(), self.effects[_place(protocol)], axes=1)
        return self._recovery(area, (), "ratio_of_means", options)

    def cmd(
        self, protocol: Protocol = "survives", **options: Unpack[stats.IntervalOptions]
    ) -> stats.Recovery:
        """MIB's circuit-model distance: the area between the curve and 1, a single cell.

        The interval is that of the area with the sides of 1 on which the curve lies held as they
        were measured, and ends at 0; raises as `cpr`.
        """
        effects = self.effects[_place(protocol)].astype(np.float64)
        missing = self._change - effects
        sides = np.sign(missing.mean(axis=-1) / self._change.mean())
        area = np.tensordot(self._trapezoids() * sides, missing, axes=1)
        measured = self._recovery(area, (), "ratio_of_means", options)
        return replace(measured, low=np.asarray(np.maximum(measured.low, 0.0)))

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each protocol and size, with everything that belongs beside a share.

        Columns: protocol, heads, share_of_heads; value, low, high (ratio of means, interval over
        queries); mean_of_ratios; pair_10, pair_50, pair_90 (quantiles over pairs); random,
        random_low, random_high (the band of random circuits; absent without them).
        """
        parts = []
        for protocol in PROTOCOLS:
            recovery = self._curve(protocol)
            pairs = self.per_pair(protocol)
            pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
            quantiles = np.quantile(pairs, [0.1, 0.5, 0.9], axis=1)
            columns = {
                "protocol": protocol,
                "heads": self.numbers,
                "share_of_heads": self.shares,
                "value": recovery.value,
                "low": recovery.low,
                "high": recovery.high,
                "mean_of_ratios": pairs.mean(axis=1),
                **dict(zip(("pair_10", "pair_50", "pair_90"), quantiles, strict=True)),
            }
            if len(self.random_effects):
                band = self.random(protocol)
                columns |= {"random": band.value, "random_low": band.low, "random_high": band.high}
            parts.append(pd.DataFrame(columns))
        return pd.concat(parts, ignore_index=True)

    def save(self, path: str | Path) -> None:
        """Write one ``.npz`` without pickle, whole or not at all."""
        write_whole(Path(path), self.to_bytes())

    def to_bytes(self) -> bytes:
        """Content of the file that `save` writes."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        meta = {name: getattr(self, name) for name in _PLAIN}
        meta |= {"format": FORMAT, "version": FORMAT_VERSION}
        meta["pairs"] = [asdict(pair) for pair in self.pairs]
        meta["skipped"] = [asdict(skipped) for skipped in self.skipped]
        file = io.BytesIO()
        sealed = seal(json.dumps(meta).encode(), arrays)
        np.savez_compressed(file, meta=np.frombuffer(sealed, dtype=np.uint8), **arrays)
        return file.getvalue()

    @classmethod
    def load(cls, path: str | Path) -> "CircuitResult":
        """Read what `save` wrote, or the folder of a finished run.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged, is something else, or the run is not finished.
        """
        path = Path(path)
        if path.is_dir():
            if not (path / WHOLE).is_file():
                raise ValueError(
                    f"{path} holds no finished circuit ({WHOLE}); run the same command again to "
                    "resume"
                )
            path = path / WHOLE
        if not path.is_file():
            raise FileNotFoundError(f"needed a file that CircuitResult.save wrote, none at {path}")
        problem = "is not a whole circuit of MechIR-Edu ({}); copy it again, or measure again"
        with explaining(path, problem):
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            meta = unsealed(arrays.pop("meta").tobytes(), arrays)
            require_fields(meta, _FIELDS)
            require_fields(arrays, set(_ARRAYS))
            form, version = meta.pop("format"), meta.pop("version")
            if (form, version) != (FORMAT, FORMAT_VERSION):
                raise ValueError(f"it holds {form!r} in version {version}")
            return cls(**arrays, **_decoded(meta))

    @property
    def _change(self) -> Float[np.ndarray, " pair"]:
        """Score change of each pair, donor minus recipient, in float64."""
        return np.subtract(self.donor, self.recipient, dtype=np.float64)

    @cached_property
    def _curves(self) -> dict[tuple[Any, ...], stats.Recovery]:
        """Curves that were asked for: a picture, its text and its panel need the same intervals."""
        return {}

    def _curve(
        self,
        protocol: Protocol,
        how: stats.How = "ratio_of_means",
        options: Mapping[str, Any] | None = None,
    ) -> stats.Recovery:
        key = (protocol, how, *sorted((options or {}).items()))
        if key not in self._curves:
            effects = self.effects[_place(protocol)]
            self._curves[key] = self._recovery(effects, ("size",), how, options)
        return self._curves[key]

    def _recovery(
        self,
        effects: Float[np.ndarray, "*cell pair"],
        axes: tuple[str, ...],
        how: stats.How = "ratio_of_means",
        options: Mapping[str, Any] | None = None,
    ) -> stats.Recovery:
        recipient = self.recipient.astype(np.float64)
        return stats.recovery(
            recipient + effects,
            recipient,
            self.donor.astype(np.float64),
            query_ids=self.query_ids,
            axes=axes,
            how=how,
            **(options or {}),
        )

    def _trapezoids(self) -> Float[np.ndarray, " size"]:
        """What each size weighs in the area under a curve over the shares."""
        n_all = self.provenance["n_layers"] * self.provenance["n_heads"]
        first, last = int(self.numbers[0]), int(self.numbers[-1])
        if last < n_all or (first > 1 and first > 0.01 * n_all):
            raise ValueError(
                f"an area needs sizes from at most one head to all {n_all}, got {first} to {last}"
            )
        widths = np.diff(self.shares)
        return (np.append(widths, 0.0) + np.insert(widths, 0, 0.0)) / 2


def _place(protocol: str) -> int:
    require_known("protocol", protocol, PROTOCOLS)
    return PROTOCOLS.index(protocol)


def _decoded(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **meta,
        "order": tuple((layer, head) for layer, head in meta["order"]),
        "ranked_queries": tuple(meta["ranked_queries"]),
        "pairs": tuple(decode_pair(pair) for pair in meta["pairs"]),
        "skipped": tuple(Skipped(**skipped) for skipped in meta["skipped"]),
    }
