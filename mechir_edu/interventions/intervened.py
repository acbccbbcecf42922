"""A ranker under an intervention: it is scored and patched as before, and computes changed scores.

The hooks that make the change are there while a text is read, and gone when that is done or has
failed, so the ranker itself can be used in between, and under many interventions in any order.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mechir_edu.interventions.cuts import Cut
from mechir_edu.interventions.heads import Hooks, Knockout, Scale
from mechir_edu.interventions.steering import Steer, SteerResidual
from mechir_edu.rankers.base import BATCH_SIZE, Ranker, Side
from mechir_edu.rankers.hook_names import require_heads
from mechir_edu.rankers.views import changed_ranker, hooked_first

if TYPE_CHECKING:
    from mechir_edu.interventions.pyterrier import Reranker

OfHeads = Knockout | Scale | Steer
Intervention = OfHeads | SteerResidual | Cut


@dataclass(frozen=True, eq=False)
class Intervened:
    """What `Ranker.under` gives: scores as the ranker's own, with the intervention in place.

    Attributes
    ----------
    ranker : of any kind, the one that is changed while it reads; unchanged otherwise.
    intervention : a `Knockout`, `Scale`, `Steer`, `SteerResidual` or `Cut`.
    hooks : hook functions for each side that is read.
    """

    ranker: Ranker
    intervention: Intervention
    hooks: Mapping[Side, Hooks] = field(repr=False)

    @property
    def kind(self) -> str:
        """Kind of the ranker, such as "dot"."""
        return self.ranker.kind

    @property
    def sides(self) -> tuple[Side, ...]:
        """What the ranker reads in a sequence of its own."""
        return self.ranker.sides

    @property
    def keeps_documents(self) -> bool:
        """Whether documents are encoded once for all queries."""
        return self.ranker.keeps_documents

    @property
    def name(self) -> str:
        """What the ranker was loaded as."""
        return self.ranker.name

    @property
    def _bi_encoder(self) -> Any:
        """The ranker, where it is of a kind that encodes each side alone."""
        return self.ranker

    @contextmanager
    def _in_place(self, side: Side) -> Iterator[None]:
        with self.ranker.alone(), hooked_first(self.ranker, self.hooks[side]):
            yield

    def as_ranker(self) -> Ranker:
        """A ranker that is changed whatever it is asked to read; `mechir_edu.patch` asks for it."""
        return changed_ranker(self.ranker, self._in_place, repr(self.intervention))

    def score(
        self, query: str, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE
    ) -> Float[np.ndarray, " text"]:
        """Relevance score of each text for the query under the intervention, float32."""
        return self.ranker.score(query, texts, batch_size=batch_size, during=self._in_place)

    def encode_query(self, query: str) -> Float[Tensor, "1 ..."]:
        """Embedding of a query (`Dot.encode_query`), changed if queries are."""
        with self._in_place("query"):
            return self._bi_encoder.encode_query(query)

    def encode_documents(
        self, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE
    ) -> Float[Tensor, "text ..."]:
        """Embeddings of documents (`Dot.encode_documents`), changed if documents are."""
        with self._in_place("document"):
            return self._bi_encoder.encode_documents(texts, batch_size=batch_size)

    def compare(
        self, query: Float[Tensor, "1 ..."], documents: Float[Tensor, "text ..."]
    ) -> Float[np.ndarray, " text"]:
        """Relevance scores of encoded documents for an encoded query, as the ranker's own."""
        return self._bi_encoder.compare(query, documents)

    def as_pyterrier(self) -> "Reranker":
        """A PyTerrier transformer that re-ranks under the intervention."""
        from mechir_edu.interventions.pyterrier import Reranker  # an extra

        return Reranker(self)


def intervene(ranker: Ranker, intervention: Intervention) -> Intervened:
    """Prepare an intervention for a ranker; `Ranker.under`.

    Raises
    ------
    TypeError
        For anything but an intervention.
    ValueError
        For a head, layer or width that the ranker lacks, a side of a cross-encoder, or what `Cut`
        refuses.
    """
    if not isinstance(intervention, Intervention):
        raise TypeError(
            f"needed a Knockout, Scale, Steer, SteerResidual or Cut, got {intervention!r}"
        )
    if isinstance(intervention, OfHeads):
        require_heads(intervention.heads, ranker.n_layers, ranker.n_heads)
    if intervention.side not in ("both", *ranker.sides):
        raise ValueError(
            f'a {ranker.kind_name} reads query and document together, so side must be "both", got '
            f"{intervention.side!r}"
        )
    read = [side for side in ranker.sides if intervention.side in ("both", side)]
    with ranker.alone():
        hooks = {side: intervention.hooks(ranker, side) for side in read}
    return Intervened(ranker, intervention, {side: hooks.get(side, []) for side in ranker.sides})
