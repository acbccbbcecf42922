"""Everything before a patch: align, batch, score both sides, choose the direction."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from tqdm.auto import tqdm

from mechir_edu.aligned import AlignedPairs
from mechir_edu.alignment import align
from mechir_edu.batches import Batch, make_batches
from mechir_edu.collection import Skipped
from mechir_edu.memory import tokens_for
from mechir_edu.perturb import Edit, Pair
from mechir_edu.sites import Sweep

if TYPE_CHECKING:
    from mechir_edu.rankers import Ranker
    from mechir_edu.suffix import PostLNStack

Item = TypeVar("Item")
Direction = Literal["auto", "perturbed_to_baseline", "baseline_to_perturbed"]
DIRECTIONS = ("perturbed_to_baseline", "baseline_to_perturbed")
# Measured: on a CPU more is no faster (and takes more memory); a GPU wants more.
MAX_TOKENS = {"cpu": 400, "cuda": 65_536}


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


@torch.no_grad()
def score_pairs(
    ranker: "Ranker",
    pairs: Sequence[Pair] | AlignedPairs,
    *,
    filler: str = "a",
    memory: int | None = None,
) -> PairScores:
    """Score both versions of each pair, aligned as `patch` aligns them.

    The baseline holds the filler where the perturbed version has more tokens, so the score change
    is about *which* token stands there, not about one more token.
    """
    aligned, limit = align_for(ranker, pairs, filler), token_limit(ranker, memory)
    batches = list(make_batches(ranker, aligned.aligned, max_tokens=limit))
    scores = score_both(ranker, batches, len(aligned.aligned))
    return PairScores(tuple(one.pair for one in aligned.aligned), *scores, aligned.skipped)


def align_for(ranker: "Ranker", pairs: Sequence[Pair] | AlignedPairs, filler: str) -> AlignedPairs:
    """Align pairs for a ranker: its tokenizer, its length, its prompts.

    Raises
    ------
    ValueError
        When pairs were aligned for the other kind of ranker, or none could be aligned.
    """
    if not isinstance(pairs, AlignedPairs):
        pairs = align_with_prompts(ranker, pairs, filler)
    if pairs.kind != ranker.kind:
        raise ValueError(
            f"pairs were aligned for a {pairs.kind}, but the ranker is a {ranker.kind}"
        )
    if not pairs.aligned:
        reasons = sorted({skip.reason for skip in pairs.skipped}) or ["no pairs were given"]
        raise ValueError(f"needed at least one pair that can be aligned; got {'; '.join(reasons)}")
    return pairs


def align_with_prompts(ranker: "Ranker", pairs: Sequence[Pair], filler: str) -> AlignedPairs:
    """Align pairs as the ranker reads them; it may be that none can be aligned."""
    prompted = [_with_prompts(ranker, pair) for pair in pairs]
    options = {"kind": ranker.kind, "filler": filler, "max_length": ranker.max_length}
    aligned = align(prompted, ranker.tokenizer, **options)
    # The result names the pairs that were given, without the prompts.
    given = {id(some): pair for some, pair in zip(prompted, pairs, strict=True)}
    kept = tuple(replace(some, pair=given[id(some.pair)]) for some in aligned.aligned)
    return replace(aligned, aligned=kept)


def _with_prompts(ranker: "Ranker", pair: Pair) -> Pair:
    """Put the texts before a query and a document that the checkpoint wants there."""
    query, document = ranker.prompts
    if not (query or document):
        return pair
    n = len(document) if pair.perturbed_query is None else len(query)
    edit = pair.edit and Edit(*(tuple(at + n for at in span) for span in astuple(pair.edit)))
    changed = pair.perturbed_query
    return replace(
        pair,
        query=query + pair.query,
        baseline=document + pair.baseline,
        perturbed=document + pair.perturbed,
        perturbed_query=None if changed is None else query + changed,
        edit=edit,
    )


def choose_direction(
    baseline: Float[np.ndarray, " pair"], perturbed: Float[np.ndarray, " pair"], wanted: Direction
) -> str:
    """Name the direction; "auto" makes the side with the lower mean score the recipient."""
    if wanted == "auto":
        return DIRECTIONS[int(perturbed.mean() < baseline.mean())]
    if wanted not in DIRECTIONS:
        raise ValueError(f"direction must be auto, {' or '.join(DIRECTIONS)}, got {wanted!r}")
    return wanted


def token_limit(ranker: "Ranker", memory: int | None = None) -> int:
    """Tokens that fill one pass on the ranker's device (`MAX_TOKENS`), within a budget in bytes."""
    is_cuda = ranker.device.type == "cuda"
    suits = MAX_TOKENS["cuda" if is_cuda else "cpu"]
    if memory is None:
        return suits
    # More memory makes a GPU faster; on a CPU it would only overflow the caches.
    return tokens_for(memory, ranker) if is_cuda else min(suits, tokens_for(memory, ranker))


def passes_at_once(ranker: "Ranker", memory: int | None = None) -> int:
    """Passes of `token_limit` that cores, and a budget in bytes, have room for side by side."""
    if ranker.device.type != "cpu":
        return 1
    n_cores = torch.get_num_threads()
    if memory is None:
        return n_cores
    return max(1, min(n_cores, tokens_for(memory, ranker) // MAX_TOKENS["cpu"]))


def counted(
    items: Iterable[Item],
    batches: Sequence[Batch],
    label: str,
    progress: bool | Callable[[int], object],
) -> Iterator[Item]:
    """Hand on items, one for each batch, and show, or tell, how many pairs are done."""
    n_pairs = sum(batch.n_pairs for batch in batches)
    shows_bar = progress is True
    with tqdm(total=n_pairs, desc=label, unit=" pairs", disable=not shows_bar, leave=False) as bar:
        tell = progress if callable(progress) else bar.update
        for item, batch in zip(items, batches, strict=True):
            yield item
            tell(batch.n_pairs)


def score_both(
    model: "Ranker | PostLNStack", batches: list[Batch], n_pairs: int
) -> tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]]:
    """Scores of the baseline and of the perturbed run of every pair."""
    scores = np.empty((2, n_pairs), dtype=np.float32)
    for batch in batches:
        for side, inputs in enumerate((batch.baseline, batch.perturbed)):
            scores[side, batch.index] = batch.score(model, inputs).cpu().numpy()
    return scores[0], scores[1]


def provenance_of(ranker: "Ranker", sweep: Sweep) -> dict:
    """Say what a result came from: ranker, checksum, device, choice of cells, versions."""
    packages = ("mechir-edu", "torch", "transformers", "transformer-lens")
    return {
        "ranker": ranker.name,
        "kind": ranker.kind,
        "checksum": ranker.checksum,
        "device": ranker.device.type,
        "by": sweep.by,
        "heads": sweep.heads and [list(head) for head in sweep.heads],
        "versions": {name: version(name) for name in packages},
    }
