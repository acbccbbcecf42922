"""Panel: patch one site after another, and see the recovery."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import ipywidgets
import numpy as np

from mechir_edu import plots
from mechir_edu.alignment.aligned import ROLE_NAMES, role_names
from mechir_edu.alignment.prompts import writes_end
from mechir_edu.patching.activation import patch
from mechir_edu.patching.one_pair import read_pair
from mechir_edu.patching.reading import PairReading
from mechir_edu.patching.result import PatchingResult
from mechir_edu.patching.scoring import DIRECTIONS, score_pairs
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.hook_names import BLOCK_SITES, HEAD_SITES
from mechir_edu.stats.recovered import Recovery
from mechir_edu.widgets.controls import ALL, dropdown, labelled, pair_options
from mechir_edu.widgets.panel import Drawing, Panel

_MOST_POSITIONS = 40
_ALL = "all positions"
_ROLES, _POSITIONS = "every role", "every position"
_SITES = {
    "head": "heads (z)",
    "resid_pre": "residual stream before a layer",
    "attn_out": "attention output",
    "mlp_out": "MLP output",
    "pattern": "heads' attention pattern",
    "q": "heads' queries",
    "k": "heads' keys",
    "v": "heads' values",
}


@dataclass(frozen=True)
class Choice:
    """What the controls ask for; None for "all"."""

    pair: int | None
    site: str
    layer: int | None
    where: str
    direction: str

    @property
    def is_head_site(self) -> bool:
        """Whether a layer has several cells."""
        return self.site in HEAD_SITES

    @property
    def by(self) -> str | None:
        """How positions are told apart, as `mechir_edu.patch` says it."""
        return {_ALL: None, _POSITIONS: "pos"}.get(self.where, "role")

    @property
    def role(self) -> int | None:
        """The role that is shown alone; None for several or for all positions together."""
        return ROLE_NAMES.index(self.where) if self.where in ROLE_NAMES else None

    @property
    def key(self) -> tuple:
        """What has to be computed: two choices with one key are slices of one result."""
        layer = self.layer if self.is_head_site else None
        return self.pair, self.site, layer, self.by, self.direction

    def check(self) -> None:
        """Refuse a choice that no single picture can show.

        Raises
        ------
        ValueError
            Saying what to choose besides.
        """
        if self.by == "pos" and self.pair is None:
            raise ValueError("positions of different documents cannot be averaged: choose one pair")
        if self.is_head_site and self.layer is None and self.where in (_ROLES, _POSITIONS):
            raise ValueError(f"heads by {self.where} fill one picture per layer: choose a layer")


def explore_patch(ranker: Ranker, pairs: Sequence[Pair], *, filler: str = "a") -> Panel:
    """Choose site, layer, positions and direction, press the button, see the recovery.

    Until the button is pressed, the panel shows the score change that there is to recover. Results
    are kept: no choice is computed twice.

    Parameters
    ----------
    ranker : of any kind.
    pairs : what is patched; eight or so are quick.
    filler : what fills the gaps, as for `mechir_edu.patch`.

    Returns
    -------
    Panel
        Controls ``pair``, ``site``, ``layer``, ``where``, ``direction`` and the button ``run``. The
        static twins are `plots.plot_heads`, `plots.plot_cells`, `plots.plot_roles` and
        `plots.plot_positions`.

    Raises
    ------
    ValueError
        If there is no pair, or none can be aligned.
    """
    controls = _controls(ranker, pairs)
    results = _Results(ranker, list(pairs), filler)
    return Panel("explore_patch", controls, results.draw, work=results.patch)


class _Results:
    """A ranker, pairs, and the results of all choices that were patched so far."""

    def __init__(self, ranker: Ranker, pairs: list[Pair], filler: str) -> None:
        self.ranker, self.pairs, self.filler = ranker, pairs, filler
        self.changes = score_pairs(ranker, pairs, filler=filler, progress=False)
        self.done: dict[tuple, PatchingResult] = {}

    def patch(self, tell: Callable[[int, int], None], **values: object) -> None:
        """Patch what the controls ask for, unless that is done."""
        choice = Choice(**values)
        choice.check()
        if choice.key in self.done:
            return
        pairs = self.pairs if choice.pair is None else [self.pairs[choice.pair]]
        n_done = 0

        def count(n: int) -> None:
            nonlocal n_done
            n_done += n
            tell(n_done, len(pairs))

        tell(0, len(pairs))
        heads = None
        if choice.is_head_site and choice.layer is not None:
            heads = [(choice.layer, head) for head in range(self.ranker.n_heads)]
        options = {"site": choice.site, "by": choice.by, "direction": choice.direction}
        options |= {"heads": heads, "filler": self.filler, "progress": count}
        self.done[choice.key] = patch(self.ranker, pairs, **options)

    def draw(self, **values: object) -> Drawing:
        """Draw what the controls ask for; until it is patched, the score change to recover."""
        choice = Choice(**values)
        choice.check()
        if choice.key in self.done:
            return picture_of(choice, self.done[choice.key], self.ranker)
        change = self.changes.score_change()
        ax = plots.plot_score_change([("all pairs", change, self.changes.query_ids)])
        words = f"Mean score change of {len(change)} pairs: {change.mean():+.3f}."
        hint = "Not patched yet: press the button to see how much of this change it brings over."
        return Drawing(ax.figure, words, hint)


def _controls(ranker: Ranker, pairs: Sequence[Pair]) -> dict[str, ipywidgets.Widget]:
    layers = [ALL, *((str(layer), layer) for layer in range(ranker.n_layers))]
    roles = role_names(ranker.prompts, ends=writes_end(ranker.tokenizer))
    where = [(name, name) for name in (_ALL, _ROLES, *roles, _POSITIONS)]
    directions = ["auto", *DIRECTIONS]
    run = labelled(ipywidgets.Button(), "Patch", "compute what is chosen")
    run.button_style = "primary"
    return {
        "pair": dropdown("pairs", [ALL, *pair_options(pairs)], "all pairs, or one"),
        "site": dropdown("site", _site_options(), "which activation is taken from the donor"),
        "layer": dropdown("layer", layers, "one layer, or all"),
        "where": dropdown("at", where, "which positions are patched, by role or one by one"),
        "direction": dropdown(
            "direction",
            [(name.replace("_", " "), name) for name in directions],
            "from which version into which; auto patches into the side of the lower mean score",
        ),
        "run": run,
    }


def _site_options() -> list[tuple[str, str]]:
    return [(_SITES[site], site) for site in ("head", *BLOCK_SITES, *HEAD_SITES[1:])]


def picture_of(choice: Choice, result: PatchingResult, ranker: Ranker) -> Drawing:
    """Draw the part of a result that was chosen.

    Raises
    ------
    ValueError
        If there is no score change to be a share of.
    """
    title = f"{choice.site}, {choice.where}, {result.direction.replace('_', ' ')}"
    if choice.by == "pos":
        return _draw_positions(choice, result, ranker, title)
    recovery = _slice(result.recovery(), choice)
    if recovery.axes == ("layer", "head"):
        ax = plots.plot_heads(recovery)
    elif recovery.axes[1:] == ("role",):
        ax = plots.plot_roles(recovery)
    else:
        is_one_layer = recovery.axes == ("layer",) and choice.layer is not None
        ax = plots.plot_cells(recovery, names=[str(choice.layer)] if is_one_layer else None)
    ax.set_title(title, fontsize=10)
    return Drawing(ax.figure, plots.alt_text(recovery, title=f"Recovery, {title}"))


def _slice(recovery: Recovery, choice: Choice) -> Recovery:
    """Take the chosen role and layer, if any, and name the axes that are left."""
    axes = tuple("head" if axis == "cell" else axis for axis in recovery.axes)
    index: list[int | slice] = [slice(None)] * len(axes)
    if choice.role is not None:
        index[-1] = choice.role
    if choice.layer is not None and not choice.is_head_site:
        # A single layer stays a row of one cell, unless its roles are shown.
        shows_roles = choice.by == "role" and choice.role is None
        index[0] = choice.layer if shows_roles else slice(choice.layer, choice.layer + 1)
    left = tuple(a for a, at in zip(axes, index, strict=True) if isinstance(at, slice))
    cells = tuple(index)
    return replace(
        recovery,
        axes=left,
        value=recovery.value[cells],
        low=recovery.low[cells],
        high=recovery.high[cells],
        p=recovery.p[cells],
        q=recovery.q[cells],
    )


def _draw_positions(choice: Choice, result: PatchingResult, ranker: Ranker, title: str) -> Drawing:
    change = result.donor[0] - result.recipient[0]
    if change == 0:
        raise ValueError("both versions of this pair score the same: there is nothing to recover")
    values = (result.rows_of(0) - result.recipient[0]) / change
    rows, names = ("head" if choice.is_head_site else "layer"), None
    if choice.layer is not None and not choice.is_head_site:
        values, names = values[[choice.layer]], [str(choice.layer)]
    reading = read_pair(ranker, result.pairs[0], filler=result.filler)
    # The longer version has the edit's own tokens where the other has fillers.
    pair = result.pairs[0]
    is_longer = len(pair.perturbed) >= len(pair.baseline)
    into = reading.perturbed if is_longer else reading.baseline
    options = {"edited": reading.edited, "rows": rows, "names": names, "keep": _MOST_POSITIONS}
    ax = plots.plot_positions(values, into, **options)
    ax.set_title(title, fontsize=10)
    return Drawing(ax.figure, f"Recovery, {title}. {_largest(values, into, rows, names, reading)}")


def _largest(
    values: np.ndarray,
    tokens: tuple[str, ...],
    rows: str,
    names: list[str] | None,
    reading: PairReading,
) -> str:
    order = np.argsort(-np.abs(values), axis=None, kind="stable")[:3]
    cells = []
    for row, pos in zip(*np.unravel_index(order, values.shape), strict=True):
        kind = " (edited)" if reading.edited[pos] else ""
        where = f"{rows} {names[row] if names else row}, position {pos}, {tokens[pos]}{kind}"
        cells.append(f"{where}: {values[row, pos]:.2f}")
    return f"Largest: {'; '.join(cells)}."
