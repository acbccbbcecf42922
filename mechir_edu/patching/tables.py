"""Cells as rows of a table: which layer, head or role each is, and its recovery."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from mechir_edu.alignment.aligned import ROLE_NAMES
from mechir_edu.stats.recovered import Recovery


def recovery_table(
    recovery: Recovery,
    heads: Sequence[Sequence[int]] | None = None,
    constants: Iterable[int] = (),
) -> pd.DataFrame:
    """One row for each cell: layer, head (role), recovery, low, high, q, n_pairs, n_queries.

    Where there are layers whose site is the same in every run, ``constant`` says which cells.

    Parameters
    ----------
    recovery : with any axes.
    heads : (layer, head) of each entry of an axis named "cell".
    constants : layers whose site is the same in every run.
    """
    index = np.indices(recovery.value.shape).reshape(recovery.value.ndim, -1)
    columns = cell_columns(recovery.axes, index, heads)
    columns["recovery"] = recovery.value.ravel()
    columns |= {"low": recovery.low.ravel(), "high": recovery.high.ravel()}
    columns["q"] = recovery.q.ravel()
    if (layers := list(constants)) and "layer" in columns:
        columns["constant"] = np.isin(columns["layer"], layers)
    table = pd.DataFrame(columns)
    return table.assign(n_pairs=recovery.n_pairs, n_queries=recovery.n_queries)


def cell_columns(
    axes: Sequence[str],
    index: Sequence[np.ndarray] | np.ndarray,
    heads: Sequence[Sequence[int]] | None = None,
) -> dict[str, np.ndarray]:
    """Name the cells: one column for each axis, roles by their names, chosen heads as two."""
    columns: dict[str, np.ndarray] = {}
    for name, places in zip(axes, index, strict=True):
        if name == "cell" and heads is not None:
            columns["layer"], columns["head"] = np.asarray(heads)[places].T
        else:
            columns[name] = np.array(ROLE_NAMES)[places] if name == "role" else places
    return columns
