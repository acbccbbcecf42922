"""Answers to exercises that later cells of their tutorials use, so that no cell shows them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from mechir_edu.rankers.hook_names import Head

Option = TypeVar("Option")


def rank_correlation(
    first: Float[np.ndarray, "layer head"], second: Float[np.ndarray, "layer head"]
) -> float:
    """Spearman's correlation of two maps, from -1 to 1."""
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


def flip_by_query(
    effect: Float[np.ndarray, "*cell pair"], query_ids: Sequence[str], rng: np.random.Generator
) -> Float[np.ndarray, "*cell pair"]:
    """Turn the signs of all effects of a query, or of none, by one fair coin for each query."""
    queries, place = np.unique(query_ids, return_inverse=True)
    return effect * rng.choice([-1, 1], size=len(queries))[place]


def random_heads(heads: Sequence[Head], n_heads: int, rng: np.random.Generator) -> list[Head]:
    """Draw as many other heads as there are in `heads`, each in the same layer, none twice."""
    drawn = []
    for layer, wanted in sorted(Counter(layer for layer, _ in heads).items()):
        free = [head for head in range(n_heads) if (layer, head) not in heads]
        drawn += [(layer, int(head)) for head in rng.choice(free, wanted, replace=False)]
    return drawn


def choose_best(
    change: Mapping[Option, Float[np.ndarray, " query"]], is_chosen_on: Bool[np.ndarray, " query"]
) -> tuple[Option, float, float]:
    """Choose the option of the best mean on some queries.

    Returns
    -------
    option, chosen, honest
        Its mean change on the queries that chose it, and on the others.
    """
    best = max(change, key=lambda option: change[option][is_chosen_on].mean())
    return best, float(change[best][is_chosen_on].mean()), float(change[best][~is_chosen_on].mean())


def held_out_correlation(
    x: Float[np.ndarray, "row dimension"],
    y: Float[np.ndarray, " row"],
    is_learn: Bool[np.ndarray, " row"],
    ridge: float = 1.0,
) -> float:
    """Correlation with y, on the other rows, of a ridge direction fitted on the rows of a mask."""
    centred, target = x - x[is_learn].mean(axis=0), y - y[is_learn].mean()
    inner = centred[is_learn].T @ centred[is_learn] + ridge * np.eye(x.shape[1])
    w = np.linalg.solve(inner, centred[is_learn].T @ target[is_learn])
    return float(np.corrcoef(centred[~is_learn] @ w, y[~is_learn])[0, 1])
