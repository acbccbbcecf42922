"""What the kinds share that encode query and document separately, and then compare them."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechir_edu.collection.given import checked_text
from mechir_edu.rankers.base import BATCH_SIZE, During, Inputs, Ranker, undisturbed
from mechir_edu.rankers.texts import encode, in_length_order, listed


class EncodesApart(Ranker):
    """A ranker that encodes query and document separately; its kind says how it compares them.

    A kind defines `output`, what a text is encoded as, `relevance`, and `compare`.
    """

    reads_together = False

    def tokenize(self, texts: str | Sequence[str]) -> Inputs:
        """Token ids and mask of one or more texts, padded to the longest."""
        return encode(self.tokenizer, listed(texts), max_length=self.max_length)

    def publisher_output(self, inputs: Inputs) -> Float[Tensor, "text ..."]:  # noqa: D102
        return self.output(self.hf_model(**inputs)[0], inputs["attention_mask"])

    @torch.no_grad()
    def encode_fixed(  # noqa: D102
        self, sequences: Sequence[np.ndarray]
    ) -> Float[Tensor, "pair ..."]:
        # The same query stands in many pairs: encode each once.
        unique = {ids.tobytes(): ids for ids in sequences}
        encoded = {key: self.encode_tokens(ids) for key, ids in unique.items()}
        return self.stacked([encoded[ids.tobytes()] for ids in sequences])

    def encode_tokens(self, ids: np.ndarray) -> Float[Tensor, "..."]:
        """Encode one query by its token ids, special ones included."""
        return self.forward(torch.from_numpy(ids).unsqueeze(0))[0]

    @staticmethod
    def stacked(encoded: Sequence[Tensor]) -> Float[Tensor, "text ..."]:
        """Encoded texts side by side."""
        return torch.stack(list(encoded))

    @torch.no_grad()
    def embed(
        self, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE
    ) -> Float[Tensor, "text ..."]:
        """Encode texts without any prompt, in the order given."""
        return in_length_order(listed(texts), batch_size, self.forward)

    def encode_query(self, query: str) -> Float[Tensor, "1 ..."]:
        """Encode a query, with the checkpoint's prompt before it."""
        return self.embed(self.prompts.query + checked_text(query, "query"))

    def encode_documents(
        self, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE
    ) -> Float[Tensor, "text ..."]:
        """Encode documents, with the checkpoint's prompt before each."""
        texts = [self.prompts.document + text for text in listed(texts)]
        return self.embed(texts, batch_size=batch_size)

    def compare(
        self, query: Float[Tensor, "1 ..."], documents: Float[Tensor, "text ..."]
    ) -> Float[np.ndarray, " text"]:
        """Relevance scores of encoded documents for an encoded query."""
        raise NotImplementedError

    @torch.no_grad()
    def score(
        self,
        query: str,
        texts: str | Sequence[str],
        *,
        batch_size: int = BATCH_SIZE,
        during: During = undisturbed,
    ) -> Float[np.ndarray, " text"]:
        """Relevance score of each text for the query, float32; larger is more relevant.

        The checkpoint's prompts are put before query and texts, which are cut at ``max_length``
        tokens. Whatever is no text is a TypeError.
        """
        query = checked_text(query, "query")
        texts = [self.prompts.document + text for text in listed(texts)]
        with during("query"):
            encoded = self.encode_query(query)

        def compare(part: list[str]) -> Float[Tensor, " text"]:
            inputs = self.model_inputs(**self.tokenize(part))
            fixed = encoded.expand(len(part), *encoded.shape[1:])
            return self.relevance(self.hidden(inputs), self.counts(inputs), fixed)

        with during("document"):
            return in_length_order(texts, batch_size, compare).cpu().numpy()
