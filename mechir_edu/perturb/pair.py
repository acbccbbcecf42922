"""A pair: one query with two versions of one document, which differ by a single edit.

Conventions
-----------
*baseline* is the document as the collection has it; *perturbed* is the same document after one
edit. The *score change* is perturbed score minus baseline score, and ``Pair.expected_sign`` is the
sign that the axiom predicts for it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mechir_edu.collection.judged import Skipped
from mechir_edu.perturb.edits import Edit
from mechir_edu.perturb.fields import checked_fields


@dataclass(frozen=True)
class Pair:
    """One query with two versions of one document, differing by a single edit.

    Attributes
    ----------
    query_id, doc_id, query : as in the collection. An id that is a whole number becomes its digits.
    baseline, perturbed : the document before and after the edit.
    axiom : a key of `AXIOMS`, or the name of a function of your own.
    expected_sign : sign of the score change that the axiom predicts; 0 for a control, or where
        nothing is predicted.
    relevance : the grade of the document for the query, where it has one.
    term : the word that was added or moved, where the edit is about one.
    edit : where the two versions differ; decides where a diff would be ambiguous ("reef" added
        behind "reef").
    perturbed_query : set where the query is perturbed instead; then both documents are equal.

    Raises
    ------
    TypeError, ValueError
        For a field of another kind, or an edit that does not fit (`mechir_edu.perturb.fields`).
    """

    query_id: str
    doc_id: str
    query: str
    baseline: str
    perturbed: str
    axiom: str
    expected_sign: Literal[1, -1, 0]
    relevance: int | None = None
    term: str | None = None
    edit: Edit | None = None
    perturbed_query: str | None = None

    def __post_init__(self) -> None:
        for name, value in checked_fields(vars(self)).items():
            object.__setattr__(self, name, value)


class PairList(list[Pair]):
    """A list of pairs that remembers, in ``skipped``, what could not be made into one."""

    def __init__(self, pairs: Iterable[Pair] = (), skipped: Iterable[Skipped] = ()):
        super().__init__(pairs)
        self.skipped = list(skipped)
