"""Checks of tutorial 10: a direction judged on held-out rows, and faults told by what hooks do."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mechir_edu.checks._references import held_out_correlation
from mechir_edu.checks._report import Mistake, attempt, checker, mistake_in

_BUGS = {"a": "values", "b": "zeros", "c": "nothing", "d": "right"}
_WHY = {
    "a": "hook a stands at hook_v: it changes the values, and z is pattern times values.",
    "b": "hook b multiplies the mean before it writes it; look at the factor.",
    "c": "hook c edits a clone; follow what it returns.",
    "d": "hook d edits a clone of z, writes the mean there, and returns it.",
}


@checker("fitted on some rows, judged on the others; with enough dimensions only this tells.")
def check_held_out_correlation(answer: Callable) -> str | None:
    """Check a function ``held_out_correlation(x, y, is_learn, ridge=1.0)``.

    It fits a ridge direction on the rows of the mask, and gives its correlation on the others.
    """
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(60, 8)) + 2.0, np.arange(60) < 40
    y = x @ rng.normal(size=8) + 4 * rng.normal(size=60) + 5.0
    x[40:] += 0.3

    def fitted(on: np.ndarray, of: np.ndarray) -> float:
        means, target = x[on].mean(axis=0), y[on] - y[on].mean()
        centred = x[on] - means
        w = np.linalg.solve(centred.T @ centred + np.eye(8), centred.T @ target)
        return float(np.corrcoef(x[of] @ w, y[of])[0, 1])

    everything = np.ones(60, bool)
    raw = np.linalg.solve(x[mask].T @ x[mask] + np.eye(8), x[mask].T @ y[mask])
    return mistake_in(
        attempt(answer, x.copy(), y.copy(), mask),
        held_out_correlation(x, y, mask),
        {
            "you judge it on the rows that it was fitted on; judge it on the others.": fitted(
                mask, mask
            ),
            "you judge it on all rows, those included that it was fitted on.": fitted(
                mask, everything
            ),
            "you fitted on all rows, so the others had a say; fit on the mask's alone.": fitted(
                everything, ~mask
            ),
            "you fitted on the rows to report on; that is the mask the other way round.": fitted(
                ~mask, mask
            ),
            "take the means of the learning rows off before you fit.": float(
                np.corrcoef(x[~mask] @ raw, y[~mask])[0, 1]
            ),
            "the sign is the other way round.": -held_out_correlation(x, y, mask),
            "give one number, element [0, 1] of the matrix.": lambda given: (
                np.shape(given) == (2, 2)
            ),
        },
        tolerance=1e-6,
    )


@checker("judge a hook by what it returns and where it stands, not by its name.")
def check_bugs(answer: Any) -> str | None:
    """Check a dict from "a", "b", "c", "d" to what each hook does."""
    given = attempt(answer)
    if not isinstance(given, Mapping) or set(given) != set(_BUGS):
        raise Mistake('give a dict with the keys "a", "b", "c" and "d".')
    if unknown := sorted(set(map(str, given.values())) - set(_BUGS.values())):
        raise Mistake(f'{unknown[0]!r} is none of "zeros", "values", "nothing" and "right".')
    return next((_WHY[letter] for letter, does in _BUGS.items() if given[letter] != does), None)
