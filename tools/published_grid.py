"""Patch the published pairs as the paper did, and compare with the published grid.

As it did: activations of the perturbed run into the baseline run, whatever their scores; the
shorter text filled with the word "a"; one ratio per pair, and their plain mean. TAS-B takes [CLS]
and the dot product, which `mechir_edu.Dot` does for a checkpoint that says nothing else.
"""

from collections.abc import Sequence

import numpy as np
from published_files import RANKERS, Published

from mechir_edu.models import Cat, Dot
from mechir_edu.patching.activation import patch
from mechir_edu.perturb.edits import Edit
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker

MODELS = {
    "TAS-B": (Dot, "sebastian-hofstaetter/distilbert-dot-tas_b-b256-msmarco"),
    "monoELECTRA": (Cat, "crystina-z/monoELECTRA_LCE_nneg31"),
}
if MODELS.keys() != RANKERS.keys():
    raise RuntimeError("every published ranker needs a model")


def compare_grid(published: Published, grade: int, n: int, model: str | None = None) -> str:
    """Patch the first `n` pairs of a grade and say how far the grids agree.

    Parameters
    ----------
    published : pairs and grids of one ranker and axiom.
    grade : of the pairs.
    n : how many of them; the published grid is of 1,000.
    model : a folder or hub id; the published ranker's hub id when omitted.
    """
    kind, hub_id = MODELS[published.ranker]
    pairs = read_pairs(published, grade)[:n]
    reproduced = patch_as_published(kind(model or hub_id), pairs)
    grid = published.by_grade[grade]
    correlation = np.corrcoef(reproduced.ravel(), grid.ravel())[0, 1]
    return (
        f"{published.ranker}, {published.axiom}, grade {grade}, {len(pairs)} pairs: correlation "
        f"with the published grid {correlation:.3f}, largest difference "
        f"{np.abs(reproduced - grid).max():.3f} (largest cell {np.abs(grid).max():.3f})"
    )


def read_pairs(published: Published, grade: int) -> list[Pair]:
    """Turn a grade's rows into pairs; the edit is what stands behind the text."""
    rows = published.pairs.assign(term=published.terms).query("relevance == @grade")
    return [
        Pair(
            row.qid,
            row.docno,
            row.query,
            row.text,
            row.perturbed_text,
            published.axiom,
            1,
            relevance=grade,
            term=row.term,
            edit=Edit((len(row.text), len(row.text)), (len(row.text), len(row.perturbed_text))),
        )
        for row in rows.itertuples()
    ]


def patch_as_published(ranker: Ranker, pairs: Sequence[Pair]) -> np.ndarray:
    """Mean of per-pair ratios for each head, [layer, head]."""
    result = patch(ranker, pairs, direction="perturbed_to_baseline", filler="a")
    return result.recovery(how="mean_of_ratios").value
