"""A Hugging Face encoder with hooks: texts or tokens in, its output and any activation out.

`Ranker` is what every kind shares: the wrapped model, and the TransformerLens way of reading and
editing it. A kind (`mechir_edu.rankers.kinds`) says how texts go in and how scores come out. The
sites of hooks are drawn in `mechir_edu.rankers.adapters`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens import ActivationCache
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerBase

from mechir_edu.rankers.adapters import EncoderAdapter, TokenIds, family_of, position_ids
from mechir_edu.rankers.checkpoint.lengths import checked_length
from mechir_edu.rankers.devices import find_device
from mechir_edu.rankers.pooling import Hidden, Mask, RowsRead
from mechir_edu.rankers.stacks import Stack, encoder_stack
from mechir_edu.rankers.turns import TakesTurns, turn_of

Inputs = dict[str, TokenIds]
Hook = Callable[[Tensor, HookPoint], Tensor | None]
Side = Literal["both", "query", "document"]  # what stands in one sequence
# Gives a context in which a side is read, such as one with the hooks of an intervention.
During = Callable[[Side], AbstractContextManager]
Names = str | Sequence[str] | Callable[[str], bool] | None
# TransformerLens declares these for decoders, or for attention of its own; here they never fire.
NEVER_FIRED = {
    *("hook_result", "hook_attn_in", "hook_q_input", "hook_k_input", "hook_v_input"),
    *("hook_hidden_states", "hook_rot_q", "hook_rot_k"),
}
BATCH_SIZE = 32


class Prompts(NamedTuple):
    """Text that a checkpoint wants before every query, and before every document."""

    query: str = ""
    document: str = ""

    @property
    def behind(self) -> str:  # noqa: D102
        return ""


class PromptsAround(NamedTuple):
    """Text before every query and every document, and behind every query."""

    query: str
    document: str
    behind: str


def undisturbed(side: Side) -> AbstractContextManager:
    """Read a side without any change."""
    return nullcontext()


class Ranker(TakesTurns):
    """A wrapped encoder; its kind says how texts go in and scores come out.

    Attributes
    ----------
    kind : name of the kind, a key of `mechir_edu.rankers.kinds.KINDS`.
    kind_name : the kind in words.
    reads_together : whether query and document stand in one sequence, or each is read alone.
    takes_edited_queries : whether the query of a pair may be what is edited.
    keeps_documents : whether documents are encoded once for all queries, where it does not read
        together; not if what it makes of a document is large, or quicker made for one query.
    name : what the ranker was loaded as.
    checksum : SHA-256 of its weights, 64 hexadecimal digits; empty where weights are constructed.
    hf_model : the Hugging Face model, changed in place: never save it.
    bridge : the `TransformerBridge` around it.
    tokenizer : its fast tokenizer.
    max_length : longest sequence of tokens that it reads, special tokens counted.
    prompts : text that the checkpoint wants around queries and documents.

    A kind defines these class variables and whatever raises NotImplementedError here; a kind that
    does not read together also `encode_fixed`, `encode_query`, `encode_documents` and `compare`.
    Its ``__init__`` ends with `mechir_edu.rankers.verification.wrap`.
    """

    kind: ClassVar[str]
    kind_name: ClassVar[str]
    reads_together: ClassVar[bool]
    takes_edited_queries: ClassVar[bool] = True
    keeps_documents: ClassVar[bool] = True
    bridge: TransformerBridge
    prompts: Prompts | PromptsAround = Prompts()
    chosen_stack = 0

    def __init__(
        self,
        name: str,
        hf_model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        *,
        checksum: str,
        max_length: int | None,
        device: str,
    ) -> None:
        self.name, self.tokenizer, self.checksum = name, tokenizer, checksum
        self.turn = turn_of(tokenizer)
        self.hf_model = hf_model.to(find_device(device)).float().eval().requires_grad_(False)
        most = self.family.longest(self.hf_model.config)
        self.max_length = checked_length(tokenizer, max_length, most=most, pair=self.reads_together)
        tokenizer.model_max_length = self.max_length  # as `align` takes it by default

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name!r}, {self.family.model_type}, "
            f"{self.n_layers} layers x {self.n_heads} heads, {self.device})"
        )

    @property
    def device(self) -> torch.device:
        """Device that the weights are on."""
        return self.hf_model.device

    @property
    def stacks(self) -> tuple[Stack, ...]:
        """Stacks of blocks, as the wrapped model has them."""
        return (encoder_stack(self.hf_model.config),)

    @property
    def stack(self) -> Stack:
        """What is patched: the first of `stacks`, or `mechir_edu.rankers.views.at_stack`."""
        return self.stacks[self.chosen_stack]

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.stack.n_layers

    @property
    def n_heads(self) -> int:
        """Number of attention heads in a block; of k and v there may be fewer (`stacks`)."""
        return self.stack.n_heads

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.hf_model.config.hidden_size

    @property
    def family(self) -> type[EncoderAdapter]:
        """The adapter of the model's architecture."""
        return family_of(self.hf_model)

    @property
    def is_post_ln(self) -> bool:
        """Whether LayerNorm follows the residual sum."""
        return self.family.is_post_ln

    @property
    def engine(self) -> Literal["post-LN", "causal", "encoder-decoder"] | None:
        """The engine that patches such blocks fast; None where only hooks do."""
        if self.is_post_ln:
            return "post-LN"
        return "causal" if self.family.is_causal(self.hf_model.config) else None

    @property
    def rows(self) -> RowsRead:
        """Which final hidden states the score depends on."""
        return "all"

    @property
    def reads_first_position_only(self) -> bool:
        """Whether the score depends on the final hidden state of position 0 alone."""
        return self.rows == "first"

    @property
    def sides(self) -> tuple[Side, ...]:
        """What is read in a sequence of its own: "query" and "document", or "both" at once."""
        return ("both",) if self.reads_together else ("query", "document")

    @property
    def settings(self) -> dict[str, str | int]:
        """What the caller may choose and scores depend on; a run that resumes needs the same."""
        return {"max_length": self.max_length} | getattr(self.hf_model, "merged_from", {})

    @property
    def hook_dict(self) -> dict[str, HookPoint]:
        """Every hook point by name, as in TransformerLens, aliases included."""
        points = self.bridge.hook_dict.items()
        return {name: point for name, point in points if name.split(".")[-1] not in NEVER_FIRED}

    def n_pieces(self, word: str) -> int:
        """Number of word pieces that the tokenizer makes of a word."""
        return len(self.tokenizer.tokenize(word))

    def tokenize(self, *texts: Any) -> Inputs:
        """Token ids, mask and types of texts, padded to the longest."""
        raise NotImplementedError

    def texts_read(self, pairs: Sequence[tuple[str, str]], side: str) -> list[tuple[str, ...]]:
        """What is read of each (query, document) on one of the `sides`, prompts included."""
        before = self.prompts
        read: list[tuple[str, ...]] = [
            (before.query + query + before.behind, before.document + document)
            for query, document in pairs
        ]
        if self.reads_together:
            return read
        column = self.sides.index(side)
        return [(texts[column],) for texts in read]

    def output(self, hidden: Hidden, attention_mask: Mask) -> Float[Tensor, "pair ..."]:
        """What `forward` returns, from final hidden states and the mask of `counts`."""
        raise NotImplementedError

    def publisher_output(self, inputs: Inputs) -> Float[Tensor, "pair ..."]:
        """`forward` of the Hugging Face model itself, its inputs given, to verify ours by."""
        raise NotImplementedError

    def relevance(
        self, hidden: Hidden, attention_mask: Mask, fixed: Tensor | None
    ) -> Float[Tensor, " pair"]:
        """Relevance scores from final hidden states, and from the side that does not change."""
        raise NotImplementedError

    def encode_fixed(self, sequences: Sequence[np.ndarray | None]) -> Tensor | None:
        """Encode the text of each pair that is not edited, given as token ids.

        None for a kind that reads together, where that text is in the sequence.
        """
        return None

    def verify_further(self) -> None:
        """Verify at load what is built upon the hooks; nothing, unless a subclass does."""

    def score(
        self,
        query: str,
        texts: str | Sequence[str],
        *,
        batch_size: int = BATCH_SIZE,
        during: During = undisturbed,
    ) -> Float[np.ndarray, " text"]:
        """Relevance score of each text for the query, float32; larger is more relevant."""
        raise NotImplementedError

    def model_inputs(
        self,
        input_ids: TokenIds,
        attention_mask: TokenIds | None = None,
        token_type_ids: TokenIds | None = None,
    ) -> Inputs:
        """All inputs of the wrapped model, on its device, positions and mask explicit.

        Positions are those that the model counts itself, but a masked filler does not renumber the
        tokens behind it.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        inputs = {"input_ids": input_ids, "attention_mask": mask}
        if self.family.has_token_types:
            types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            inputs["token_type_ids"] = types
        if not self.family.is_encoder_decoder:
            inputs["position_ids"] = position_ids(self.hf_model, input_ids, mask)
        return {name: tensor.to(self.device) for name, tensor in inputs.items()}

    def counts(self, inputs: Inputs) -> Mask:
        """Rows that a score may read, 1 or 0: those of real tokens, or fewer of them."""
        return inputs["attention_mask"]

    def hidden(self, inputs: Inputs) -> Float[Tensor, "text row d_model"]:
        """Final hidden states from `model_inputs`, hooks included."""
        return self.family.hidden(self.hf_model, inputs)

    def forward(self, *texts: Any, **tokens: TokenIds) -> Float[Tensor, "text ..."]:
        """What the kind makes of each text: an embedding, a relevance score, weights or vectors.

        Takes what `tokenize` takes, or ``input_ids`` (and ``attention_mask``, ``token_type_ids``).
        """
        if texts and isinstance(texts[0], Tensor):
            tokens, texts = {"input_ids": texts[0], **tokens}, ()
        inputs = self.model_inputs(**(self.tokenize(*texts) if texts else tokens))
        return self.output(self.hidden(inputs), self.counts(inputs))

    __call__ = forward

    def run_with_hooks(
        self,
        *texts: Any,
        fwd_hooks: Sequence[tuple[str | Callable[[str], bool], Hook]] = (),
        **tokens: TokenIds,
    ) -> Float[Tensor, "text ..."]:
        """`forward` with functions ``(activation, hook) -> activation`` at named hook points.

        A hook that returns None changes nothing. Clone an activation before writing to it. The
        hooks are removed afterwards, also after an error.

        Raises
        ------
        ValueError
            For an unknown hook point.
        """
        for name, _ in fwd_hooks:
            if isinstance(name, str):
                self._hook_names(name)
        with self.bridge.hooks(fwd_hooks=list(fwd_hooks)):
            return self.forward(*texts, **tokens)

    @torch.no_grad()
    def run_with_cache(
        self, *texts: Any, names_filter: Names = None, **tokens: TokenIds
    ) -> tuple[Float[Tensor, "text ..."], ActivationCache]:
        """`forward`, and the activations at the hook points that ``names_filter`` lets through.

        Parameters
        ----------
        texts, tokens : as for `forward`.
        names_filter : a name, several, or a function of a name; without one every activation is
            kept, about 550 MB for MiniLM at 16 texts of 128 tokens.

        Returns
        -------
        output, cache
            ``cache["blocks.0.attn.hook_pattern"]`` or ``cache["pattern", 0]``.

        Raises
        ------
        ValueError
            For an unknown hook point.
        """
        kept: dict[str, Tensor] = {}

        def keep(name: str, activation: Tensor, hook: HookPoint) -> None:
            kept[name] = activation.detach()

        hooks = [(name, partial(keep, name)) for name in self._hook_names(names_filter)]
        output = self.run_with_hooks(*texts, fwd_hooks=hooks, **tokens)
        return output, ActivationCache(kept, self.bridge)

    def _hook_names(self, wanted: Names) -> list[str]:
        known: Mapping[str, HookPoint] = self.hook_dict
        if wanted is None or callable(wanted):
            return [name for name in known if wanted is None or wanted(name)]
        names = [wanted] if isinstance(wanted, str) else list(wanted)
        if unknown := [name for name in names if name not in known]:
            instead = self.family.absent_hooks.get(unknown[0].split(".")[-1])
            raise ValueError(
                f"no hook point {unknown[0]!r}; "
                + (instead or "needed a key of ranker.hook_dict, such as 'blocks.0.attn.hook_z'")
            )
        return names
