"""Panel: patch one thing after another, and see what it brings over."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ipywidgets

from mechir_edu import plots
from mechir_edu.aligned import ROLE_NAMES
from mechir_edu.patching import patch
from mechir_edu.perturb import Pair
from mechir_edu.results import PatchingResult
from mechir_edu.scoring import DIRECTIONS, score_pairs
from mechir_edu.sites import BLOCK_SITES, HEAD_SITES
from mechir_edu.widgets.controls import ALL, dropdown, labelled, pair_options
from mechir_edu.widgets.panel import Drawing, Panel
from mechir_edu.widgets.patch_pictures import picture_of

if TYPE_CHECKING:
    from mechir_edu.rankers import Ranker

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
    """What the controls say is to be patched; None for "all"."""

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
        """The one role that is to be seen."""
        return ROLE_NAMES.index(self.where) if self.where in ROLE_NAMES else None

    @property
    def key(self) -> tuple:
        """What has to be computed: two choices with one key are slices of one result."""
        layer = self.layer if self.is_head_site else None
        return self.pair, self.site, layer, self.by, self.direction

    def check(self) -> None:
        """Refuse what fills no picture."""
        if self.by == "pos" and self.pair is None:
            raise ValueError("positions of different documents cannot be averaged: choose one pair")
        if self.is_head_site and self.layer is None and self.where in (_ROLES, _POSITIONS):
            raise ValueError(f"heads by {self.where} fill one picture per layer: choose a layer")


def explore_patch(ranker: "Ranker", pairs: Sequence[Pair], *, filler: str = "a") -> Panel:
    """Choose site, layer, positions and direction, press the button, see the recovery.

    Until the button is pressed the panel shows the score change that there is to recover. What was
    computed once is kept for the next time.

    Parameters
    ----------
    ranker : a `Dot` or `Cat`.
    pairs : what is patched; eight or so are quick.
    filler : what stands in the gaps, as for `mechir_edu.patch`.

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
    bench = _Bench(ranker, list(pairs), filler)
    return Panel("explore_patch", controls, bench.draw, work=bench.patch)


class _Bench:
    """A ranker, pairs, and everything that was patched so far."""

    def __init__(self, ranker: "Ranker", pairs: list[Pair], filler: str) -> None:
        self.ranker, self.pairs, self.filler = ranker, pairs, filler
        self.changes = score_pairs(ranker, pairs, filler=filler)
        self.done: dict[tuple, PatchingResult] = {}

    def patch(self, tell: Callable[[int, int], None], **values: object) -> None:
        """Compute what the controls say, unless it is there."""
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
        """Draw what the controls say, or what there is to recover where that is not computed."""
        choice = Choice(**values)
        choice.check()
        if choice.key in self.done:
            return picture_of(choice, self.done[choice.key], self.ranker)
        change = self.changes.score_change()
        ax = plots.plot_score_change([("all pairs", change, self.changes.query_ids)])
        words = f"Mean score change of {len(change)} pairs: {change.mean():+.3f}."
        hint = "Not patched yet: press the button to see how much of this change it brings over."
        return Drawing(ax.figure, words, hint)


def _controls(ranker: "Ranker", pairs: Sequence[Pair]) -> dict[str, ipywidgets.Widget]:
    layers = [ALL, *((str(layer), layer) for layer in range(ranker.n_layers))]
    where = [(name, name) for name in (_ALL, _ROLES, *ROLE_NAMES, _POSITIONS)]
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
