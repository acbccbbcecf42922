"""Derive from the published grids what they are means of, and how far they repeat.

Each function looks at the files and gives one `Claim`. Nothing here needs a model.
"""

from collections.abc import Sequence

import numpy as np
from published_claims import Claim, by_grade
from published_files import GRADES, Published

QUOTED = {(1, 6): -0.214, (2, 3): -0.184, (0, 9): -0.132, (5, 8): 0.078}


def grids_are_means_of_ratios(published: Sequence[Published]) -> Claim:
    """The grid over all pairs weights every pair alike, whatever its score change."""
    plain, weighted = [], []
    for entry in published:
        weights = by_grade(entry)["score_delta"].mean().to_numpy()
        mean = np.tensordot(weights / weights.sum(), entry.by_grade, 1)
        plain.append(np.abs(entry.whole - entry.by_grade.mean(axis=0)).max())
        weighted.append(np.abs(entry.whole - mean).max())
    return Claim(
        "A grid is a mean of ratios, and no ratio of means",
        "grades have 1,000 pairs each, so a mean of ratios over all pairs is the plain mean of the "
        "four grades' grids; a ratio of means weights grades by their mean score change",
        f"largest difference from the plain mean {max(plain):.0e}, from the weighted mean "
        f"{min(weighted):.2f} to {max(weighted):.2f}",
        max(plain) < 1e-5 < min(weighted),
    )


def cross_encoder_grids_disagree(published: Sequence[Published]) -> Claim:
    """The cross-encoder's grids look like noise."""
    correlations, cells = agreement(published, "monoELECTRA")
    return Claim(
        "The monoELECTRA grids do not repeat from grade to grade",
        "Pearson's correlation of the grids of two grades, all six pairs of grades, both axioms; "
        "largest cell of a grade",
        f"r {min(correlations):.2f} to {max(correlations):.2f}, mean {np.mean(correlations):.2f}; "
        f"cells up to ±{cells:.1f}",
        abs(float(np.mean(correlations))) < 0.2 and cells > 1,
    )


def tasb_grids_agree(published: Sequence[Published]) -> Claim:
    """The bi-encoder's grids repeat."""
    correlations, cells = agreement(published, "TAS-B")
    return Claim(
        "The TAS-B grids do",
        "the same",
        f"r {min(correlations):.2f} to {max(correlations):.2f}, mean {np.mean(correlations):.2f}; "
        f"cells up to ±{cells:.2f}",
        min(correlations) > 0.3,
    )


def tasb_cells(published: Sequence[Published]) -> Claim:
    """Figures to compare a reproduction with."""
    grid = next(p.by_grade[3] for p in published if (p.ranker, p.axiom) == ("TAS-B", "TFC1"))
    cells = {place: float(grid[place]) for place in QUOTED}
    return Claim(
        "Cells to compare a reproduction with: TAS-B, TFC1, grade 3",
        "read off the grid, (layer, head); the last is its maximum",
        ", ".join(f"({layer}, {head}) {value:.3f}" for (layer, head), value in cells.items()),
        all(abs(cells[place] - value) < 6e-4 for place, value in QUOTED.items())
        and float(grid.max()) == cells[5, 8],
    )


def agreement(published: Sequence[Published], ranker: str) -> tuple[list[float], float]:
    """Correlations of a ranker's grids between grades, and its largest cell."""
    grids = [entry.by_grade for entry in published if entry.ranker == ranker]
    upper = np.triu_indices(len(GRADES), 1)
    correlations = [np.corrcoef(grid.reshape(len(GRADES), -1))[upper] for grid in grids]
    return np.concatenate(correlations).tolist(), float(max(np.abs(grid).max() for grid in grids))
