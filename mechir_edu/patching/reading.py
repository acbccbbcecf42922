"""One pair as a ranker reads it, in tokens and scores: what pictures of a pair are drawn from."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool


@dataclass(frozen=True, eq=False)
class PairReading:
    """Both versions of a pair, token for token; pass it on to `plots.plot_pair`.

    Attributes
    ----------
    baseline, perturbed : one label for each position, as the tokenizer writes it; equally many.
    edited : True where the two differ, filled gaps included.
    baseline_score, perturbed_score : relevance scores of these very tokens.
    """

    baseline: tuple[str, ...]
    perturbed: tuple[str, ...]
    edited: Bool[np.ndarray, " pos"]
    baseline_score: float
    perturbed_score: float

    @property
    def score_change(self) -> float:
        """Perturbed minus baseline score."""
        return self.perturbed_score - self.baseline_score
