"""Which token of a sequence is query, document or special, read off the token ids alone.

Alignment knows the role of each position of a pair. Whatever holds for *every* text that a ranker
reads, such as a cut of attention, meets token ids only, and finds the roles here: the special
tokens stand where the tokenizer's template puts them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int, Int8

from mechir_edu.alignment.aligned import Role
from mechir_edu.alignment.encoding import SPECIAL, Template, read_template

Side = Literal["both", "query", "document"]
READ = {
    "both": (Role.QUERY, Role.DOCUMENT),
    "query": (Role.QUERY,),
    "document": (Role.DOCUMENT,),
}
Row = Int[np.ndarray, " pos"]
Special = Int[np.ndarray, " special"]


@dataclass(frozen=True)
class RoleReader:
    """Reads roles off sequences that one tokenizer wrote.

    A prompt counts as part of the text that it stands before. What stands behind the last special
    token, be it padding or what a multi-vector ranker fills a query up with, has `Role.END`.

    Attributes
    ----------
    template : the special tokens around the texts, and their token types.
    texts : roles of the texts, in order.
    """

    template: Template
    texts: tuple[Role, ...]

    @property
    def roles(self) -> set[Role]:
        """Roles that a sequence has, END aside."""
        special = {Role.CLS} if len(self._special(0)) else set()
        rest = sum(len(self._special(i)) for i in range(1, len(self.texts) + 1))
        return {*self.texts, *special, *({Role.SEP} if rest else ())}

    def read(
        self, ids: Int[np.ndarray, "text pos"], types: Int[np.ndarray, "text pos"] | None = None
    ) -> Int8[np.ndarray, "text pos"]:
        """Role of each position.

        Parameters
        ----------
        ids : token ids, padded on the right or not at all.
        types : token types, where the model reads them. They tell a separator from the same token
            as part of a text.

        Raises
        ------
        ValueError
            For a sequence that the tokenizer would not have written, or in which query and
            document cannot be told apart because a text holds the separator.
        """
        given = [None] * len(ids) if types is None else list(types)
        rows = [self._read_row(row, of_row) for row, of_row in zip(ids, given, strict=True)]
        return np.stack(rows).astype(np.int8)

    def _special(self, place: int) -> Special:
        """Special tokens before the first text (0), between texts, or behind the last one."""
        slots = self.template.slots
        at = [-1, *np.flatnonzero(slots != SPECIAL), len(slots)]
        return self.template.ids[at[place] + 1 : at[place + 1]]

    def _read_row(self, ids: Row, types: Row | None) -> Row:
        lead, tail = self._special(0), self._special(len(self.texts))
        ends = [place for place in _places(ids, tail) if place >= len(lead)]
        if not ends or ids[: len(lead)].tolist() != lead.tolist():
            raise ValueError(
                f"token ids {ids[:4].tolist()} ... do not begin and end as the ranker's tokenizer "
                "writes a sequence, so that roles cannot be told; needed special tokens "
                f"{lead.tolist()} before and {tail.tolist()} behind"
            )
        end = ends[-1]
        if end - len(tail) in ends:
            raise ValueError(
                f"the special tokens {tail.tolist()} stand behind a text more than once, so that "
                "its end cannot be told; take the tokenizer's special tokens out of the text"
            )
        roles = np.full(len(ids), Role.END)
        roles[: len(lead)], roles[end : end + len(tail)] = Role.CLS, Role.SEP
        roles[len(lead) : end] = self.texts[0]
        if len(self.texts) > 1:
            between = self._special(1)
            start = self._separator(ids, types, len(lead), end)
            roles[start : start + len(between)] = Role.SEP
            roles[start + len(between) : end] = self.texts[1]
        return roles

    def _separator(self, ids: Row, types: Row | None, begin: int, end: int) -> int:
        """Where the special tokens between two texts start."""
        between = self._special(1)
        places = [begin + place for place in _places(ids[begin:end], between)]
        if types is not None and len(set(self.template.type_ids.tolist())) > 1:
            places = [place for place in places if self._fits(types, begin, place, end)]
        if len(places) != 1:
            raise ValueError(
                f"query and document cannot be told apart in a sequence with {len(places)} "
                f"separators {between.tolist()}; needed one, so take the tokenizer's special "
                "tokens out of query and document"
            )
        return places[0]

    def _fits(self, types: Row, begin: int, start: int, end: int) -> bool:
        """Whether token types change from the first text's to the second's where a text ends."""
        query, document = self.template.type_ids[self.template.slots != SPECIAL]
        before, after = types[begin:start], types[start + len(self._special(1)) : end]
        return bool((before == query).all() and (after == document).all())


def role_reader(ranker: Any, side: Side) -> RoleReader:
    """A reader for what a ranker reads on one of its sides, in the ranker's turn.

    Raises
    ------
    ValueError
        For a tokenizer whose template cannot be read, which pads with one of its special tokens, or
        which writes none between query and document.
    """
    texts = READ[side]
    reader = RoleReader(read_template(ranker.tokenizer, n_sequences=len(texts)), texts)
    if ranker.tokenizer.pad_token_id in reader.template.ids[reader.template.slots == SPECIAL]:
        raise ValueError(
            f"{ranker.name} pads with {ranker.tokenizer.pad_token!r}, which also stands around "
            "texts, so that the end of a text cannot be told"
        )
    at = np.flatnonzero(reader.template.slots != SPECIAL)
    if len(texts) > 1 and at[1] == at[0] + 1:
        raise ValueError(
            f"the tokenizer of {ranker.name} writes no special token between query and document, "
            "so that they cannot be told apart in every text; needed a ranker whose tokenizer does"
        )
    return reader


def _places(ids: Row, wanted: Special) -> Iterator[int]:
    """Where some token ids stand one behind the other."""
    n = len(wanted)
    return (i for i in range(len(ids) - n + 1) if ids[i : i + n].tolist() == wanted.tolist())
