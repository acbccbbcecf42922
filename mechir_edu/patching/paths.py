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
circuit for indirect object identification in GPT-2 small. ICLR 2023, arXiv:2211.00593.

N. Goldowsky-Dill, C. MacLeod, L. Sato, A. Arora: Localizing model behavior with path patching.
2023, arXiv:2304.05969.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal, Unpack, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechir_edu import stats
from mechir_edu.alignment.aligned import AlignedPairs
from mechir_edu.collection.progress import Progress, counted
from mechir_edu.patching.batches import Batch, make_batches
from mechir_edu.patching.engines.choice import choose_engine, fast_stack, product_note
from mechir_edu.patching.engines.suffix import (
    Layer,
    LayerRun,
    PostLNBranch,
    PostLNStack,
    Stream,
    attend,
)
from mechir_edu.patching.entry import takes_turn
from mechir_edu.patching.options import Direction, PatchOptions, require_known
from mechir_edu.patching.result import PatchingResult
from mechir_edu.patching.scoring import (
    align_for,
    provenance_of,
    score_runs,
    token_limit,
)
from mechir_edu.patching.sweep import Cell, Sweep
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.families import FAMILIES
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
    paths : everything that was measured, with the axes sender, receiver, pair; its last receiver
        is the score. A subset of it (``paths.select``) makes a new ``PathResult``.
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
        senders, receivers = ([layer for layer, _ in hs] for hs in (self.senders, self.receivers))
        return np.less.outer(np.array(senders, dtype=int), np.array(receivers, dtype=int))

    def matrix(
        self, how: stats.How = "ratio_of_means", **options: Unpack[stats.IntervalOptions]
    ) -> stats.Recovery:
        """Recovery of each path, [sender, receiver], with the options of `stats.recovery`.

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
        listed = self.paths.recovery_of(self.scores[is_path], ("path",), how=how, **options)

        def placed(values: np.ndarray, elsewhere: float) -> Float[np.ndarray, "sender receiver"]:
            grid = np.full(is_path.shape, elsewhere)
            grid[is_path] = values
            return grid

        return replace(
            listed,
            value=placed(listed.value, 0.0),
            low=placed(listed.low, 0.0),
            high=placed(listed.high, 0.0),
            p=placed(listed.p, 1.0),
            q=placed(listed.q, 1.0),
            axes=("sender", "receiver"),
        )

    def direct(
        self, how: stats.How = "ratio_of_means", **options: Unpack[stats.IntervalOptions]
    ) -> stats.Recovery:
        """Recovery of each sender's direct path to the score, [sender]; options as for `matrix`."""
        return self.paths.recovery_of(self.to_score, ("sender",), how=how, **options)

    def save(self, path: str | Path) -> None:
        """Write one ``.npz``, whole or not at all, as `PatchingResult.save` does."""
        self.paths.save(path)

    @classmethod
    def load(cls, path: str | Path) -> "PathResult":
        """Read what `save` wrote; raises as `PatchingResult.load`, and for another result."""
        return cls(PatchingResult.load(path))


@takes_turn
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
    memory: int | None = None,
    progress: Progress = True,
) -> PathResult:
    """Patch the direct path from each sender to each receiver, and to the score.

    Parameters
    ----------
    ranker : any of a post-LN family.
    pairs : pairs to be aligned with ``filler``, or pairs already aligned.
    senders, receivers : (layer, head) in the order wanted; all heads when None. No receiver at
        all (``[]``) leaves the direct paths to the score, which are cheap.
    via : which of the receiver's inputs the path enters: "q", "k", "v", or all three, "qkv".
    direction, filler, memory, progress : as in `mechir_edu.patch`.
    mlps : what MLPs on the way do: "frozen" or "recomputed" (see the module).

    Returns
    -------
    PathResult
        ``scores`` float32 [sender, receiver, pair] and ``to_score`` [sender, pair].

    Raises
    ------
    ValueError
        For a pre-LN ranker, one with hooks of your own or under an intervention, an unknown option
        or head, too little memory for one sequence, or when no pair could be aligned.
    """
    edges = _make_edges(ranker, senders, receivers, via, mlps)
    aligned = align_for(ranker, pairs, filler)
    limit = token_limit(ranker, memory)
    # Batches small enough that one sender with all receivers of a layer fills a pass.
    tokens = limit // ranker.n_heads
    batches = list(make_batches(ranker, aligned.aligned, max_tokens=tokens))
    stack = fast_stack(ranker)
    chosen, recipient, donor = score_runs(ranker, batches, len(aligned.aligned), direction)
    scores = np.tile(recipient, (len(edges.senders), len(edges.receivers) + 1, 1))
    for batch in counted(batches, [b.n_pairs for b in batches], "patching paths", progress):
        for sender, places, patched in _patch_edges(stack, batch, edges, chosen, limit):
            scores[sender, np.array(places)[:, None], batch.index] = patched.cpu().numpy()
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
        provenance=provenance_of(ranker, edges.sweep) | product_note(ranker) | edges.as_json(),
    )
    return PathResult(paths)


@dataclass(frozen=True)
class Edges:
    """Which paths to patch, and how the change travels.

    Attributes
    ----------
    senders, receivers, via, mlps : as `path_patch` was asked for.
    sweep : what is patched at a receiver: q, k, v or, with all three inputs changed, its z.
    """

    senders: tuple[Head, ...]
    receivers: tuple[Head, ...]
    via: Via
    mlps: Mlps
    sweep: Sweep

    def cells(self, layer: int) -> list[Cell]:
        """Receivers in a layer as the engine's cells: layer, mask, head."""
        return [(layer, 0, head) for at, head in self.receivers if at == layer]

    def places(self, cells: list[Cell]) -> list[int]:
        """Where the scores of cells stand along the receivers."""
        at = {head: place for place, head in enumerate(self.receivers)}
        return [at[layer, head] for layer, _, head in cells if head is not None]

    def start(
        self, index: int, layer: Layer, run_r: LayerRun, run_d: LayerRun
    ) -> dict[int, Stream]:
        """Begin the routes of a layer's senders: sums before LN1, by the place of the sender."""
        places = [place for place, (at, _) in enumerate(self.senders) if at == index]
        heads = [self.senders[place][1] for place in places]
        change = (run_d.z - run_r.z)[:, heads]  # [pair, sender, pos, d_head]
        added = torch.einsum("bhpe,hed->hbpd", change, layer.w_o_by_head[heads])
        return dict(zip(places, (run_r.resid_pre + run_r.attn_out) + added, strict=True))

    def onward(self, layer: Layer, run_r: LayerRun, resid_mid: Stream) -> Stream:
        """From a route's sum before LN1 to the next layer's input."""
        if self.mlps == "recomputed":
            return layer.after_attention(resid_mid)
        return layer.ln2(layer.ln1(resid_mid) + run_r.mlp_out)

    def arrive(self, layer: Layer, run_r: LayerRun, x: Stream, bias: Tensor | None) -> LayerRun:
        """The recipient's run, but for what all heads of a layer read off a route.

        It plays the donor's part when one receiver after another is patched.
        """
        q, k, v = ([part] for part in (run_r.q, run_r.k, run_r.v))
        match self.via:
            case "q":
                q = layer.project(x, slice(0, 1))
            case "k":
                k = layer.project(x, slice(1, 2))
            case "v":
                v = layer.project(x, slice(2, 3))
            case "qkv":
                q_all, k_all, v_all = layer.project(x)
                return replace(run_r, z=attend(q_all, k_all, v_all, bias))
        return replace(run_r, q=q[0], k=k[0], v=v[0])

    def as_json(self) -> dict:
        """What the provenance of a result says of them; `PathResult` reads the heads from it."""
        return {
            "senders": [list(head) for head in self.senders],
            "receivers": [list(head) for head in self.receivers],
            "via": self.via,
            "mlps": self.mlps,
        }


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
            f"{ranker.family.model_type}, which normalises before each sublayer"
        )
    if not (choice := choose_engine(ranker)).is_fast:
        raise ValueError(
            f"path patching reads the model's weights alone, where this would be lost: "
            f"{choice.reason}. Remove it, or patch heads with me.patch, which obeys it"
        )
    require_known("via", via, VIAS)
    require_known("mlps", mlps, MLPS)
    # A sweep refuses an empty choice, but without receivers the paths to the score remain.
    wants_none = receivers is not None and not len(receivers)
    sweep = PatchOptions(site="head" if via == "qkv" else via).sweep(ranker)
    return Edges(
        senders=_choose_heads(ranker, senders),
        receivers=() if wants_none else _choose_heads(ranker, receivers),
        via=cast(Via, via),
        mlps=cast(Mlps, mlps),
        sweep=sweep,
    )


def _choose_heads(ranker: Ranker, heads: Sequence[Head] | None) -> tuple[Head, ...]:
    all_heads = tuple(product(range(ranker.n_layers), range(ranker.n_heads)))
    return PatchOptions(heads=heads).sweep(ranker).heads or all_heads


def _patch_edges(
    stack: PostLNStack, batch: Batch, edges: Edges, direction: str, max_tokens: int
) -> Iterator[tuple[int, list[int], Tensor]]:
    """Patch all paths of a batch.

    Recipient and donor walk through the layers side by side, and with them one route for each
    sender that they have passed. Each item is the place of a sender, the places of receivers, and
    the scores after patching the paths between them, [receiver, pair].
    """
    runs = batch.runs(direction)
    recipient, donor = runs.recipient, runs.donor
    x_r, x_d = stack.embed(recipient), stack.embed(donor)
    bias_r, bias_d = stack.bias(recipient, x_r), stack.bias(donor, x_d)
    unpatched = batch.score(stack.ranker, recipient)
    # A receiver is patched as any head is: its donor is what it reads off a route (`arrive`).
    branch = PostLNBranch(stack, replace(runs, unpatched=unpatched), edges.sweep, bias_r, bias_d)
    step = max(1, max_tokens // (batch.n_pairs * batch.n_pos))
    routes: dict[int, Stream] = {}  # by the place of the sender: x~, the input of a layer
    for index, layer in enumerate(stack.layers):
        run_r, run_d = layer.run(x_r, bias_r), layer.run(x_d, bias_d)
        cells = edges.cells(index)
        chunks = [cells[i : i + step] for i in range(0, len(cells), step)]
        for sender, x in routes.items() if cells else ():
            arrived = edges.arrive(layer, run_r, x, bias_r)
            for chunk in chunks:
                scores = branch.score(*branch.end(chunk, run_r, arrived))
                yield sender, edges.places(chunk), scores
        # On a route no head is computed again: attention adds what it added to the recipient. A
        # sender of this layer begins its route here, so no head of the same layer hears it.
        resid_mid = {sender: x + run_r.attn_out for sender, x in routes.items()}
        resid_mid |= edges.start(index, layer, run_r, run_d)
        routes = {s: edges.onward(layer, run_r, mid) for s, mid in resid_mid.items()}
        x_r, x_d = run_r.resid_post, run_d.resid_post
    for sender, x in routes.items():
        score = stack.relevance(x, stack.counts(recipient), batch.fixed)
        yield sender, [SCORE], score.unsqueeze(0)
