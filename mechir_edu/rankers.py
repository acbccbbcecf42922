"""Rankers with hooks: ``Dot`` (bi-encoder) and ``Cat`` (cross-encoder).

A ranker turns a query and a document into a *relevance score*, the number it ranks by. ``Dot``
encodes both alone and compares the embeddings; ``Cat`` reads ``[CLS] query [SEP] document [SEP]``
and classifies. Both are Hugging Face models wrapped in place by TransformerLens, so ``hook_dict``,
``run_with_cache`` and ``run_with_hooks`` work as they do there (`mechir_edu.hooked`); hook names
are drawn in `mechir_edu.adapters`. Scores equal those of the publisher's library.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from mechir_edu import loading
from mechir_edu.hooked import Inputs, Ranker
from mechir_edu.readout import (
    Embedding,
    Hidden,
    Mask,
    classifies_first_position,
    classify,
    read_embedding_head,
    relevant_label,
)

BATCH_SIZE = 32


class Dot(Ranker):
    """Bi-encoder: query and document are encoded alone and their embeddings compared.

    Parameters
    ----------
    name : ``"embedded"`` (all-MiniLM-L6-v2), a local folder, or a hub id.
    pooling, similarity : override what the checkpoint says (`mechir_edu.readout`); a checkpoint
        that says nothing gets "cls" and "dot", as in MechIR.
    max_length : longest sequence in tokens, special ones counted; the checkpoint's by default.
    device : "auto" (a GPU where there is one), "cpu", "cuda", ...
    verify : prove at load that outputs equal Hugging Face's and that every site is causal.

    Raises
    ------
    FileNotFoundError
        For a name that is neither a folder nor at the hub, or a folder without weights.
    ImportError
        For ``"embedded"`` without the package that holds the weights.
    ValueError
        For a generative or unsupported model, missing or altered weights, an unsupported pooling
        or ``max_length``.
    RuntimeError
        For a checkpoint that fails the proof (`mechir_edu.proof`).

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
        name: str | Path,
        *,
        pooling: str | None = None,
        similarity: str | None = None,
        max_length: int | None = None,
        device: str = "auto",
        verify: bool = True,
    ) -> None:
        folder = loading.model_folder(str(name))
        head = read_embedding_head(folder, pooling=pooling, similarity=similarity)
        super().__init__(
            str(name),
            loading.load_encoder(folder),
            loading.load_tokenizer(folder),
            checksum=loading.weights_sha256(folder),
            max_length=max_length,
            device=device,
        )
        self.head, self.prompts = head, (head.query_prompt, head.document_prompt)
        for projection in head.projections:
            projection.to(self.device)
        self._wrap(verify)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, {self.head.pooling} pooling, {self.head.similarity})"

    @property
    def reads_first_position_only(self) -> bool:
        """Whether the score depends on the final hidden state of position 0 alone."""
        return self.head.reads_first_position_only

    def tokenize(self, texts: str | Sequence[str]) -> Inputs:
        """Token ids and mask of one or more texts, padded to the longest."""
        return _encode(self.tokenizer, _listed(texts), max_length=self.max_length)

    def output(self, hidden: Hidden, attention_mask: Mask) -> Embedding:
        """Embeddings from final hidden states."""
        return self.head.embed(hidden, attention_mask)

    def relevance(
        self,
        hidden: Hidden,
        attention_mask: Mask,
        fixed: Embedding,
    ) -> Float[Tensor, " pair"]:
        """Relevance scores from final hidden states and the other side's embeddings."""
        return self.head.compare(fixed, self.output(hidden, attention_mask))

    @torch.no_grad()
    def embed(
        self, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE
    ) -> Float[Tensor, "text d_embedding"]:
        """Embed texts as they are (no prompt is added), in the order given."""
        return _in_length_order(_listed(texts), batch_size, self.forward)

    def encode_query(self, query: str) -> Float[Tensor, "1 d_embedding"]:
        """Embed a query, with the checkpoint's prompt before it."""
        return self.embed(self.prompts[0] + query)

    def encode_documents(
        self, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE
    ) -> Float[Tensor, "text d_embedding"]:
        """Embed documents, with the checkpoint's prompt before each."""
        texts = [self.prompts[1] + text for text in _listed(texts)]
        return self.embed(texts, batch_size=batch_size)

    def compare(
        self, query: Float[Tensor, "1 d_embedding"], documents: Float[Tensor, "text d_embedding"]
    ) -> Float[np.ndarray, " text"]:
        """Relevance scores of encoded documents for an encoded query."""
        return self.head.compare(query.expand_as(documents), documents).cpu().numpy()

    def score(
        self, query: str, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE
    ) -> Float[np.ndarray, " text"]:
        """Relevance score of each text for the query, float32; larger is more relevant.

        The checkpoint's prompts are put before query and texts, and what is longer than
        ``max_length`` tokens is cut.
        """
        documents = self.encode_documents(texts, batch_size=batch_size)
        return self.compare(self.encode_query(query), documents)


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
    FileNotFoundError, ImportError, ValueError, RuntimeError
        As for `Dot`; a ValueError too for a checkpoint without a trained classification head, or
        with more than two labels.
    """

    kind = "cat"

    def __init__(
        self,
        name: str | Path,
        *,
        max_length: int | None = None,
        device: str = "auto",
        verify: bool = True,
    ) -> None:
        model, tokenizer, checksum, self.planted_heads = _load_cat(str(name))
        self.label = relevant_label(model.config)
        super().__init__(
            str(name), model, tokenizer, checksum=checksum, max_length=max_length, device=device
        )
        self._wrap(verify)

    @property
    def reads_first_position_only(self) -> bool:
        """Whether the score depends on the final hidden state of position 0 alone."""
        return classifies_first_position(self.hf_model)

    def tokenize(self, queries: str | Sequence[str], texts: str | Sequence[str]) -> Inputs:
        """Token ids, mask and types of pairs; one query may go with several texts."""
        texts = _listed(texts)
        queries = [queries] * len(texts) if isinstance(queries, str) else list(queries)
        return _encode(self.tokenizer, queries, texts, max_length=self.max_length)

    def output(self, hidden: Hidden, attention_mask: Mask) -> Float[Tensor, " pair"]:
        """Relevance scores from final hidden states."""
        return classify(self.hf_model, hidden, attention_mask)[:, self.label]

    def relevance(
        self,
        hidden: Hidden,
        attention_mask: Mask,
        fixed: None = None,
    ) -> Float[Tensor, " pair"]:
        """Relevance scores from final hidden states; a cross-encoder has no other side."""
        return self.output(hidden, attention_mask)

    @torch.no_grad()
    def score(
        self, query: str, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE
    ) -> Float[np.ndarray, " text"]:
        """Relevance score of each text for the query, float32; larger is more relevant.

        Texts are cut to what ``max_length`` leaves beside the query, which is never cut.

        Raises
        ------
        ValueError
            When the query leaves no room for a text.
        """

        def run(some: list[str]) -> Tensor:
            return self.forward(query, some)

        scores = _in_length_order(_listed(texts), batch_size, run)
        return scores.cpu().numpy()


def _load_cat(
    name: str,
) -> tuple[nn.Module, PreTrainedTokenizerBase, str, frozenset[tuple[int, int]]]:
    """Model, tokenizer, checksum, and the planted heads where there are any."""
    if name == "embedded":
        from mechir_edu import crossencoder

        return *crossencoder.load(), crossencoder.SHA256, frozenset()
    if name == "planted":
        from mechir_edu import planted

        model, tokenizer, heads = planted.load()
        return model, tokenizer, "", frozenset(heads)
    folder = loading.model_folder(name)
    model, tokenizer = loading.load_classifier(folder), loading.load_tokenizer(folder)
    return model, tokenizer, loading.weights_sha256(folder), frozenset()


def _listed(texts: str | Sequence[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


def _encode(tokenizer: PreTrainedTokenizerBase, *texts: list[str], max_length: int) -> Inputs:
    options = {"padding": True, "padding_side": "right", "return_tensors": "pt"}
    # Of two texts only the document is ever cut.
    options |= {"truncation": "only_second" if len(texts) > 1 else True, "max_length": max_length}
    try:
        encoded = tokenizer(*texts, **options)
    except Exception as error:  # the tokenizers library raises nothing more exact
        if "too short" not in str(error):
            raise
        raise ValueError(
            f"a query leaves no room for a document within {max_length} tokens; shorten it or "
            "raise max_length"
        ) from error
    wanted = ("input_ids", "attention_mask", "token_type_ids")
    return {name: encoded[name] for name in wanted if name in encoded}


def _in_length_order(
    texts: list[str], batch_size: int, run: Callable[[list[str]], Tensor]
) -> Float[Tensor, "text ..."]:
    """Run on texts of like length together (little padding); results in the order given."""
    if not texts:
        raise ValueError("needed at least one text to score, got none")
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    results = torch.cat([run([texts[i] for i in batch]) for batch in batches])
    return results[torch.tensor(order, device=results.device).argsort()]
