"""Path patching: what one head tells another, and what it tells the score, by itself.

Patching head A shows the sum of all that follows from it. Path patching follows one path: A's
output reaches head B *through the residual stream alone*, with every other head kept as it was.
The names are those of the literature: A is the *sender*, B the *receiver*.

Definition
----------
Three runs of one pair. The recipient's and the donor's run are ordinary. A third stream, the
*route*, is the recipient's with A's z taken from the donor, in which no other head is computed
again; marked ~ below, all else is the recipient's::

    sender's layer      x ───────────────── + ──> LN1 ──┬──────────────── + ──> LN2 ──> x~
                        attn_out            │           │                 │
                        + (z_donor - z) W_O ┘           └─ MLP ──> mlp_out┘

    layers between      x~ ──────────────── + ──> LN1 ──┬──────────────── + ──> LN2 ──> x~
                        attn_out (frozen) ──┘           └─ MLP ──> mlp_out┘

    receiver's layer    x~ ──> W_Q of B ──> q~ ──> softmax(q~ k) v = z~ of B
                        x  ──> k, v of B, and every other head

    behind the last     x~ ──> read-out: the direct effect on the score

The score of the path A -> B (``via="q"``) is that of an ordinary run of the recipient in which
head B alone has z~; all that stands behind B answers as it does. ``via="k"`` and ``"v"`` read k~
and v~ off x~ instead, ``"qkv"`` all three at once.

LayerNorm is recomputed at every step: in a post-LN block it stands *on* the stream, so no part
of the stream passes it unchanged, and adding A's output to a later stream (as is right for pre-LN
decoders, up to a scale) would be wrong. For the MLPs there are two readings:

``mlps="frozen"`` (default)
    Each MLP adds what it added to the recipient: a path is one edge, through no other component
    (Goldowsky-Dill et al., 2023, where every component is a node of its own).
``mlps="recomputed"``
    MLPs on the way answer to the change, and are part of the path (Wang et al., 2023, whose
    direct paths run through residual connections and MLPs but no other attention head).

Effects of paths do not add up to the effect of patching A: LayerNorm and attention are not linear.

Sources
-------
K. Wang, A. Variengien, A. Conmy, B. Shlegeris, J. Steinhardt: Interpretability in the wild: a
circuit for indirect object identification in GPT-2 small. ICLR 2023, arXiv 2211.00593.

N. Goldowsky-Dill, C. MacLeod, L. Sato, A. Arora: Localizing model behavior with path patching.
2023, arXiv 2304.05969.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechir_edu import stats
from mechir_edu.alignment.aligned import AlignedPairs
from mechir_edu.patching.batches import Batch, make_batches
from mechir_edu.patching.engines.suffix import Branch, Layer, LayerRun, PostLNStack, Stream, attend
from mechir_edu.patching.options import Direction, PatchOptions, require_known
from mechir_edu.patching.progress import Progress, counted
from mechir_edu.patching.result import PatchingResult
from mechir_edu.patching.scoring import (
    align_for,
    choose_direction,
    in_direction,
    provenance_of,
    score_both,
    token_limit,
)
from mechir_edu.patching.sweep import Sweep
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.adapters import FAMILIES
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.hook_names import Head

Via = Literal["q", "k", "v", "qkv"]
Mlps = Literal["frozen", "recomputed"]
VIAS, MLPS = ("q", "k", "v", "qkv"), ("frozen", "recomputed")
SCORE = -1  # the last "receiver" of a result is the score itself


# Compared by identity: arrays have no single answer to ==.
@dataclass(frozen=True, eq=False)
class PathResult:
    """The relevance score of every pair after patching each path.

    Attributes
    ----------
    paths : everything, with the axes sender, receiver, pair; its last receiver is the score.
        The properties below are views of it, and its subsets (``paths.select``) make a new
        ``PathResult``.
    """

    paths: PatchingResult

    def __post_init__(self) -> None:
        if self.paths.site != "path":
            raise ValueError(
                f"needed a result of path_patch, got one of patching {self.paths.site!r}; "
                "read that as a PatchingResult"
            )

    @property
    def scores(self) -> Float[np.ndarray, "sender receiver pair"]:
        """Score after patching each path; the recipient's where the receiver is not behind."""
        return self.paths.scores[:, :SCORE]

    @property
    def to_score(self) -> Float[np.ndarray, "sender pair"]:
        """Score after patching the direct path from each sender to the read-out."""
        return self.paths.scores[:, SCORE]

    @property
    def senders(self) -> list[Head]:
        """(layer, head) along the first axis."""
        return [tuple(head) for head in self.paths.provenance["senders"]]

    @property
    def receivers(self) -> list[Head]:
        """(layer, head) along the second axis of `scores`."""
        return [tuple(head) for head in self.paths.provenance["receivers"]]

    @property
    def is_path(self) -> Bool[np.ndarray, "sender receiver"]:
        """Whether the receiver stands in a later layer than the sender."""
        layers = [
            np.array([layer for layer, _ in heads]) for heads in (self.senders, self.receivers)
        ]
        return np.less.outer(*layers)

    @property
    def recipient(self) -> Float[np.ndarray, " pair"]:
        """Score of the run that is patched."""
        return self.paths.recipient

    @property
    def donor(self) -> Float[np.ndarray, " pair"]:
        """Score of the run that the senders' z is taken from."""
        return self.paths.donor

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """What was patched, in the order of the last axis."""
        return self.paths.pairs

    @property
    def direction(self) -> str:
        """Which run gave, as in `PatchingResult`."""
        return self.paths.direction

    def matrix(
        self,
        how: stats.How = "ratio_of_means",
        interval: float = 0.95,
        n_boot: int = 2000,
        seed: int = 0,
    ) -> stats.Recovery:
        """Recovery of each path, [sender, receiver], see `stats.recovery`.

        ``q`` is corrected over the paths that exist; the other cells hold the recovery 0 from 0
        to 0, and p and q 1.

        Raises
        ------
        ValueError
            If no receiver stands behind a sender.
        """
        is_path = self.is_path
        if not is_path.any():
            raise ValueError(
                f"a matrix needs a receiver in a later layer than a sender, got the senders "
                f"{self.senders} and the receivers {self.receivers}; see direct() for the score"
            )
        found = self._recovery(self.scores[is_path], how, interval, n_boot, seed)
        blank = {"value": 0.0, "low": 0.0, "high": 0.0, "p": 1.0, "q": 1.0}
        cells = {name: np.full(is_path.shape, empty) for name, empty in blank.items()}
        for name, values in cells.items():
            values[is_path] = getattr(found, name)
        return replace(found, axes=("sender", "receiver"), **cells)

    def direct(
        self,
        how: stats.How = "ratio_of_means",
        interval: float = 0.95,
        n_boot: int = 2000,
        seed: int = 0,
    ) -> stats.Recovery:
        """Recovery of each sender's direct path to the score, [sender]."""
        found = self._recovery(self.to_score, how, interval, n_boot, seed)
        return replace(found, axes=("sender",))

    def _recovery(
        self, scores: np.ndarray, how: stats.How, interval: float, n_boot: int, seed: int
    ) -> stats.Recovery:
        return stats.recovery(
            scores,
            self.recipient,
            self.donor,
            query_ids=self.paths.query_ids,
            how=how,
            interval=interval,
            n_boot=n_boot,
            seed=seed,
        )

    def save(self, path: str | Path) -> None:
        """Write one ``.npz``, whole or not at all, as `PatchingResult.save` does."""
        self.paths.save(path)

    @classmethod
    def load(cls, path: str | Path) -> "PathResult":
        """Read what `save` wrote; raises as `PatchingResult.load`, and for another result."""
        return cls(PatchingResult.load(path))


@torch.no_grad()
def path_patch(
    ranker: Ranker,
    pairs: Sequence[Pair] | AlignedPairs,
    *,
    senders: Sequence[Head] | None = None,
    receivers: Sequence[Head] | None = None,
    via: str = "qkv",
    direction: Direction = "auto",
    filler: str = "a",
    mlps: str = "frozen",
    progress: Progress = True,
) -> PathResult:
    """Patch the direct path from each sender to each receiver, and to the score.

    Parameters
    ----------
    ranker : a `Dot` or `Cat` of a post-LN family.
    pairs : pairs to be aligned with ``filler``, or pairs already aligned.
    senders, receivers : (layer, head) in the order wanted; all heads when None. No receiver at
        all (``[]``) leaves the direct paths to the score, which are cheap.
    via : which of the receiver's inputs the path enters: "q", "k", "v", or all three, "qkv".
    direction, filler, progress : as in `mechir_edu.patching.activation.patch`.
    mlps : what MLPs on the way do: "frozen" or "recomputed" (see the module).

    Returns
    -------
    PathResult
        ``scores`` float32 [sender, receiver, pair] and ``to_score`` [sender, pair].

    Raises
    ------
    ValueError
        For a pre-LN ranker, an unknown option or head, or when no pair could be aligned.
    """
    edges = _make_edges(ranker, senders, receivers, via, mlps)
    aligned = align_for(ranker, pairs, filler)
    limit = token_limit(ranker)
    # Batches small enough that one sender with all receivers of a layer fills a pass.
    tokens = limit // ranker.n_heads
    batches = list(make_batches(ranker, aligned.aligned, max_tokens=tokens))
    baseline, perturbed = score_both(ranker, batches, len(aligned.aligned))
    chosen = choose_direction(baseline, perturbed, direction)
    recipient, donor = in_direction(baseline, perturbed, chosen)
    scores = np.tile(recipient, (len(edges.senders), len(edges.receivers) + 1, 1))
    stack = PostLNStack(ranker)
    for batch in counted(batches, [b.n_pairs for b in batches], "patching paths", progress):
        for sender, places, some in _patch_edges(stack, batch, edges, chosen, limit):
            scores[sender, np.array(places)[:, None], batch.index] = some.cpu().numpy()
    paths = PatchingResult(
        scores=scores,
        axes=("sender", "receiver", "pair"),
        recipient=recipient,
        donor=donor,
        direction=chosen,
        pairs=tuple(pair.pair for pair in aligned.aligned),
        skipped=aligned.skipped,
        site="path",
        method="exact",
        filler=aligned.filler,
        provenance=provenance_of(ranker, edges.sweep) | edges.as_json(),
    )
    return PathResult(paths)


@dataclass(frozen=True)
class Edges:
    """Which paths to patch, and how the change travels."""

    senders: tuple[Head, ...]
    receivers: tuple[Head, ...]
    via: Via
    mlps: Mlps
    sweep: Sweep  # what is patched at a receiver

    def cells(self, layer: int) -> list[tuple[int, int, int]]:
        """Receivers in a layer as the engine's cells: layer, mask, head."""
        return [(layer, 0, head) for at, head in self.receivers if at == layer]

    def places(self, cells: list[tuple[int, int, int]]) -> list[int]:
        """Where the scores of some cells stand."""
        return [self.receivers.index((layer, head)) for layer, _, head in cells]

    def start(
        self, index: int, layer: Layer, run_r: LayerRun, run_d: LayerRun
    ) -> dict[int, Stream]:
        """Sums before LN1 that the senders of a layer change, by place of the sender."""
        places = [place for place, (at, _) in enumerate(self.senders) if at == index]
        heads = [self.senders[place][1] for place in places]
        change = (run_d.z - run_r.z)[:, heads]
        added = torch.einsum("bhpe,hed->hbpd", change, layer.w_o_by_head[heads])
        return dict(zip(places, (run_r.resid_pre + run_r.attn_out) + added, strict=True))

    def onward(self, layer: Layer, run_r: LayerRun, resid_mid: Stream) -> Stream:
        """From a route's sum before LN1 to the next layer's input."""
        if self.mlps == "recomputed":
            return layer.after_attention(resid_mid)
        return layer.ln2(layer.ln1(resid_mid) + run_r.mlp_out)

    def arrive(self, layer: Layer, run_r: LayerRun, x: Stream, bias: Tensor | None) -> LayerRun:
        """Put what heads of a layer read off a route into the recipient's run."""
        first = "qkv".index(self.via)
        parts = layer.project(x, slice(first, first + len(self.via)))
        if self.via == "qkv":
            return replace(run_r, z=attend(*parts, bias))
        return replace(run_r, **{self.via: parts[0]})

    def as_json(self) -> dict:
        """For the provenance."""
        senders, receivers = (
            [list(head) for head in some] for some in (self.senders, self.receivers)
        )
        return {"senders": senders, "receivers": receivers, "via": self.via, "mlps": self.mlps}


def _make_edges(
    ranker: Ranker,
    senders: Sequence[Head] | None,
    receivers: Sequence[Head] | None,
    via: str,
    mlps: str,
) -> Edges:
    if not ranker.is_post_ln:
        families = ", ".join(name for name, family in FAMILIES.items() if family.is_post_ln)
        raise ValueError(
            f"path patching needs a post-LN ranker, one of {families}; got "
            f"{ranker.hf_model.config.model_type}, which normalises before each sublayer"
        )
    require_known("via", via, VIAS)
    require_known("mlps", mlps, MLPS)
    given = _choose_heads(ranker, senders)
    # A sweep refuses an empty choice, but without receivers the paths to the score remain.
    wants_none = receivers is not None and not len(receivers)
    taken = () if wants_none else _choose_heads(ranker, receivers)
    # With all three inputs changed, it is the receiver's z that is patched.
    sweep = PatchOptions(site="head" if via == "qkv" else via).sweep(ranker)
    return Edges(given, taken, via, mlps, sweep)


def _choose_heads(ranker: Ranker, heads: Sequence[Head] | None) -> tuple[Head, ...]:
    every = product(range(ranker.n_layers), range(ranker.n_heads))
    chosen = None if heads is None else tuple(heads)
    return PatchOptions(heads=chosen).sweep(ranker).heads or tuple(every)


def _patch_edges(
    stack: PostLNStack, batch: Batch, edges: Edges, direction: str, max_tokens: int
) -> Iterator[tuple[int, list[int], Tensor]]:
    """Patch all paths of a batch; yields a sender, places of receivers, scores [receiver, pair].

    Recipient and donor walk through the layers side by side, and with them one route for each
    sender that they have passed.
    """
    runs = batch.runs(direction)
    recipient, donor = runs.recipient, runs.donor
    x_r, x_d = stack.embed(recipient), stack.embed(donor)
    bias_r, bias_d = stack.bias(recipient, x_r), stack.bias(donor, x_d)
    unpatched = batch.score(stack.ranker, recipient)
    branch = Branch(stack, replace(runs, unpatched=unpatched), edges.sweep, bias_r, bias_d)
    step = max(1, max_tokens // (batch.n_pairs * batch.n_pos))
    routes: dict[int, Stream] = {}
    for index, layer in enumerate(stack.layers):
        run_r, run_d = layer.run(x_r, bias_r), layer.run(x_d, bias_d)
        cells = edges.cells(index)
        chunks = [cells[i : i + step] for i in range(0, len(cells), step)]
        for sender, x in routes.items() if cells else ():
            seen = edges.arrive(layer, run_r, x, bias_r)
            for some in chunks:
                yield sender, edges.places(some), branch.score(some, run_r, seen)
        resid_mid = {sender: x + run_r.attn_out for sender, x in routes.items()}
        resid_mid |= edges.start(index, layer, run_r, run_d)
        routes = {s: edges.onward(layer, run_r, mid) for s, mid in resid_mid.items()}
        x_r, x_d = run_r.resid_post, run_d.resid_post
    for sender, x in routes.items():
        score = stack.ranker.relevance(x, recipient["attention_mask"], batch.fixed)
        yield sender, [SCORE], score.unsqueeze(0)
