"""Rankers that read query and document together, in one sequence, and give its score."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechir_edu.collection.given import checked_text
from mechir_edu.rankers.base import BATCH_SIZE, During, Inputs, Ranker, undisturbed
from mechir_edu.rankers.pooling import Hidden, Mask
from mechir_edu.rankers.texts import encode, in_length_order, listed, paired


class JointRanker(Ranker):
    """What rankers that read query and document together share; `output` is the kind's."""

    reads_together = True

    def tokenize(self, queries: str | Sequence[str], texts: str | Sequence[str]) -> Inputs:
        """Token ids, mask and types of pairs; one query may go with several texts."""
        return encode(self.tokenizer, *paired(queries, texts), max_length=self.max_length)

    def relevance(
        self,
        hidden: Hidden,
        attention_mask: Mask,
        fixed: None = None,
    ) -> Float[Tensor, " pair"]:
        """Relevance scores from final hidden states; there is no other side."""
        return self.output(hidden, attention_mask)

    def probability(self, scores: Float[np.ndarray, "*axes"]) -> Float[np.ndarray, "*axes"]:
        """Probability of *relevant* that scores stand for; it ranks alike, and is not patched."""
        return 1 / (1 + np.exp(-np.asarray(scores)))

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

        The checkpoint's prompt is put before the query. Texts are cut to what ``max_length`` leaves
        beside the query, which is never cut.

        Raises
        ------
        TypeError
            For whatever is no text, such as a dictionary of texts or several queries.
        ValueError
            When the query leaves no room for a text.
        """
        query = self.prompts.query + checked_text(query, "query") + self.prompts.behind
        texts = [self.prompts.document + text for text in listed(texts)]
        with during("both"):
            scores = in_length_order(texts, batch_size, partial(self.forward, query))
        return scores.cpu().numpy()
