"""From hidden states to scores: pooling by hand, what a folder says, and what is refused."""

import json

import pytest
import torch
from small_models import build_model
from torch import nn

from mechir_edu.rankers.checkpoint.labels import relevant_label, score_of
from mechir_edu.rankers.families import FAMILIES
from mechir_edu.rankers.pooling import POOLING
from mechir_edu.rankers.readout import (
    SIMILARITIES,
    EmbeddingHead,
    read_embedding_head,
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
    paths = [f"{i}_{kind}" for i, kind in enumerate(kinds)]
    modules = [
        {"type": f"sentence_transformers.models.{kind}", "path": path}
        for kind, path in zip(kinds, paths, strict=True)
    ]
    for path in paths:
        (folder / path).mkdir()
    pooling = {"pooling_mode": "max"} if pooling is None else pooling
    files = {"modules.json": modules}
    files |= {"1_Pooling/config.json": pooling} if "Pooling" in kinds[1:2] else {}
    files |= {"2_Dense/config.json": dense} if dense else {}
    files |= {"config_sentence_transformers.json": settings} if settings else {}
    for name, content in files.items():
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
    with pytest.raises(
        ValueError, match="one pooling mode of .*got .*'cls', 'mean'.*pass pooling="
    ):
        read_embedding_head(folder)


def test_flags_that_are_all_off_mean_the_mean(tmp_path):
    flags = {f"pooling_mode_{name}": False for name in OLD_FLAGS.values()}
    folder = write(tmp_path, "Transformer", "Pooling", pooling=flags)
    assert read_embedding_head(folder).pooling == "mean"


@pytest.mark.parametrize("config", [{}, {"pooling_mode": "median"}, {"pooling_mode": 3}])
def test_a_pooling_that_is_not_stated_is_refused(tmp_path, config):
    folder = write(tmp_path, "Transformer", "Pooling", pooling=config)
    with pytest.raises(ValueError, match="1_Pooling/config.json: needed one pooling mode"):
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
        {"module_output_name": "other"},
        {"activation_function": "os.system"},
        {"activation_function": "torch.nnevil.Tanh"},
        {"activation_function": "torch.nn.evil.Tanh"},
        {"activation_function": "torch.nn.modules.nothing.Here"},
        {"activation_function": "torch.nn.functional.relu"},
        {"activation_function": "torch.nn.Threshold"},
        {"activation_function": "torch.nn.PReLU"},
        {"activation_function": None},
        {"in_features": 0},
        {"in_features": 2.5},
        {"out_features": "3"},
        {"out_features": True},
        {"bias": "no"},
        {"brand_new": 1},
    ],
    ids=lambda settings: "{}={}".format(*next(iter(settings.items()))),
)
def test_a_dense_module_of_another_kind_is_refused_by_file_and_key(tmp_path, settings):
    (key,), file = settings, "2_Dense/config.json"
    write_dense(tmp_path, **settings)
    with pytest.raises(ValueError, match=f"{file}.*{key}|{key}.*{file}"):
        read_embedding_head(tmp_path)


@pytest.mark.parametrize("missing", ["bias", "activation_function"])
def test_a_dense_module_has_the_defaults_of_sentence_transformers(tmp_path, missing):
    linear = write_dense(tmp_path)
    config = tmp_path / "2_Dense" / "config.json"
    stated = json.loads(config.read_text())
    stated.pop(missing, None)
    config.write_text(json.dumps(stated))
    (project,) = read_embedding_head(tmp_path).projections
    torch.testing.assert_close(project(HIDDEN[0]), linear(HIDDEN[0]).tanh())


def test_weights_of_a_dense_module_that_do_not_fit_are_refused(tmp_path):
    write_dense(tmp_path, in_features=5)
    with pytest.raises(
        ValueError, match="(?s)weights in 2_Dense do not fit in_features.*2_Dense/config.json.*size"
    ):
        read_embedding_head(tmp_path)


@pytest.mark.parametrize("spoil", [None, b"", b"version https://git-lfs.github.com/spec/v1"])
def test_weights_of_a_dense_module_that_cannot_be_read_are_refused(tmp_path, spoil):
    write_dense(tmp_path)
    file = tmp_path / "2_Dense" / "pytorch_model.bin"
    file.unlink()
    if spoil is not None:
        file.write_bytes(spoil)
    with pytest.raises(ValueError, match="2_Dense.*(has no weights|damaged|git lfs pull)"):
        read_embedding_head(tmp_path)


# Classification


@pytest.mark.parametrize(
    ("names", "relevant"),
    [
        (["LABEL_0", "LABEL_1"], 1),
        (["irrelevant", "relevant"], 1),
        (["relevant", "not relevant"], 0),
        (["Yes", "No"], 0),
        (["false", "true"], 1),
        ([True, False], 0),
        (["Non-Relevant", "RELEVANT"], 1),
        (["1", "0"], 0),
        ([0, 1], 1),
        (["anything"], 0),
        (["0"], 0),
    ],
)
@pytest.mark.parametrize("key", [int, str])
def test_the_relevant_label_is_the_one_that_is_named_so(names, relevant, key):
    labels = {key(i): name for i, name in enumerate(names)}
    assert relevant_label({"id2label": labels}) == relevant
    assert relevant_label({"id2label": dict(reversed(labels.items()))}) == relevant


@pytest.mark.parametrize("config", [{}, {"num_labels": 2}, {"id2label": None}])
def test_two_labels_without_names_are_irrelevant_and_relevant(config):
    assert relevant_label(config) == 1


@pytest.mark.parametrize(
    "names",
    [
        ["NEGATIVE", "POSITIVE"],
        ["entailment", "not_entailment"],
        ["relevant", "LABEL_1"],
        ["relevant", "very relevant"],
        ["yes", "true"],
        ["LABEL_1", "LABEL_0"],
        ["", None],
        ["irrelevant"],
    ],
)
def test_labels_that_are_not_understood_are_refused_with_what_to_do(names):
    with pytest.raises(ValueError, match='do not say which one means relevant.*"1": "relevant"'):
        relevant_label({"id2label": dict(enumerate(names))})


@pytest.mark.parametrize(
    "config",
    [
        {"id2label": {"1": "relevant", "2": "irrelevant"}},
        {"id2label": {"0": "relevant"}, "num_labels": 2},
        {"id2label": ["irrelevant", "relevant"]},
        {"id2label": {}},
        {"num_labels": "2"},
        {"num_labels": 0},
    ],
)
def test_labels_that_are_no_list_of_names_are_refused(config):
    with pytest.raises(ValueError, match="id2label of config.json must name the labels 0, 1"):
        relevant_label(config)


def test_names_that_contradict_each_other_are_refused():
    names = {"id2label": {0: "no", 1: "yes"}, "label2id": {"yes": 0, "no": 1}}
    with pytest.raises(ValueError, match="label2id.*contradicts its id2label"):
        relevant_label(names)
    assert relevant_label(names | {"label2id": {"LABEL_0": 0, "LABEL_1": 1}}) == 1


@pytest.mark.parametrize("kind", ["multi_label_classification", "regression"])
def test_labels_that_were_not_told_apart_in_training_are_refused(kind):
    with pytest.raises(ValueError, match=f"of a {kind} do not say"):
        relevant_label({"problem_type": kind})


def test_more_than_two_labels_are_refused_by_name():
    labels = {0: "contradiction", 1: "entailment", 2: "neutral"}
    with pytest.raises(ValueError, match="one or two labels, got 3: .*contradiction"):
        relevant_label({"id2label": labels})


@pytest.mark.parametrize("relevant", [0, 1])
def test_two_logits_rank_as_the_softmax_does(relevant):
    logits = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) * 3
    score = score_of(logits, relevant)
    assert score.argsort().tolist() == logits.softmax(dim=1)[:, relevant].argsort().tolist()
    torch.testing.assert_close(score.sigmoid(), logits.softmax(dim=1)[:, relevant])
    torch.testing.assert_close(score_of(logits + torch.randn(50, 1), relevant), score)


def test_one_logit_is_the_score():
    assert score_of(torch.tensor([[2.0], [-1.0]]), 0).tolist() == [2, -1]


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
