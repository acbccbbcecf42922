"""Bi-encoders: query and document are encoded separately, and their embeddings compared."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mechir_edu.rankers.apart import EncodesApart
from mechir_edu.rankers.checkpoint import loading
from mechir_edu.rankers.checkpoint.settings import encoder_folder, stated_modules
from mechir_edu.rankers.checkpoint.tokenizer import load_tokenizer
from mechir_edu.rankers.pooling import Embedding, Hidden, Mask, RowsRead
from mechir_edu.rankers.readout import read_embedding_head
from mechir_edu.rankers.verification import wrap


class BiEncoder(EncodesApart):
    """Bi-encoder: query and document are encoded separately, and their embeddings compared.

    Parameters
    ----------
    name : ``"embedded"`` (all-MiniLM-L6-v2), a local folder, or a hub id.
    pooling, similarity : override the checkpoint's own (`mechir_edu.rankers.readout`); one that
        states none gets "cls" and "dot", as in MechIR.
    max_length : longest sequence in tokens, special ones counted; the checkpoint's by default.
    device : "auto" (a GPU where there is one), "cpu", "cuda", ...
    verify : test at load that outputs equal Hugging Face's and that editing any hook changes the
        score.

    Raises
    ------
    FileNotFoundError
        For a name that is neither a folder nor at the hub, or a folder without weights.
    ImportError
        For ``"embedded"`` without the package that holds the weights.
    TypeError
        For a name that is no text or path, such as a model that was loaded already.
    ValueError
        For an unsupported model, missing, altered or unused weights, settings that
        are not obeyed, an unsupported pooling or ``max_length``.
    RuntimeError
        For a checkpoint that fails verification (`mechir_edu.rankers.verification`).

    Examples
    --------
    >>> import mechir_edu as me
    >>> ranker = me.Dot("embedded")
    >>> scores = ranker.score("coral bleaching", ["Corals expel algae.", "Trains run late."])
    >>> bool(scores[0] > scores[1])
    True
    """

    kind, kind_name = "dot", "bi-encoder"

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
        name = loading.checked_name(name)
        folder = loading.model_folder(name, "dot", says_how=bool(pooling))
        head = read_embedding_head(folder, pooling=pooling, similarity=similarity)
        encoder, says_how = encoder_folder(folder), bool(pooling or stated_modules(folder))
        super().__init__(
            name,
            loading.load_encoder(encoder, says_how=says_how),
            load_tokenizer(encoder),
            checksum=loading.checkpoint_sha256(folder),
            max_length=max_length,
            device=device,
        )
        self.head, self.prompts = head, head.prompts
        for projection in head.projections:
            projection.to(self.device)
        wrap(self, verify=verify)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, {self.head.pooling} pooling, {self.head.similarity})"

    @property
    def settings(self) -> dict[str, str | int]:  # noqa: D102
        head = {"pooling": self.head.pooling, "similarity": self.head.similarity}
        return super().settings | head

    @property
    def rows(self) -> RowsRead:  # noqa: D102
        return self.head.rows

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

    def compare(
        self, query: Float[Tensor, "1 d_embedding"], documents: Float[Tensor, "text d_embedding"]
    ) -> Float[np.ndarray, " text"]:
        """Relevance scores of encoded documents for an encoded query."""
        return self.head.compare(query.expand_as(documents), documents).cpu().numpy()
