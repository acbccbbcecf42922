"""Patch an encoder-decoder exactly and fast: T5, whose decoder takes a single step.

- A patch in the encoder runs the encoder's layers behind it (`mechir_edu.patching.engines.pre_ln`;
  every token sees every other, so there is no prefix), and then the decoder's one row.
- A patch in the decoder leaves the encoder as it was: a cell is one row, and all heads of a layer
  are patched in one pass. What the wrapped model's encoder made of both runs when they were scored
  is kept, so that the encoder does not run again (of the first `KEPT` bytes).
- Keys and values of the text, which cross-attention reads, are never made. There is one query, and
  with x the encoder's final stream ``q . (W_K x) = (W_K' q) . x`` and
  ``z = sum of pattern * (W_V x) = W_V (sum of pattern * x)``: products over one row in place of
  products over all tokens, in every layer.

Self-attention of a single step has one key, so its z is its v.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from mechir_edu.patching.batches import Runs
from mechir_edu.patching.budget import HELD
from mechir_edu.patching.engines.branch import KEPT, Branch, Ended, Patched, unseen
from mechir_edu.patching.engines.pre_ln import (
    MLP,
    Heads,
    PreLNBranch,
    PreLNLayer,
    Stream,
    View,
    part_of,
    require_same_score,
    split_heads,
    weights_of,
)
from mechir_edu.patching.engines.products import linear
from mechir_edu.patching.sweep import Cell, Scored, Sweep
from mechir_edu.rankers.base import Inputs, Ranker

Row = Float[Tensor, "batch 1 d_model"]
Asked = Float[Tensor, "batch head d_model"]  # a query, as a vector of the encoder's stream
Looks = Float[Tensor, "text head pos"]  # scores or pattern; of several cells, head by head


@dataclass(frozen=True)
class Text:
    """What cross-attention reads: final hidden states of the encoder, of each pair or each cell.

    Attributes
    ----------
    hidden : [text, pos, d_model].
    bias : what is added to scores, minus infinity for masked tokens; [text, 1, pos].
    """

    hidden: Float[Tensor, "text pos d_model"]
    bias: Float[Tensor, "text 1 pos"]

    def scores(self, asked: Float[Tensor, "text head d_model"]) -> Looks:
        """Scores of queries, before softmax and bias."""
        return asked @ self.hidden.transpose(-1, -2)

    def pattern(self, asked: Float[Tensor, "text head d_model"]) -> Looks:
        """How much queries look at each token."""
        return (self.scores(asked) + self.bias).softmax(dim=-1)


class Step:
    """One block of the decoder as functions on its own weights, for its one row."""

    def __init__(self, ranker: Ranker, layer: int) -> None:
        block = ranker.bridge.decoder_blocks[layer]
        self.n_heads = ranker.stacks[1].n_heads
        self.norms = part_of(block, "ln1"), part_of(block, "ln2")
        own, cross = block.self_attn, block.cross_attn
        self.v, self.o = weights_of(own.v), [weights_of(of.o) for of in (own, cross)]
        self.q = weights_of(cross.q)
        self.w_k, self.w_v = (
            of.weight.unflatten(0, (self.n_heads, -1)) for of in (cross.k, cross.v)
        )  # [head, d_head, d_model]
        self.mlp_out = MLP(ranker, block, "ln3")

    def w_o(self, of_cross: bool, heads: list[int]) -> Float[Tensor, "cell d_head d_model"]:
        """W_O of some heads."""
        weight = self.o[of_cross][0]
        return weight.T.unflatten(0, (self.n_heads, -1))[heads]

    def own_z(self, x: Row) -> Heads:
        """Z of self-attention: the values of the row itself."""
        return split_heads(self.norms[0](x), self.v, self.n_heads)

    def attn_out(self, z: Heads, *, of_cross: bool) -> Row:
        """What an attention adds to the row."""
        return linear(z.transpose(1, 2).flatten(2), *self.o[of_cross])

    def ask(self, x: Row) -> Asked:
        """Queries of cross-attention, by W_K turned into vectors of the encoder's stream."""
        q = split_heads(self.norms[1](x), self.q, self.n_heads)[:, :, 0]
        return torch.einsum("bhd,hdm->bhm", q, self.w_k)

    def cross_z(self, x: Row, text: Text) -> Heads:
        """Z of cross-attention; rows of several cells may read one pair's text."""
        cells = len(x) // len(text.hidden)
        asked = self.ask(x).unflatten(0, (cells, -1)).transpose(0, 1).flatten(1, 2)
        seen = text.pattern(asked) @ text.hidden  # [text, cell and head, d_model]
        seen = seen.unflatten(1, (cells, -1)).transpose(0, 1).flatten(0, 1)
        return torch.einsum("bhm,hdm->bhd", seen, self.w_v).unsqueeze(2)

    def after_own(self, x: Row, text: Text) -> Row:
        """From the sum behind self-attention to the block's output."""
        return self.after_cross(x + self.attn_out(self.cross_z(x, text), of_cross=True))

    def after_cross(self, x: Row) -> Row:
        """From the sum behind cross-attention to the block's output."""
        return x + self.mlp_out(x)

    def __call__(self, x: Row, text: Text) -> Row:
        """Run the whole block."""
        return self.after_own(x + self.attn_out(self.own_z(x), of_cross=False), text)


class EncoderDecoderStack:
    """T5 on its own weights: the encoder's ``layers`` and the decoder's ``steps``."""

    def __init__(self, ranker: Ranker) -> None:
        self.ranker = ranker
        encoder = ranker.stacks[0]
        self.layers = [PreLNLayer(ranker, encoder, i) for i in range(encoder.n_layers)]
        self.steps = [Step(ranker, i) for i in range(ranker.stacks[1].n_layers)]
        self.norms = [part_of(ranker.bridge, f"{of}_ln_final") for of in ("encoder", "decoder")]
        self.relevance, self.counts = ranker.relevance, ranker.counts
        self.kept = WeakTensorKeyDictionary()  # by the texts' token ids: [text, pos, d_model]
        self.room = KEPT if ranker.chosen_stack else 0

    def hidden(self, inputs: Inputs) -> Row:
        """Final hidden state of the wrapped model's decoder; keeps what its encoder gave."""
        model, family = self.ranker.hf_model, self.ranker.family
        encoded = model.encoder(**inputs)[0]
        if encoded.nbytes <= self.room:
            self.room -= encoded.nbytes
            self.kept[inputs["input_ids"]] = encoded
        return family.decode(model, inputs, encoded)

    def enter(self, inputs: Inputs) -> tuple[Stream, View]:
        """The stream that enters the encoder, and what its rows see; runs the wrapped model."""
        model = self.ranker.hf_model
        x = model.encoder.embed_tokens(inputs["input_ids"])
        bias = self.ranker.family.position_bias(model, x)
        of_keys = unseen(inputs["attention_mask"], x.dtype)
        if of_keys.any():
            bias = bias + of_keys[:, None, None, :]
        layer = self.layers[0]
        none = x.new_empty(len(x), layer.n_kv_heads, 0, layer.d_head)
        return x, View(bias, none, none)

    def start(self, inputs: Inputs) -> Row:
        """The decoder's one row as it enters: its start token; runs the wrapped model."""
        model = self.ranker.hf_model
        ids = torch.full_like(inputs["input_ids"][:, :1], model.config.decoder_start_token_id)
        return model.decoder.embed_tokens(ids)

    def text(self, hidden: Stream, inputs: Inputs) -> Text:
        """What cross-attention reads, from the encoder's final hidden states."""
        mask = inputs["attention_mask"]
        bias = unseen(mask, hidden.dtype)[:, None].repeat(len(hidden) // len(mask), 1, 1)
        return Text(hidden, bias)

    def read(self, inputs: Inputs, x: Stream, view: View) -> Text:
        """What cross-attention reads of a run: as it was kept, or from what enters the encoder."""
        hidden = self.kept.get(inputs["input_ids"])
        if hidden is None:
            for layer in self.layers:
                x = layer(x, view)
            hidden = self.norms[0](x)
        return self.text(hidden, inputs)

    def decode(self, step: int, x: Row, text: Text) -> Row:
        """Final hidden state, from the input of one of the steps."""
        for run in self.steps[step:]:
            x = run(x, text)
        return self.norms[1](x)


def patch_encoder_decoder(
    stack: EncoderDecoderStack, runs: Runs, sweep: Sweep, *, max_tokens: int
) -> Iterator[Scored]:
    """Patch every cell of a sweep in the ranker's stack; gives cells and their scores.

    Raises
    ------
    VerificationError
        Where the recipient has another score here than in the wrapped model.
    """
    # At once, as in `mechir_edu.patching.engines.suffix.patch_suffix`.
    entered = [stack.enter(inputs) for inputs in (runs.recipient, runs.donor)]
    return _patch(stack, runs, sweep, entered, stack.start(runs.recipient), max_tokens)


def _patch(
    stack: EncoderDecoderStack,
    runs: Runs,
    sweep: Sweep,
    entered: list[tuple[Stream, View]],
    start: Row,
    max_tokens: int,
) -> Iterator[Scored]:
    (x_r, view_r), (x_d, view_d) = entered
    if stack.ranker.chosen_stack == 0:
        n = len(stack.layers)
        encoder = EncoderBranch(stack, runs, sweep, [view_r] * n, [view_d] * n, slice(None), start)
        yield from encoder.walk(x_r, x_d, max_tokens)
        return
    text_r = text_d = stack.read(runs.recipient, x_r, view_r)
    require_same_score(stack, runs, stack.decode(0, start, text_r))
    if runs.given_z is None:
        text_d = stack.read(runs.donor, x_d, view_d)
    yield from DecoderBranch(stack, runs, sweep, text_r, text_d).walk(start, start, max_tokens)


@dataclass(frozen=True)
class EncoderBranch(PreLNBranch):
    """One batch's patched runs of the encoder.

    Attributes
    ----------
    start : the decoder's row as it enters.
    """

    stack: EncoderDecoderStack
    start: Row

    def read(self, x: Stream) -> Stream:
        """The encoder's final hidden states."""
        return self.stack.norms[0](x)

    def decode(self, hidden: Stream) -> Row:
        """The decoder's final hidden state, from the encoder's."""
        start = self.start.repeat(len(hidden) // len(self.start), 1, 1)
        return self.stack.decode(0, start, self.stack.text(hidden, self.runs.recipient))

    def walk(self, x_r: Stream, x_d: Stream, max_tokens: int) -> Iterator[Scored]:
        """Scores of all cells.

        To read the decoder's weights costs more than to multiply the few rows of a layer's cells by
        them, so the cells of several layers are decoded at once.
        """
        most = HELD * max_tokens if x_r.is_cpu else 0  # a GPU reads fast
        held: list[tuple[list[Cell], Ended]] = []
        n_held = 0
        for cells, (is_changed, hidden) in self.ends(x_r, x_d, max_tokens):
            if hidden is None:
                yield cells, self.score(is_changed, None)
                continue
            held.append((cells, (is_changed, hidden)))
            n_held += hidden.shape[:2].numel()
            if n_held >= most:
                yield self._decoded(held)
                held, n_held = [], 0
        if held:
            yield self._decoded(held)

    def _decoded(self, held: list[tuple[list[Cell], Ended]]) -> Scored:
        is_changed = torch.cat([changed for _, (changed, _) in held])
        final = self.decode(torch.cat([hidden for _, (_, hidden) in held]))
        return [cell for cells, _ in held for cell in cells], self.score(is_changed, final)

    def finished(self, layer: int, x: Stream) -> None:
        """Compare the score that the recipient ends with with the wrapped model's."""
        require_same_score(self.stack, self.runs, self.decode(self.finish(layer, x)))


@dataclass(frozen=True)
class StepRun:
    """What one step computes from its input, before anything is patched.

    Attributes
    ----------
    resid_pre, mlp_out, resid_post : of the block.
    attn_in : the sum before the attention that is patched: the decoder's own, or cross.
    z, attn_out : of that attention.
    asked : queries of cross-attention, as `Step.ask` has them.
    """

    resid_pre: Row
    attn_in: Row
    z: Heads
    attn_out: Row
    asked: Asked
    mlp_out: Row
    resid_post: Row


@dataclass(frozen=True)
class DecoderBranch(Branch):
    """One batch's patched runs of the decoder's step, at its own attention or at cross-attention.

    Attributes
    ----------
    text_r, text_d : what cross-attention reads in the recipient's and the donor's run.
    """

    stack: EncoderDecoderStack
    text_r: Text
    text_d: Text

    @property
    def of_cross(self) -> bool:
        """Whether cross-attention is patched."""
        return self.stack.ranker.stack.title == "cross"

    def run(self, layer: int, x: Row, *, of_donor: bool) -> StepRun:  # noqa: D102
        step, text = self.stack.steps[layer], self.text_d if of_donor else self.text_r
        z = step.own_z(x)
        attn_out = step.attn_out(z, of_cross=False)
        between = x + attn_out
        cross_z = step.cross_z(between, text)
        cross_out = step.attn_out(cross_z, of_cross=True)
        mlp_out = step.mlp_out(between + cross_out)
        attended = (between, cross_z, cross_out) if self.of_cross else (x, z, attn_out)
        after = between + cross_out + mlp_out
        return StepRun(x, *attended, step.ask(between), mlp_out, after)

    def end(self, cells: list[Cell], run_r: Any, run_d: Any) -> Ended:
        """What patched runs end with; constants change nothing."""
        constant = self.stack.ranker.stack.constant_layers(self.sweep.site)
        if self.runs.given_z is None and cells[0][0] in constant:
            unchanged = torch.zeros(len(cells), self.runs.batch.n_pairs, dtype=torch.bool)
            return unchanged.to(self.text_r.hidden.device), None
        return super().end(cells, run_r, run_d)

    def patched(  # noqa: D102
        self, cells: list[Cell], mask: Tensor, run_r: StepRun, run_d: StepRun
    ) -> Patched:
        layer, site = cells[0][0], self.sweep.site
        step = self.stack.steps[layer]
        if self.sweep.is_head_site:
            heads = [head for *_, head in cells if head is not None]
            z = self._patched_z(step, heads, mask[..., 0].transpose(0, 1), run_r, run_d)
            change = (z - run_r.z[:, heads, 0]).transpose(0, 1)  # [cell, pair, d_head]
            delta = (change @ step.w_o(self.of_cross, heads)).unsqueeze(2)
        else:
            delta = (getattr(run_d, site) - getattr(run_r, site)).expand(len(cells), -1, -1, -1)

        def run_on() -> Row:
            if site == "resid_pre":
                return self.stack.decode(
                    layer, (run_r.resid_pre + delta).flatten(0, 1), self.text_r
                )
            if site == "mlp_out":
                x = (run_r.resid_post + delta).flatten(0, 1)
            else:
                x = (run_r.attn_in + run_r.attn_out + delta).flatten(0, 1)
                x = step.after_cross(x) if self.of_cross else step.after_own(x, self.text_r)
            return self.stack.decode(layer + 1, x, self.text_r)

        return delta, run_on

    def _patched_z(
        self,
        step: Step,
        heads: list[int],
        is_patched: Bool[Tensor, "pair cell row"],
        run_r: StepRun,
        run_d: StepRun,
    ) -> Float[Tensor, "pair cell d_head"]:
        """Z of each cell's head when the site has the donor's activation.

        Keys and values have a row for each token, and are mixed by the mask; the others have one
        row, which is taken whole.
        """
        site, text, other = self.sweep.site, self.text_r, self.text_d
        if site == "head" or not self.of_cross:  # with a single key a value is a z
            return run_d.z[:, heads, 0]
        asked, asked_d = run_r.asked[:, heads], run_d.asked[:, heads]
        pattern = text.pattern(asked)
        if site == "pattern":
            pattern = other.pattern(asked_d)
        elif site == "q":
            pattern = text.pattern(asked_d)
        elif site == "k":
            scores = torch.where(is_patched, other.scores(asked), text.scores(asked))
            pattern = (scores + text.bias).softmax(dim=-1)
        seen = pattern @ text.hidden
        if site == "v":
            of_donor = pattern * is_patched
            seen = (pattern - of_donor) @ text.hidden + of_donor @ other.hidden
        return torch.einsum("pcm,cdm->pcd", seen, step.w_v[heads])
