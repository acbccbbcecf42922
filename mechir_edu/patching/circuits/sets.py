"""Score a batch with sets of heads put in: many sets in one pass, from where they first change it.

What a layer gives depends on the heads that are put in up to it. So a set leaves the layers before
its first head as they were (the run that is changed is kept, layer by layer), and sets that agree
up to a layer are computed together up to there: of a curve of 1, 2, 3, ... heads each step changes
the layers from the new head's on. Queries, keys and values are computed of those heads alone that
are left to themselves, and what a head writes that is put in is multiplied by W_O once for all
sets. Where the score is read off the first position and every head behind a layer is put in, the
layer is computed at that position alone, for nothing reads the others. What is left is stacked
along the batch.

`SuffixSets` computes with the modules' own weights (`mechir_edu.patching.engines.suffix`),
`HookedSets` through hooks, on every architecture; both give the same scores to float rounding.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, product
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechir_edu.patching.batches import Batch, repeat, repeat_fixed
from mechir_edu.patching.engines.hooks import activations, run_hooked, skipping
from mechir_edu.patching.engines.suffix import PostLNStack, attend
from mechir_edu.rankers.base import Inputs, Ranker
from mechir_edu.rankers.hook_names import Head

HeadSet = frozenset[Head]
Effects = Float[np.ndarray, "set pair"]
# Effects of the sets that restore and of those that survive.
BothEffects = tuple[Float[np.ndarray, "restoring pair"], Float[np.ndarray, "surviving pair"]]
Bits = tuple[int, ...]  # for each layer the heads that are put in, one bit each
Node = tuple[int, int]  # its parent in the layer before, and the bits that are put in
CLEAN = -1  # the node of what no set has changed so far
HELD = 8  # passes whose streams are held at once on a CPU; they share their first layers
Z = Float[Tensor, "pair pos head d_head"]


def all_heads(ranker: Ranker) -> tuple[Head, ...]:
    """Every (layer, head), layer by layer."""
    return tuple(product(range(ranker.n_layers), range(ranker.n_heads)))


@dataclass(frozen=True, eq=False)
class KeptRun:
    """A run of a batch as it is without any set, layer by layer.

    Attributes
    ----------
    batch, inputs : what is read.
    resid_pre : the stream that enters each layer, [pair, pos, d_model].
    z : of each layer, [pair, pos, head, d_head].
    bias : what is added to attention scores; None through hooks, which add it themselves.
    scores : relevance scores, [pair].
    """

    batch: Batch
    inputs: Inputs
    resid_pre: tuple[Tensor, ...]
    z: tuple[Z, ...]
    bias: Tensor | None
    scores: Float[Tensor, " pair"]


@dataclass(frozen=True)
class SuffixSets:
    """Sets on a post-LN stack's own weights; ``max_tokens`` are stacked in one pass."""

    stack: PostLNStack
    max_tokens: int

    def keep(self, batch: Batch, inputs: Inputs) -> KeptRun:
        """Run a side of a batch; it runs the wrapped model, so one call at a time."""
        x = self.stack.embed(inputs)
        bias, streams, zs = self.stack.bias(inputs, x), [], []
        for layer in self.stack.layers:
            run = layer.run(x, bias)
            streams.append(x)
            zs.append(run.z.transpose(1, 2))
            x = run.resid_post
        x = x[:, self.stack.rows_needed(len(self.stack.layers) - 1)]
        scores = self._relevance(x, batch, inputs, 1)[0]
        return KeptRun(batch, inputs, tuple(streams), tuple(zs), bias, scores)

    def scores(
        self, run: KeptRun, given: Sequence[Tensor], sets: Sequence[HeadSet]
    ) -> Float[Tensor, "set pair"]:
        """Scores of a run with each set's z replaced by what is given.

        Parameters
        ----------
        run : what is changed.
        given : z of each layer to put in; each expands to [pair, pos, head, d_head].
        sets : an empty one gives exactly the run's own scores.
        """
        bits = [_bits(heads, len(self.stack.layers)) for heads in sets]
        # Sorted, sets that are equal in their first layers stand next to each other.
        order = sorted(range(len(sets)), key=bits.__getitem__)
        step = max(1, self.max_tokens // (run.batch.n_pairs * run.batch.n_pos))
        held = step * (HELD if run.scores.is_cpu else 2)
        scores = run.scores.repeat(len(sets), 1)
        for start in range(0, len(order), held):
            members = order[start : start + held]
            scores[members] = self._score([bits[i] for i in members], run, given, step)
        return scores

    def _score(
        self, bits: list[Bits], run: KeptRun, given: Sequence[Tensor], step: int
    ) -> Float[Tensor, "set pair"]:
        """Take sets through the layers; those equal so far are one node, computed once."""
        nodes_of, streams = [CLEAN] * len(bits), list[Tensor]()
        for index in range(len(self.stack.layers)):
            # Each node has a parent, the layer before it, and what is put in here.
            grown = [(node, of_set[index]) for node, of_set in zip(nodes_of, bits, strict=True)]
            new: dict[Node, bool] = {}
            for key, of_set in zip(grown, bits, strict=True):
                if key != (CLEAN, 0):
                    new[key] = new.get(key, False) or self._is_read_everywhere(of_set, index)
            places = {key: place for place, key in enumerate(new)}
            nodes_of = [places.get(key, CLEAN) for key in grown]
            streams = self._through_layer(index, new, streams, run, given, step)
        scores = run.scores.repeat(len(bits), 1)
        changed = [i for i, node in enumerate(nodes_of) if node != CLEAN]
        if changed:
            x = torch.cat(streams)
            of_nodes = self._relevance(x, run.batch, run.inputs, len(streams))
            scores[changed] = of_nodes[[nodes_of[i] for i in changed]]
        return scores

    def _is_read_everywhere(self, of_set: Bits, index: int) -> bool:
        """Whether more than the position that the score is read off matters behind a layer.

        Heads alone read other positions, and those that are put in read nothing.
        """
        every = 2 ** self.stack.layers[index].n_heads - 1
        behind = of_set[index + 1 :]
        return not self.stack.first_row_only or any(put != every for put in behind)

    def _through_layer(
        self,
        index: int,
        nodes: dict[Node, bool],
        streams: Sequence[Tensor],
        run: KeptRun,
        given: Sequence[Tensor],
        step: int,
    ) -> list[Float[Tensor, "pair row d_model"]]:
        """Run a layer from each node's parent's stream, with its heads put in.

        Parameters
        ----------
        nodes : whether all positions of each node's output are needed, or the first alone.
        streams : what the layer before gave for each parent.
        """
        layer, every = self.stack.layers[index], 2 ** self.stack.layers[index].n_heads - 1
        left_to: dict[int, int] = defaultdict(int)
        for parent, put in nodes:
            left_to[parent] |= every & ~put
        out: dict[Node, Tensor] = {}
        for rows in (slice(None), slice(0, 1)):
            members = [node for node, whole in nodes.items() if whole == (rows == slice(None))]
            if not members:
                continue
            writes = self._writes(index, given[index].expand_as(run.z[index])[:, rows])
            # A parent's nodes stand together, beside those of parents with as many heads left.
            members.sort(key=lambda n: (n[0] != CLEAN, left_to[n[0]].bit_count(), *n))
            kinds = groupby(members, lambda node: (node[0] == CLEAN, left_to[node[0]] == 0))
            for piece in chain(*(_pieces(list(of_kind), step) for _, of_kind in kinds)):
                resid_mid = self._resid_mid(index, piece, rows, streams, run, writes)
                resid_post = layer.after_attention(resid_mid)
                out |= zip(piece, resid_post.chunk(len(piece)), strict=True)
        return [out[node] for node in nodes]

    def _writes(self, index: int, given: Z) -> Float[Tensor, "writer pair row d_model"]:
        """What each head adds to the stream when it is put in, and last W_O's bias."""
        layer = self.stack.layers[index]
        of_heads = given.permute(2, 0, 1, 3).flatten(1, 2) @ layer.w_o_by_head
        bias = of_heads.new_zeros(1) if layer.b_o is None else layer.b_o
        writes = torch.cat([of_heads, bias.expand_as(of_heads[:1])])
        return writes.unflatten(1, given.shape[:2])

    def _resid_mid(
        self,
        index: int,
        nodes: Sequence[Node],
        rows: slice,
        streams: Sequence[Tensor],
        run: KeptRun,
        writes: Float[Tensor, "writer pair row d_model"],
    ) -> Float[Tensor, "stacked row d_model"]:
        """The sum before LN1, nodes stacked; the clean run is the parent of all, or of none."""
        layer, parents = self.stack.layers[index], list(dict.fromkeys(p for p, _ in nodes))
        of_parent = [parents.index(parent) for parent, _ in nodes]
        is_put = torch.tensor([[put >> h & 1 for h in range(layer.n_heads)] for _, put in nodes])
        heads = [head for head in range(layer.n_heads) if not is_put[:, head].all()]
        if parents == [CLEAN]:
            x = run.resid_pre[index]
        else:
            # Heads that are left to themselves read all positions; where there are none, a parent
            # may have been computed at the first alone.
            x = torch.cat([streams[p] if heads else streams[p][:, rows] for p in parents])
        resid_pre = x[:, rows].unflatten(0, (len(parents), -1))[of_parent]
        is_put = is_put.to(x.device).bool()
        added = torch.cat([is_put, is_put.new_ones(len(nodes), 1)], dim=1).to(x.dtype)
        resid_mid = torch.addmm(resid_pre.flatten(1), added, writes.flatten(1))
        resid_mid = resid_mid.view_as(resid_pre).flatten(0, 1)
        if not heads:
            return resid_mid
        if parents == [CLEAN]:
            z = run.z[index][:, rows, heads]
        else:
            (q,) = layer.project(x[:, rows], slice(0, 1), heads)
            k, v = layer.project(x, slice(1, 3), heads)
            z = attend(q, k, v, _bias_of(run.bias, heads, rows, len(parents))).transpose(1, 2)
        z = z.unflatten(0, (len(parents), -1))[of_parent]
        z = z * ~is_put[:, None, None, heads, None]
        return resid_mid.add_(layer.written(z.flatten(0, 1), heads))

    def _relevance(
        self, x: Tensor, batch: Batch, inputs: Inputs, n: int
    ) -> Float[Tensor, "set pair"]:
        seen = self.stack.counts(inputs)[:, : x.shape[1]].repeat(n, 1)
        fixed = repeat_fixed(batch.fixed, n)
        return self.stack.relevance(x, seen, fixed).unflatten(0, (n, -1))


@dataclass(frozen=True)
class HookedSets:
    """Sets through hooks; ``may_skip`` leaves out the blocks before a set's first head."""

    ranker: Ranker
    max_tokens: int
    may_skip: bool

    def keep(self, batch: Batch, inputs: Inputs) -> KeptRun:
        """Run a side of a batch as `SuffixSets.keep` does."""
        layers = range(self.ranker.n_layers)
        streams = [self._name("resid_pre", layer) for layer in layers]
        heads = [self._name("head", layer) for layer in layers]
        kept = activations(self.ranker, inputs, [*streams, *heads])
        stream, z = (tuple(kept[name] for name in names) for names in (streams, heads))
        return KeptRun(batch, inputs, stream, z, None, batch.score(self.ranker, inputs))

    def scores(
        self, run: KeptRun, given: Sequence[Tensor], sets: Sequence[HeadSet]
    ) -> Float[Tensor, "set pair"]:
        """Scores with each set put in as `SuffixSets.scores` does."""
        scores = run.scores.repeat(len(sets), 1)
        for first, members in _stacks(sets, run, self.max_tokens):
            n, chosen = len(members), _as_masks([sets[i] for i in members], run)
            hooks = [
                (self._name("head", layer), _put_in(given[layer], chosen[:, layer]))
                for layer in range(first, self.ranker.n_layers)
                if chosen[:, layer].any()
            ]
            if self.may_skip:  # the blocks before hand on nothing of use: put the stream in
                stream = run.resid_pre[first].repeat(n, 1, 1)
                hooks.insert(0, (self._name("resid_pre", first), lambda x, hook, s=stream: s))
            with skipping(self.ranker, first if self.may_skip else 0):
                stacked = repeat(run.inputs, n)
                scores[members] = run_hooked(self.ranker, run.batch, stacked, hooks, n)
        return scores

    def _name(self, site: str, layer: int) -> str:
        return self.ranker.stack.hook_name(site, layer)


def _bias_of(bias: Tensor | None, heads: list[int], rows: slice, n: int) -> Tensor | None:
    """What is added to the scores of some heads, where ``n`` runs of a batch are stacked."""
    if bias is None:
        return None
    bias = bias if bias.shape[1] == 1 else bias[:, heads]
    bias = bias if bias.shape[-2] == 1 else bias[..., rows, :]
    return bias if len(bias) == 1 else bias.repeat(n, 1, 1, 1)


def _pieces(members: Sequence[Any], step: int) -> Iterator[Sequence[Any]]:
    return (members[start : start + step] for start in range(0, len(members), step))


def _put_in(given: Tensor, chosen: Bool[Tensor, "set head"]) -> Any:
    mask = chosen[:, None, None, :, None]

    def put_in(z: Tensor, hook: Any) -> Tensor:
        return torch.where(mask, given, z.unflatten(0, (len(chosen), -1))).flatten(0, 1)

    return put_in


def _bits(heads: HeadSet, n_layers: int) -> Bits:
    bits = [0] * n_layers
    for layer, head in heads:
        bits[layer] |= 1 << head
    return tuple(bits)


def _stacks(
    sets: Sequence[HeadSet], run: KeptRun, max_tokens: int
) -> Iterator[tuple[int, list[int]]]:
    """Sets, by their places, that begin in one layer and fit into one pass; empty ones in none."""
    by_first: dict[int, list[int]] = defaultdict(list)
    for place, heads in enumerate(sets):
        if heads:
            by_first[min(layer for layer, _ in heads)].append(place)
    step = max(1, max_tokens // (run.batch.n_pairs * run.batch.n_pos))
    for first, members in sorted(by_first.items()):
        for start in range(0, len(members), step):
            yield first, members[start : start + step]


def _as_masks(sets: Sequence[HeadSet], run: KeptRun) -> Bool[Tensor, "set layer head"]:
    z = run.z[0]
    masks = torch.zeros(len(sets), len(run.z), z.shape[2], dtype=torch.bool, device=z.device)
    for place, heads in enumerate(sets):
        for layer, head in heads:
            masks[place, layer, head] = True
    return masks
