"""Patch the published pairs as the paper did, and compare with the published grids.

As it did: activations of the perturbed run into the baseline run, whatever their scores; the
shorter text filled with the word "a"; one ratio per pair, and their plain mean. TAS-B takes [CLS]
and the dot product, which `mechir_edu.Dot` does for a checkpoint that says nothing else.

The grids of several grades are compared one by one and together; *together* is the plain mean of
the grades' grids, as the published grid over all pairs is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from published_files import RANKERS, Published
from scipy.stats import rankdata

from mechir_edu.models import Cat, Dot
from mechir_edu.patching.long_runs.runs import patch_into_folder
from mechir_edu.patching.options import DIRECTIONS, PatchOptions
from mechir_edu.patching.result import PatchingResult
from mechir_edu.perturb.edits import Edit
from mechir_edu.perturb.pair import Pair
from mechir_edu.plots.words import markdown_table, with_interval
from mechir_edu.rankers.base import Ranker
from mechir_edu.stats.clusters import resample_queries
from mechir_edu.stats.maps import Agreement, correlation, on_fishers_scale, weighted_maps

MODELS = {
    "TAS-B": (Dot, "sebastian-hofstaetter/distilbert-dot-tas_b-b256-msmarco"),
    "monoELECTRA": (Cat, "crystina-z/monoELECTRA_LCE_nneg31"),
}
if MODELS.keys() != RANKERS.keys():
    raise RuntimeError("every published ranker needs a model")
AS_PUBLISHED = PatchOptions(direction=DIRECTIONS[0], filler="a")
N_BOOT = 2000


@dataclass(frozen=True, eq=False)
class Comparison:
    """A published grid beside ours, [layer, head], and how far the two correlate over heads.

    Attributes
    ----------
    name : of the pairs, such as "grade 3".
    n_pairs : how many of the published pairs ours is made of.
    pearson, spearman : with intervals over the queries of our pairs (`correlate`).
    """

    name: str
    n_pairs: int
    published: Float[np.ndarray, "layer head"]
    ours: Float[np.ndarray, "layer head"]
    pearson: Agreement
    spearman: Agreement


def load_published_ranker(name: str, model: str | None = None) -> Ranker:
    """Load a published ranker, from the hub's cache or the hub, or from a folder.

    Raises
    ------
    FileNotFoundError
        If it is not at hand.
    """
    kind, hub_id = MODELS[name]
    return kind(model or hub_id)


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


def require_shape(published: Published, ranker: Ranker) -> None:
    """Refuse grids that are not of a ranker's heads, or that have no order of heads.

    Raises
    ------
    ValueError
        For another shape, a cell that is no finite number, or one value in all cells.
    """
    about = f"the published grids of {published.ranker}, {published.axiom}"
    needed = (ranker.n_layers, ranker.n_heads)
    for grid in (published.whole, *published.by_grade):
        if grid.shape != needed:
            raise ValueError(
                f"{about} need a cell for each head of {ranker.name}, shape {needed}; got "
                f"{grid.shape}: take the ranker that they were made with (--model), or the "
                "published files (--files)"
            )
        if not np.isfinite(grid).all() or np.ptp(grid) == 0:
            raise ValueError(
                f"{about} need finite numbers that differ from head to head; take the published "
                "files (--files)"
            )


def compare_grids(
    published: Published, ranker: Ranker, folder: Path, grades: Sequence[int], n: int
) -> str:
    """Patch the first `n` pairs of each grade; say how far the grids agree, by grade and together.

    Parameters
    ----------
    published : pairs and grids of one ranker and axiom.
    ranker : as a rule that ranker.
    folder : where the run is kept; the same call resumes it.
    grades : of the pairs.
    n : how many pairs of each; a published grid is of 1,000.

    Raises
    ------
    ValueError
        For grids of another shape, a grade without pairs, or a pair whose score does not change,
        which has no ratio.
    """
    require_shape(published, ranker)
    pairs = [pair for grade in grades for pair in read_pairs(published, grade)[:n]]
    if lacking := [grade for grade in grades if grade not in {p.relevance for p in pairs}]:
        raise ValueError(
            f"needed pairs of grade {', '.join(map(str, lacking))} for {published.ranker}, "
            f"{published.axiom}; got none: choose other grades, or take the published files"
        )
    patch_into_folder(ranker, pairs, folder, AS_PUBLISHED)
    result = PatchingResult.load(folder)
    title = f"# {published.ranker}, {published.axiom}: published grids and those of {ranker.name}"
    left_out = f"{len(result.skipped)} of {len(pairs)} pairs could not be aligned."
    return "\n\n".join(
        [
            title,
            compare_changes(published, ranker, result),
            *([left_out] if result.skipped else []),
            tell_comparisons(compare_result(published, result, grades)),
        ]
    )


def compare_result(
    published: Published, result: PatchingResult, grades: Sequence[int]
) -> list[Comparison]:
    """Compare what was patched with the published grids, by grade and together."""
    result.recovery(how="mean_of_ratios")  # refuses pairs without a ratio
    ratios = result.effect() / np.subtract(result.donor, result.recipient, dtype=np.float64)
    query_ids = np.array(result.query_ids)
    of_grade = np.array([pair.relevance for pair in result.pairs])
    queries, maps = np.unique(query_ids), {}
    weights = resample_queries(len(queries), N_BOOT, seed=0)
    weights = np.vstack([np.ones(weights.shape[1]), weights])
    for grade in grades:
        chosen = of_grade == grade
        drawn = weighted_maps(ratios[..., chosen], query_ids[chosen], queries, weights)
        maps[grade] = drawn.reshape(-1, *ratios.shape[:-1])
    comparisons = [
        _compare(f"grade {grade}", query_ids[of_grade == grade], published.by_grade[grade], drawn)
        for grade, drawn in maps.items()
    ]
    if len(grades) > 1:
        grid, ours = (
            published.by_grade[list(grades)].mean(axis=0),
            np.mean([*maps.values()], axis=0),
        )
        comparisons.append(_compare("together", query_ids, grid, ours))
    return comparisons


def _compare(name: str, query_ids: np.ndarray, grid: np.ndarray, maps: np.ndarray) -> Comparison:
    n_queries = len(np.unique(query_ids))
    pearson, spearman = correlate(grid, maps, n_queries)
    return Comparison(name, len(query_ids), grid, maps[0], pearson, spearman)


def correlate(
    grid: Float[np.ndarray, "layer head"],
    maps: Float[np.ndarray, "draw layer head"],
    n_queries: int,
) -> tuple[Agreement, Agreement]:
    """Pearson's and Spearman's correlation of a grid with a map, over cells.

    The intervals are normal on Fisher's scale, with the spread over resampled queries, as in
    `mechir_edu.stats.profile_correlation`. The grid is taken as it is, for the pairs that it was
    made of cannot be drawn again: an interval says how far the correlation depends on which of the
    queries *we* patched.

    Parameters
    ----------
    grid : the published one.
    maps : ours, and then ours on each resample of the queries.
    n_queries : how many they are.
    """
    cells = grid.reshape(1, -1).astype(np.float64), maps.reshape(len(maps), -1)
    return tuple(
        _agreement(*sides, n_queries) for sides in (cells, [rankdata(c, axis=-1) for c in cells])
    )


def _agreement(grid: np.ndarray, maps: np.ndarray, n_queries: int) -> Agreement:
    r = correlation(grid, maps)
    low, _, high = on_fishers_scale(r, 0.95)
    return Agreement(float(r[0]), low, high, grid.size, n_queries)


def compare_changes(published: Published, ranker: Ranker, result: PatchingResult) -> str:
    """Say how far the score changes of single pairs are the published ones."""
    both = [ranker.score(p.query, [p.baseline, p.perturbed]) for p in result.pairs]
    ours = np.diff(np.array(both, dtype=np.float64))[:, 0]
    keys = ["qid", "docno", "relevance"]
    theirs = published.pairs.set_index(keys)["score_delta"]
    theirs = theirs.loc[[(p.query_id, p.doc_id, p.relevance) for p in result.pairs]].to_numpy()
    return (
        f"Score changes of the pairs: correlation with the published ones "
        f"{np.corrcoef(ours, theirs)[0, 1]:.3f}, largest difference "
        f"{np.abs(ours - theirs).max():.3g} (largest change {np.abs(theirs).max():.3g})."
    )


def tell_comparisons(comparisons: Sequence[Comparison]) -> str:
    """Lay out the correlations, and below them each head of the last comparison."""
    rows = [
        [
            c.name,
            c.n_pairs,
            c.pearson.n_queries,
            *(with_interval(r.value, r.low, r.high) for r in (c.pearson, c.spearman)),
            f"{np.abs(c.ours - c.published).max():.3f}",
            f"{np.abs(c.published).max():.3f}",
        ]
        for c in comparisons
    ]
    header = ["pairs of", "pairs", "queries", "Pearson", "Spearman", "largest difference"]
    last = comparisons[-1]
    heads = [
        [f"{layer}.{head}", f"{published:+.3f}", f"{ours:+.3f}", f"{ours - published:+.3f}"]
        for (layer, head), published, ours in zip(
            np.ndindex(last.ours.shape), last.published.flat, last.ours.flat, strict=True
        )
    ]
    return "\n\n".join(
        [
            markdown_table([*header, "largest published cell"], rows, aligned=True),
            f"Each head (layer.head), {last.name}:",
            markdown_table(["head", "published", "ours", "ours - published"], heads, aligned=True),
        ]
    )
