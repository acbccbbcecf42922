"""Which engine may patch a ranker: the fast one reads weights, so it needs modules that are bare.

::

    post-LN           encoders whose norms follow the sums      `suffix`
    causal            decoders, pre-LN                          `causal`
    encoder-decoder   T5, pre-LN                                `encoder_decoder`

Whatever changes what a module returns beside its weights (a hook of the user's own, a LoRA adapter,
a replaced ``forward``, an intervention) holds in runs through hooks alone. So this is looked at
each time that an engine starts, and not once at load.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from mechir_edu.patching.batches import Batch
from mechir_edu.patching.engines.causal import CausalStack, patch_causal
from mechir_edu.patching.engines.encoder_decoder import (
    EncoderDecoderStack,
    patch_encoder_decoder,
)
from mechir_edu.patching.engines.gradient import require_true_slopes
from mechir_edu.patching.engines.hooks import patch_naive, run_hooked
from mechir_edu.patching.engines.pre_ln import not_plain
from mechir_edu.patching.engines.prefix import shares_prefix
from mechir_edu.patching.engines.products import product
from mechir_edu.patching.engines.suffix import PostLNStack, patch_suffix
from mechir_edu.patching.options import DIRECTIONS, PatchOptions
from mechir_edu.patching.sweep import Scored, Sweep
from mechir_edu.rankers.agreement import difference, require_close
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.verification import TEXTS, tiny_inputs
from mechir_edu.rankers.views import at_stack

# By the name of an engine: what it makes of a ranker, and what patches a batch with that.
ENGINES: dict[str, tuple[Callable[[Ranker], Any], Callable[..., Iterator[Scored]]]] = {
    "post-LN": (PostLNStack, patch_suffix),
    "causal": (CausalStack, patch_causal),
    "encoder-decoder": (EncoderDecoderStack, patch_encoder_decoder),
}
TOLERANCE = 1e-4  # between two ways to the same scores, relative to them


@dataclass(frozen=True)
class Choice:
    """How a ranker can be patched as it is now.

    Attributes
    ----------
    engine : the fast engine, as weights say all there is to know; None where only hooks may patch.
    may_skip : whether blocks before a patch may be left out, as nothing in them is the user's.
    reason : why what no fast engine does, or none may, goes through hooks; empty where there is no
        reason.
    shares_prefix : whether what stands before the first edited token runs once for all patches.
    """

    engine: str | None
    may_skip: bool
    reason: str = ""
    shares_prefix: bool = False

    @property
    def is_fast(self) -> bool:
        """Whether a fast engine may patch."""
        return self.engine is not None

    @property
    def takes_gradients(self) -> bool:
        """Whether the fast engine also gives both runs' scores and gradients."""
        return self.engine == "post-LN"

    @property
    def keeps_texts(self) -> bool:
        """Whether the fast engine patches with what it kept when it scored both runs."""
        return self.engine == "encoder-decoder"

    @property
    def patch(self) -> Callable[..., Iterator[Scored]]:
        """What patches a batch with `fast_stack`: stack, runs, ``sweep=``, ``max_tokens=``."""
        return ENGINES[str(self.engine)][1]

    def engine_name(self, method: str, *, is_fast: bool) -> str:
        """Which code runs, and why no faster one does, for the record."""
        if is_fast:
            return f"{self.engine} suffix"
        name = "suffix through hooks" if self.may_skip else "whole runs through hooks"
        name += " behind a shared prefix" * self.shares_prefix
        name = "one forward pass a cell" if method == "naive" else name
        return f"{name}: {self.reason}" if self.reason else name

    def record(self, ranker: Ranker, method: str, *, is_fast: bool) -> dict[str, str]:
        """Name the code that runs, and the product of matrices in fast code, for provenance."""
        product = product_note(ranker) if is_fast else {}
        return {"engine": self.engine_name(method, is_fast=is_fast)} | product


def choose_engine(ranker: Ranker) -> Choice:
    """Look at a ranker's modules as they are now."""
    if ranker.made is None:
        return Choice(None, may_skip=False, reason="its modules were not recorded at load")
    if change := ranker.made.change() or _own_method(ranker):
        return Choice(None, may_skip=False, reason=change)
    if ranker.intervention:
        return Choice(None, may_skip=True, reason=ranker.intervention)
    # What no engine of pre-LN blocks does (sets of heads, gradients) goes through hooks.
    reason = "" if ranker.is_post_ln else f"{ranker.family.model_type} is pre-LN"
    shares = shares_prefix(ranker)
    if ranker.engine is None:
        return Choice(None, may_skip=True, reason=reason, shares_prefix=shares)
    if other := _not_plain(ranker) if ranker.is_post_ln else not_plain(ranker):
        return Choice(None, may_skip=True, reason=other, shares_prefix=shares)
    return Choice(ranker.engine, may_skip=True, reason=reason)


def product_note(ranker: Ranker) -> dict[str, str]:
    """Which library multiplies matrices in the fast engine, for the record; PyTorch's on a GPU."""
    on_cpu = ranker.device.type == "cpu"
    return {"product": product(ranker.bridge.cfg.d_model) if on_cpu else "torch"}


def fast_stack(ranker: Ranker) -> Any:
    """The fast engine's copy of a ranker, which is compared with hooks when it is first asked for.

    Raises
    ------
    VerificationError
        Where the two do not agree.
    """
    require_agreement(ranker)
    return ENGINES[str(ranker.engine)][0](ranker)


def _own_method(ranker: Ranker) -> str:
    """A method between inputs and scores that the user has replaced."""
    if ranker.intervention is None and "hidden" in vars(ranker):
        return "ranker.hidden was replaced"
    if type(ranker).hidden is not Ranker.hidden:
        return f"{type(ranker).__name__} has a method hidden of its own"
    methods = ("model_inputs", "output", "relevance", "counts")
    replaced = [name for name in methods if name in vars(ranker)]
    return f"ranker.{replaced[0]} was replaced" if replaced else ""


def _not_plain(ranker: Ranker) -> str:
    """The first module whose weights the fast engine reads and that is no plain layer."""
    for index, block in enumerate(ranker.bridge.blocks):
        attn, mlp = block.attn, block.mlp
        linear = (attn.q, attn.k, attn.v, attn.o, getattr(mlp, "in"), mlp.out)
        of_type = [(part, nn.Linear) for part in linear]
        of_type += [(part, nn.LayerNorm) for part in (block.ln1, block.ln2)]
        for part, plain in of_type:
            if type(part.original_component) is not plain:
                kind = type(part.original_component)
                return f"{part.name} of layer {index} is {kind.__module__}.{kind.__name__}"
    return ""


def require_sound(
    ranker: Ranker, choice: Choice, batch: Batch, sweep: Sweep, *, by_gradient: bool
) -> None:
    """Refuse a ranker whose scores, or slopes, do not mean what patching takes them for.

    Parameters
    ----------
    ranker, choice, sweep : what is to be patched, by which engine.
    batch : some pairs to try it on.
    by_gradient : whether slopes are used.

    Raises
    ------
    ValueError
        For a hook that treats rows or runs differently, or that changes the gradient.
    """
    if by_gradient and (hook := ranker.made and ranker.made.gradient_hook()):
        raise ValueError(f"{hook}, which changes what a gradient estimates; use method='exact'")
    if not choice.may_skip:
        require_repeatable(ranker, batch, choice.reason)
        if by_gradient:
            require_true_slopes(ranker, batch.runs(DIRECTIONS[0]), sweep)


def require_repeatable(ranker: Ranker, batch: Batch, changed: str) -> None:
    """Refuse a ranker in which a text's score depends on the run, or on the batch around it.

    Parameters
    ----------
    ranker, batch : the ranker, and some pairs to try it on.
    changed : what was done to the ranker, for the message.

    Raises
    ------
    ValueError
        Saying by how much scores differ.
    """
    alone = batch.score(ranker, batch.baseline)
    both = {name: torch.cat([batch.perturbed[name], of]) for name, of in batch.baseline.items()}
    beside = run_hooked(ranker, batch, both, [], 2)[1]
    if (apart := difference(beside, alone, TOLERANCE)) is not None:
        raise ValueError(
            f"a text's score depends on the run or on its neighbours in a batch (by {apart:.2g}), "
            f"so no patch can be told from chance: {changed}. Needed a hook "
            "that treats every row alike, and the same each time"
        )


@torch.no_grad()
def require_agreement(ranker: Ranker) -> None:
    """Compare a fast patch with one through hooks, once for each ranker.

    Raises
    ------
    VerificationError
        Saying by how much they differ.
    """
    if ranker.engines_agree or not (choice := choose_engine(ranker)).is_fast:
        return
    make_stack, patch = ENGINES[str(choice.engine)]
    inputs = ranker.model_inputs(**tiny_inputs(ranker, TEXTS[:1]))
    n_pos = inputs["input_ids"].shape[1]
    fixed = None if ranker.reads_together else ranker.encode_fixed([np.arange(2)])
    roles = torch.zeros(1, n_pos, dtype=torch.int8, device=ranker.device)
    # The donor has another token in the middle, so that there is something before the edit.
    ids = inputs["input_ids"].clone()
    ids[:, n_pos // 2] = ids[:, n_pos // 2 - 1]
    donor = {**inputs, "input_ids": ids}
    runs = Batch(np.arange(1), inputs, donor, roles, fixed).runs(DIRECTIONS[0])
    for stack in ranker.stacks:
        # A patch in the first layer that is no constant runs through every weight behind it.
        layer = len(stack.constant_layers("head"))
        if layer == stack.n_layers:
            continue
        of_stack = at_stack(ranker, stack.title or None)
        sweep = PatchOptions(heads=((layer, 0),)).sweep(of_stack)
        ((_, fast),) = patch(make_stack(of_stack), runs, sweep, max_tokens=n_pos)
        ((_, naive),) = patch_naive(of_stack, runs, sweep)
        # Through all layers, the two ways of adding up differ by more than a layer's rounding.
        require_close("a fast patch", fast, naive, "a patch through hooks", TOLERANCE)
    ranker.engines_agree = True
