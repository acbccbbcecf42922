"""How much attention passes from role to role, head by head; with pairs and with any text.

Attention mass is the sum of a pattern's entries from one token to all tokens of a role, between 0
and 1. From a query token to the document's tokens it grows with the number of tokens that the head
takes for a match: a *soft term frequency* (Lu, Chen and Eickhoff, EMNLP 2025, arXiv:2502.04645).
A large mass says where a head looks, not that the score depends on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mechir_edu.alignment.aligned import AlignedPairs, Role, role_names
from mechir_edu.alignment.read_roles import role_reader
from mechir_edu.collection.given import checked_text
from mechir_edu.patching.batches import SIDES, make_batches
from mechir_edu.patching.engines.hooks import activations
from mechir_edu.patching.entry import as_ranker, takes_turn
from mechir_edu.patching.options import require_known
from mechir_edu.patching.scoring import align_for, token_limit
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import BATCH_SIZE, Inputs, Ranker
from mechir_edu.rankers.hook_names import Head, require_heads
from mechir_edu.rankers.texts import listed
from mechir_edu.rankers.views import Changed

WAYS = ("query_to_document", "document_to_query")


@dataclass(frozen=True, eq=False)
class RoleAttention:
    """Attention mass from role to role.

    Attributes
    ----------
    mass : [layer, head, from role, to role, pair]: of a token of the first role, on average, the
        share of its attention on all tokens of the second. Summed over the second it is 1; NaN
        where a pair has no token of the first.
    roles : names of the roles, in order.
    pairs : the pairs, in order.
    """

    mass: Float[np.ndarray, "layer head role role pair"]
    roles: tuple[str, ...]
    pairs: tuple[Pair, ...]

    def between(self, from_role: str, to_role: str) -> Float[np.ndarray, "layer head pair"]:
        """Mass from one role to another, by the names in `roles`.

        Raises
        ------
        ValueError
            For an unknown role.
        """
        require_known("from_role", from_role, self.roles)
        require_known("to_role", to_role, self.roles)
        return self.mass[:, :, self.roles.index(from_role), self.roles.index(to_role)]


@takes_turn
@torch.no_grad()
def role_attention(
    ranker: Ranker,
    pairs: Sequence[Pair] | AlignedPairs,
    *,
    side: str = "perturbed",
    filler: str = "a",
) -> RoleAttention:
    """Attention mass from role to role in one version of each pair, for every head.

    Parameters
    ----------
    ranker, pairs, filler : as in `mechir_edu.patch`.
    side : "baseline" or "perturbed".

    Raises
    ------
    ValueError
        For an unknown side, or when no pair can be aligned.
    """
    require_known("side", side, SIDES)
    aligned, roles = align_for(ranker, pairs, filler), role_names(ranker.prompts)
    shape = (ranker.n_layers, ranker.n_heads, len(roles), len(roles), len(aligned.aligned))
    mass = np.empty(shape, dtype=np.float32)
    for batch in make_batches(ranker, aligned.aligned, max_tokens=token_limit(ranker)):
        is_role = torch.stack([batch.roles == role for role in range(len(roles))], dim=1).float()
        n_tokens = is_role.sum(dim=-1)[:, None, :, None]
        for layer, pattern in enumerate(_patterns(ranker, batch.side(side))):
            summed = torch.einsum("brp,bhpq,bsq->bhrs", is_role, pattern, is_role) / n_tokens
            mass[layer][..., batch.index] = summed.permute(1, 2, 3, 0).cpu().numpy()
    return RoleAttention(mass, roles, tuple(pair.pair for pair in aligned.aligned))


@dataclass(frozen=True, eq=False)
class TermAttention:
    """Attention mass between each query token and the document.

    Attributes
    ----------
    mass : [layer, head, token, text].
    ids : token ids of the query, a prompt before it included.
    tokens : the same as the tokenizer writes them.
    """

    mass: Float[np.ndarray, "layer head token text"]
    ids: Int64[np.ndarray, " token"]
    tokens: tuple[str, ...]


@torch.no_grad()
def term_attention(
    ranker: Ranker | Changed,
    query: str,
    texts: str | Sequence[str],
    *,
    way: str = "query_to_document",
    batch_size: int = BATCH_SIZE,
) -> TermAttention:
    """Attention mass between each query token and the tokens of each text, for every head.

    Parameters
    ----------
    ranker : one that reads query and document together (a `Cat`), or one under an intervention.
    query, texts : as for ``ranker.score``.
    way : "query_to_document" is what a query token gives to all document tokens, between 0 and 1;
        "document_to_query" is what it gets from all of them, between 0 and their number.
    batch_size : texts in one pass.

    Raises
    ------
    ValueError
        For an unknown way, no text, or a ranker that reads query and document apart, so that no
        attention passes between them.
    """
    require_known("way", way, WAYS)
    ranker = as_ranker(ranker)
    if not ranker.reads_together:
        raise ValueError(
            f"a {ranker.kind_name} reads query and document apart, so no attention passes between "
            "them; needed a ranker that reads them together, such as me.Cat(...)"
        )
    texts, query = listed(texts), ranker.prompts.query + checked_text(query, "query")
    if not texts:
        raise ValueError("needed at least one text, got none")
    with ranker.alone():
        reader, parts = role_reader(ranker, "both"), []
        for start in range(0, len(texts), batch_size):
            inputs = ranker.model_inputs(
                **ranker.tokenize(query, texts[start : start + batch_size])
            )
            ids = inputs["input_ids"].cpu().numpy()
            types = inputs["token_type_ids"].cpu().numpy() if "token_type_ids" in inputs else None
            roles = reader.read(ids, types)
            parts.append(_of_query(ranker, inputs, torch.from_numpy(roles), way))
            of_query = ids[0][roles[0] == Role.QUERY].astype(np.int64)
    tokens = tuple(ranker.tokenizer.convert_ids_to_tokens(of_query.tolist()))
    return TermAttention(np.concatenate(parts, axis=-1), of_query, tokens)


def _of_query(
    ranker: Ranker, inputs: Inputs, roles: Tensor, way: str
) -> Float[np.ndarray, "layer head token text"]:
    """Mass of the query's tokens, which stand at the same places in all texts of a batch."""
    roles = roles.to(ranker.device)
    at = (roles[0] == Role.QUERY).nonzero()[:, 0]
    is_document: Bool[Tensor, "text pos"] = roles == Role.DOCUMENT
    layers = []
    for pattern in _patterns(ranker, inputs):
        turned = pattern if way == WAYS[0] else pattern.transpose(2, 3)
        layers.append(torch.einsum("bhtp,bp->htb", turned[:, :, at], is_document.float()))
    return torch.stack(layers).cpu().numpy()


def _patterns(ranker: Ranker, inputs: Inputs) -> list[Tensor]:
    names = [ranker.stack.hook_name("pattern", layer) for layer in range(ranker.n_layers)]
    by_name = activations(ranker, inputs, names)
    return [by_name[name] for name in names]


class AttentionRanker:
    """A ranking by the attention mass of one head alone: a `Scorer` for `mechir_edu.evaluate`.

    The score of a text is the mean over query tokens of their mass (`term_attention`). Rankers of
    several heads that `attention_rankers` makes read each text once.
    """

    def __init__(self, read: "_Memory", head: Head) -> None:
        self._read, self.head = read, head

    def __repr__(self) -> str:
        layer, head = self.head
        return f"attention {self._read.way} of head ({layer}, {head}) of {self._read.ranker!r}"

    def score(self, query: str, texts: str | Sequence[str]) -> Float[np.ndarray, " text"]:
        """Mean attention mass of the query's tokens in each text."""
        layer, head = self.head
        return self._read.means(query, listed(texts))[:, layer, head]


def attention_rankers(
    ranker: Ranker | Changed, *, way: str = "query_to_document", heads: Sequence[Head] | None = None
) -> dict[Head, AttentionRanker]:
    """Rankers by the attention mass of single heads, by (layer, head); all heads by default.

    A passage is read once for all heads: one pass for the whole map.

    Parameters
    ----------
    ranker, way : as for `term_attention`.

    Raises
    ------
    ValueError
        For a head that the ranker lacks, or what `term_attention` refuses.

    Examples
    --------
    >>> import mechir_edu as me
    >>> ranker = me.Cat("planted")
    >>> texts = ["Corals expel algae when bleaching.", "Trains run late."]
    >>> by_head = attention_rankers(ranker, way="document_to_query")
    >>> len(by_head)
    16
    """
    require_known("way", way, WAYS)
    plain = as_ranker(ranker)
    every = list(np.ndindex(plain.n_layers, plain.n_heads))
    require_heads(heads or (), plain.n_layers, plain.n_heads)
    memory = _Memory(ranker, way)
    return {(int(at[0]), int(at[1])): AttentionRanker(memory, at) for at in heads or every}


class _Memory:
    """Mean mass of all heads, read once for each query and text."""

    def __init__(self, ranker: Ranker | Changed, way: str) -> None:
        self.ranker, self.way = ranker, way
        self.known: dict[tuple[str, str], Float[np.ndarray, "layer head"]] = {}

    def means(self, query: str, texts: list[str]) -> Float[np.ndarray, "text layer head"]:
        new = sorted({text for text in texts if (query, text) not in self.known}, key=len)
        if new:
            mass = term_attention(self.ranker, query, new, way=self.way).mass.mean(axis=2)
            self.known |= {(query, text): mass[..., i] for i, text in enumerate(new)}
        return np.stack([self.known[query, text] for text in texts])
