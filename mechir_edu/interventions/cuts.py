"""Cut attention from one role's tokens to another's, for every text that is read.

A head of a cut layer gives no attention from a token of ``from_role`` to one of ``to_role``; the
token's attention to all others grows in proportion, so that it still sums to 1. That is what an
attention mask does::

    ranker.under(Cut("document", "query", layers=range(6))).score(query, texts)

asks what a ranker loses if passages cannot read the query in blocks 0 to 5.

Sources
-------
M. Vast, B. Van Cooten, L. Soulier, B. Piwowarski: MICE, 2026, arXiv:2602.16299, cut attention
between such segments before they train. M. Geva, J. Bastings, K. Filippova, A. Globerson:
Dissecting Recall of Factual Associations, EMNLP 2023, call cuts at inference *knockouts*.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from mechir_edu.alignment.aligned import Role
from mechir_edu.alignment.read_roles import RoleReader, role_reader
from mechir_edu.interventions.heads import SIDES, Hooks
from mechir_edu.patching.numbers import whole_number
from mechir_edu.patching.options import require_known
from mechir_edu.rankers.base import Ranker, Side
from mechir_edu.rankers.hook_names import require_layer

CUT_ROLES = {
    "[CLS]": Role.CLS,
    "query": Role.QUERY,
    "[SEP]": Role.SEP,
    "document": Role.DOCUMENT,
}
IDS, TYPES = "embed.hook_in", "token_type_embed.hook_in"  # token ids and types, as they come in


@dataclass(frozen=True)
class Cut:
    """No attention from the tokens of some roles to those of others.

    Attributes
    ----------
    from_role : "[CLS]", "query", "[SEP]" or "document", or several of them: the tokens that look. A
        prompt counts as part of its text.
    to_role : the same, the tokens that are looked at. Where a role is in both, its tokens do not
        see themselves either.
    layers : the layers that are cut; all when omitted.
    both_ways : cut attention from ``to_role`` to ``from_role``, too.
    side : which texts are read under the cut, as for `Knockout`.

    Raises
    ------
    ValueError
        For an unknown role; when it is applied (`Ranker.under`), for a layer that the ranker lacks,
        for a cut that leaves a token nothing to look at, and for one that cuts nothing because no
        sequence holds both roles (a bi-encoder never reads query and document together).
    """

    from_role: str | Sequence[str]
    to_role: str | Sequence[str]
    layers: Iterable[int] | None = None
    both_ways: bool = field(default=False, kw_only=True)
    side: Side = field(default="both", kw_only=True)

    def __post_init__(self) -> None:
        for name in ("from_role", "to_role"):
            object.__setattr__(self, name, _roles_named(name, getattr(self, name)))
        if self.layers is not None:
            object.__setattr__(self, "layers", _plain_layers(self.layers))
        if not isinstance(self.both_ways, bool):
            raise TypeError(f"both_ways needs True or False, got {self.both_ways!r}")
        require_known("side", self.side, SIDES)

    def hooks(self, ranker: Ranker, side: Side) -> Hooks:
        """Hook functions by hook point, for what is read on one side."""
        layers = range(ranker.n_layers) if self.layers is None else self.layers
        for layer in layers:
            require_layer(layer, ranker.n_layers)
        read = [s for s in ranker.sides if self.side in ("both", s)]
        readers = {s: role_reader(ranker, s) for s in read}
        if not any(self._pairs(reader) for reader in readers.values()):
            read_as = "together" if ranker.reads_together else "apart"
            raise ValueError(
                f"a {ranker.kind_name} reads query and document {read_as}, so it has no attention "
                f"from {_listed(self.from_role)} to {_listed(self.to_role)} to cut on "
                f"{' or '.join(readers)}"
            )
        pairs = self._pairs(readers[side])
        _require_something_left(pairs, readers[side].roles)
        if not pairs or not layers:
            return []
        known = ranker.hook_dict
        noted = [name for name in (IDS, TYPES) if name in known]
        names = [f"blocks.{layer}.attn.hook_attn_scores" for layer in layers]
        if missing := [name for name in (IDS, *names) if name not in known]:
            raise ValueError(f"{ranker.name} has no hook {missing[0]}, so attention cannot be cut")
        reading = _Reading(readers[side], pairs)
        return [*((name, reading.note) for name in noted), *((n, reading.cut) for n in names)]

    def _pairs(self, reader: RoleReader) -> set[tuple[Role, Role]]:
        """Roles (from, to) between which nothing passes, of those that a sequence holds."""
        cut = {(CUT_ROLES[a], CUT_ROLES[b]) for a in self.from_role for b in self.to_role}
        cut |= {(b, a) for a, b in cut} if self.both_ways else set()
        return {(a, b) for a, b in cut if {a, b} <= reader.roles}


class _Reading:
    """The hooks of one side: they note which tokens come in, and cut attention between them."""

    def __init__(self, reader: RoleReader, pairs: set[tuple[Role, Role]]) -> None:
        self.reader, self.noted = reader, dict[str, Tensor]()
        self.table = torch.zeros(len(Role), len(Role), dtype=torch.bool)
        for a, b in pairs:
            self.table[a, b] = True
        self.between: Bool[Tensor, "text 1 pos pos"] | None = None

    def note(self, ids: Tensor, hook: Any) -> None:
        """Keep the ids, or the types, of the tokens that are read now."""
        # Ids come first, and what was noted of the run before goes with them.
        if hook.name.startswith("embed."):
            self.noted.clear()
        self.noted[hook.name], self.between = ids, None

    def cut(self, scores: Tensor, hook: Any) -> Tensor:
        """Attention scores [text, head, pos, pos] with a mask between the roles."""
        between = self._is_cut().to(scores.device)
        masked = scores.masked_fill(between, -torch.inf)
        # Where a mask of the model's own hides a key, its score is the least of all numbers.
        is_blind = masked.amax(dim=-1) <= torch.finfo(scores.dtype).min / 2
        if (is_blind & between.any(dim=-1)).any():
            raise ValueError(
                f"the cut leaves a token nothing to look at in {hook.name.split('.attn')[0]}, "
                "whose attention is local; cut fewer roles, or other layers"
            )
        return masked

    def _is_cut(self) -> Bool[Tensor, "text 1 pos pos"]:
        if self.between is None:
            arrays = [self.noted[name].cpu().numpy() for name in (IDS, TYPES) if name in self.noted]
            roles = torch.from_numpy(self.reader.read(*arrays)).long()
            self.between = self.table[roles.unsqueeze(2), roles.unsqueeze(1)].unsqueeze(1)
        return self.between


def _roles_named(name: str, roles: Any) -> tuple[str, ...]:
    listed = (roles,) if isinstance(roles, str) else tuple(roles)
    for role in listed or (roles,):
        require_known(name, role, CUT_ROLES)
    return tuple(dict.fromkeys(listed))


def _plain_layers(layers: Any) -> tuple[int, ...]:
    if isinstance(layers, str) or not isinstance(layers, Iterable):
        raise TypeError(f"layers needs whole numbers such as [0, 1] or range(6), got {layers!r}")
    return tuple(dict.fromkeys(whole_number("a layer", layer) for layer in layers))


def _listed(roles: Iterable[str]) -> str:
    return " and ".join(roles)


def _require_something_left(pairs: set[tuple[Role, Role]], present: set[Role]) -> None:
    """Refuse to cut all that the tokens of a role can see."""
    names = {role: name for name, role in CUT_ROLES.items()}
    for role in {a for a, _ in pairs}:
        if present <= {b for a, b in pairs if a == role}:
            raise ValueError(
                f"a token has to look at something, and this cuts all that {names[role]} sees "
                f"({', '.join(names[b] for b in sorted(present))}); leave a role out of to_role"
            )
