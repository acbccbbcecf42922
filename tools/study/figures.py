"""Draw the study's figures, and say in words what they show."""

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from study.findings import Findings
from study.plan import MAIN, OF_AXIOMS, PLACES, Condition
from study.words import show

from mechir_edu import plots
from mechir_edu.stats.estimates import mean_change


def draw_heads(some: Sequence[Findings]) -> tuple[Figure, str]:
    """Draw the head maps of both axioms at the end of the document, for each ranker."""
    panel, texts = {}, []
    for condition in (one for one in OF_AXIOMS if one.place == PLACES[0]):
        for one in some:
            recovery = one.heads[condition].recovery
            panel[condition.axiom, _plain(one)] = recovery
            title = f"{condition.axiom}, {one.part.full_name}"
            texts.append(plots.alt_text(recovery, title=title))
    return plots.plot_figure2(panel), " ".join(["Heat maps of recovery per head.", *texts])


def draw_changes(some: Sequence[Findings]) -> tuple[Figure, str]:
    """Draw the score changes of all edits against the untouched document, for each ranker."""
    height = 1.2 + 0.42 * len(MAIN)
    figure, axes = plt.subplots(
        len(some), 1, figsize=(8.5, height * len(some)), squeeze=False, layout="constrained"
    )
    texts = ["Distributions of score changes against the document as it was."]
    for ax, one in zip(axes[:, 0], some, strict=True):
        rows = _rows(one)
        plots.plot_score_change(rows, ax=ax)
        ax.set_title(_plain(one), fontsize=11)
        means = (
            f"{label} {show(mean_change(change, query_ids=ids))}" for label, change, ids in rows
        )
        texts.append(f"Mean for the {one.part.full_name}: {'; '.join(means)}.")
    return figure, " ".join(texts)


def _plain(one: Findings) -> str:
    return one.part.full_name.replace("`", "")


def _rows(one: Findings) -> list[tuple[str, np.ndarray, np.ndarray]]:
    return [
        (_label(condition), one.part.raw_change(condition), one.part.query_ids)
        for condition in MAIN
    ]


def _label(condition: Condition) -> str:
    return f"{condition.axiom}, {condition.place}"
