"""Blocks that normalise before each sublayer, on their own weights; two engines are made of them.

::

    resid_pre ─┬─> LN1 ─> q, k, v ─> z ─> W_O (─> norm) ─> attn_out ─> + ─> resid_mid
               └───────────────────────────────────────────────────────┘
    resid_mid ─┬─> LN2 ─> MLP (─> norm) ─> mlp_out ─> + ─> resid_post
               └──────────────────────────────────────┘

What the rows of a run see in a layer, beside each other, is a `View`: what is added to their
scores, by how much q and k are turned, and keys and values that stand before them and are the same
for all cells of a pair. All cells' rows of a pair are queries of one product with those, so nothing
is copied. `mechir_edu.patching.engines.causal` has such a prefix, the encoder of
`mechir_edu.patching.engines.encoder_decoder` has none.

In one axis, "batch" is cell by cell, and within a cell pair by pair.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers.activations import ACT2FN

from mechir_edu.patching.batches import Runs
from mechir_edu.patching.engines.branch import Branch, Patched
from mechir_edu.patching.engines.products import enter, leave, linear
from mechir_edu.patching.sweep import Cell
from mechir_edu.rankers.agreement import VerificationError, difference
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.stacks import Stack

Stream = Float[Tensor, "batch row d_model"]
Rows = Float[Tensor, "batch row_read d_model"]  # of some rows
Heads = Float[Tensor, "batch head row d_head"]
KVHeads = Float[Tensor, "batch kv_head _ d_head"]  # of all rows, also where q is of some
Linear = tuple[Tensor, Tensor | None]  # weight and bias
TOLERANCE = 1e-4  # between the wrapped model's scores and an engine's, relative to the scores
HEAD_NORMS = ("q_norm", "k_norm")


@dataclass(frozen=True)
class View:
    """What the rows of a run see in one layer, beside each other.

    Attributes
    ----------
    bias : what is added to scores: minus infinity for keys that a row does not see, the prefix's
        keys first; [1 or pair, 1 or head, row, key].
    keys, values : of the prefix, [pair, kv_head, pos, d_head]; of no positions where there is none.
    turn : cosines and sines by which q and k are turned, [1, row, d_head]; None where they are not.
    """

    bias: Float[Tensor, "_ _ row key"]
    keys: Float[Tensor, "pair kv_head pos d_head"]
    values: Float[Tensor, "pair kv_head pos d_head"]
    turn: tuple[Tensor, Tensor] | None = None

    def of_rows(self, rows: slice) -> "View":
        """The same for some rows as queries; what they turn by is left out."""
        return View(self.bias[:, :, rows], self.keys, self.values)

    def of_heads(self, heads: list[int], kv_heads: list[int]) -> "View":
        """The same for some heads, and for the key and value heads that serve them in turn."""
        bias = self.bias if self.bias.shape[1] == 1 else self.bias[:, heads]
        return View(bias, self.keys[:, kv_heads], self.values[:, kv_heads])

    def pattern(
        self, q: Heads, k: KVHeads, cap: float | None
    ) -> Float[Tensor, "pair kv_head cell group row key"]:
        """Softmax of the scores; q is scaled already, and ``cap`` bounds them."""
        q, k = self._grouped(q, k.shape[1]), self._grouped(k, k.shape[1])
        # Before the rows stands what no cell changes: one product for all cells of a pair.
        before = q.flatten(2, 4) @ self.keys.transpose(-1, -2)
        beside = q.flatten(3, 4) @ k[:, :, :, 0].transpose(-1, -2)
        scores = torch.cat([before.view(*q.shape[:5], -1), beside.view(*q.shape[:5], -1)], dim=-1)
        if cap is not None:
            scores = cap * torch.tanh(scores / cap)
        groups = q.shape[1:4:2] if self.bias.shape[1] > 1 else (1, 1)
        return (scores + self.bias.unflatten(1, groups).unsqueeze(2)).softmax(dim=-1)

    def mix(self, pattern: Tensor, v: KVHeads) -> Heads:
        """Z of each head: values, the prefix's first, weighted by a pattern."""
        n_before, grouped = self.values.shape[2], self._grouped(v, v.shape[1])[:, :, :, 0]
        before = pattern[..., :n_before].flatten(2, 4) @ self.values
        beside = pattern[..., n_before:].flatten(3, 4) @ grouped
        z = before.view(*pattern.shape[:5], -1) + beside.view(*pattern.shape[:5], -1)
        return z.permute(2, 0, 1, 3, 4, 5).flatten(2, 3).flatten(0, 1)

    def _grouped(self, x: Tensor, n_kv: int) -> Float[Tensor, "pair kv_head cell group row d_head"]:
        return x.unflatten(1, (n_kv, -1)).unflatten(0, (-1, len(self.keys))).movedim(0, 2)


@dataclass(frozen=True)
class LayerRun:
    """What one layer computes from its input, before anything is patched.

    q and k are normed and turned: functions of one head at one position, so that patching them is
    the same as patching what the projections give.
    """

    resid_pre: Stream
    q: Heads
    k: KVHeads
    v: KVHeads
    z: Heads
    heads_out: Stream  # the sum of all heads, before a norm of it
    attn_out: Stream
    mlp_out: Stream
    resid_post: Stream


class MLP:
    """A gated or plain MLP, with the norm before it and, where there is one, the norm behind it."""

    def __init__(self, ranker: Ranker, block: Any, norm: str) -> None:
        mlp = block.mlp
        self.norm, self.norm_behind = part_of(block, norm), part_of(block, f"{norm}_post")
        self.w_in, self.w_out = weights_of(getattr(mlp, "in")), weights_of(mlp.out)
        self.w_gate = weights_of(mlp.gate) if hasattr(mlp, "gate") else None
        name = ranker.family.activation(ranker.hf_model.config)
        self.act: Callable[[Tensor], Tensor] = ACT2FN[name]

    def __call__(self, resid_mid: Stream) -> Stream:
        """What it adds to the stream."""
        x = enter(self.norm(resid_mid))
        inner = leave(F.linear(x, *self.w_in))
        if self.w_gate is None:
            inner = self.act(inner)
        else:
            inner = self.act(leave(F.linear(x, *self.w_gate))) * inner
        out = linear(inner, *self.w_out)
        return out if self.norm_behind is None else self.norm_behind(out)


class PreLNLayer:
    """One pre-LN block as functions on its own weights."""

    def __init__(self, ranker: Ranker, stack: Stack, layer: int) -> None:
        block = stack.block(ranker.bridge, layer)
        attn = getattr(block, stack.attention)
        module = attn.original_component
        self.n_heads, self.n_kv_heads = stack.n_heads, stack.n_kv_heads
        self.ln1, self.ln1_post = part_of(block, "ln1"), part_of(block, "ln1_post")
        self.q, self.k, self.v, self.o = (weights_of(getattr(attn, name)) for name in "qkvo")
        self.q_norm, self.k_norm = (getattr(module, name, None) for name in HEAD_NORMS)
        self.d_head = self.q[0].shape[0] // self.n_heads
        self.scale, self.cap = module.scaling, ranker.family.softcap(ranker.hf_model.config)
        self.mlp_out = MLP(ranker, block, "ln2")

    @cached_property
    def w_o_by_head(self) -> Float[Tensor, "head d_head d_model"]:
        """W_O split by head."""
        return self.o[0].T.reshape(self.n_heads, -1, self.o[0].shape[0])

    @cached_property
    def w_o_by_kv_head(self) -> Float[Tensor, "kv_head d_group d_model"]:
        """W_O split by the heads that share a key and a value."""
        return self.w_o_by_head.reshape(self.n_kv_heads, -1, self.o[0].shape[0])

    def project(self, x: Stream, view: View, rows: slice = slice(None)) -> tuple[Tensor, ...]:
        """Q of some rows (scaled), and k and v of all."""
        dense = self.ln1(x)
        normed = enter(dense)
        of_rows = normed if rows == slice(None) else enter(dense[:, rows])
        q = split_heads(of_rows, self.q, self.n_heads, self.q_norm)
        k = split_heads(normed, self.k, self.n_kv_heads, self.k_norm)
        v = split_heads(normed, self.v, self.n_kv_heads)
        if view.turn is not None:
            q, k = _turned(q, view.turn, rows), _turned(k, view.turn)
        return q * self.scale, k, v

    def attend(self, q: Heads, k: KVHeads, v: KVHeads, view: View) -> Heads:
        """Z of each head of q's rows."""
        if self.cap is not None or view.keys.shape[2]:
            return view.mix(view.pattern(q, k, self.cap), v)
        bias = view.bias
        if len(bias) > 1:
            bias = bias.repeat(len(q) // len(bias), 1, 1, 1)
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)

    def heads_out(self, z: Heads) -> Stream:
        """The sum of all heads."""
        return linear(z.transpose(1, 2).flatten(2), *self.o)

    def attn_out(
        self, heads_out: Float[Tensor, "*batch row d_model"]
    ) -> Float[Tensor, "*batch row d_model"]:
        """What attention adds to the stream."""
        return heads_out if self.ln1_post is None else self.ln1_post(heads_out)

    def after_attention(self, resid_mid: Stream) -> Stream:
        """From the sum before the MLP to the layer's output."""
        return resid_mid + self.mlp_out(resid_mid)

    def run(self, x: Stream, view: View) -> LayerRun:
        """Every activation that can be patched, and the output."""
        q, k, v = self.project(x, view)
        z = self.attend(q, k, v, view)
        heads_out = self.heads_out(z)
        attn_out = self.attn_out(heads_out)
        mlp_out = self.mlp_out(x + attn_out)
        return LayerRun(x, q, k, v, z, heads_out, attn_out, mlp_out, x + attn_out + mlp_out)

    def __call__(self, x: Stream, view: View, rows: slice = slice(None)) -> Rows:
        """The layer's output, of some rows."""
        q, k, v = self.project(x, view, rows)
        z = self.attend(q, k, v, view.of_rows(rows))
        return self.after_attention(x[:, rows] + self.attn_out(self.heads_out(z)))


def weights_of(part: Any) -> Linear:
    """Weight and bias of a wrapped linear layer."""
    return part.weight, part.bias


def part_of(block: Any, name: str) -> Any:
    """A module of a block as Hugging Face wrote it; None where the block has none of that name."""
    return getattr(block, name).original_component if hasattr(block, name) else None


def split_heads(x: Tensor, weights: Linear, n: int, norm: nn.Module | None = None) -> Heads:
    """What a projection makes of normed rows, by head, with a norm of each head."""
    projected = leave(F.linear(x, *weights)).unflatten(-1, (n, -1))
    return (projected if norm is None else norm(projected)).transpose(1, 2)


def _turned(x: Heads, turn: tuple[Tensor, Tensor], rows: slice = slice(None)) -> Heads:
    """Turn pairs of numbers, one of the first half with one of the second, by their angles."""
    cos, sin = (part[:, None, rows] for part in turn)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def not_plain(ranker: Ranker) -> str:
    """The first module of a ranker's pre-LN blocks that is not known here; empty for none."""
    of_all = ((stack, index) for stack in ranker.stacks for index in range(stack.n_layers))
    for stack, index in of_all:
        block = stack.block(ranker.bridge, index)
        attn, mlp = getattr(block, stack.attention), block.mlp
        of_attn = [getattr(attn, name) for name in "qkvo"]
        of_mlp = [getattr(mlp, name) for name in ("gate", "in", "out") if hasattr(mlp, name)]
        for part in of_attn + of_mlp:
            kind = type(part.original_component)
            if kind is not nn.Linear:
                return f"{part.name} of layer {index} is {kind.__module__}.{kind.__name__}"
        known = {*(part.name for part in of_attn), *HEAD_NORMS, "relative_attention_bias"}
        others = {name for name, _ in attn.original_component.named_children()} - known
        if others:
            return f"the attention of layer {index} has a module {min(others)}"
    return ""


def require_same_score(stack: Any, runs: Runs, final: Tensor) -> None:
    """Compare the recipient's score with the one that the wrapped model gave it.

    Raises
    ------
    VerificationError
        Saying by how much they differ.
    """
    scores = stack.relevance(final, stack.counts(runs.recipient), runs.batch.fixed)
    apart = difference(scores, runs.unpatched, TOLERANCE)
    if apart is not None and not runs.unpatched.isnan().any():
        raise VerificationError(
            f"a run on the weights alone differs from the wrapped model's by {apart:.2g}; "
            "something beside the weights changes it. Use method='naive'"
        )


@dataclass(frozen=True)
class PreLNBranch(Branch):
    """One batch's patched runs of a stack of pre-LN blocks.

    Attributes
    ----------
    views_r, views_d : what rows see in each layer, in the recipient's and the donor's run.
    rows : of the last layer's output, those that are read.
    """

    views_r: list[View]
    views_d: list[View]
    rows: slice

    def read(self, x: Stream) -> Tensor:
        """From the last layer's output to what ``relevance`` takes."""
        raise NotImplementedError

    def run(self, layer: int, x: Stream, *, of_donor: bool) -> LayerRun:  # noqa: D102
        view = (self.views_d if of_donor else self.views_r)[layer]
        return self.stack.layers[layer].run(x, view)

    def finish(self, layer: int, x: Stream) -> Tensor:
        """Run the layers from one on, from its input, and read what they end with."""
        layers = self.stack.layers
        for index in range(layer, len(layers) - 1):
            x = layers[index](x, self.views_r[index])
        if layer < len(layers):
            return self.read(layers[-1](x, self.views_r[-1], self.rows))
        return self.read(x[:, self.rows])

    def finish_after_attention(self, layer: int, resid_mid: Stream) -> Tensor:
        """The same from the sum before a layer's MLP."""
        run = self.stack.layers[layer]
        if layer == len(self.stack.layers) - 1:
            return self.read(run.after_attention(resid_mid[:, self.rows]))
        return self.finish(layer + 1, run.after_attention(resid_mid))

    def patch_block(  # noqa: D102
        self, cells: list[Cell], mask: Tensor, run_r: LayerRun, run_d: LayerRun
    ) -> Patched:
        layer, site = cells[0][0], self.sweep.site
        delta = (getattr(run_d, site) - getattr(run_r, site)) * mask

        def run_on() -> Tensor:
            if site == "resid_pre":
                return self.finish(layer, (run_r.resid_pre + delta).flatten(0, 1))
            if site == "mlp_out":
                return self.finish(layer + 1, (run_r.resid_post + delta).flatten(0, 1))
            resid_mid = run_r.resid_pre + run_r.attn_out + delta
            return self.finish_after_attention(layer, resid_mid.flatten(0, 1))

        return delta, run_on

    def patch_heads(  # noqa: D102
        self, cells: list[Cell], mask: Tensor, run_r: LayerRun, run_d: LayerRun
    ) -> Patched:
        index, heads = cells[0][0], [head for *_, head in cells if head is not None]
        layer, shares = self.stack.layers[index], self.sweep.site in ("k", "v")
        size = layer.n_heads // layer.n_kv_heads
        if shares:  # a cell changes all heads that its key or value serves
            kv_heads, heads_of = heads, [kv * size + i for kv in heads for i in range(size)]
        else:
            kv_heads, heads_of = [head // size for head in heads], heads
        z = self._patched_z(index, heads_of, kv_heads, mask, run_r, run_d) - run_r.z[:, heads_of]
        # [pair, cell and head of it, row, d_head] to [cell, pair, row, d of all its heads]
        change = z.unflatten(1, (len(heads), -1)).permute(1, 0, 3, 2, 4).flatten(3)
        # A key or a value is read from elsewhere: patched at one position, it changes z at all.
        change = change if shares else change * mask
        w_o = (layer.w_o_by_kv_head if shares else layer.w_o_by_head)[heads]
        # [cell, pair * row, d] @ [cell, d, d_model]
        delta = (change.flatten(1, 2) @ w_o).unflatten(1, change.shape[1:3])

        def run_on() -> Tensor:
            attn_out = layer.attn_out(run_r.heads_out + delta)
            return self.finish_after_attention(index, (run_r.resid_pre + attn_out).flatten(0, 1))

        return delta, run_on

    def _patched_z(
        self,
        index: int,
        heads: list[int],
        kv_heads: list[int],
        mask: Tensor,
        run_r: LayerRun,
        run_d: LayerRun,
    ) -> Heads:
        """Z of some heads when the site has the donor's activation, [pair, head, row, d_head].

        Q, a pattern's row and z belong to one position, so they are taken whole from the donor; k
        and v are mixed by the mask before they are read.
        """
        if self.sweep.site == "head":
            return run_d.z[:, heads]
        layer, is_patched = self.stack.layers[index], mask.transpose(0, 1)
        view, view_d = (
            views[index].of_heads(heads, kv_heads) for views in (self.views_r, self.views_d)
        )
        q, k, v = run_r.q[:, heads], run_r.k[:, kv_heads], run_r.v[:, kv_heads]
        q_d, k_d, v_d = run_d.q[:, heads], run_d.k[:, kv_heads], run_d.v[:, kv_heads]
        match self.sweep.site:
            case "pattern":
                return view.mix(view_d.pattern(q_d, k_d, layer.cap), v)
            case "q":
                return layer.attend(q_d, k, v, view)
            case "k":
                return layer.attend(q, torch.where(is_patched, k_d, k), v, view)
            case _:
                return layer.attend(q, k, torch.where(is_patched, v_d, v), view)
