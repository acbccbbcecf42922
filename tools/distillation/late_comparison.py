"""Where the training starts: a cross-encoder whose score is MiniLM's cosine, by its weights alone.

A cross-encoder that starts from a bi-encoder's weights has never compared two texts within one
pass: their tokens disturb each other, and nothing relates the two. To learn that from a few
thousand queries takes longer than to learn to rank. So the weights are first set up by hand, in
four steps, so that ``[CLS] query [SEP] passage [SEP]`` scores as the two texts' cosine does:

1. `keeping_apart.keep_apart`: in blocks 0-5 attention between query and passage is switched off.
   Which side a token is on is read by a linear probe. In each head the two of 32 dimensions of
   query and key that matter least are freed, and say "not across" there. [CLS] is kept to itself,
   and every passage token may attend to it: MiniLM needs one token of position 0 to rest attention
   on.
2. `keeping_apart.polish`: a few hundred steps of distillation from MiniLM with the two sides masked
   apart.
3. `mark_sides`: two neurons of block 5 write the side into two coordinates that its last layer norm
   leaves unused.
4. `compare`: block 6 averages each side and the layer norm after it brings both means to one
   length; in block 7 [CLS], which holds the query's mean q, attends to the passage's d. Layer norm
   then *is* the comparison: with a constant k added on a free coordinate it leaves there

       k sqrt(d_model) / sqrt(|q + d|^2 + k^2),   |q + d|^2 = 2 |q|^2 (1 + cos(q, d)),

   which falls as the cosine rises. The pooler reads that coordinate.

All of it is low-rank change of MiniLM's linear layers and of the added blocks' (multiples of the
identity, see `mechir_edu.rankers.embedded`), so training goes on from it as from any adapter.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers import BertForSequenceClassification, BertModel

from distillation.low_rank import LowRankLinear, unit
from distillation.sides import N_APART, PASSAGE, Batch, fit_probes, run, tokens


@torch.no_grad()
def mark_sides(
    model: BertForSequenceClassification,
    batches: Sequence[Batch],
    *,
    size: float = 3.0,
    sharpness: float = 40.0,
) -> tuple[int, int, int]:
    """Write the side of each token into unused coordinates of block 5's output.

    Two neurons whose activations differ by a plateau wherever a probe for passages exceeds one half
    (a difference of two GELUs is a step) take the place of the two that matter least.

    Returns
    -------
    Coordinates: one that is positive for [CLS] and the query's side and 0 for the passage's, one
    the other way round, and one that is 0 for all.
    """
    block = model.bert.encoder.layer[N_APART - 1]
    x, kind = tokens([middle(model.bert, b) for b in batches], batches)
    probe = fit_probes(x, kind, ridge=1e-6)[PASSAGE]
    up, out = block.intermediate.dense, block.output.dense
    activation = functional.gelu(functional.linear(x, up.weight, up.bias))
    neurons = (activation.std(0) * out.weight.norm(dim=0)).argsort()[:2].tolist()
    norm = block.output.LayerNorm
    of_query, of_passage, free = norm.weight.abs().argsort()[:3].tolist()

    plateau = 0.1 * sharpness
    n_neurons, d_model = up.base.shape
    step = (unit(d_model, of_passage) - unit(d_model, of_query)) * size / plateau
    rows = {of_query: torch.zeros(n_neurons), of_passage: torch.zeros(n_neurons)}
    for neuron, threshold, sign in zip(neurons, (0.45, 0.55), (1, -1), strict=True):
        up.replace_row(neuron, sharpness * probe.weight)
        up.bias[neuron] = sharpness * (probe.bias - threshold)
        out.replace_column(neuron, sign * step)
        for coordinate, row in rows.items():
            row[neuron] = sign * step[coordinate]
    for coordinate, row in rows.items():
        out.replace_row(coordinate, row)
        out.bias[coordinate] = size if coordinate == of_query else 0.0
        # Nothing else may come in from below, and what stands there must now come out.
        block.attention.output.LayerNorm.weight[coordinate] = 0.0
        block.attention.output.LayerNorm.bias[coordinate] = 0.0
        norm.weight[coordinate], norm.bias[coordinate] = 1.0, 0.0
    return of_query, of_passage, free


def middle(bert: BertModel, batch: Batch) -> Tensor:
    """What the last of MiniLM's blocks holds between attention and feed-forward."""
    x = run(bert, batch, N_APART - 1)
    attention = bert.encoder.layer[N_APART - 1].attention
    return attention.output(attention.self(x, batch.bias())[0], x)


@torch.no_grad()
def compare(
    model: BertForSequenceClassification,
    batches: Sequence[Batch],
    marks: tuple[int, int, int],
    *,
    slope: float = 0.3,
    weight: float = 14.0,
) -> None:
    """Set up the two added blocks, the pooler and the head to score by the cosine of both means.

    Parameters
    ----------
    marks : from `mark_sides`.
    slope : of the pooler's tanh, small enough that it stays near its straight part.
    weight : of the head; with ``slope`` it sets how far scores are apart.
    """
    of_query, of_passage, free = marks
    gather, meet = model.bert.encoder.layer[N_APART:]
    d_model = model.config.hidden_size
    heads = torch.arange(0, d_model, gather.attention.self.attention_head_size)

    def put(layer: LowRankLinear, *terms: tuple[int, Tensor]) -> None:
        inputs, outputs = zip(*terms, strict=True)
        layer.append(torch.stack([unit(d_model, i) for i in inputs]), torch.stack(outputs, dim=1))

    def dimension(n: int, value: float) -> Tensor:
        return unit(d_model, heads + n, value)

    root = 32**0.25
    attention = gather.attention.self
    put(attention.query, (of_query, dimension(0, root)), (of_passage, dimension(1, root)))
    put(attention.key, (of_passage, dimension(0, -root)), (of_query, dimension(1, -root)))
    meet.attention.self.query.bias += dimension(0, 2 * root)
    put(meet.attention.self.key, (of_query, dimension(0, -2 * root)))
    for block in (gather, meet):
        gone = [(mark, unit(d_model, mark, -1.0)) for mark in (of_query, of_passage)]
        put(block.attention.self.value, *gone)
    # As long as q + d is when the two are orthogonal: there the coordinate is most sensitive.
    meet.attention.output.dense.bias[free] = (2 * d_model) ** 0.5

    final = [run(model.bert, b, N_APART + 2)[:, 0, free] for b in batches]
    pooler = model.bert.pooler.dense
    pooler.weight.normal_(0, 0.01)
    pooler.bias.zero_()
    pooler.weight[0] = unit(d_model, free, -slope)
    pooler.bias[0] = slope * torch.cat(final).mean()
    model.classifier.weight[0, 0] = weight
