"""Two versions of a text before and after alignment, with the role of each position."""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from mechir_edu.alignment.aligned import ROLE_NAMES, AlignedPair, Role
from mechir_edu.plots.drawings.svg import (
    MONO_ADVANCE,
    Drawing,
    Number,
    box,
    drawing,
    line,
    rectangle,
    text,
)

_WIDTH, _LEFT, _SIZE = 880, 106, 13
_LETTERS = dict(zip(Role, "CQSDEOPN", strict=True))
_COLOURS = dict(
    zip(Role, ("grey", "blue", "grey", "gold", "red", "green", "grey", "grey"), strict=True)
)
_GAP = "…"


def draw_alignment(aligned: AlignedPair, tokenizer: PreTrainedTokenizerBase) -> Drawing:
    """Both versions of a pair, first as they are and then aligned, each position with its role.

    Where a text is longer than the drawing is wide, the positions nearest to the edit are drawn,
    and the gaps are marked.

    Parameters
    ----------
    aligned : one of ``mechir_edu.align(pairs, tokenizer, kind=...).aligned``.
    tokenizer : the one that the pair was aligned with.
    """
    label = tokenizer.convert_ids_to_tokens
    before = [label(ids) for ids in _as_they_are(aligned, tokenizer)]
    after = [label(ids.tolist()) for ids in (aligned.baseline_ids, aligned.perturbed_ids)]
    kept = _that_fit([*before, *after], aligned.roles)
    columns = _columns([*before, *after], kept)
    agree = [a == b for a, b in zip(*before, strict=False)]
    parts = [text(16, 26, "As they are", size=16, bold=True, anchor="start")]
    for name, y, tokens in zip(("baseline", "perturbed"), (62, 100), before, strict=True):
        colours = ["grey" if i < len(agree) and agree[i] else "red" for i in range(len(tokens))]
        parts += _row(name, y, tokens, columns, colours)
    parts.append(text(16, 166, "Aligned", size=16, bold=True, anchor="start"))
    roles = [_COLOURS[Role(role)] for role in aligned.roles]
    for name, y, tokens in zip(("baseline", "perturbed"), (202, 240), after, strict=True):
        parts += _row(name, y, tokens, columns, roles)
    parts += [text(16, 274, "role", size=13, anchor="start"), *_letters(aligned.roles, columns)]
    parts.append(
        text(_LEFT, 130, "red: another token stands at this position", size=13, anchor="start")
    )
    return drawing(_WIDTH, 330, _alt(aligned, agree, after), [*parts, *_key(aligned.roles)])


def _as_they_are(aligned: AlignedPair, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of both versions without any filler."""
    pair = aligned.pair
    query, other_query = pair.query, pair.perturbed_query or pair.query
    versions: list[tuple[str, ...]]
    if aligned.fixed_ids is None:
        versions = [(query, pair.baseline), (other_query, pair.perturbed)]
    elif aligned.fixed_is_query:
        versions = [(pair.baseline,), (pair.perturbed,)]
    else:
        versions = [(query,), (other_query,)]
    length = len(aligned.baseline_ids)
    return [
        tokenizer(*version, truncation=True, max_length=length)["input_ids"] for version in versions
    ]


def _that_fit(rows: Sequence[Sequence[str]], roles: np.ndarray) -> list[int]:
    """Choose the positions to draw: the ends, the edit, then those nearest to the edit."""
    n = len(roles)
    edits = np.flatnonzero(roles == Role.EDIT)
    distance = [min((abs(int(edit) - i) for edit in edits), default=i) for i in range(n)]
    order = sorted(range(n), key=lambda i: (i not in (0, n - 1), distance[i]))
    room, kept = _WIDTH - _LEFT - 16.0 - 2 * 24, []
    for i in order:
        room -= _width(rows, i) + 4
        if room < 0:
            break
        kept.append(i)
    return sorted(kept)


def _width(rows: Sequence[Sequence[str]], i: int) -> Number:
    return 10 + _SIZE * MONO_ADVANCE * max(len(row[i]) for row in rows if i < len(row))


def _columns(rows: Sequence[Sequence[str]], kept: list[int]) -> dict[int, tuple[Number, Number]]:
    """Position -> left edge and width."""
    left, columns, previous = float(_LEFT), {}, -1
    for i in kept:
        left += 24 if i > previous + 1 else 0
        columns[i] = (left, _width(rows, i))
        left, previous = left + columns[i][1] + 4, i
    return columns


def _row(
    name: str,
    y: Number,
    tokens: Sequence[str],
    columns: dict[int, tuple[Number, Number]],
    colours: Sequence[str],
) -> list[str]:
    parts, previous = [text(16, y, name, size=13, anchor="start")], -1
    for i, (left, width) in columns.items():
        if i >= len(tokens):
            break
        if i > previous + 1:
            parts.append(text(left - 14, y, _GAP))
        place, size = (left + width / 2, y), (width, 28)
        parts.append(box(place, size, tokens[i], colours[i], mono=True, size=_SIZE))
        previous = i
    return parts


def _letters(roles: np.ndarray, columns: dict[int, tuple[Number, Number]]) -> list[str]:
    parts = []
    for i, (left, width) in columns.items():
        role = Role(roles[i])
        parts.append(line((left, 258), (left + width, 258), colour=_COLOURS[role], width=3))
        parts.append(text(left + width / 2, 274, _LETTERS[role], size=13, bold=True))
    return parts


def _key(roles: np.ndarray) -> list[str]:
    parts, left = [], float(_LEFT)
    for role in sorted(set(map(int, roles))):
        words = f"{_LETTERS[Role(role)]} {ROLE_NAMES[role]}"
        parts.append(rectangle(left, 301, 16, 16, _COLOURS[Role(role)]))
        parts.append(text(left + 22, 309, words, size=13, anchor="start"))
        left += 40 + 7.6 * len(words)
    return parts


def _alt(aligned: AlignedPair, agree: list[bool], after: list[list[str]]) -> str:
    edits = np.flatnonzero(aligned.roles == Role.EDIT)
    gaps = ", ".join(f"{after[0][i]} over {after[1][i]}" for i in edits)
    roles = ", ".join(ROLE_NAMES[role] for role in sorted(set(map(int, aligned.roles))))
    return (
        "Tokens of the baseline above those of the perturbed version, twice. As they are, "
        f"{sum(agree)} of {len(agree)} positions hold the same token in both. Aligned, all "
        f"{len(aligned.roles)} positions do but the edited ones ({gaps}). Each aligned position "
        f"has a role: {roles}."
    )
