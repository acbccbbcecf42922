"""Every setting that sentence-transformers stores is obeyed as it does, or refused by name."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from small_models import save_model
from torch import nn

from mechir_edu import Cat, Dot
from mechir_edu.rankers.checkpoint.settings import TRANSFORMER_FILES
from mechir_edu.rankers.checkpoint.stored import read_object

QUERY = "Coral REEF"
TEXTS = ["A coral reef is built by small animals in warm water.", "The sea.", "Fish and reefs " * 5]
MODEL_FILE, TRANSFORMER_FILE = "config_sentence_transformers.json", "sentence_bert_config.json"


@pytest.fixture(scope="module")
def dot_folder(tmp_path_factory):
    """A bi-encoder as the installed sentence-transformers saves it, with all of its modules."""
    folder = tmp_path_factory.mktemp("dot")
    encoder = Transformer(str(save_model("roberta", "Model", folder / "encoder")))
    dense = Dense(32, 16, activation_function=nn.Tanh())
    modules = [encoder, Pooling(32, pooling_mode="mean"), dense, Normalize()]
    prompts = {"query": "find: ", "document": "text: "}
    model = SentenceTransformer(modules=modules, device="cpu", prompts=prompts)
    model.save(str(folder / "saved"), create_model_card=False)
    return folder / "saved"


@pytest.fixture(scope="module")
def cat_folder(tmp_path_factory):
    """A cross-encoder as the installed sentence-transformers saves it."""
    folder = tmp_path_factory.mktemp("cat")
    plain = save_model("roberta", "ForSequenceClassification", folder / "plain", num_labels=1)
    model = CrossEncoder(str(plain), device="cpu")
    model.save_pretrained(str(folder / "saved"), create_model_card=False)
    return folder / "saved"


@pytest.fixture
def edited(dot_folder, cat_folder, tmp_path):
    """A copy of either folder, some keys of one of its files set."""

    def edit(kind, file, **changes):
        folder = tmp_path / "edited"
        shutil.copytree({"dot": dot_folder, "cat": cat_folder}[kind], folder, dirs_exist_ok=True)
        (folder / file).write_text(json.dumps(read_object(folder / file) | changes))
        return str(folder)

    return edit


def published(kind, folder, texts=TEXTS):
    """Scores of sentence-transformers itself."""
    if kind == "cat":
        model = CrossEncoder(folder, device="cpu")
        return model.predict([(QUERY, text) for text in texts], activation_fn=nn.Identity())
    model = SentenceTransformer(folder, device="cpu")
    return model.similarity(model.encode_query(QUERY), model.encode_document(texts)).numpy()[0]


def ours(kind, folder):
    ranker = Dot(folder, verify=False) if kind == "dot" else Cat(folder, verify=False)
    return ranker.score(QUERY, TEXTS)


def is_obeyed(kind, folder, key):
    """Whether a setting is obeyed, scores equal to the publisher's; else its name is refused."""
    try:
        scores = ours(kind, folder)
    except ValueError as refusal:
        if key not in str(refusal):
            raise
        return False
    np.testing.assert_allclose(scores, published(kind, folder), atol=1e-5, rtol=0)
    return True


# Every key that the installed sentence-transformers writes, at another value than the default.
FILES = {
    Transformer: TRANSFORMER_FILE,
    Pooling: "1_Pooling/config.json",
    Dense: "2_Dense/config.json",
    Normalize: "3_Normalize/config.json",
}
OTHER = {
    "transformer_task": "fill-mask",
    "modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}},
    "module_output_name": "elsewhere",
    "module_input_name": "token_embeddings",
    "processing_kwargs": {"text": {"max_length": 8}},
    "unpad_inputs": False,
    "query_length": 4,
    "document_length": 5,
    "query_expansion": {"strategy": "fixed", "length": 9},
    "embedding_dimension": 33,
    "pooling_mode": "max",
    "include_prompt": False,
    "in_features": 31,
    "out_features": 15,
    "bias": False,
    "activation_function": "torch.nn.modules.activation.ReLU",
    "use_residual": True,
    "prompts": {"query": "now: ", "document": "here: "},
    "default_prompt_name": "query",
    "similarity_fn_name": "dot",
    "truncate_dim": 5,
    "activation_fn": "torch.nn.modules.activation.Softmax",
    "keep_in_fp32_modules": ["0.model.classifier.dense"],
    "model_type": "SparseEncoder",
    "__version__": {"sentence_transformers": "2.0.0"},
    "max_seq_length": 9,
    "do_lower_case": True,
}
OBEYED = {  # the others are refused
    *("unpad_inputs", "embedding_dimension", "pooling_mode", "activation_function", "prompts"),
    *("default_prompt_name", "similarity_fn_name", "truncate_dim", "keep_in_fp32_modules"),
    *("__version__", "max_seq_length", "do_lower_case"),
}
NOT_WRITTEN_ANY_MORE = {("dot", TRANSFORMER_FILE): ["max_seq_length", "do_lower_case"]}


def written_keys():
    """(kind, file, key) for every key that the installed library can write."""
    for module, file in FILES.items():
        for key in {*module.config_keys, *NOT_WRITTEN_ANY_MORE.get(("dot", file), [])}:
            yield "dot", file, key
    for key in Transformer.config_keys:
        yield "cat", TRANSFORMER_FILE, key
    for kind, model in (("dot", SentenceTransformer), ("cat", CrossEncoder)):
        bare = model(modules=[nn.Identity()], device="cpu")
        bare.truncate_dim, bare.keep_in_fp32_modules = 3, ["x"]  # keys that are written where set
        for key in bare._get_model_config():
            yield kind, MODEL_FILE, key


@pytest.mark.parametrize(("kind", "file", "key"), sorted(written_keys()))
def test_every_key_that_can_be_written_is_obeyed_or_refused_by_name(edited, kind, file, key):
    needs = {"prompts": OTHER["prompts"]} if key == "default_prompt_name" else {}
    folder = edited(kind, file, **{key: OTHER[key]}, **needs)
    assert is_obeyed(kind, folder, key) == (key in OBEYED)


@pytest.mark.parametrize("kind", ["dot", "cat"])
def test_what_the_installed_library_writes_is_loaded(edited, kind):
    assert is_obeyed(kind, edited(kind, MODEL_FILE), "nothing")


@pytest.mark.parametrize(
    "file", [MODEL_FILE, TRANSFORMER_FILE, *FILES.values()], ids=lambda file: file.split("/")[0]
)
def test_a_key_that_nobody_knows_is_refused_unless_it_is_empty(edited, file):
    with pytest.raises(ValueError, match=f"{Path(file).name} .*brand_new to 7.*no such key"):
        ours("dot", edited("dot", file, brand_new=7))
    assert len(ours("dot", edited("dot", file, brand_new=None))) == len(TEXTS)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("dot", "truncate_dim", 0),
        ("dot", "truncate_dim", 2.5),
        ("dot", "similarity_fn_name", "maxsim"),
        ("dot", "prompts", ["find: "]),
        ("dot", "prompts", {"query": 3}),
        ("dot", "default_prompt_name", "nowhere"),
        ("dot", "requirements", {"transformers": "<5"}),
        ("dot", "model_type", "MultiVectorEncoder"),
        ("dot", "model_type", "CrossEncoder"),
        ("cat", "model_type", "SentenceTransformer"),
        ("cat", "activation_fn", "torch.nn.modules.activation.GELU"),
        ("cat", "activation_fn", "torch.nnevil.Sigmoid"),
        ("cat", "default_prompt_name", "nowhere"),
        ("cat", "truncate_dim", 4),
    ],
)
def test_a_setting_of_the_model_that_is_not_obeyed_is_refused(edited, kind, key, value):
    needed = {"similarity_fn_name": "similarity must be one of"}.get(key, f"{key}.*{value}")
    if key in ("prompts", "requirements"):
        needed = key
    with pytest.raises(ValueError, match=needed):
        ours(kind, edited(kind, MODEL_FILE, **{key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_seq_length", 0),
        ("max_seq_length", -1),
        ("max_seq_length", 2.5),
        ("max_seq_length", True),
        ("do_lower_case", "yes"),
        ("tokenizer_args", {"use_fast": False}),
        ("model_args", {"torch_dtype": "float16"}),
        ("config_kwargs", {"hidden_act": "relu"}),
        ("tokenizer_name_or_path", "someone/else"),
        ("backend", "onnx"),
        ("modality_config", {"text": {"method": "forward", "method_output_name": "logits"}}),
    ],
)
@pytest.mark.parametrize("kind", ["dot", "cat"])
def test_a_setting_of_the_encoder_that_is_not_obeyed_is_refused(edited, kind, key, value):
    if kind == "cat" and key == "modality_config":
        value = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    with pytest.raises(ValueError, match=f"{key}.*{TRANSFORMER_FILE}|{TRANSFORMER_FILE}.*{key}"):
        ours(kind, edited(kind, TRANSFORMER_FILE, **{key: value}))


# Prompts


@pytest.mark.parametrize("name", ["passage", "corpus"])
def test_a_prompt_that_one_version_uses_and_another_does_not_is_refused(edited, name):
    folder = edited("dot", MODEL_FILE, prompts={"query": "find: ", name: "text: "})
    with pytest.raises(ValueError, match=f"has the prompt '{name}'.*needed prompts called"):
        ours("dot", folder)


def test_a_default_prompt_of_another_name_is_refused(edited):
    prompts = {"prompts": {"retrieve": "find: "}, "default_prompt_name": "retrieve"}
    with pytest.raises(ValueError, match="has the prompt 'retrieve'"):
        ours("dot", edited("dot", MODEL_FILE, **prompts))


@pytest.mark.parametrize(
    "prompts", [{}, None, {"query": None}, {"query": "", "passage": ""}, {"other": "text: "}]
)
def test_prompts_that_no_text_gets_are_passed_over(edited, prompts):
    folder = edited("dot", MODEL_FILE, prompts=prompts)
    assert Dot(folder, verify=False).prompts == ("", "")


@pytest.mark.parametrize("default", ["query", "other", None])
def test_a_cross_encoder_has_its_default_prompt(edited, default):
    prompts = {"query": "find: ", "other": "which text says "}
    folder = edited("cat", MODEL_FILE, prompts=prompts, default_prompt_name=default)
    assert is_obeyed("cat", folder, "nothing")
    assert Cat(folder, verify=False).prompts.query == prompts.get(default, "")


# Modules


def modules(folder, change):
    """Change the entries of ``modules.json``; gives the folder."""
    file = Path(folder) / "modules.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    return folder


def entry(number, **changes):
    """A change of one entry of ``modules.json``."""
    return lambda entries: [e | changes if e["idx"] == number else e for e in entries]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (entry(1, type="custom_st.Pooling"), "custom_st.Pooling, code of its own"),
        (entry(2, type="pylate.models.Dense.Dense"), "pylate.models.Dense.Dense: a multi-vector"),
        (entry(0, type="sentence_transformers_evil.models.Transformer"), "code of its own"),
        (entry(1, type="sentence_transformers.sparse_encoder.modules.SpladePooling"), "SPLADE"),
        (entry(2, type="sentence_transformers.x.MultiVectorMask"), "multi-vector ranker .ColBERT"),
        (entry(2, type="sentence_transformers.models.Dropout"), "modules .*Dropout.*supported are"),
        (entry(0, path="../encoder"), "path '../encoder'; needed a folder inside"),
        (entry(0, path="/encoder"), "path '/encoder'; needed a folder inside"),
        (entry(0, path="0_Transformer"), "keeps the encoder in 0_Transformer, which is not there"),
        (entry(1, path="9_Pooling"), "9_Pooling/config.json: needed one pooling mode"),
        (entry(1, path=None), "entry 1: needed an object with a type and a path"),
        (entry(1, kwargs=["task"]), "entry 1, sets kwargs to"),
        (entry(1, brand_new=1), "entry 1, sets brand_new to 1"),
        (lambda entries: ["Transformer"], "entry 0: needed an object"),
        (lambda entries: {"0": entries}, r"modules.json must hold a list"),
        (lambda entries: [], "holds 1_Pooling, .*but no modules.json"),
    ],
)
def test_modules_that_are_not_understood_are_refused(edited, change, message):
    with pytest.raises(ValueError, match=message):
        ours("dot", modules(edited("dot", MODEL_FILE), change))


def test_parts_without_the_list_of_modules_are_refused(edited):
    for kind, file in (("dot", "1_Pooling/config.json"), ("cat", MODEL_FILE)):
        folder = Path(edited(kind, file))
        (folder / "modules.json").unlink()
        with pytest.raises(ValueError, match=f"holds .*{file.split('/')[0]}.* but no modules.json"):
            ours(kind, str(folder))
        shutil.rmtree(folder)


def test_the_encoder_is_read_from_the_folder_that_is_stated(edited, tmp_path):
    folder = Path(modules(edited("dot", MODEL_FILE), entry(0, path="0_Transformer")))
    (folder / "0_Transformer").mkdir()
    for file in list(folder.glob("*.json")) + list(folder.glob("*.safetensors")):
        if file.name not in ("modules.json", MODEL_FILE):
            shutil.move(file, folder / "0_Transformer" / file.name)
    save_model("roberta", "Model", folder, seed=5)  # other weights at the root
    assert is_obeyed("dot", str(folder), "nothing")


@pytest.mark.parametrize("name", TRANSFORMER_FILES)
def test_every_older_name_of_the_encoders_settings_is_read(edited, name):
    folder = Path(edited("dot", MODEL_FILE))
    (folder / TRANSFORMER_FILE).unlink()
    (folder / name).write_text('{"max_seq_length": 9, "do_lower_case": true}')
    assert is_obeyed("dot", str(folder), "nothing")
    assert Dot(str(folder), verify=False).max_length == 9


def test_a_cross_encoder_with_a_module_behind_its_score_is_refused(edited):
    def add(entries):
        last = {"idx": 1, "name": "1", "path": "1_Dense"}
        return [*entries, last | {"type": "sentence_transformers.base.modules.dense.Dense"}]

    with pytest.raises(ValueError, match="modules Transformer, Dense; a cross-encoder needs"):
        ours("cat", modules(edited("cat", MODEL_FILE), add))


@pytest.mark.parametrize(
    ("stated", "is_read"),
    [
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, True),
        ({"sentence_transformers": {"version": "4.1.0"}}, True),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}, True),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.ReLU"}}, False),
        ({"sentence_transformers": {"prompt": "find: "}}, False),
        ({"sentence_transformers": "4.1.0"}, False),
        ({"sbert_ce_default_activation_function": "my_code.Reverse"}, False),
    ],
)
def test_what_older_versions_keep_in_a_cross_encoders_config_is_read(edited, stated, is_read):
    folder = Path(edited("cat", "config.json", **stated))
    for name in ("modules.json", MODEL_FILE, TRANSFORMER_FILE):
        (folder / name).unlink()
    assert is_obeyed("cat", str(folder), next(iter(stated))) == is_read


def test_a_prompt_before_pairs_is_patched_as_it_is_scored(edited):
    from mechir_edu import Pair, score_pairs

    prompts = {"prompts": {"query": "find: "}, "default_prompt_name": "query"}
    ranker = Cat(edited("cat", MODEL_FILE, **prompts), verify=False)
    pair = Pair(
        query_id="q",
        doc_id="d",
        query=QUERY,
        baseline="the sea is warm",
        perturbed="the sea is warm coral",
        axiom="mine",
        expected_sign=1,
    )
    assert torch.tensor(ranker.score(QUERY, [pair.perturbed])).shape == (1,)
    scored = score_pairs(ranker, [pair])
    np.testing.assert_allclose(scored.perturbed, ranker.score(QUERY, [pair.perturbed]), atol=1e-5)
