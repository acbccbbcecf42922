"""Everything before a patch: align, batch, score both sides, choose the direction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import cast

import numpy as np
import torch
from jaxtyping import Float

from mechir_edu.alignment.aligned import AlignedPairs
from mechir_edu.alignment.aligner import align
from mechir_edu.alignment.made_for import require_made_for
from mechir_edu.collection.judged import Skipped
from mechir_edu.collection.progress import Progress, counted
from mechir_edu.patching.batches import Batch, Encoder, make_batches
from mechir_edu.patching.budget import tokens_for
from mechir_edu.patching.entry import takes_turn
from mechir_edu.patching.options import DIRECTIONS, ChosenDirection, Direction, require_known
from mechir_edu.patching.sweep import Sweep
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker

# Measured: on a CPU more is no faster (and takes more memory); a GPU wants more.
MAX_TOKENS = {"cpu": 400, "cuda": 65_536}


_installed = cache(version)  # each reads the package's files anew


@dataclass(frozen=True, eq=False)
class PairScores:
    """Relevance scores of both versions of each pair, float32 [pair], without any patch."""

    pairs: tuple[Pair, ...]
    baseline: Float[np.ndarray, " pair"]
    perturbed: Float[np.ndarray, " pair"]
    skipped: tuple[Skipped, ...]

    @property
    def query_ids(self) -> list[str]:
        """The query of each pair."""
        return [pair.query_id for pair in self.pairs]

    def score_change(self) -> Float[np.ndarray, " pair"]:
        """Perturbed minus baseline score of each pair."""
        return self.perturbed - self.baseline


@takes_turn
@torch.no_grad()
def score_pairs(
    ranker: Ranker,
    pairs: Sequence[Pair] | AlignedPairs,
    *,
    filler: str = "a",
    memory: int | None = None,
    progress: Progress = True,
) -> PairScores:
    """Score both versions of each pair, aligned as `patch` aligns them.

    The baseline holds the filler where the perturbed version has more tokens, so the score change
    is about *which* token stands there, not about one more token.

    Parameters
    ----------
    ranker, pairs, filler, memory, progress : as in `mechir_edu.patch`.

    Raises
    ------
    ValueError
        For pairs of another kind of ranker, when none can be aligned, or for too little memory.
    """
    aligned, limit = align_for(ranker, pairs, filler), token_limit(ranker, memory)
    batches = list(make_batches(ranker, aligned.aligned, max_tokens=limit))
    scores = score_both(ranker, batches, len(aligned.aligned), progress)
    return PairScores(tuple(pair.pair for pair in aligned.aligned), *scores, aligned.skipped)


def align_for(ranker: Ranker, pairs: Sequence[Pair] | AlignedPairs, filler: str) -> AlignedPairs:
    """Align pairs for a ranker: its tokenizer, its length, its prompts.

    Raises
    ------
    ValueError
        When pairs were aligned for another kind of ranker, another tokenizer, more tokens or other
        prompts, or none could be aligned.
    """
    if not isinstance(pairs, AlignedPairs):
        pairs = align_as_read(ranker, pairs, filler)
    elif pairs.kind != ranker.kind:
        raise ValueError(
            f"pairs were aligned for a {pairs.kind}, but the ranker is a {ranker.kind}"
        )
    else:
        require_made_for(pairs, ranker)
    if not pairs.aligned:
        raise nothing_aligned(pairs.skipped)
    return pairs


def nothing_aligned(skipped: Iterable[Skipped]) -> ValueError:
    """The error for pairs of which none can be aligned, with the reasons."""
    reasons = sorted({skip.reason for skip in skipped}) or ["no pairs were given"]
    return ValueError(f"needed at least one pair that can be aligned; got {'; '.join(reasons)}")


def align_as_read(ranker: Ranker, pairs: Sequence[Pair], filler: str) -> AlignedPairs:
    """Align pairs as the ranker reads them; it may be that none can be aligned."""
    return align(
        pairs,
        ranker.tokenizer,
        kind=ranker.kind,
        filler=filler,
        max_length=ranker.max_length,
        prompts=ranker.prompts,
    )


def choose_direction(
    baseline: Float[np.ndarray, " pair"], perturbed: Float[np.ndarray, " pair"], wanted: Direction
) -> ChosenDirection:
    """Name the direction; "auto" makes the side with the lower mean score the recipient."""
    if wanted == "auto":
        return DIRECTIONS[int(perturbed.mean() < baseline.mean())]
    require_known("direction", wanted, DIRECTIONS)
    return cast(ChosenDirection, wanted)


def in_direction(
    baseline: Float[np.ndarray, " pair"], perturbed: Float[np.ndarray, " pair"], direction: str
) -> tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]]:
    """Put the scores of both versions in the order recipient, donor."""
    into_baseline = direction == "perturbed_to_baseline"
    return (baseline, perturbed) if into_baseline else (perturbed, baseline)


def token_limit(ranker: Ranker, memory: int | None = None) -> int:
    """Tokens that fill one pass on the ranker's device (`MAX_TOKENS`), within a budget in bytes."""
    is_cuda = ranker.device.type == "cuda"
    suits = MAX_TOKENS["cuda" if is_cuda else "cpu"]
    if memory is None:
        return suits
    # More memory makes a GPU faster; on a CPU it would only overflow the caches.
    return tokens_for(memory, ranker) if is_cuda else min(suits, tokens_for(memory, ranker))


def passes_at_once(ranker: Ranker, memory: int | None = None) -> int:
    """Passes of `token_limit` that cores, and a budget in bytes, have room for side by side."""
    if ranker.device.type != "cpu":
        return 1
    n_cores = torch.get_num_threads()
    if memory is None:
        return n_cores
    return max(1, min(n_cores, tokens_for(memory, ranker) // MAX_TOKENS["cpu"]))


def score_both(
    model: Encoder, batches: list[Batch], n_pairs: int, progress: Progress = False
) -> tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]]:
    """Scores of the baseline and of the perturbed run of every pair."""
    scores = np.empty((2, n_pairs), dtype=np.float32)
    for batch in counted(batches, [b.n_pairs for b in batches], "scoring", progress):
        for side, inputs in enumerate((batch.baseline, batch.perturbed)):
            scores[side, batch.index] = batch.score(model, inputs).cpu().numpy()
    return scores[0], scores[1]


def score_runs(
    model: Encoder, batches: list[Batch], n_pairs: int, wanted: Direction
) -> tuple[ChosenDirection, Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]]:
    """Score both runs of every pair and choose the direction: it, recipient's, donor's scores."""
    baseline, perturbed = score_both(model, batches, n_pairs)
    chosen = choose_direction(baseline, perturbed, wanted)
    return chosen, *in_direction(baseline, perturbed, chosen)


def provenance_of(ranker: Ranker, sweep: Sweep) -> dict:
    """Say what a result came from: ranker, checksum, device, choice of cells, versions."""
    packages = ("mechir-edu", "torch", "transformers", "transformer-lens")
    return {
        "ranker": ranker.name,
        "kind": ranker.kind,
        "checksum": ranker.checksum,
        "device": ranker.device.type,
        "by": sweep.by,
        "heads": sweep.heads and [list(head) for head in sweep.heads],
        "intervention": ranker.intervention,
        **ranker.stack.notes(sweep.site),
        "versions": {name: _installed(name) for name in packages},
    }
