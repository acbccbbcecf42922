"""From hidden states to scores: pooling by hand, what a folder says, and what is refused."""

import json

import pytest
import torch
from small_models import build_model
from torch import nn
from transformers import BertConfig

from mechir_edu.rankers.families import FAMILIES
from mechir_edu.rankers.pooling import POOLING
from mechir_edu.rankers.readout import (
    SIMILARITIES,
    EmbeddingHead,
    read_embedding_head,
    relevant_label,
)

HIDDEN = torch.tensor([[[1.0, -4.0], [2.0, -5.0], [6.0, -3.0], [9.0, 9.0]]])
MASK = torch.tensor([[1, 1, 1, 0]])
POOLED = {
    "cls": [1, -4],
    "mean": [3, -4],
    "max": [6, -3],
    "lasttoken": [6, -3],
    "mean_sqrt_len_tokens": [9 / 3**0.5, -12 / 3**0.5],
    "weightedmean": [(1 + 4 + 18) / 6, (-4 - 10 - 9) / 6],
}
OLD_FLAGS = {
    "cls": "cls_token",
    "mean": "mean_tokens",
    "max": "max_tokens",
    "lasttoken": "lasttoken",
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "weightedmean": "weightedmean_tokens",
}


def write(folder, *kinds, pooling=None, dense=None, settings=None):
    """A folder as sentence-transformers writes it, without the encoder."""
    modules = [{"type": f"somewhere.{k}", "path": f"{i}_{k}"} for i, k in enumerate(kinds)]
    files = {"modules.json": modules, "1_Pooling/config.json": pooling or {"pooling_mode": "max"}}
    files |= {"2_Dense/config.json": dense} if dense else {}
    files |= {"config_sentence_transformers.json": settings} if settings else {}
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


def write_dense(folder, **settings):
    """A folder whose Dense module is stored as a torch file, as old checkpoints have it."""
    config = {"in_features": 2, "out_features": 3, "bias": True} | settings
    write(folder, "Transformer", "Pooling", "Dense", dense=config)
    torch.manual_seed(0)
    linear = nn.Linear(2, 3)
    state = {f"linear.{name}": weight for name, weight in linear.state_dict().items()}
    torch.save(state, folder / "2_Dense" / "pytorch_model.bin")
    return linear


def test_every_pooling_is_tested_here():
    assert POOLED.keys() == POOLING.keys() == OLD_FLAGS.keys()


@pytest.mark.parametrize("pooling", POOLED)
def test_pooling_by_hand(pooling):
    pooled = POOLING[pooling](HIDDEN, MASK)
    torch.testing.assert_close(pooled, torch.tensor([POOLED[pooling]], dtype=torch.float32))


@pytest.mark.parametrize("pooling", POOLED)
def test_padding_does_not_change_an_embedding(pooling):
    alone = POOLING[pooling](HIDDEN[:, :3], MASK[:, :3])
    torch.testing.assert_close(POOLING[pooling](HIDDEN, MASK), alone)


def test_scores_are_compared_row_by_row():
    queries, documents = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[0.0, 2.0], [5, 5]])
    assert EmbeddingHead().compare(queries, documents).tolist() == [8, 5]
    cosines = EmbeddingHead(similarity="cosine").compare(queries, documents)
    torch.testing.assert_close(cosines, torch.tensor([0.8, 0.5**0.5]))


def test_normalising_scales_to_unit_length():
    embedded = EmbeddingHead(pooling="mean", normalise=True).embed(HIDDEN, MASK)
    torch.testing.assert_close(embedded, torch.tensor([[0.6, -0.8]]))


@pytest.mark.parametrize("pooling", POOLED)
def test_only_cls_pooling_reads_the_first_position_alone(pooling):
    assert EmbeddingHead(pooling=pooling).reads_first_position_only == (pooling == "cls")


# What a folder says


def test_a_folder_without_modules_gets_cls_and_the_dot_product(tmp_path):
    assert read_embedding_head(tmp_path) == EmbeddingHead("cls", (), False, "dot")


def test_modules_without_settings_are_compared_by_cosine(tmp_path):
    head = read_embedding_head(write(tmp_path, "Transformer", "Pooling"))
    assert (head.pooling, head.normalise, head.similarity) == ("max", False, "cosine")


@pytest.mark.parametrize(("pooling", "flag"), OLD_FLAGS.items())
def test_old_flags_name_the_pooling(tmp_path, pooling, flag):
    flags = {f"pooling_mode_{name}": name == flag for name in OLD_FLAGS.values()}
    folder = write(tmp_path, "Transformer", "Pooling", "Normalize", pooling=flags)
    assert read_embedding_head(folder).pooling == pooling


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_settings_say_the_similarity_and_the_prompts(tmp_path, similarity):
    prompts = {"query": "query: ", "document": None}
    settings = {"similarity_fn_name": similarity, "prompts": prompts}
    head = read_embedding_head(write(tmp_path, "Transformer", "Pooling", settings=settings))
    assert (head.similarity, head.prompts) == (similarity, ("query: ", ""))


def test_a_dense_module_stored_by_torch_is_read(tmp_path):
    linear = write_dense(tmp_path, activation_function="torch.nn.modules.activation.Tanh")
    (project,) = read_embedding_head(tmp_path).projections
    torch.testing.assert_close(project(HIDDEN[0]), linear(HIDDEN[0]).tanh())


def test_what_the_caller_asks_for_replaces_what_the_folder_says(tmp_path):
    settings = {"similarity_fn_name": "euclidean"}
    two = {"pooling_mode": ["cls", "mean"]}
    folder = write(tmp_path, "Transformer", "Pooling", pooling=two, settings=settings)
    head = read_embedding_head(folder, pooling="mean", similarity="dot")
    assert (head.pooling, head.similarity) == ("mean", "dot")


# What is refused


@pytest.mark.parametrize(
    "kinds",
    [
        ("Transformer",),
        ("WordEmbeddings", "Pooling"),
        ("Transformer", "Pooling", "LSTM"),
        ("Transformer", "Pooling", "Normalize", "Dense"),
        ("Router",),
    ],
)
def test_other_modules_are_refused_by_name(tmp_path, kinds):
    with pytest.raises(ValueError, match=f"modules {', '.join(kinds)}; supported are Transformer"):
        read_embedding_head(write(tmp_path, *kinds))


def test_several_poolings_are_refused_with_what_to_do(tmp_path):
    folder = write(tmp_path, "Transformer", "Pooling", pooling={"pooling_mode": ["cls", "mean"]})
    with pytest.raises(ValueError, match="one pooling mode, got .*'cls', 'mean'.*pass pooling="):
        read_embedding_head(folder)


def test_pooling_without_the_prompt_is_refused(tmp_path):
    pooling = {"pooling_mode": "mean", "include_prompt": False}
    with pytest.raises(ValueError, match="include_prompt"):
        read_embedding_head(write(tmp_path, "Transformer", "Pooling", pooling=pooling))


@pytest.mark.parametrize(
    "setting",
    [{"pooling": "median"}, {"similarity": "euclidean"}],
    ids=["pooling", "similarity"],
)
def test_an_unknown_setting_is_refused_with_those_there_are(tmp_path, setting):
    with pytest.raises(ValueError, match="must be one of .*'(cls|dot)'.*got '(median|euclidean)'"):
        read_embedding_head(tmp_path, **setting)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_residual": True},
        {"module_input_name": "token_embeddings"},
        {"activation_function": "os.system"},
        {"activation_function": "torch.nn.modules.nothing.Here"},
    ],
)
def test_a_dense_module_of_another_kind_is_refused(tmp_path, settings):
    write_dense(tmp_path, **settings)
    with pytest.raises(
        ValueError, match="needed a Dense|activation of a Dense must be of torch.nn"
    ):
        read_embedding_head(tmp_path)


# Classification


def test_the_relevant_of_two_labels_is_the_last_unless_named():
    def label(*names):
        return relevant_label(BertConfig(id2label=dict(enumerate(names))))

    assert label("LABEL_0", "LABEL_1") == 1
    assert label("irrelevant", "relevant") == 1
    assert label("relevant", "not relevant") == 0
    assert label("Yes", "No") == 0
    assert label("false", "true") == 1
    assert label("anything") == 0


def test_more_than_two_labels_are_refused_by_name():
    labels = {0: "contradiction", 1: "entailment", 2: "neutral"}
    with pytest.raises(ValueError, match="one or two labels, got 3: .*contradiction"):
        relevant_label(BertConfig(id2label=labels))


def test_a_classifier_that_pools_by_mean_needs_all_positions():
    def reads_first_position_only(pooling):
        settings = {"num_labels": 1, "classifier_pooling": pooling}
        model = build_model("modernbert", "ForSequenceClassification", **settings)
        return FAMILIES[model.config.model_type].classifies_first_position(model.config)

    assert reads_first_position_only("cls")
    assert not reads_first_position_only("mean")


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra", "roberta", "mpnet"])
def test_classifying_needs_position_0_only(family):
    model = build_model(family, "ForSequenceClassification", num_labels=1)
    classify = FAMILIES[model.config.model_type].classify
    hidden, mask = torch.randn(2, 5, 32), torch.ones(2, 5, dtype=torch.long)
    alone = classify(model, hidden[:, :1], mask)
    torch.testing.assert_close(alone, classify(model, hidden, mask))
