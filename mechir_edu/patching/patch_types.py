"""MechIR's names for what is patched, as the paper's code calls them."""

from collections.abc import Sequence
from typing import Any

from mechir_edu.alignment.aligned import AlignedPairs
from mechir_edu.collection.given import checked_kind
from mechir_edu.patching.activation import patch
from mechir_edu.patching.result import PatchingResult
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.hook_names import Head


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
