"""The rankers as users know them: ``Dot`` and ``Cat``, the paper's names, and others.

Each is a kind of `mechir_edu.rankers` with the paper's methods on top: patch it, put it under an
intervention, or hand it to PyTerrier.
"""

from typing import TYPE_CHECKING, Any

from mechir_edu.alignment.aligned import AlignedPairs
from mechir_edu.interventions.intervened import Intervened, Intervention, intervene
from mechir_edu.patching.engines.choice import require_agreement
from mechir_edu.patching.patch_types import patch_batch
from mechir_edu.patching.result import PatchingResult
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.bi_encoder import BiEncoder
from mechir_edu.rankers.cross_encoder import CrossEncoder
from mechir_edu.rankers.mono_t5 import MonoT5Encoder
from mechir_edu.rankers.multi_vector import MultiVectorEncoder
from mechir_edu.rankers.sparse import SparseEncoder

if TYPE_CHECKING:
    from mechir_edu.interventions.pyterrier import Reranker


class _WithPatching(Ranker):
    """What a user asks of a ranker beside its scores and activations."""

    def patch(
        self, aligned: AlignedPairs, **options: Any
    ) -> PatchingResult | dict[str, PatchingResult]:
        """Patch a collator's batch: MechIR's entry point, with the options of `patch_batch`."""
        return patch_batch(self, aligned, **options)

    def verify_further(self) -> None:
        """Verify at load that fast patching equals patching through hooks."""
        require_agreement(self)

    def under(self, intervention: Intervention) -> Intervened:
        """The same ranker, to score or patch with heads changed or attention cut.

        See `mechir_edu.interventions`. This ranker itself stays as it is.
        """
        return intervene(self, intervention)

    def as_pyterrier(self, intervention: Intervention | None = None) -> "Reranker":
        """A PyTerrier transformer that re-ranks, see `mechir_edu.interventions.pyterrier`."""
        from mechir_edu.interventions.pyterrier import Reranker  # an extra

        return Reranker(self if intervention is None else self.under(intervention))


class Dot(_WithPatching, BiEncoder):  # noqa: D101
    __doc__ = BiEncoder.__doc__


class Cat(_WithPatching, CrossEncoder):  # noqa: D101
    __doc__ = CrossEncoder.__doc__


class Sparse(_WithPatching, SparseEncoder):  # noqa: D101
    __doc__ = SparseEncoder.__doc__


class MultiVector(_WithPatching, MultiVectorEncoder):  # noqa: D101
    __doc__ = MultiVectorEncoder.__doc__


class MonoT5(_WithPatching, MonoT5Encoder):  # noqa: D101
    __doc__ = MonoT5Encoder.__doc__
