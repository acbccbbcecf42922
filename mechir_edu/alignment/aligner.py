"""Make the two versions of a pair equally long, token for token.

Patching puts an activation of one run into the same position of another, so equal positions have
to mean the same thing. Here any edit (append, prepend, insert, replace, delete, in one place or in
several) becomes two sequences of equal length that hold equal tokens wherever the texts agree. The
gap on the shorter side is filled, see `mechir_edu.alignment.fillers`.

Conventions
-----------
A kind of ranker that reads one text at a time (such as ``"dot"``, a bi-encoder) has the edited text
aligned; the other text is *fixed*, encoded once. A kind that reads query and document together
(such as ``"cat"``, a cross-encoder) has both in one sequence.
Sequences are never padded; special tokens and token types are the tokenizer's own.

A text that is too long loses tokens that both versions share, the last ones first (the first ones,
where the tokenizer cuts on the left), and never any of the edit, as if the document had been
shortened before it was edited. The query is never shortened. A pair that cannot be aligned is
skipped, with one of these reasons:

========================================== ======================================================
``empty query``, ``empty document``        the tokenizer makes no token of it
``edit changes nothing``                   both versions are the same text
``edit changes no token``                  they differ only in what the tokenizer drops
``query longer than max_length``           the query, its special tokens, and one document token
``edit longer than max_length``            with the edit in, no other token would fit
``filler equals the edit``                 filled up, both versions would be the same
``no neutral filler of the gap's length``  the neutral words left do not add up to it
========================================== ======================================================
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from sys import maxsize
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy.typing import ArrayLike

from mechir_edu.alignment.aligned import AlignedPair, AlignedPairs, Role
from mechir_edu.alignment.encoding import SPECIAL, Pieces, Template, read_template, split_texts
from mechir_edu.alignment.fillers import Filler, make_filler
from mechir_edu.alignment.given import check_given, check_room
from mechir_edu.alignment.made_for import made_for
from mechir_edu.alignment.occurrences import find_occurrences
from mechir_edu.alignment.prompts import after_prompt, roles_of_query, with_prompts, writes_end
from mechir_edu.alignment.shorten import cut, drop_shared
from mechir_edu.alignment.tokendiff import Anchors, Chunk, diff_tokens
from mechir_edu.collection.judged import Skipped
from mechir_edu.perturb.edits import Edit
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.kinds import find_kind
from mechir_edu.rankers.turns import uses_tokenizer


@uses_tokenizer
def align(
    pairs: Iterable[Pair],
    tokenizer: Any,
    *,
    kind: str,
    filler: str = "a",
    max_length: int | None = None,
    prompts: tuple[str, ...] = ("", ""),
) -> AlignedPairs:
    """Align the two versions of each pair, token for token.

    Parameters
    ----------
    pairs : where an edit would be ambiguous, ``Pair.edit`` decides ("reef" appended after "reef").
    tokenizer : a fast Hugging Face tokenizer, with its special tokens.
    kind : of ranker: ``"dot"`` aligns the edited text alone, ``"cat"`` query and document in one
        sequence.
    filler : ``"pad"``, ``"mask"``, ``"neutral"``, or a word that is repeated to the gap's length.
    max_length : longest sequence in tokens, special tokens included; the tokenizer's own by
        default.
    prompts : what the ranker reads before every query and every document, and behind every query.

    Returns
    -------
    AlignedPairs
        What could be aligned, and what was skipped and why (see the module's table).

    Raises
    ------
    TypeError
        For an argument of the wrong kind, such as a ranker in place of its tokenizer.
    ValueError
        For a tokenizer without character offsets, a filler that it cannot write, an unknown kind,
        a ``max_length`` without room for a text, or a pair that edits query and document both.
    """
    given = check_given(pairs, tokenizer, filler, prompts)
    of_kind = find_kind(kind)
    reads_together = of_kind.reads_together
    if not of_kind.takes_edited_queries and any(pair.perturbed_query is not None for pair in given):
        raise ValueError(
            f"a {of_kind.kind_name} reads a query by a template of its own, in which no edit can "
            "be aligned; needed pairs whose document is edited"
        )
    read = [with_prompts(pair, prompts) for pair in given]
    pieces = split_texts((text for pair in read for text in _texts(pair)), tokenizer)
    template = read_template(tokenizer, n_sequences=2 if reads_together else 1)
    longest = min(tokenizer.model_max_length, maxsize) if max_length is None else max_length
    check_room(longest, template)
    context = _AlignContext(
        pieces=pieces,
        template=template,
        filler=make_filler(filler, tokenizer),
        room=longest - template.n_special,
        reads_together=reads_together,
        cuts_left=tokenizer.truncation_side == "left",
        prompts=prompts,
        ends=writes_end(tokenizer),
    )
    aligned, skipped = [], []
    for pair, as_read in zip(given, read, strict=True):
        try:
            aligned.append(replace(_align_pair(as_read, context), pair=pair))
        except _CannotAlign as reason:
            skipped.append(Skipped(pair.query_id, pair.doc_id, str(reason)))
    made = made_for(tokenizer, int(longest), prompts)
    return AlignedPairs(tuple(aligned), tuple(skipped), filler, kind, made)


class _CannotAlign(Exception):
    """The pair is to be skipped; the message is the reason."""


@dataclass(frozen=True)
class _AlignContext:
    """What is the same for all pairs.

    `pieces` are the tokens of each text, `room` is the number of tokens that the special ones leave
    to the texts, `cuts_left` says whether a long text loses its beginning; `prompts` stand
    around query and document; `ends` says whether an end stands behind a text, not a separator.
    """

    pieces: Mapping[str, Pieces]
    template: Template
    filler: Filler
    room: int
    reads_together: bool
    cuts_left: bool
    prompts: tuple[str, ...]
    ends: bool


def _texts(pair: Pair) -> list[str]:
    changed = [] if pair.perturbed_query is None else [pair.perturbed_query]
    return [pair.query, pair.baseline, pair.perturbed, *changed, *_spellings(pair)]


def _spellings(pair: Pair) -> list[str]:
    # Byte-level tokenizers give a word different ids at the start of a text and inside it.
    return [pair.term, f" {pair.term}"] if pair.term else []


def _align_pair(pair: Pair, context: _AlignContext) -> AlignedPair:
    fixed_is_query = pair.perturbed_query is None
    if pair.perturbed_query is None:
        texts = (pair.baseline, pair.perturbed, pair.query)
    else:
        texts = (pair.query, pair.perturbed_query, pair.baseline)
    if not fixed_is_query and pair.baseline != pair.perturbed:
        raise ValueError(
            f"pair ({pair.query_id}, {pair.doc_id}) needs one edit, got one of the query and one "
            "of the document; make two pairs of it"
        )
    before, after, fixed = (context.pieces[text] for text in texts)
    _check_edit(texts, (before, after, fixed), fixed_is_query)
    chunks = diff_tokens(before.ids, after.ids, _anchors(pair.edit, before, after))
    fit = _shorten_edited if fixed_is_query else _shorten_fixed
    chunks, fixed_ids = fit(chunks, fixed.ids, context)
    query = context.pieces[pair.query]
    query_roles = roles_of_query(query, pair.query, context.prompts)
    roles = (query_roles, _document_roles(pair, context))
    edited = _fill(chunks, (before.ids, after.ids), roles[fixed_is_query], context.filler, texts)
    if (edited[0] == edited[1]).all() and (edited[2] == edited[3]).all():
        raise _CannotAlign("filler equals the edit")
    fixed_roles = cut(roles[not fixed_is_query], len(fixed_ids), from_left=context.cuts_left)
    fixed_rows = _rows(fixed_ids, fixed_roles)
    return _surround(pair, edited, fixed_rows, context)


def _check_edit(texts: Sequence[str], pieces: Sequence[Pieces], fixed_is_query: bool) -> None:
    edited, fixed = ("document", "query") if fixed_is_query else ("query", "document")
    if not pieces[2].ids:
        raise _CannotAlign(f"empty {fixed}")
    if not pieces[0].ids or not pieces[1].ids:
        raise _CannotAlign(f"empty {edited}")
    if texts[0] == texts[1]:
        raise _CannotAlign("edit changes nothing")
    if pieces[0].ids == pieces[1].ids:
        raise _CannotAlign("edit changes no token")


def _anchors(edit: Edit | None, before: Pieces, after: Pieces) -> Anchors | None:
    """Count the tokens that lie wholly before an edit, and wholly after it, in both versions."""
    if edit is None:
        return None
    here, there = _place(before.spans, edit.baseline), _place(after.spans, edit.perturbed)
    return Anchors(min(here.before, there.before), min(here.after, there.after))


def _place(spans: list[tuple[int, int]], edit: tuple[int, int]) -> Anchors:
    head = (i for i, span in enumerate(spans) if span[1] > edit[0])
    tail = (i for i, span in enumerate(reversed(spans)) if span[0] < edit[1])
    return Anchors(next(head, len(spans)), next(tail, len(spans)))


def _shorten_edited(
    chunks: list[Chunk], query_ids: list[int], context: _AlignContext
) -> tuple[list[Chunk], list[int]]:
    """Shorten the edited document, outside its edit, to what the query leaves of the room."""
    room = context.room - len(query_ids) * context.reads_together
    if room < 1 or len(query_ids) > context.room:
        raise _CannotAlign("query longer than max_length")
    excess = sum(chunk.width for chunk in chunks) - room
    if excess > 0 and excess >= sum(chunk.width for chunk in chunks if chunk.same):
        raise _CannotAlign("edit longer than max_length")
    return drop_shared(chunks, max(excess, 0), from_left=context.cuts_left), query_ids


def _shorten_fixed(
    chunks: list[Chunk], document_ids: list[int], context: _AlignContext
) -> tuple[list[Chunk], list[int]]:
    """Shorten the fixed document to what the edited query leaves of the room."""
    query_length = sum(chunk.width for chunk in chunks)
    room = context.room - query_length * context.reads_together
    if room < 1 or query_length > context.room:
        raise _CannotAlign("query longer than max_length")
    return chunks, cut(document_ids, room, from_left=context.cuts_left)


def _document_roles(pair: Pair, context: _AlignContext) -> list[int]:
    """Give the role of each token of the baseline document, its edit left aside."""
    pieces, prompt = context.pieces[pair.baseline], context.prompts[1]
    if not pair.term:
        return after_prompt(pieces, prompt, [Role.DOCUMENT] * len(pieces.ids))
    spellings = tuple(context.pieces[spelling].ids for spelling in _spellings(pair))
    is_occurrence = find_occurrences(pair.baseline, pieces, pair.term, spellings)
    roles = [Role.OCCURRENCE if occurs else Role.DOCUMENT for occurs in is_occurrence]
    return after_prompt(pieces, prompt, roles)


# Rows are the per-position arrays of an AlignedPair, stacked: baseline and perturbed ids, baseline
# and perturbed mask, role. So one concatenation joins texts and special tokens in all five.
def _rows(ids: ArrayLike, roles: ArrayLike) -> Int64[np.ndarray, "5 pos"]:
    """Stack what both versions share."""
    ones = np.ones_like(ids)
    return np.stack([ids, ids, ones, ones, roles]).astype(np.int64)


def _fill(
    chunks: Sequence[Chunk],
    versions: tuple[list[int], list[int]],
    roles: Sequence[int],
    filler: Filler,
    texts: Sequence[str],
) -> Int64[np.ndarray, "5 pos"]:
    """Write both versions out; in an edit, the filler follows what the shorter side holds."""
    rows: list[np.ndarray] = []
    for chunk in chunks:
        before, after = slice(*chunk.baseline), slice(*chunk.perturbed)
        if chunk.same:
            rows.append(_rows(versions[0][before], roles[before]))
            continue
        edited = np.full((5, chunk.width), Role.EDIT, dtype=np.int64)
        for row, side in enumerate((versions[0][before], versions[1][after])):
            edited[row] = side + _filling(chunk.width - len(side), filler, texts)
            edited[row + 2] = np.arange(chunk.width) < len(side) + filler.attended * chunk.width
        rows.append(edited)
    return np.concatenate(rows, axis=1)


def _filling(gap: int, filler: Filler, texts: Sequence[str]) -> list[int]:
    try:
        return filler.fill(gap, texts) if gap else []
    except LookupError:
        raise _CannotAlign("no neutral filler of the gap's length") from None


def _surround(
    pair: Pair,
    edited: Int64[np.ndarray, "5 edited"],
    fixed: Int64[np.ndarray, "5 fixed"],
    context: _AlignContext,
) -> AlignedPair:
    """Put the special tokens around the edited text, and the fixed one beside it or by itself."""
    template, fixed_is_query = context.template, pair.perturbed_query is None
    is_leading = np.arange(len(template.ids)) < np.argmax(template.slots != SPECIAL)
    is_last = np.cumsum(template.slots[::-1] != SPECIAL)[::-1] == 0
    last = Role.END if context.ends else Role.SEP
    roles = np.select([is_leading, is_last], [Role.CLS, last], Role.SEP)
    special = _rows(template.ids, roles)
    texts = [edited]
    if context.reads_together:
        texts = [fixed, edited] if fixed_is_query else [edited, fixed]
    rows = template.surround(texts, special)
    return AlignedPair(
        pair=pair,
        baseline_ids=rows[0],
        perturbed_ids=rows[1],
        baseline_mask=rows[2],
        perturbed_mask=rows[3],
        token_type_ids=template.token_types(texts),
        roles=rows[4].astype(np.int8),
        fixed_ids=None if context.reads_together else template.surround([fixed], special)[0],
        fixed_is_query=fixed_is_query,
    )
