"""Switch attention between query and passage off in MiniLM's own blocks, by their weights.

Steps 1 and 2 of `late_comparison`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertForSequenceClassification, BertModel

from distillation.low_rank import LowRankLinear, merge_all, update
from distillation.precision import autocast
from distillation.sides import (
    CLS,
    N_APART,
    Batch,
    Probe,
    embed,
    fit_probes,
    masked_states,
    tokens,
)


@torch.no_grad()
def keep_apart(
    model: BertForSequenceClassification,
    batches: Sequence[Batch],
    *,
    type_size: float = 0.3,
    strength: float = 6.0,
) -> None:
    """Switch off attention between query and passage in the first blocks, one after another.

    Parameters
    ----------
    type_size : length of the vector that tells passages from queries in the embeddings.
    strength : attention score (a logit) taken off where a token would look across.
    """
    types = model.bert.embeddings.token_type_embeddings.weight
    types[1] = types[0]
    states = [embed(model.bert, b) for b in batches]
    types[1] += type_size * quiet_direction(tokens(states, batches)[0])
    states = [embed(model.bert, b) for b in batches]
    for block in model.bert.encoder.layer[:N_APART]:
        x, kind = tokens(states, batches)
        separate(block.attention.self, x, fit_probes(x, kind), strength)
        states = [block(x, b.bias()) for x, b in zip(states, batches, strict=True)]


def quiet_direction(x: Tensor) -> Tensor:
    """A direction, [d_model], along which states x [token, d_model] hardly vary.

    The one along which they vary least is left out: layer norm alone makes it constant.
    """
    return torch.linalg.eigh(torch.cov(x.T))[1][:, 1]


def separate(attention: nn.Module, x: Tensor, probes: list[Probe], strength: float) -> None:
    """Let two dimensions of each head say which tokens must not see each other.

    Parameters
    ----------
    attention : a block's self-attention, its layers `LowRankLinear`.
    x : float32 [token, d_model], its inputs.
    """
    cls, query, passage = probes
    # Who looks (row) must not see whom (column): [CLS] and query not the passage, and the reverse.
    looks = [_sum(cls, query), _sum(cls, passage)]
    seen = [passage, query]
    d_head = attention.attention_head_size
    amplitude = (strength * d_head**0.5) ** 0.5
    q, k = (functional.linear(x, y.weight, y.bias) for y in (attention.query, attention.key))
    added = {attention.query: [], attention.key: []}
    for head in range(attention.num_attention_heads):
        rows = slice(d_head * head, d_head * (head + 1))
        for n, (a, b) in enumerate(least_important(q[:, rows], k[:, rows])):
            # b is what the pair is read by in k, and a in q: take both out, then put the probes in.
            for layer, out, read, probe, sign in (
                (attention.query, b, a, looks[n], 1.0),
                (attention.key, a, b, seen[n], -1.0),
            ):
                wide = torch.zeros(layer.base.shape[0])
                wide[rows] = out
                old = Probe(read @ layer.weight[rows], read @ layer.bias[rows])
                added[layer] += [(wide, old, -1.0), (wide, probe, sign * amplitude)]
    for layer, terms in added.items():
        _append(layer, terms)


def _sum(first: Probe, second: Probe) -> Probe:
    return Probe(first.weight + second.weight, first.bias + second.bias)


def least_important(q: Tensor, k: Tensor, n: int = 2) -> list[tuple[Tensor, Tensor]]:
    """The n directions (a, b) that a head's attention would miss least, ``a @ b == 1``.

    ``q @ k`` is a sum of ``(q @ a) (k @ b)`` over directions; these are the ones whose products
    vary least over tokens (k about its mean, which softmax cannot see).

    Parameters
    ----------
    q, k : float32 [token, d_head].
    """
    c_q, c_k = (q.T @ q / len(q)).double(), torch.cov(k.T).double()
    root = torch.linalg.cholesky(c_k + 1e-6 * torch.eye(len(c_k)))
    vectors = torch.linalg.eigh(root.T @ c_q @ root)[1][:, :n]
    pairs = [(root @ v, torch.linalg.solve(root.T, v)) for v in vectors.T]
    balance = [(b.norm() / a.norm()).sqrt() for a, b in pairs]
    return [((a * s).float(), (b / s).float()) for (a, b), s in zip(pairs, balance, strict=True)]


def _append(layer: LowRankLinear, terms: list[tuple[Tensor, Probe, float]]) -> None:
    """Add ``sum of scale * out * (x @ probe)`` to a layer; equal probes share a factor."""
    columns: dict[int, Tensor] = {}
    probes: dict[int, Probe] = {}
    for out, probe, scale in terms:
        probes[id(probe)] = probe
        columns[id(probe)] = columns.get(id(probe), torch.zeros_like(out)) + scale * out
        layer.bias += scale * out * probe.bias
    layer.append(
        torch.stack([p.weight for p in probes.values()]), torch.stack([*columns.values()], 1)
    )


def polish(
    model: BertForSequenceClassification,
    base: BertModel,
    draw: Callable[[int], Batch],
    *,
    steps: int,
    lr: float = 5e-4,
    log_every: int = 50,
) -> None:
    """Bring every block's output nearer to what MiniLM gives with the two sides masked apart.

    Parameters
    ----------
    model : from `keep_apart`; whatever of its first blocks is trainable is trained.
    base : MiniLM itself.
    draw : batch of a step.
    """
    blocks = model.bert.encoder.layer[:N_APART]
    types = model.bert.embeddings.token_type_embeddings
    trained = [p for part in (types, *blocks) for p in part.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lr, betas=(0.9, 0.98), weight_decay=0.0)
    merge_all(blocks)
    for step in range(steps):
        batch = draw(step)
        with autocast(types.weight.device):
            errors = unexplained(model.bert, batch, masked_states(base, batch))
        (0.3 * errors[:-1].sum() + 2 * errors[-1]).backward()
        rate = min(1.0, (step + 1) / 50, (steps - step) / (0.6 * steps))
        update(blocks, optimizer, lr * rate)
        if (step + 1) % log_every == 0:
            shown = " ".join(f"{e:.4f}" for e in errors.tolist())
            print(f"apart step {step + 1} unexplained by block {shown}", flush=True)
    merge_all(blocks, torch.float32)


def unexplained(bert: BertModel, batch: Batch, targets: Sequence[Tensor]) -> Tensor:
    """Squared error of each block's output as a share of the targets' variance, [block].

    [CLS], which only serves to rest attention on, counts a fifth.
    """
    weight = torch.where(batch.kind == CLS, 0.2, 1.0)[batch.is_token]
    x, errors = embed(bert, batch), []
    for block, target in zip(bert.encoder.layer, targets, strict=False):
        x = block(x, batch.bias())
        real = target[batch.is_token].float()
        error = (x[batch.is_token].float() - real).square().sum(-1)
        errors.append((error * weight).mean() / real.var(0).sum())
    return torch.stack(errors)
