"""What a claim about the published files is."""

from dataclasses import dataclass

import pandas as pd
from published_files import Published


@dataclass(frozen=True)
class Claim:
    """A sentence about the files, how it follows from them, the figures, and whether it holds."""

    claim: str
    how: str
    figure: str
    holds: bool


def by_grade(entry: Published) -> pd.api.typing.DataFrameGroupBy:
    """Group the pairs by relevance grade."""
    return entry.pairs.groupby("relevance")
