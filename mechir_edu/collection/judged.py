"""The plain data of a test collection: judged query-passage pairs, and what was left out.

*relevance* is the grade that an assessor gave (TREC DL: 3 perfectly relevant, 2 highly relevant,
1 related, 0 irrelevant). A *judged pair* is one query with one passage that has a grade.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Judged:
    """One query, one passage, and the grade that an assessor gave the passage for the query."""

    query_id: str
    doc_id: str
    query: str
    text: str
    relevance: int


@dataclass(frozen=True)
class Skipped:
    """Something that could not be used; ``reason`` is a fixed phrase, so that it can be counted.

    ``doc_id`` is empty where a whole query was skipped.
    """

    query_id: str
    doc_id: str
    reason: str


@dataclass(frozen=True)
class Sample:
    """Judged pairs, and what was skipped on the way to them."""

    judged: list[Judged]
    skipped: list[Skipped]
