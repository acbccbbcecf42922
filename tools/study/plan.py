"""Plan the study: which conditions, on which pairs, in which order.

A *condition* is one edit patched in one way: an axiom or its control, at the end or the start of
the document, with one filler and one direction. All conditions of a ranker use the same judged
pairs: one that does not suit all of them is skipped, counted, and replaced by the next of its
grade. So every comparison between conditions is a comparison of a document with itself.

The pairs are cut into blocks in the order in which they were drawn, which is even over grades and,
within a grade, over queries: a beginning of the study is a smaller study, not a lopsided one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mechir_edu.collection.collection import Collection
from mechir_edu.collection.judged import Judged, Skipped
from mechir_edu.patching.long_runs.folder import RunFolder
from mechir_edu.patching.scoring import DIRECTIONS, align_with_prompts, provenance_of
from mechir_edu.patching.storage import Manifest, read_manifest
from mechir_edu.patching.sweep import make_sweep
from mechir_edu.perturb.axioms.registry import AXIOMS
from mechir_edu.perturb.draw import perturber
from mechir_edu.perturb.edits import Place
from mechir_edu.perturb.pair import Pair

if TYPE_CHECKING:
    from mechir_edu.rankers.base import Ranker

STUDIED = ("TFC1", "TDC")
PLACES: tuple[Place, ...] = ("end", "start")
KIND_NAMES = {"dot": "bi-encoder", "cat": "cross-encoder"}
FILLERS = ("mask", "pad", "neutral")  # besides "a"
Version = tuple[str, Place]  # an axiom or control, and where it adds its word


@dataclass(frozen=True)
class Condition:
    """One edit (axiom and place), patched in one way.

    One direction for all: effects of two conditions can be compared only where the same run
    receives. MechIR's, the baseline, is taken.
    """

    axiom: str
    place: Place
    filler: str = "a"
    direction: str = DIRECTIONS[0]

    @property
    def name(self) -> str:
        """What its folder is called."""
        odd = [self.filler] * (self.filler != "a") + [self.direction] * (
            self.direction != DIRECTIONS[0]
        )
        return "-".join([self.axiom, self.place, *odd])


CONTROL_OF = {axiom: AXIOMS[axiom].control for axiom in STUDIED}
MAIN = tuple(
    Condition(name, place)
    for place in PLACES
    for axiom in STUDIED
    for name in (axiom, CONTROL_OF[axiom])
)
OF_AXIOMS = tuple(one for one in MAIN if one.axiom in STUDIED)
CHECKS = tuple(
    Condition(axiom, "end", *other)
    for axiom in STUDIED
    for other in (*((filler,) for filler in FILLERS), ("a", DIRECTIONS[1]))
)


@dataclass(frozen=True)
class Step:
    """A piece of work that is kept as a whole: some pairs under one condition."""

    condition: Condition
    round: int
    folder: Path
    pairs: tuple[Pair, ...]

    def n_left(self) -> int:
        """Number of pairs that have yet to be patched."""
        manifest = read_manifest(self.folder)
        if manifest is None:
            return len(self.pairs)
        missing = RunFolder(self.folder, manifest).missing("patched")
        return sum(len(manifest.shards[k]) for k in missing)


@dataclass(frozen=True, eq=False)
class Plan:
    """One ranker's part of the study.

    Attributes
    ----------
    ranker : what is patched.
    run : its folder, with a manifest of what the part is made of and how pairs are cut into blocks.
    versions : for each edit its pairs, all of the same queries and documents in the same order.
    n_checks : pairs of the conditions in `CHECKS`.
    method : of `mechir_edu.patch`.
    """

    ranker: "Ranker"
    run: RunFolder
    versions: Mapping[Version, tuple[Pair, ...]]
    n_checks: int
    method: str = "exact"

    def steps(self, block: int) -> Iterator[Step]:
        """Work of one round; the checks come after the first."""
        chosen = self.run.manifest.shards[block]
        for condition in MAIN:
            folder = block_folder(self.run.path, condition, block)
            yield Step(condition, block, folder, self._pairs(condition, chosen))
        for condition in CHECKS if block == 0 and self.n_checks else ():
            folder = check_folder(self.run.path, condition)
            yield Step(condition, block, folder, self._pairs(condition, range(self.n_checks)))

    def _pairs(self, condition: Condition, chosen: range | tuple[int, ...]) -> tuple[Pair, ...]:
        pairs = self.versions[condition.axiom, condition.place]
        return tuple(pairs[i] for i in chosen if i < len(pairs))


def block_folder(part: Path, condition: Condition, block: int) -> Path:
    """Where a block of a condition is kept."""
    return part / condition.name / f"{block:05}"


def check_folder(part: Path, condition: Condition) -> Path:
    """Where a condition of `CHECKS` is kept."""
    return part / "checks" / condition.name


def draw_versions(
    collection: Collection, ranker: "Ranker", n: int, seed: int
) -> tuple[dict[Version, tuple[Pair, ...]], list[Skipped]]:
    """Draw n judged pairs that suit every condition, and make every version of each.

    Returns
    -------
    versions : for each edit its pairs.
    skipped : what was met that suits not all of them; words that controls add match in this
        ranker's own word pieces.

    Raises
    ------
    ValueError
        If no judged pair suits all conditions.
    """

    def length(word: str) -> int:
        return len(ranker.tokenizer.tokenize(word))

    edits = {
        (one.axiom, one.place): perturber(
            collection, one.axiom, seed=seed, place=one.place, length=length
        )
        for one in MAIN
    }

    def use(judged: Judged) -> list[Pair] | Skipped:
        pairs = []
        for edit in edits.values():
            pair = edit(judged)
            if isinstance(pair, Skipped):
                return pair
            pairs.append(pair)
        skipped = align_with_prompts(ranker, pairs, "a").skipped
        return skipped[0] if skipped else pairs

    made, skipped = collection.draw(n, use, seed=seed)
    if not made:
        raise ValueError(
            f"needed judged pairs that suit all conditions, found none in {collection.name}"
        )
    return dict(zip(edits, zip(*made, strict=True), strict=True)), skipped


def describe_part(
    ranker: "Ranker", collections: Mapping[str, Collection], **asked: object
) -> dict[str, object]:
    """Everything that a part's results depend on, by the name that a user knows it by."""
    made_with = provenance_of(ranker, make_sweep(ranker, "head", None, None, False))
    queries = {name: sorted(one.queries.keys() & one.qrels) for name, one in collections.items()}
    return {**asked, **made_with, "queries": queries, "n_layers": ranker.n_layers}


def plan_part(
    ranker: "Ranker", collection: Collection, folder: Path, made_of: Mapping, *, method: str
) -> Plan:
    """Draw a ranker's pairs and cut them into blocks."""
    versions, skipped = draw_versions(collection, ranker, made_of["n"], made_of["seed"])
    n_pairs = len(next(iter(versions.values())))
    block = made_of["block"]
    blocks = tuple(tuple(range(n_pairs))[at : at + block] for at in range(0, n_pairs, block))
    manifest = Manifest(made_of, blocks, tuple(skipped))
    n_checks = min(made_of["checks"], n_pairs)
    return Plan(ranker, RunFolder(folder, manifest), versions, n_checks, method)
