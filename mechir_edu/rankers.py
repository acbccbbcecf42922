"""Rankers with hooks: ``Dot`` (bi-encoder) and ``Cat`` (cross-encoder).

A ranker turns a query and a document into a *relevance score*, the number it ranks by. ``Dot``
encodes both alone and compares the embeddings; ``Cat`` reads ``[CLS] query [SEP] document [SEP]``
and classifies. Both are Hugging Face models wrapped in place by TransformerLens, so ``hook_dict``,
``run_with_cache`` and ``run_with_hooks`` work as they do there; hook names are drawn in
`mechir_edu.adapters`. Scores equal those of the publisher's library.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mechir_edu import loading
from mechir_edu.adapters import FAMILIES, convert, first_position, position_ids
from mechir_edu.proof import prove, run_reference
from mechir_edu.readout import (
    classifies_first_position,
    classify,
    read_embedding_head,
    relevant_label,
)

BATCH_SIZE = 32
# Hook points that TransformerLens declares but fires only after a setter that is for decoders.
FORKS = ("hook_result", "hook_attn_in", "hook_q_input", "hook_k_input", "hook_v_input")


class Ranker:
    """What both kinds share: the wrapped model, its hooks, and batched encoding."""

    kind: str
    prompts: tuple[str, str] = ("", "")  # before every query, before every document

    def __init__(
        self, name: str, hf_model: nn.Module, tokenizer: Any, *, max_length: int | None, device: str
    ) -> None:
        self.name, self.tokenizer = name, tokenizer
        device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self.hf_model = hf_model.to(device).float().eval().requires_grad_(False)
        self.max_length = _max_length(max_length, tokenizer.model_max_length, hf_model.config)
        self._needs_types = getattr(hf_model.config, "type_vocab_size", 0) > 0

    def _wrap(self, verify: bool) -> None:
        reference = run_reference(self) if verify else None
        self.bridge = convert(self.hf_model)
        if reference is not None:
            prove(self, reference)

    @property
    def device(self) -> torch.device:
        """Device that the weights are on."""
        return self.hf_model.device

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.hf_model.config.num_hidden_layers

    @property
    def n_heads(self) -> int:
        """Number of attention heads in a block."""
        return self.hf_model.config.num_attention_heads

    @property
    def is_post_ln(self) -> bool:
        """Whether LayerNorm follows the residual sum (all families but ModernBERT)."""
        return FAMILIES[self.hf_model.config.model_type][1].is_post_ln

    @property
    def hook_dict(self) -> dict:
        """Every hook point by name, as in TransformerLens."""
        return self.bridge.hook_dict

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name!r}, {self.hf_model.config.model_type}, "
            f"{self.n_layers} layers x {self.n_heads} heads, {self.device})"
        )

    def model_inputs(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids=None
    ) -> dict[str, Tensor]:
        """Everything the wrapped model wants, on its device, positions and mask made explicit."""
        input_ids = input_ids.to(self.device)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        inputs = {"input_ids": input_ids, "attention_mask": mask.to(self.device)}
        if self._needs_types:
            types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            inputs["token_type_ids"] = types.to(self.device)
        positions = position_ids(self.hf_model, input_ids.shape[1])
        return inputs | {"position_ids": positions.expand_as(input_ids)}

    def hidden(self, inputs: dict[str, Tensor]) -> Float[Tensor, "pair pos d_model"]:
        """Final hidden states of the encoder, hooks included."""
        return self.hf_model.base_model(**inputs)[0]

    def forward(self, *texts: Any, **tokens: Any) -> Tensor:
        """Embedding (Dot) or relevance score (Cat) of each text; see `tokenize` for arguments."""
        inputs = self._inputs(*texts, **tokens)
        return self.output(self.hidden(inputs), inputs["attention_mask"])

    __call__ = forward

    def output(self, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        """What `forward` returns, from final hidden states."""
        raise NotImplementedError

    def tokenize(self, *texts: Any) -> dict[str, Tensor]:
        """Token ids, mask and types of texts, padded to the longest."""
        raise NotImplementedError

    def _inputs(self, *texts: Any, **tokens: Any) -> dict[str, Tensor]:
        if texts and isinstance(texts[0], Tensor):
            tokens, texts = {"input_ids": texts[0], **tokens}, ()
        return self.model_inputs(**(self.tokenize(*texts) if texts else tokens))

    def run_with_hooks(self, *texts: Any, fwd_hooks: Sequence[tuple] = (), **tokens: Any) -> Tensor:
        """`forward` with functions ``(activation, hook) -> activation`` at named hook points.

        Texts as in `tokenize`, or ``input_ids`` (and ``attention_mask``, ``token_type_ids``).
        """
        with self.bridge.hooks(fwd_hooks=list(fwd_hooks)):
            return self.forward(*texts, **tokens)

    def run_with_cache(
        self, *texts: Any, names_filter: Callable | str | list | None = None, **tokens: Any
    ) -> tuple[Tensor, Any]:
        """`forward`, and the activations at the hook points that ``names_filter`` lets through.

        Without a filter every hook is kept: about 550 MB for MiniLM at 16 texts of 128 tokens.
        Returns the output and a TransformerLens ``ActivationCache``.
        """
        from transformer_lens import ActivationCache

        cache: dict[str, Tensor] = {}

        def keep(name: str, activation: Tensor, hook: Any) -> None:
            cache[name] = activation.detach()

        hooks = [(name, partial(keep, name)) for name in self._hook_names(names_filter)]
        with torch.no_grad():
            output = self.run_with_hooks(*texts, fwd_hooks=hooks, **tokens)
        return output, ActivationCache(cache, self.bridge)

    def _hook_names(self, names_filter: Callable | str | Sequence[str] | None) -> list[str]:
        if isinstance(names_filter, str):
            names_filter = [names_filter]
        if names_filter is None or callable(names_filter):
            live = [name for name in self.hook_dict if name.rsplit(".", 1)[-1] not in FORKS]
            return [name for name in live if names_filter is None or names_filter(name)]
        if unknown := [name for name in names_filter if name not in self.hook_dict]:
            raise ValueError(
                f"no hook point {unknown[0]!r}; needed a key of ranker.hook_dict, such as "
                "'blocks.0.attn.hook_z'"
            )
        return list(names_filter)

    def patch(self, aligned=None, *, patch_type: str = "head_all", layer_head_list=(), **options):
        """Patch a collator's batch: MechIR's entry point, see `mechir_edu.patching.patch_batch`."""
        from mechir_edu.patching import patch_batch

        return patch_batch(
            self, aligned, patch_type=patch_type, layer_head_list=layer_head_list, **options
        )


class Dot(Ranker):
    """Bi-encoder: query and document are encoded alone and their embeddings compared.

    Parameters
    ----------
    name : ``"embedded"`` (all-MiniLM-L6-v2), a local folder, or a hub id.
    pooling, similarity : override what the checkpoint says (`mechir_edu.readout`); a checkpoint
        that says nothing gets "cls" and "dot", as in MechIR.
    max_length : longest token sequence; the checkpoint's own by default.
    device : "auto", "cpu", "cuda", ...
    verify : prove at load that outputs equal Hugging Face's and that every site is causal.

    Raises
    ------
    FileNotFoundError, ImportError, ValueError
        For an unknown name, a missing package, a generative model, missing or altered weights.

    Examples
    --------
    >>> ranker = Dot("embedded")
    >>> scores = ranker.score("coral bleaching", ["Corals expel algae.", "Trains run late."])
    >>> bool(scores[0] > scores[1])
    True
    """

    kind = "dot"

    def __init__(
        self,
        name: str,
        *,
        pooling: str | None = None,
        similarity: str | None = None,
        max_length: int | None = None,
        device: str = "auto",
        verify: bool = True,
    ) -> None:
        folder = loading.model_folder(name)
        model, tokenizer = loading.load_encoder(folder), loading.load_tokenizer(folder)
        if max_length is None:
            max_length = loading.stated_max_length(folder)
        super().__init__(name, model, tokenizer, max_length=max_length, device=device)
        head = read_embedding_head(folder)
        wanted = {"pooling": pooling, "similarity": similarity}
        self.head = replace(head, **{key: value for key, value in wanted.items() if value})
        self.prompts = (self.head.query_prompt, self.head.document_prompt)
        for projection in self.head.projections:
            projection.to(self.device)
        self.checksum = loading.weights_sha256(folder)
        self._wrap(verify)

    @property
    def reads_first_position_only(self) -> bool:
        """Whether the score depends on the final hidden state of position 0 alone."""
        return self.head.reads_first_position_only

    def tokenize(self, texts: str | Sequence[str]) -> dict[str, Tensor]:
        """Token ids and mask of one or more texts, padded to the longest."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        return _encode(self.tokenizer, texts, max_length=self.max_length)

    def output(self, hidden: Tensor, attention_mask: Tensor) -> Float[Tensor, "text d_embedding"]:
        """Embeddings from final hidden states."""
        return self.head.embed(hidden, attention_mask)

    def relevance(
        self, hidden: Tensor, attention_mask: Tensor, fixed: Float[Tensor, "pair d_embedding"]
    ) -> Float[Tensor, " pair"]:
        """Relevance scores from final hidden states and the other side's embeddings."""
        return self.head.compare(fixed, self.output(hidden, attention_mask))

    @torch.no_grad()
    def embed(self, texts: Sequence[str], *, batch_size: int = BATCH_SIZE) -> Tensor:
        """Embeddings [text, d_embedding] in the order given; prompts are not added."""
        return _in_length_order(list(texts), batch_size, self.forward)

    def score(
        self, query: str, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE
    ) -> Float[np.ndarray, " text"]:
        """Relevance score of each text for the query, float32 [text]; larger is more relevant."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        texts = [self.head.document_prompt + text for text in texts]
        documents = self.embed(texts, batch_size=batch_size)
        queries = self.embed([self.head.query_prompt + query]).expand_as(documents)
        return self.head.compare(queries, documents).cpu().numpy()


class Cat(Ranker):
    """Cross-encoder: query and document are read together; the score is a logit.

    Parameters
    ----------
    name : ``"embedded"`` (ours, on MiniLM's weights), ``"planted"`` (a constructed ranker whose
        mechanism is known, with ``planted_heads``), a local folder, or a hub id.
    max_length, device, verify : as for `Dot`.

    The score is the only logit or, of two, the one that means *relevant* (the last, unless
    ``id2label`` says otherwise). MechIR 0.2.0 takes the first of two and so explains
    non-relevance.

    Raises
    ------
    FileNotFoundError, ImportError, ValueError
        As for `Dot`, and for a checkpoint without a trained classification head.
    """

    kind = "cat"

    def __init__(
        self,
        name: str,
        *,
        max_length: int | None = None,
        device: str = "auto",
        verify: bool = True,
    ) -> None:
        self.planted_heads: frozenset[tuple[int, int]] = frozenset()
        if name == "embedded":
            from mechir_edu import crossencoder

            model, tokenizer = crossencoder.load()
            self.checksum = crossencoder.SHA256
        elif name == "planted":
            from mechir_edu import planted

            model, tokenizer, heads = planted.load()
            self.planted_heads, self.checksum = frozenset(heads), ""
        else:
            folder = loading.model_folder(name)
            model, tokenizer = loading.load_classifier(folder), loading.load_tokenizer(folder)
            self.checksum = loading.weights_sha256(folder)
        super().__init__(name, model, tokenizer, max_length=max_length, device=device)
        self.label = relevant_label(model.config)
        self._wrap(verify)

    @property
    def reads_first_position_only(self) -> bool:
        """Whether the score depends on the final hidden state of position 0 alone."""
        return classifies_first_position(self.hf_model)

    def tokenize(
        self, queries: str | Sequence[str], texts: str | Sequence[str]
    ) -> dict[str, Tensor]:
        """Token ids, mask and types of pairs; one query may go with several texts."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        queries = [queries] * len(texts) if isinstance(queries, str) else list(queries)
        return _encode(self.tokenizer, queries, texts, max_length=self.max_length)

    def output(self, hidden: Tensor, attention_mask: Tensor) -> Float[Tensor, " pair"]:
        """Relevance scores from final hidden states."""
        return classify(self.hf_model, hidden, attention_mask)[:, self.label]

    def relevance(
        self, hidden: Tensor, attention_mask: Tensor, fixed: None = None
    ) -> Float[Tensor, " pair"]:
        """Relevance scores from final hidden states; a cross-encoder has no other side."""
        return self.output(hidden, attention_mask)

    @torch.no_grad()
    def score(
        self, query: str, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE
    ) -> Float[np.ndarray, " text"]:
        """Relevance score of each text for the query, float32 [text]; larger is more relevant."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        scores = _in_length_order(texts, batch_size, lambda some: self.forward(query, some))
        return scores.cpu().numpy()


def _encode(tokenizer: Any, *texts: list[str], max_length: int) -> dict[str, Tensor]:
    # Only the document is ever cut; a query that leaves no room for it is the tokenizer's error.
    truncation = "only_second" if len(texts) > 1 else True
    encoded = tokenizer(
        *texts, padding=True, truncation=truncation, max_length=max_length, return_tensors="pt"
    )
    wanted = ("input_ids", "attention_mask", "token_type_ids")
    return {name: encoded[name] for name in wanted if name in encoded}


def _in_length_order(
    texts: list[str], batch_size: int, run: Callable[[list[str]], Tensor]
) -> Tensor:
    """Run on texts of like length together (little padding); results in the order given."""
    if not texts:
        raise ValueError("needed at least one text to score, got none")
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    results = torch.cat([run([texts[i] for i in batch]) for batch in batches])
    return results[torch.tensor(order, device=results.device).argsort()]


def _max_length(wanted: int | None, stated: int, config: Any) -> int:
    limit = config.max_position_embeddings - first_position(config)
    if wanted is None:
        return min(stated, limit)
    if wanted > limit:
        raise ValueError(f"max_length can be at most {limit} for this checkpoint, got {wanted}")
    return wanted
