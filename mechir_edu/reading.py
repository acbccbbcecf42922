"""Read one pair as a ranker reads it: the aligned tokens of both versions, and both scores."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from mechir_edu.aligned import Role
from mechir_edu.perturb import Pair
from mechir_edu.scoring import align_for, score_pairs

if TYPE_CHECKING:
    from mechir_edu.rankers import Ranker


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


def read_pair(ranker: "Ranker", pair: Pair, *, filler: str = "a") -> PairReading:
    """Align and score one pair as `mechir_edu.patch` does.

    Parameters
    ----------
    ranker : a `Dot` or `Cat`.
    pair : what is to be read. The baseline is scored with its filler in it, because that is what
        patching compares with.
    filler : what stands in the gaps, as for `mechir_edu.align`.

    Raises
    ------
    ValueError
        If the pair cannot be aligned, with the reason.
    """
    aligned = align_for(ranker, [pair], filler)
    scores = score_pairs(ranker, aligned)
    (one,) = aligned.aligned
    sides = (one.baseline_ids, one.perturbed_ids)
    tokens = [tuple(ranker.tokenizer.convert_ids_to_tokens(ids.tolist())) for ids in sides]
    return PairReading(
        *tokens, one.roles == Role.EDIT, float(scores.baseline[0]), float(scores.perturbed[0])
    )
