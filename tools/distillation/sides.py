"""Which side of a pair a token is on: batches that know it, and probes that read it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import BatchEncoding, BertModel

N_APART = 6  # MiniLM's own blocks
CLS, QUERY, PASSAGE, PADDING = range(4)
N_KINDS = 3  # without padding


@dataclass(frozen=True)
class Batch:
    """Some pairs as the model reads them.

    Attributes
    ----------
    ids, types : int64 [pair, pos].
    kind : int64 [pair, pos]; CLS, QUERY (with its [SEP]), PASSAGE (with its [SEP]) or PADDING.
    """

    ids: Tensor
    types: Tensor
    kind: Tensor

    def to(self, device: str) -> "Batch":
        """The same batch on a device."""
        return Batch(*(x.to(device) for x in (self.ids, self.types, self.kind)))

    @property
    def is_token(self) -> Tensor:
        """True where there is a token, bool [pair, pos]."""
        return self.kind != PADDING

    def bias(self) -> Tensor:
        """What to add to attention scores so that padding is not seen, [pair, 1, 1, key]."""
        return torch.where(self.is_token, 0.0, -1e4)[:, None, None]

    def apart(self) -> Tensor:
        """The same, and that the two sides do not see each other, [pair, 1, query, key]."""
        query, key = self.kind[:, :, None], self.kind[:, None, :]
        seen = (query == key) | ((key == CLS) & (query != CLS))
        return torch.where(seen & (key != PADDING), 0.0, -1e4)[:, None]


def make_batch(encoded: BatchEncoding) -> Batch:
    """Tell apart the tokens of padded, encoded pairs."""
    kind = encoded["token_type_ids"] + QUERY
    kind[:, 0] = CLS
    kind[encoded["attention_mask"] == 0] = PADDING
    return Batch(encoded["input_ids"], encoded["token_type_ids"], kind)


def embed(bert: BertModel, batch: Batch) -> Tensor:
    """The input of block 0, [pair, pos, d_model]."""
    return bert.embeddings(input_ids=batch.ids, token_type_ids=batch.types)


def run(bert: BertModel, batch: Batch, n_blocks: int) -> Tensor:
    """The output of the first n_blocks, [pair, pos, d_model]."""
    x = embed(bert, batch)
    for block in bert.encoder.layer[:n_blocks]:
        x = block(x, batch.bias())
    return x


@torch.no_grad()
def masked_states(bert: BertModel, batch: Batch) -> list[Tensor]:
    """The outputs of MiniLM's blocks with the two sides masked apart, each [pair, pos, d_model]."""
    x = bert.embeddings(input_ids=batch.ids, token_type_ids=torch.zeros_like(batch.types))
    states = []
    for block in bert.encoder.layer[:N_APART]:
        x = block(x, batch.apart())
        states.append(x)
    return states


@dataclass(frozen=True)
class Probe:
    """A linear function of a token's state: ``x @ weight + bias``."""

    weight: Tensor
    bias: Tensor


def fit_probes(x: Tensor, kind: Tensor, *, ridge: float = 1e-4) -> list[Probe]:
    """Least-squares probes, one a kind of token, that are 1 for that kind and 0 for the others.

    Parameters
    ----------
    x : float32 [token, d_model].
    kind : int64 [token]; the kinds weigh the same, however many tokens each has.
    """
    z = torch.cat([x, torch.ones(len(x), 1)], dim=1).double()
    share = (1 / torch.bincount(kind, minlength=N_KINDS).double())[kind]
    target = functional.one_hot(kind, N_KINDS).double()
    gram = z.T @ (z * share[:, None]) + ridge * torch.eye(z.shape[1])
    solution = torch.linalg.solve(gram, z.T @ (target * share[:, None])).float()
    return [Probe(column[:-1], column[-1]) for column in solution.T]


def tokens(states: Sequence[Tensor], batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
    """All real tokens of some batches: their states [token, d_model] and kinds [token]."""
    rows = [x[b.is_token] for x, b in zip(states, batches, strict=True)]
    return torch.cat(rows), torch.cat([b.kind[b.is_token] for b in batches])
