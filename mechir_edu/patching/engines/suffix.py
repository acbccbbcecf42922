"""Patch a post-LN encoder exactly and fast: run only what a patch can change.

A patch in layer L leaves the layers before L as they were, and of layer L it changes what comes
after the patched site; `mechir_edu.patching.engines.branch` is the walk. Patching head h adds
``(z_donor - z_recipient)[h] @ W_O[h]`` to the sum before LN1, which makes a head's branch one small
matrix product. Equal-length batches need no padding.

The same change has rank d_head, and LN1 only scales it (by a factor for each position) once its
mean is taken out. So the MLP's first product is made once for the recipient, and a head adds the
product of its d_head numbers with ``W_O[h]`` folded into the MLP's weights: a twelfth of the work.

The computation reads the wrapped modules' own weights and equals the hooks' to float rounding;
`mechir_edu.patching.engines.hooks` is the slower version that works on every architecture.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from transformers.activations import ACT2FN

from mechir_edu.patching.batches import Runs
from mechir_edu.patching.engines.branch import Branch, Patched, unseen
from mechir_edu.patching.engines.hooks import skipping
from mechir_edu.patching.engines.products import enter, leave, linear
from mechir_edu.patching.sweep import Cell, Scored, Sweep
from mechir_edu.rankers.base import Inputs, Ranker

MLP_ROWS = 768  # tokens whose inner activations are held at once on a CPU, within its caches

Stream = Float[Tensor, "batch pos d_model"]
Rows = Float[Tensor, "batch row d_model"]  # all positions, or position 0 alone
Heads = Float[Tensor, "batch head pos d_head"]
Queries = Float[Tensor, "batch head query_pos d_head"]


@dataclass(frozen=True)
class HeadsRun:
    """What patched heads start from in one layer of a run."""

    layer: "Layer"
    resid_mid: Stream  # the sum before LN1
    z: Heads

    @cached_property
    def inner(self) -> Float[Tensor, "batch pos d_mlp"]:
        """The MLP's first product before LN1's scale; see `Layer.after_patched_heads`."""
        return self.layer.inner(self.resid_mid)


@dataclass(frozen=True)
class LayerRun(HeadsRun):
    """What one layer computes from its input, before anything is patched."""

    resid_pre: Stream
    q: Heads
    k: Heads
    v: Heads
    attn_out: Stream
    mlp_in: Stream  # after LN1
    mlp_out: Stream
    resid_post: Stream

    def of_heads(self) -> HeadsRun:
        """What patched heads start from, without a graph."""
        return HeadsRun(self.layer, self.resid_mid.detach(), self.z.detach())

    def at(self, site: str) -> Tensor:
        """The activation at a site; a pattern is not kept."""
        return {
            "resid_pre": self.resid_pre,
            "q": self.q,
            "k": self.k,
            "v": self.v,
            "head": self.z,
            "attn_out": self.attn_out,
            "mlp_out": self.mlp_out,
        }[site]


class Layer:
    """One post-LN block as functions on its own weights."""

    def __init__(self, ranker: Ranker, layer: int) -> None:
        block, config = ranker.bridge.blocks[layer], ranker.hf_model.config
        attn = block.attn
        self.n_heads = ranker.n_heads
        self.qkv = [(part.weight, part.bias) for part in (attn.q, attn.k, attn.v)]
        self.w_o, self.b_o = attn.o.weight, attn.o.bias
        self.ln1, self.ln2 = block.ln1.original_component, block.ln2.original_component
        mlp_in, mlp_out = getattr(block.mlp, "in"), block.mlp.out
        self.w_in, self.b_in = mlp_in.weight, mlp_in.bias
        self.w_out, self.b_out = mlp_out.weight, mlp_out.bias
        name = ranker.family.activation(config)
        self.act = F.gelu if name == "gelu" else ACT2FN[name]

    @cached_property
    def w_o_by_head(self) -> Float[Tensor, "head d_head d_model"]:
        """W_O split by head."""
        return self.w_o.T.reshape(self.n_heads, -1, self.w_o.shape[0])

    @cached_property
    def b_in_after_ln(self) -> Float[Tensor, " d_mlp"]:
        """The MLP's first bias with LN1's bias in it."""
        bias = self.w_in @ self.ln1.bias
        return bias if self.b_in is None else bias + self.b_in

    @cached_property
    def w_in_by_head(self) -> Float[Tensor, "head d_head d_mlp"]:
        """W_O of each head, followed by `inner`."""
        return self.inner(self.w_o_by_head)

    def inner(self, x: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_mlp"]:
        """The MLP's first product after LN1's mean and gain, without its scale and the biases."""
        return linear((x - x.mean(dim=-1, keepdim=True)) * self.ln1.weight, self.w_in)

    def project(
        self, x: Stream, wanted: slice = slice(None), heads: list[int] | None = None
    ) -> list[Heads]:
        """Q, k, v (or a slice of the three) of each head, or of some."""
        entered, parts = enter(x), self.qkv[wanted]
        n_heads = self.n_heads if heads is None else len(heads)
        if n_heads < self.n_heads:
            parts = [(self._of(heads, weight), self._of(heads, bias)) for weight, bias in parts]
        projected = [leave(F.linear(entered, weight, bias)) for weight, bias in parts]
        return [part.unflatten(-1, (n_heads, -1)).transpose(1, 2) for part in projected]

    def _of(self, heads: list[int] | None, part: Tensor | None) -> Tensor | None:
        return part if part is None else part.unflatten(0, (self.n_heads, -1))[heads].flatten(0, 1)

    def attn_out(self, z: Heads) -> Stream:
        """W_O z + b_O."""
        return linear(z.transpose(1, 2).flatten(2), self.w_o, self.b_o)

    def written(self, z: Float[Tensor, "batch pos head d_head"], heads: list[int]) -> Stream:
        """What some heads add to the stream, without W_O's bias."""
        weight = self.w_o.unflatten(1, (self.n_heads, -1))[:, heads].flatten(1)
        return leave(F.linear(enter(z.flatten(2), self.w_o.shape[1]), weight))

    def mlp(self, x: Stream) -> Stream:
        """What the MLP adds, before the residual sum."""
        # In parts, because its inner activation is four times as wide as the stream.
        rows = x.flatten(0, 1)
        parts = rows.split(MLP_ROWS if x.is_cpu else len(rows))
        inner = (self._act(F.linear(enter(part), self.w_in, self.b_in)) for part in parts)
        out = [leave(F.linear(part, self.w_out, self.b_out)) for part in inner]
        return torch.cat(out).view_as(x)

    def _act(self, inner: Tensor) -> Tensor:
        # oneDNN knows the activation that nearly every encoder has.
        return F.gelu(inner) if self.act is F.gelu else enter(self.act(leave(inner)))

    def after_attention(self, resid_mid: Stream) -> Stream:
        """From the sum before LN1 to the layer's output."""
        x = self.ln1(resid_mid)
        return self.ln2(x + self.mlp(x))

    def after_patched_heads(
        self,
        resid_mid: Stream,
        inner: Float[Tensor, "batch pos d_mlp"],
        change: Float[Tensor, "cell batch pos d_head"],
        delta: Float[Tensor, "cell batch pos d_model"],
        heads: list[int],
    ) -> Float[Tensor, "cell batch pos d_model"]:
        """From the recipient's sum before LN1, and what each cell adds, to the layer's output.

        Parameters
        ----------
        resid_mid : the recipient's sum before LN1.
        inner : `inner` of ``resid_mid``.
        change : what each cell adds to its head's z.
        delta : what that adds to ``resid_mid``: ``change`` times the head's W_O.
        heads : the head of each cell.
        """
        # With x = resid_mid + delta, gain g, bias b and 1/std s, which depends on x:
        #     LN1(x)             = s (x - mean(x)) g + b
        #     W_in LN1(x) + b_in = s inner(x) + (W_in b + b_in)
        # `inner` is linear, so inner(x) = inner(resid_mid) + inner(change @ W_O[head]): the first
        # term is the same for all cells, the second is change @ w_in_by_head[head], a product over
        # d_head where the MLP's own is over d_model. The scale s comes last, for each position.
        out = torch.empty_like(delta)
        # On a CPU cell by cell, within its caches; a GPU wants all at once.
        step = 1 if delta.is_cpu else len(heads)
        for start in range(0, len(heads), step):
            cells = slice(start, start + step)
            patched = resid_mid + delta[cells]
            after_ln1, _, scale = torch.native_layer_norm(  # the plain one keeps its 1/std
                patched, patched.shape[-1:], self.ln1.weight, self.ln1.bias, self.ln1.eps
            )
            patched_inner = torch.baddbmm(
                inner.flatten(0, 1), change[cells].flatten(1, 2), self.w_in_by_head[heads[cells]]
            )
            hidden = torch.addcmul(self.b_in_after_ln, patched_inner, scale.flatten(1, 2))
            mlp_out = linear(self.act(hidden), self.w_out, self.b_out).view_as(patched)
            out[cells] = self.ln2(after_ln1 + mlp_out)
        return out

    def run(self, x: Stream, bias: Tensor | None) -> LayerRun:
        """Every activation that can be patched, and the output."""
        q, k, v = self.project(x)
        z = attend(q, k, v, bias)
        attn_out = self.attn_out(z)
        resid_mid = x + attn_out
        mlp_in = self.ln1(resid_mid)
        mlp_out = self.mlp(mlp_in)
        resid_post = self.ln2(mlp_in + mlp_out)
        return LayerRun(self, resid_mid, z, x, q, k, v, attn_out, mlp_in, mlp_out, resid_post)

    def __call__(self, x: Stream, bias: Tensor | None) -> Stream:
        """Run the whole layer."""
        q, k, v = self.project(x)
        return self.after_attention(x + self.attn_out(attend(q, k, v, bias)))

    def first_row(self, x: Stream, bias: Tensor | None) -> Rows:
        """The layer's output at position 0 alone, [batch, 1, d_model]."""
        (q,) = self.project(x[:, :1], slice(0, 1))
        k, v = self.project(x, slice(1, 3))
        row_bias = None if bias is None else bias[..., :1, :]
        return self.after_attention(x[:, :1] + self.attn_out(attend(q, k, v, row_bias)))


def attend(q: Queries, k: Heads, v: Heads, bias: Tensor | None) -> Queries:
    """Z of each head; ``bias`` is added to the scores (mask, relative positions)."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def attention_pattern(q: Heads, k: Heads, bias: Tensor | None) -> Tensor:
    """Softmax of the scores, [batch, head, pos, pos]."""
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    return (scores if bias is None else scores + bias).softmax(dim=-1)


@dataclass(frozen=True)
class Kept:
    """What is kept of a run, so that heads can be patched without running it again."""

    layers: Sequence[HeadsRun]
    bias: Tensor | None


class PostLNStack:
    """The blocks of a post-LN ranker, callable from any layer on.

    Attributes
    ----------
    room : bytes that runs may still take that are kept for patches to come.
    kept : the runs that are kept, by their token ids.
    """

    def __init__(self, ranker: Ranker) -> None:
        self.ranker = ranker
        self.layers = [Layer(ranker, i) for i in range(ranker.n_layers)]
        self.first_row_only = ranker.reads_first_position_only
        self.relevance, self.counts = ranker.relevance, ranker.counts
        self.room, self.kept = 0, WeakTensorKeyDictionary()

    def keep(self, inputs: Inputs, run: Kept) -> None:
        """Keep a run through all layers, if there is room and it is not kept yet."""
        needs = sum(layer.resid_mid.nbytes + layer.z.nbytes for layer in run.layers)
        if needs <= self.room and inputs["input_ids"] not in self.kept:
            self.room -= needs
            self.kept[inputs["input_ids"]] = run

    def embed(self, inputs: Inputs) -> Stream:
        """The stream that enters layer 0."""
        with skipping(self.ranker, len(self.layers)):
            return self.ranker.hidden(inputs)

    def hidden(self, inputs: Inputs) -> Rows:
        """Final hidden states, of position 0 alone where the score reads nothing else."""
        x = self.embed(inputs)
        return self.finish(0, x, self.bias(inputs, x))

    def bias(self, inputs: Inputs, x: Stream) -> Tensor | None:
        """What is added to attention scores, [1 or batch, 1 or head, 1 or pos, pos], or None."""
        mask = inputs["attention_mask"]
        bias = self.ranker.family.position_bias(self.ranker.hf_model, x)
        if mask.all():
            return bias
        of_keys = unseen(mask, x.dtype)[:, None, None, :]
        return of_keys if bias is None else bias + of_keys

    def finish(self, layer: int, x: Stream, bias: Tensor | None) -> Rows:
        """Run ``layers[layer:]``; position 0 alone where the score reads nothing else."""
        for run in self.layers[layer:-1]:
            x = run(x, bias)
        if layer < len(self.layers):
            last = self.layers[-1]
            return last.first_row(x, bias) if self.first_row_only else last(x, bias)
        return x

    def rows_needed(self, layer: int) -> slice:
        """Positions of a layer's output that the score depends on."""
        is_last = layer == len(self.layers) - 1
        return slice(0, 1) if is_last and self.first_row_only else slice(None)

    def finish_after_attention(self, layer: int, resid_mid: Stream, bias: Tensor | None) -> Rows:
        """Run the rest of a layer from the sum before LN1, then the layers behind it."""
        resid_mid = resid_mid[:, self.rows_needed(layer)]
        return self.finish(layer + 1, self.layers[layer].after_attention(resid_mid), bias)


def patch_suffix(
    stack: PostLNStack, runs: Runs, sweep: Sweep, *, max_tokens: int
) -> Iterator[Scored]:
    """Patch every cell of a sweep; gives cells and their scores, [cell, pair].

    A patch that changes no activation of a pair gives exactly its recipient's unpatched score.
    """
    kept = [stack.kept.get(side["input_ids"]) for side in (runs.recipient, runs.donor)]
    if sweep.site == "head" and runs.given_z is None and all(kept):
        biases = [of.bias for of in kept]
        x = kept[0].layers[0].resid_mid  # for its shape
        return KeptBranch(stack, runs, sweep, *biases, *kept).walk(x, x, max_tokens)
    # At once, not when scores are asked for: that may be in a thread, and this runs the wrapped
    # model, which must not be run twice at a time. What follows reads its weights alone.
    x_r, x_d = stack.embed(runs.recipient), stack.embed(runs.donor)
    bias_r, bias_d = stack.bias(runs.recipient, x_r), stack.bias(runs.donor, x_d)
    return PostLNBranch(stack, runs, sweep, bias_r, bias_d).walk(x_r, x_d, max_tokens)


@dataclass(frozen=True)
class PostLNBranch(Branch):
    """One batch's patched runs of a post-LN stack.

    Attributes
    ----------
    bias_r, bias_d : what is added to attention scores in the recipient's and the donor's run.
    """

    stack: PostLNStack
    bias_r: Tensor | None
    bias_d: Tensor | None

    def run(self, layer: int, x: Stream, *, of_donor: bool) -> LayerRun:  # noqa: D102
        return self.stack.layers[layer].run(x, self.bias_d if of_donor else self.bias_r)

    def patch_block(  # noqa: D102
        self, cells: list[Cell], mask: Tensor, run_r: LayerRun, run_d: LayerRun
    ) -> Patched:
        layer, site = cells[0][0], self.sweep.site
        delta = (run_d.at(site) - run_r.at(site)) * mask

        def run_on() -> Rows:
            bias = _repeat(self.bias_r, len(cells))
            if site == "resid_pre":
                return self.stack.finish(layer, (run_r.resid_pre + delta).flatten(0, 1), bias)
            if site == "mlp_out":
                resid_post = self.stack.layers[layer].ln2(run_r.mlp_in + run_r.mlp_out + delta)
                return self.stack.finish(layer + 1, resid_post.flatten(0, 1), bias)
            resid_mid = (run_r.resid_mid + delta).flatten(0, 1)
            return self.stack.finish_after_attention(layer, resid_mid, bias)

        return delta, run_on

    def patch_heads(  # noqa: D102
        self, cells: list[Cell], mask: Tensor, run_r: HeadsRun, run_d: HeadsRun
    ) -> Patched:
        index, heads = cells[0][0], [head for *_, head in cells if head is not None]
        layer, rows = self.stack.layers[index], self.stack.rows_needed(index)
        change = self._z_change(heads, mask, run_r, run_d)
        # [cell, pair * pos, d_head] @ [cell, d_head, d_model]
        delta = (change.flatten(1, 2) @ layer.w_o_by_head[heads]).unflatten(1, change.shape[1:3])

        def run_on() -> Rows:
            resid_mid, inner = run_r.resid_mid[:, rows], run_r.inner[:, rows]
            out = layer.after_patched_heads(
                resid_mid, inner, change[:, :, rows], delta[:, :, rows], heads
            )
            bias = _repeat(self.bias_r, len(cells))
            return self.stack.finish(index + 1, out.flatten(0, 1), bias)

        return delta, run_on

    def _z_change(
        self, heads: list[int], mask: Tensor, run_r: HeadsRun, run_d: HeadsRun
    ) -> Float[Tensor, "cell pair pos d_head"]:
        """What each cell's patch adds to the head's z."""
        change = self._patched_z(heads, mask, run_r, run_d) - run_r.z[:, heads].transpose(0, 1)
        # A key or a value is read from everywhere: patched at one position, it changes z at all.
        return change if self.sweep.site in ("k", "v") else change * mask

    def _patched_z(
        self, heads: list[int], mask: Tensor, run_r: HeadsRun, run_d: HeadsRun
    ) -> Float[Tensor, "cell pair pos d_head"]:
        """Z of each cell's head when the site has the donor's activation.

        Z, the pattern's row and q belong to one position, so they are taken whole from the donor
        and `_z_change` keeps the masked positions. K and v are mixed by the mask before attention
        reads them.
        """
        if self.sweep.site == "head":
            return run_d.z[:, heads].transpose(0, 1)
        assert isinstance(run_r, LayerRun)
        assert isinstance(run_d, LayerRun)
        q, k, v = (part[:, heads] for part in (run_r.q, run_r.k, run_r.v))
        q_d, k_d, v_d = (part[:, heads] for part in (run_d.q, run_d.k, run_d.v))
        is_patched, bias = mask.transpose(0, 1), self._head_bias(heads)
        match self.sweep.site:
            case "pattern":
                z = attention_pattern(q_d, k_d, self._head_bias(heads, donor=True)) @ v
            case "q":
                z = attend(q_d, k, v, bias)
            case "k":
                z = attend(q, torch.where(is_patched, k_d, k), v, bias)
            case "v":
                z = attend(q, k, torch.where(is_patched, v_d, v), bias)
        return z.transpose(0, 1)

    def _head_bias(self, heads: list[int], donor: bool = False) -> Tensor | None:
        bias = self.bias_d if donor else self.bias_r
        return bias if bias is None or bias.shape[1] == 1 else bias[:, heads]


@dataclass(frozen=True)
class KeptBranch(PostLNBranch):
    """One batch's patched heads, where both runs were kept."""

    kept_r: Kept
    kept_d: Kept

    def through(self, x_r: Stream, x_d: Stream, n_layers: int) -> Iterator[tuple[Any, Any]]:  # noqa: D102
        for run_r, run_d in zip(self.kept_r.layers[:n_layers], self.kept_d.layers, strict=False):
            yield replace(run_r), run_d  # a copy: for what it works out later there is no room


def _repeat(bias: Tensor | None, n: int) -> Tensor | None:
    # One row serves every sequence; otherwise there is one for each pair.
    return bias if bias is None or len(bias) == 1 else bias.repeat(n, 1, 1, 1)
