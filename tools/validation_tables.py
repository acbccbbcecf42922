"""Measure each question of the validation and lay the answers out as tables."""

from collections.abc import Iterable
from itertools import product

import numpy as np
from null_studies import EXCHANGES, N_HEADS, Null, measure_null
from other_intervals import METHODS, compare
from real_scores import Run, examine
from simulate import QUESTIONS, SHAPES, Coverage, Design, measure_coverage

from mechir_edu.plots.words import markdown_table

USUAL = ("normal", "exponential")


def hard_designs(designs: dict[str, Design]) -> list[Design]:
    """What lies outside the range in which the intervals are meant to hold."""
    lopsided = designs["DL19"].counts.copy()
    lopsided[-3:] *= 10
    few = designs["DL19"].counts[::6]
    return [
        Design(f"DL19, three queries with {lopsided[-3:].sum() / lopsided.sum():.0%} of the pairs",
               lopsided),
        Design(f"{len(few)} queries", few),
    ]  # fmt: skip


def tell_designs(designs: Iterable[Design]) -> str:
    """Describe how many pairs the queries have."""
    rows = []
    for design in designs:
        sizes = design.counts.sum(axis=1)
        effective = sizes.sum() ** 2 / (sizes**2).sum()
        spread = f"{sizes.min()} to {sizes.max()}, median {np.median(sizes):.0f}"
        rows.append([design.name, f"{sizes.sum()}", f"{len(sizes)}", spread, f"{effective:.0f}"])
    text = (
        "Seeded samples of 1,000 judged pairs, even over grades, as `Collection.sample` draws them "
        "(`tools/cluster_sizes.json`). The last column is the number of equally large queries that "
        "would weigh as evenly.\n\n"
    )
    return text + markdown_table(
        ["design", "pairs", "queries", "pairs per query", "even queries"], rows
    )


def show(coverage: Coverage) -> str:
    """Write a coverage with the misses on either side."""
    mark = "" if coverage.is_within() else " **(!)**"
    return f"{coverage.held:.1%}{mark} ({coverage.below:.1%} / {coverage.above:.1%})"


def tell_coverage(designs: Iterable[Design], n: int, seed: int) -> str:
    """Measure every question under every design."""
    rows, coverages = [], []
    for design, (name, ask) in product(designs, QUESTIONS.items()):
        if name == "grade trend" and design.counts.shape[1] == 1:
            continue
        by_shape = [measure_coverage(ask, design, shape, n=n, seed=seed) for shape in USUAL]
        coverages += by_shape
        rows.append([design.name, name, *map(show, by_shape)])
    within = sum(coverage.is_within() for coverage in coverages)
    held = [coverage.held for coverage in coverages]
    lowest, highest = min(held), max(held)
    text = (
        f"{n:,} data sets for each cell; a coverage of 95 % is then measured to within "
        f"{coverages[0].error:.2%} (two standard errors). In brackets: intervals that lay wholly "
        "below the truth, and wholly above it. Exponential query effects have a skewness of 2. A "
        "*weak change* is a mean score change of about "
        f"0.4 standard deviations of a pair. A contrast with a control is a mean of differences, "
        f"so the first row is also about contrasts.\n\n**{within} of {len(coverages)} cells are "
        f"between 94 % and 96 %, give or take that error; the lowest is {lowest:.1%}, the highest "
        f"{highest:.1%}.** Cells outside are marked (!).\n\n"
    )
    return text + markdown_table(["design", "question", *USUAL], rows)


def tell_limits(designs: dict[str, Design], n: int, seed: int) -> str:
    """Measure where queries are very unlike, very few, or dominated by some."""
    names = ("mean score change", "recovery")
    cells = [(designs["DL19"], "log-normal"), (designs["DL19"].only(3), "log-normal")]
    cells += list(product(hard_designs(designs), USUAL))
    rows = [
        [design.name, shape]
        + [show(measure_coverage(QUESTIONS[name], design, shape, n=n, seed=seed)) for name in names]
        for design, shape in cells
    ]
    skewness = float(SHAPES["log-normal"].stats("s"))
    text = (
        f"Log-normal query effects have a skewness of {skewness:.1f}: now and then a query moves "
        "many times as far as the others. No interval that we know holds 95 % of the time there, "
        "since most samples contain no such query. Nor does one where a few queries own most of "
        "the pairs; draw pairs evenly over queries, as `make_pairs` does. Rank correlations of "
        "head maps (`profile_correlation`) are not among the questions: noise in either map lowers "
        "the correlation itself, so that their interval is about maps of this size.\n\n"
    )
    return text + markdown_table(["design", "query effects", *names], rows)


def tell_methods(design: Design, n: int, seed: int) -> str:
    """Compare with other ways to make an interval for a mean."""
    cells = list(product((design, design.only(3)), SHAPES))
    columns = [compare(part, shape, n=n, seed=seed) for part, shape in cells]
    rows = [[method, *(f"{column[method].held:.1%}" for column in columns)] for method in METHODS]
    text = (
        "The mean score change again, by other methods on the same data sets. The last row is "
        "`mechir_edu.stats.intervals`.\n\n"
    )
    return text + markdown_table(["interval", *(f"{d.name}, {s}" for d, s in cells)], rows)


def tell_null(designs: Iterable[Design], n: int, seed: int) -> str:
    """Measure how often a study without effects shows a head."""
    rows: list[list[str]] = []
    worst = Null(0.0, 0.0, n)
    for design, exchange, shape in product(designs, EXCHANGES, USUAL):
        null = measure_null(design, shape, exchange, n=n, seed=seed)
        worst = max(worst, null, key=lambda null: null.corrected)
        rates = (f"{null.corrected:.1%}", f"{null.uncorrected:.0%}")
        rows.append([design.name, f"by {exchange}", shape, *rates])
    text = (
        f"{n:,} studies of {N_HEADS} heads for each row, donor and recipient exchanged at random "
        "(`tools/null_studies.py` says how). A rate of 5 % is measured to within "
        f"{worst.error:.1%}. **At most {worst.corrected:.1%} of the studies showed any head with "
        "q < 0.05.** That is less than the 5 % that are allowed: the correction holds whatever the "
        "heads have to do with each other, and pays for it with some caution. The last column is "
        "what uncorrected p values would have shown.\n\n"
    )
    head = ["design", "exchanged", "query effects", "any q < 0.05", "any p < 0.05"]
    return text + markdown_table(head, rows)


def tell_real(runs: Iterable[Run], n: int, seed: int) -> str:
    """Draw studies from the queries of our study."""
    rows = []
    for run in runs:
        result = examine(run, n=n, seed=seed)
        size = f"{len(run.change):,} pairs of {len(set(run.query_ids))} queries"
        skews = f"{result.change_skewness:+.1f} / {result.effect_skewness:.1f}"
        null = f"{result.null.corrected:.1%}"
        rows.append(
            [f"{run.name}, {size}", skews, show(result.change), show(result.recovery), null]
        )
    text = (
        "The queries of [our study](report.md) stand for all queries, and "
        f"{n:,} studies are drawn from them (`tools/real_scores.py`): real queries, as unlike as "
        "they are. Skewness is that of the queries' means, of the score change and (median of the "
        "heads, without sign) of the effects. In the last column donor and recipient are exchanged "
        "by query.\n\n"
    )
    head = ["scores", "skewness", "mean score change", "recovery, all heads", "any q < 0.05"]
    return text + markdown_table(head, rows)
