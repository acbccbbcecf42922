"""Plan the study: which conditions, on which judged pairs.

A *condition* is one edit patched in one way: an axiom or its control, at the end or the start of
the document, with one filler and one direction. All conditions of a ranker use the same judged
pairs: a pair that does not suit all of them is skipped, counted, and replaced by the next of its
grade. So every comparison between conditions compares a document with itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mechir_edu.collection.collection import Collection
from mechir_edu.collection.judged import Judged, Skipped
from mechir_edu.patching.options import DIRECTIONS, PatchOptions
from mechir_edu.patching.scoring import align_as_read
from mechir_edu.perturb.axioms.registry import AXIOMS
from mechir_edu.perturb.draw import pair_maker
from mechir_edu.perturb.edits import Place
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker

STUDIED = ("TFC1", "TDC")
PLACES: tuple[Place, ...] = ("end", "start")
END, START = PLACES
FILLERS = ("mask", "pad", "neutral")  # besides "a"
BY = ("signed", "magnitude")  # what the heads of circuits are ordered by
RANKED_BY = (0.2, 0.5)  # shares of the heads: circuits that rank a collection
FEWEST_QUERIES = 8  # on either side of a comparison of collections
Edit = tuple[str, Place]  # an axiom or control, and where it adds its word
Versions = Mapping[Edit, tuple[Pair, ...]]


@dataclass(frozen=True)
class Condition:
    """One edit, patched in one way.

    The direction is the same for all, because effects can be compared only where the same run
    receives. We take MechIR's: the baseline receives.
    """

    axiom: str
    place: Place
    filler: str = "a"
    direction: str = DIRECTIONS[0]

    @property
    def name(self) -> str:
        """Name of its files."""
        return "-".join(dict.fromkeys([self.axiom, self.place, *self._differences().values()]))

    @property
    def difference(self) -> str:
        """How a condition of `CHECKS` differs from the study's, in words."""
        differences = self._differences()
        return f'filler "{self.filler}"' if "filler" in differences else "other direction"

    def _differences(self) -> dict[str, str]:
        usual = {"filler": "a", "direction": DIRECTIONS[0]}
        return {name: getattr(self, name) for name in usual if getattr(self, name) != usual[name]}

    def options(self, method: str) -> PatchOptions:
        """Options of `mechir_edu.patch`."""
        return PatchOptions(method=method, filler=self.filler, direction=self.direction)


CONTROL_OF = {axiom: AXIOMS[axiom].control for axiom in STUDIED}
MAIN = tuple(
    Condition(name, place)
    for place in PLACES
    for axiom in STUDIED
    for name in (axiom, CONTROL_OF[axiom])
)
OF_AXIOMS = tuple(condition for condition in MAIN if condition.axiom in STUDIED)
CHECKS = tuple(
    Condition(axiom, END, *other)
    for axiom in STUDIED
    for other in (*((filler,) for filler in FILLERS), ("a", DIRECTIONS[1]))
)


def draw_versions(
    collection: Collection, ranker: Ranker, n: int, seed: int
) -> tuple[Versions, list[Skipped]]:
    """Draw n judged pairs that suit every condition, and make every version of each.

    Returns
    -------
    versions : for each edit its pairs, all of the same queries and documents in the same order.
        The order is even over grades and, within a grade, over queries, so that the beginning of
        the study is a smaller study, not a lopsided one.
    skipped : pairs that do not suit all conditions. The words of controls are as long as those of
        the axioms in this ranker's own word pieces.

    Raises
    ------
    ValueError
        If no judged pair suits all conditions.
    """
    edits = {
        (condition.axiom, condition.place): pair_maker(
            collection, condition.axiom, seed=seed, place=condition.place, length=ranker.n_pieces
        )
        for condition in MAIN
    }

    def use(judged: Judged) -> list[Pair] | Skipped:
        pairs = []
        for edit in edits.values():
            pair = edit(judged)
            if isinstance(pair, Skipped):
                return pair
            pairs.append(pair)
        skipped = align_as_read(ranker, pairs, "a").skipped
        return skipped[0] if skipped else pairs

    made, skipped = collection.draw(n, use, seed=seed)
    if not made:
        raise ValueError(
            f"needed judged pairs that suit all conditions, but {collection.name} has none"
        )
    return dict(zip(edits, zip(*made, strict=True), strict=True)), skipped
