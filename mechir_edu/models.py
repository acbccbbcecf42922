"""The rankers as users know them: ``Dot`` and ``Cat``, the paper's names for its kinds.

Each is a kind of `mechir_edu.rankers` with the paper's methods on top: patch it, put it under an
intervention, or hand it to PyTerrier.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mechir_edu.alignment.aligned import AlignedPairs
from mechir_edu.collection.given import checked_kind
from mechir_edu.interventions.intervened import Intervened, Intervention, intervene
from mechir_edu.patching.activation import patch
from mechir_edu.patching.engines.choice import require_agreement
from mechir_edu.patching.result import PatchingResult
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.bi_encoder import BiEncoder
from mechir_edu.rankers.cross_encoder import CrossEncoder
from mechir_edu.rankers.hook_names import Head

if TYPE_CHECKING:
    from mechir_edu.interventions.pyterrier import Reranker


class _WithPatching(Ranker):
    """What a user asks of a ranker beside its scores and activations."""

    def patch(
        self,
        aligned: AlignedPairs,
        *,
        patch_type: str = "head_all",
        layer_head_list: Sequence[Head] = (),
        **options: Any,
    ) -> PatchingResult | dict[str, PatchingResult]:
        """Patch a collator's batch: MechIR's entry point, see `patch_batch`."""
        return patch_batch(
            self, aligned, patch_type=patch_type, layer_head_list=layer_head_list, **options
        )

    def verify_further(self) -> None:
        """Verify at load that fast patching equals patching through hooks."""
        require_agreement(self)

    def under(self, intervention: Intervention) -> Intervened:
        """The same ranker, to score or patch with heads knocked out, scaled or steered.

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


def patch_batch(
    ranker: Ranker,
    aligned: AlignedPairs,
    *,
    patch_type: str = "head_all",
    layer_head_list: Sequence[Head] = (),
    **options: Any,
) -> PatchingResult | dict[str, PatchingResult]:
    """Patch a collator's batch under MechIR's names for what is patched.

    ``head_all`` patches each head; ``block_all`` each position of ``resid_pre``, ``attn_out`` and
    ``mlp_out``; ``head_by_pos`` each position of z and pattern of the heads in
    ``layer_head_list``. The last two return a result for each site. Where MechIR always puts the
    perturbed run into the baseline run, so does this unless ``direction`` says otherwise.

    Raises
    ------
    TypeError, ValueError
        For anything but a collator's batch, another ``patch_type``, or ``head_by_pos`` without
        heads.
    """
    checked_kind(aligned, AlignedPairs, "aligned", "a batch of a collator", ranker=ranker)
    chosen: dict[str, Any] = {"direction": "perturbed_to_baseline", "progress": False, **options}
    if patch_type == "head_all":
        return patch(ranker, aligned, site="head", **chosen)
    sites: tuple[str, ...]
    if patch_type == "block_all":
        sites, chosen["by"] = ("resid_pre", "attn_out", "mlp_out"), "pos"
    elif patch_type == "head_by_pos":
        sites, chosen["by"], chosen["heads"] = ("head", "pattern"), "pos", layer_head_list
    else:
        raise ValueError(
            f"patch_type must be head_all, block_all or head_by_pos, got {patch_type!r}"
        )
    return {site: patch(ranker, aligned, site=site, **chosen) for site in sites}
