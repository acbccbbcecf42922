"""Score a batch with sets of heads put in: many sets in one pass, from where they first change it.

What a layer gives depends on the heads that are put in up to it. So a set leaves the layers before
its first head as they were (the run that is changed is kept, layer by layer), and sets that agree
up to a layer are computed together up to there: of a curve of 1, 2, 3, ... heads each step changes
the layers from the new head's on. In a layer all of whose heads are put in, attention is not
computed at all. What is left is stacked along the batch.

`SuffixSets` computes with the modules' own weights (`mechir_edu.patching.engines.suffix`),
`HookedSets` through hooks, on every architecture; both give the same scores to float rounding.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
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
CLEAN = -1  # the node of what no set has changed so far
HELD = 32  # passes whose streams are held at once on a CPU; they share their first layers
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
        nodes_of, x = [CLEAN] * len(bits), run.resid_pre[0][None][:0]
        for index in range(len(self.stack.layers)):
            # Each node has a parent, the layer before it, and what is put in here.
            grown = [(node, of_set[index]) for node, of_set in zip(nodes_of, bits, strict=True)]
            new = {key: 0 for key in grown if key != (CLEAN, 0)}
            new = {key: place for place, key in enumerate(new)}
            nodes_of = [new.get(key, CLEAN) for key in grown]
            if new:
                x = self._through_layer(index, list(new), x, run, given, step)
        scores = run.scores.repeat(len(bits), 1)
        changed = [i for i, node in enumerate(nodes_of) if node != CLEAN]
        if changed:
            of_nodes = self._relevance(x.flatten(0, 1), run.batch, run.inputs, len(x))
            scores[changed] = of_nodes[[nodes_of[i] for i in changed]]
        return scores

    def _through_layer(
        self,
        index: int,
        nodes: list[tuple[int, int]],
        x: Float[Tensor, "parent pair pos d_model"],
        run: KeptRun,
        given: Sequence[Tensor],
        step: int,
    ) -> Float[Tensor, "node pair row d_model"]:
        """Run a layer from each node's parent's stream, with its heads put in."""
        layer, rows = self.stack.layers[index], self.stack.rows_needed(index)
        n_heads = layer.n_heads
        put_in = given[index].expand_as(run.z[index])[:, rows].transpose(1, 2)
        clean_x, clean_z = run.resid_pre[index][:, rows], run.z[index][:, rows].transpose(1, 2)
        # Attention of those parents alone of which a node leaves a head of this layer to itself.
        attending = sorted({p for p, put in nodes if p != CLEAN and put != 2**n_heads - 1})
        own = [
            self._own_z(index, x[attending[i : i + step]], rows, run.bias)
            for i in range(0, len(attending), step)
        ]
        z_of = dict(zip(attending, torch.cat(own), strict=True)) if own else {}
        out = []
        for piece in (nodes[i : i + step] for i in range(0, len(nodes), step)):
            mask = torch.tensor([[put >> h & 1 for h in range(n_heads)] for _, put in piece])
            mask = mask.bool().to(put_in.device)[:, None, :, None, None]
            z = torch.stack([clean_z if p == CLEAN else z_of.get(p, put_in) for p, _ in piece])
            z = torch.where(mask, put_in, z).flatten(0, 1)
            stream = [clean_x if p == CLEAN else x[p][:, rows] for p, _ in piece]
            resid_mid = torch.cat(stream) + layer.attn_out(z)
            out.append(layer.after_attention(resid_mid).unflatten(0, (len(piece), -1)))
        return torch.cat(out)

    def _own_z(
        self, index: int, x: Float[Tensor, "set pair pos d"], rows: slice, bias: Tensor | None
    ) -> Float[Tensor, "set pair head row d_head"]:
        n, n_pairs = x.shape[:2]
        layer, x = self.stack.layers[index], x.flatten(0, 1)
        if bias is not None:
            bias = bias[..., rows, :] if bias.shape[-2] > 1 else bias
            bias = bias if len(bias) == 1 else bias.repeat(n, 1, 1, 1)
        (q,) = layer.project(x[:, rows], slice(0, 1))
        k, v = layer.project(x, slice(1, 3))
        return attend(q, k, v, bias).unflatten(0, (n, n_pairs))

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
