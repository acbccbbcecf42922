"""Say where two token sequences agree and where they do not.

Conventions
-----------
A difference is a list of `Chunk`, in order and without gaps: each covers a stretch of the
baseline and a stretch of the perturbed sequence, which are either token for token the same or
different (and then one of them may be empty: an insertion or a deletion).

Token ids alone do not always say where an edit was made: appending "reef" to "coral reef" and
inserting it in the middle give the same three tokens. `Anchors` carry what the edit's author
knows: how many tokens lie wholly before it, and how many wholly after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher


@dataclass(frozen=True)
class Chunk:
    """A stretch of both sequences, as token spans ``[start, end)``."""

    baseline: tuple[int, int]
    perturbed: tuple[int, int]
    same: bool

    @property
    def width(self) -> int:
        """Number of positions that the stretch takes once its shorter side is filled."""
        return max(self.baseline[1] - self.baseline[0], self.perturbed[1] - self.perturbed[0])


@dataclass(frozen=True)
class Anchors:
    """The most tokens that may be matched before and after an edit whose place is known."""

    before: int
    after: int


def diff_tokens(
    baseline: Sequence[int], perturbed: Sequence[int], anchors: Anchors | None = None
) -> list[Chunk]:
    """Split two token sequences into stretches that agree and stretches that differ.

    The tokens that both share before and after the edit are matched first, from the outside in, as
    far as `anchors` allow; neighbours that the edit made the tokenizer split differently belong to
    the edit. The rest in the middle gets a general difference, which also finds several edits, or
    an edit that keeps some of its tokens.

    Parameters
    ----------
    baseline, perturbed : token ids.
    anchors : where the edit was made; without it an ambiguous edit is put as far back as possible.

    Returns
    -------
    Chunks in order; neighbouring chunks differ in `same`, and none is empty on both sides.

    Examples
    --------
    >>> [(c.baseline, c.perturbed) for c in diff_tokens([5, 7], [5, 7, 7]) if not c.same]
    [((2, 2), (2, 3))]
    >>> [(c.baseline, c.perturbed) for c in diff_tokens([5, 7], [5, 7, 7], Anchors(1, 1))
    ...  if not c.same]
    [((1, 1), (1, 2))]
    """
    outer = anchors or Anchors(len(baseline), len(baseline))
    head, tail = _shared_ends(baseline, perturbed, outer)
    middle = (baseline[head : len(baseline) - tail], perturbed[head : len(perturbed) - tail])
    spans = [(0, 0, head)] if head else []
    spans += [(head + a, head + b, size) for a, b, size in _matches(*middle)]
    spans += [(len(baseline) - tail, len(perturbed) - tail, tail)]
    return _chunks(spans)


def _shared_ends(a: Sequence[int], b: Sequence[int], most: Anchors) -> tuple[int, int]:
    shortest = min(len(a), len(b))
    head = _common(a, b, min(most.before, shortest))
    return head, _common(a[::-1], b[::-1], min(most.after, shortest - head))


def _common(a: Sequence[int], b: Sequence[int], most: int) -> int:
    return next((i for i in range(most) if a[i] != b[i]), most)


def _matches(a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int, int]]:
    """List the runs ``(start in a, start in b, length)`` that two stretches share."""
    if not a or not b:
        return []
    # The ends first, so that a repeated word counts as kept at its first place.
    head, tail = _shared_ends(a, b, Anchors(len(a), len(a)))
    inner = SequenceMatcher(
        None, a[head : len(a) - tail], b[head : len(b) - tail], autojunk=False
    ).get_matching_blocks()[:-1]
    runs = [(0, 0, head), *((head + i, head + j, n) for i, j, n in inner)]
    return [*runs, (len(a) - tail, len(b) - tail, tail)]


def _chunks(runs: Sequence[tuple[int, int, int]]) -> list[Chunk]:
    """Turn shared runs into chunks that cover both sequences, joining runs that touch."""
    chunks: list[Chunk] = []
    at, other_at = 0, 0
    for start, other, size in runs:
        if start > at or other > other_at:
            chunks.append(Chunk((at, start), (other_at, other), same=False))
        if size and chunks and chunks[-1].same:
            first = chunks.pop()
            chunks.append(
                Chunk(
                    (first.baseline[0], start + size), (first.perturbed[0], other + size), same=True
                )
            )
        elif size:
            chunks.append(Chunk((start, start + size), (other, other + size), same=True))
        at, other_at = start + size, other + size
    return chunks
