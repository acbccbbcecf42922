"""A ranker reads the tokens that its checkpoint was trained on, or is refused when it is loaded."""

import copy
import json
import shutil
import string
from functools import cache

import numpy as np
import pytest
import torch
import transformers
from small_models import SMALL, draw_weights, save, save_model
from small_tokenizers import byte_level_bpe
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast

import mechir_edu as me
from mechir_edu.alignment.aligned import Role
from mechir_edu.alignment.aligner import align
from mechir_edu.rankers.checkpoint.lengths import checked_length
from mechir_edu.rankers.checkpoint.tokenizer import load_tokenizer

TEXTS = [
    "State-of-the-art CO-OP reef",
    "Café E\u0301cole naïve Straße ﬁn",
    "珊瑚礁 산호초 मूंगा",
    "1,234.5% of 3×10^8\tm/s\nnew  line",
    "a\u200bb co\u00adral \x07 \ufffd \U0001f420",
    "unbelievable" * 12,
    "a [MASK] b [SEP]c <mask>",
]


def edit_json(folder, name, edit):
    said = json.loads((folder / name).read_text())
    edit(said)
    (folder / name).write_text(json.dumps(said))


def say(folder, **settings):
    """Change settings of a tokenizer; None takes one out."""

    def edit(said):
        said |= settings
        for key in [key for key, value in settings.items() if value is None]:
            del said[key]

    edit_json(folder, "tokenizer_config.json", edit)


def save_tokenizer(tokenizer, folder, model_type="bert"):
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return folder


@cache
def small_bert():
    """BERT's tokenizer with a vocabulary of a few hundred pieces."""
    letters = sorted({c for text in TEXTS for c in text.lower()} | {*string.ascii_letters, "e"})
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] coral reef fish the sea water a begins CORAL".split()
    pieces = dict.fromkeys([*words, *letters, *(f"##{letter}" for letter in letters)])
    return BertTokenizer({piece: i for i, piece in enumerate(pieces)}, model_max_length=512)


@pytest.fixture(scope="module")
def saved_bert(tmp_path_factory):
    return save_tokenizer(small_bert(), tmp_path_factory.mktemp("bert"))


@pytest.fixture
def bert(saved_bert, tmp_path):
    """Folder of BERT's tokenizer, with the configuration of a model and no weights."""
    return shutil.copytree(saved_bert, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def roberta(tmp_path):
    return save_tokenizer(byte_level_bpe(), tmp_path, "roberta")


def assert_as_stored(folder):
    stored = Tokenizer.from_file(str(folder / "tokenizer.json"))
    stored.no_truncation()
    stored.no_padding()
    tokenizer = load_tokenizer(folder)
    for texts in [*[(text,) for text in TEXTS], TEXTS[:2]]:
        assert tokenizer(*texts)["input_ids"] == stored.encode(*texts).ids
    assert tokenizer.pad_token_id == stored.token_to_id(tokenizer.pad_token)
    return tokenizer


# What tokenizer.json says holds


def in_sequence(name, step):
    def edit(said):
        kind = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers"}[name]
        said[name] = {"type": "Sequence", kind: [step, said[name]]}

    return edit


def replaced(name, **values):
    return lambda said: said[name].update(values)


def new_token(said):
    said["added_tokens"].append(said["added_tokens"][-1] | {"id": 900, "content": "Café"})


def another_template(said):
    said["post_processor"]["single"].insert(1, {"SpecialToken": {"id": "[SEP]", "type_id": 0}})


def normalised_token(said):
    said["added_tokens"][-1] |= {"lstrip": True, "normalized": True}


EDITS = {
    "hyphens": in_sequence(
        "normalizer", {"type": "Replace", "pattern": {"String": "-"}, "content": " "}
    ),
    "compatibility forms": in_sequence("normalizer", {"type": "NFKC"}),
    "no normalizer": lambda said: said.update(normalizer=None),
    "digits": in_sequence("pre_tokenizer", {"type": "Digits", "individual_digits": True}),
    "whitespace alone": lambda said: said.update(pre_tokenizer={"type": "WhitespaceSplit"}),
    "long words": replaced("model", max_input_chars_per_word=5),
    "continuing pieces": replaced("model", continuing_subword_prefix="#"),
    "unknown token": replaced("model", unk_token="[MASK]"),
    "template": another_template,
    "no template": lambda said: said.update(post_processor=None),
    "token": new_token,
    "flags of a token": normalised_token,
    "cut": lambda said: said.update(
        truncation={"direction": "Left", "max_length": 4, "strategy": "LongestFirst", "stride": 2}
    ),
    "padded": lambda said: said.update(
        padding={
            "strategy": "BatchLongest",
            "direction": "Left",
            "pad_to_multiple_of": 8,
            "pad_id": 0,
            "pad_type_id": 1,
            "pad_token": "[PAD]",
        }
    ),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_the_stored_tokenizer_holds_for_bert(bert, edit):
    edit_json(bert, "tokenizer.json", edit)
    assert_as_stored(bert)


@pytest.mark.parametrize("tokenizer_class", ["BertTokenizer", "DistilBertTokenizer", "NoSuchClass"])
def test_the_stored_tokenizer_holds_for_each_class(bert, tokenizer_class):
    say(bert, tokenizer_class=tokenizer_class, do_lower_case=None)
    edit_json(bert, "tokenizer.json", replaced("normalizer", lowercase=False, strip_accents=False))
    tokenizer = assert_as_stored(bert)
    assert tokenizer.tokenize("CAFÉ") != tokenizer.tokenize("cafe")


@pytest.mark.parametrize("tokenizer_class", ["RobertaTokenizer", "XLMRobertaTokenizer"])
def test_word_pieces_under_a_class_of_another_kind_hold(tmp_path, tokenizer_class):
    pieces = [f"{start}{letter}" for start in ("", "##") for letter in "abcdefghijklmnopqrstuvwxyz"]
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "coral", "reef", *pieces]
    backend = Tokenizer(models.WordPiece({n: i for i, n in enumerate(names)}, unk_token="<unk>"))
    backend.normalizer, backend.pre_tokenizer = normalizers.NFC(), pre_tokenizers.Whitespace()
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}
    save_tokenizer(
        PreTrainedTokenizerFast(tokenizer_object=backend, **special), tmp_path, "roberta"
    )
    say(tmp_path, tokenizer_class=tokenizer_class)
    assert assert_as_stored(tmp_path).tokenize("coral") == ["coral"]


def test_what_a_roberta_file_says_of_spaces_and_forms_holds(roberta):
    say(roberta, tokenizer_class="RobertaTokenizer", add_prefix_space=None)
    edit_json(roberta, "tokenizer.json", replaced("pre_tokenizer", add_prefix_space=True))
    edit_json(roberta, "tokenizer.json", lambda said: said.update(normalizer={"type": "NFC"}))
    tokenizer = assert_as_stored(roberta)
    assert tokenizer.tokenize("reef") == tokenizer.tokenize(" reef")


def test_a_tokenizer_that_is_built_as_it_is_stored_stays_what_it_is(bert):
    assert type(load_tokenizer(bert)) is type(AutoTokenizer.from_pretrained(bert))


def test_lower_case_that_sentence_transformers_stored_comes_on_top(bert):
    edit_json(bert, "tokenizer.json", replaced("normalizer", lowercase=False))
    say(bert, do_lower_case=None)
    (bert / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    assert load_tokenizer(bert).tokenize("CORAL") == ["coral"]


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("do_lower_case", False, "lowercase=True"),
        ("strip_accents", False, "strip_accents=True"),
        ("tokenize_chinese_chars", False, "handle_chinese_chars=True"),
    ],
)
def test_a_setting_that_the_file_contradicts_is_refused(bert, setting, value, says):
    say(bert, **{setting: value})
    with pytest.raises(ValueError, match=f"{setting}={value}, but tokenizer.json says {says} in"):
        load_tokenizer(bert)


def test_a_space_that_the_file_contradicts_is_refused(roberta):
    say(roberta, tokenizer_class="RobertaTokenizer", add_prefix_space=True)
    with pytest.raises(ValueError, match="add_prefix_space=False in ByteLevel; needed two files"):
        load_tokenizer(roberta)


# Without tokenizer.json, as Hugging Face reads it


@pytest.mark.parametrize(
    "settings",
    [{}, {"do_lower_case": False}, {"strip_accents": False}, {"tokenize_chinese_chars": False}],
    ids=str,
)
def test_a_vocabulary_alone_is_read_as_by_hugging_face(tmp_path, settings):
    tokens = sorted(small_bert().get_vocab(), key=small_bert().get_vocab().get)
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(settings | {"tokenizer_class": "BertTokenizer"})
    )
    plain, ours = AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(tmp_path)
    assert ours(TEXTS)["input_ids"] == plain(TEXTS)["input_ids"]
    same = ours.tokenize("CORAL") == ours.tokenize("coral")
    assert same == settings.get("do_lower_case", True)


@pytest.mark.parametrize("settings", [{"do_basic_tokenize": False}, {"never_split": ["coral"]}])
def test_steps_that_are_no_longer_taken_are_refused_without_a_stored_tokenizer(bert, settings):
    say(bert, **settings)
    load_tokenizer(bert)  # the file has the steps
    tokens = sorted(small_bert().get_vocab(), key=small_bert().get_vocab().get)
    (bert / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    (bert / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="do_basic_tokenize=false or never_split"):
        load_tokenizer(bert)


@pytest.mark.parametrize(("name", "model_type"), [("vocab.json", "bert"), ("vocab.txt", "roberta")])
def test_a_vocabulary_that_its_class_does_not_look_for_is_refused(tmp_path, name, model_type):
    (tmp_path / name).write_text('{"coral": 0}')
    if model_type == "bert":
        (tmp_path / "merges.txt").write_text("")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(ValueError, match="knows no word"):
        load_tokenizer(tmp_path)


def test_a_vocabulary_without_its_merges_is_refused(tmp_path):
    (tmp_path / "vocab.json").write_text('{"coral": 0}')
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    with pytest.raises(FileNotFoundError, match=r"without merges.txt"):
        load_tokenizer(tmp_path)


# Files that cannot be read


SPOILT = {
    "garbage": "{not json",
    "of another kind": '["a"]',
    "without a model": '{"version": "1.0", "added_tokens": []}',
}


@pytest.mark.parametrize("content", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_tokenizer_is_refused(bert, content):
    (bert / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match="tokenizer"):
        load_tokenizer(bert)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("auto_map", {"AutoTokenizer": ["own.Tokenizer", None]}),
        ("fast_tokenizer_files", ["tokenizer.4.0.0.json"]),
        ("padding_side", "top"),
        ("cls_token", 5),
    ],
)
def test_settings_that_cannot_be_obeyed_are_refused(bert, key, value):
    say(bert, **{key: value})
    with pytest.raises(ValueError, match=f"{key}|Padding side"):
        load_tokenizer(bert)


def test_a_tokenizer_that_draws_its_tokens_is_refused(roberta):
    edit_json(roberta, "tokenizer.json", replaced("model", dropout=0.1))
    with pytest.raises(ValueError, match="has dropout"):
        load_tokenizer(roberta)


def test_a_tokenizer_without_a_token_for_unknown_words_is_refused_when_it_is_loaded(bert):
    edit_json(bert, "tokenizer.json", replaced("model", unk_token="[NONE]"))
    with pytest.raises(ValueError, match=r"cannot be read .*\[UNK\]|\[NONE\]"):
        load_tokenizer(bert)


# Tokenizers that do not fit the model


KINDS = {"dot": (me.Dot, transformers.BertModel)}
KINDS["cat"] = me.Cat, transformers.BertForSequenceClassification


def save_bert(tokenizer, folder, kind="dot", **settings):
    """Save a small BERT with a tokenizer; gives the folder."""
    sizes = {**SMALL, "vocab_size": len(small_bert()), "num_labels": 1, **settings}
    model = draw_weights(KINDS[kind][1](transformers.BertConfig(**sizes)).eval())
    return save(model, tokenizer, folder)


def load(folder, kind="dot", **options):
    return KINDS[kind][0](str(folder), **{"verify": False, **options})


N_TOKENS = len(small_bert())


def test_added_tokens_beyond_the_embedding_are_refused_with_the_numbers(tmp_path):
    tokenizer = copy.deepcopy(small_bert())
    tokenizer.add_tokens(["coralfish", "reefcrab"])
    folder = save_bert(tokenizer, tmp_path)
    with pytest.raises(ValueError, match=rf"2 tokens beyond the {N_TOKENS} .* \({N_TOKENS}\)"):
        load(folder)


def test_a_padding_token_that_is_in_no_vocabulary_is_refused(tmp_path):
    folder = save_bert(small_bert(), tmp_path)
    say(folder, pad_token="<padding>")
    with pytest.raises(ValueError, match=rf"'<padding>' \({N_TOKENS}\)"):
        load(folder)


def test_a_vocabulary_with_gaps_is_measured_by_its_last_id(tmp_path):
    words = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "reef": 40_000}
    backend = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    backend.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]"
    )
    folder = save_bert(tokenizer, tmp_path)
    with pytest.raises(ValueError, match=rf"beyond the {N_TOKENS} .*'reef' \(40000\)"):
        load(folder)


def test_a_token_that_the_model_was_resized_for_is_read(tmp_path):
    tokenizer = copy.deepcopy(small_bert())
    tokenizer.add_tokens(["coralfish"])
    ranker = load(save_bert(tokenizer, tmp_path, vocab_size=N_TOKENS + 1))
    assert N_TOKENS in ranker.tokenize("a coralfish")["input_ids"]


def test_token_types_beyond_the_models_are_refused_where_they_are_written(tmp_path):
    folders = {
        kind: save_bert(small_bert(), tmp_path / kind, kind, type_vocab_size=1) for kind in KINDS
    }
    assert load(folders["dot"]).score("a", "reef").shape == (1,)
    with pytest.raises(ValueError, match="token types up to 1, but the model has embeddings of 1"):
        load(folders["cat"], "cat")


@pytest.mark.parametrize("names", [None, ["input_ids", "attention_mask"], ["token_type_ids"]])
def test_token_types_are_read_or_not_where_the_files_say_so(tmp_path, names):
    folder = save_bert(small_bert(), tmp_path, "cat")
    say(
        folder,
        tokenizer_class="PreTrainedTokenizerFast",
        **({"model_input_names": names} if names else {}),
    )
    if names is None:
        with pytest.raises(ValueError, match="transformers 4 .* Add model_input_names"):
            load(folder, "cat")
    else:
        tokens = load(folder, "cat").tokenize("a", "reef")
        assert ("token_type_ids" in tokens) == ("token_type_ids" in names)


def test_a_tokenizer_that_cannot_pad_is_refused(tmp_path):
    folder = save_bert(small_bert(), tmp_path)
    say(folder, tokenizer_class="PreTrainedTokenizerFast", pad_token=None)
    with pytest.raises(ValueError, match="no padding token"):
        load(folder)


def test_a_score_of_the_first_position_needs_a_special_token_there(tmp_path):
    folder = save_bert(small_bert(), tmp_path)
    edit_json(folder, "tokenizer.json", EDITS["no template"])
    with pytest.raises(ValueError, match="first position alone"):
        load(folder)
    assert load(folder, pooling="mean").tokenize("reef")["input_ids"].shape == (1, 1)


def test_a_model_that_numbers_positions_from_no_token_is_refused(tmp_path):
    folder = save_model("roberta", "Model", tmp_path)
    edit_json(folder, "config.json", lambda said: said.update(pad_token_id=None))
    with pytest.raises(ValueError, match="no pad_token_id|pad_token_id"):
        me.Dot(str(folder), verify=False)


# Lengths


@pytest.mark.parametrize("limit", ["512", 2.5, True, [512], float("nan")])
def test_a_length_that_is_no_whole_number_is_refused(bert, limit):
    say(bert, model_max_length=limit)
    with pytest.raises(ValueError, match="model_max_length in tokenizer_config.json of .* whole"):
        load_tokenizer(bert)


@pytest.mark.parametrize(
    ("limit", "read"), [(10**30, 130), (1e30, 130), (float("inf"), 130), (131, 130), (3, 3)]
)
def test_a_length_that_is_stated_holds_up_to_the_models_positions(bert, limit, read):
    say(bert, model_max_length=limit)
    assert checked_length(load_tokenizer(bert), None, most=130, pair=False) == read


def test_a_length_that_is_not_stated_is_the_models(bert):
    say(bert, model_max_length=None)
    assert checked_length(load_tokenizer(bert), None, most=130, pair=True) == 130


@pytest.mark.parametrize("limit", [-1, 0, 2])
def test_a_stated_length_without_room_for_a_text_is_refused(bert, limit):
    say(bert, model_max_length=limit)
    with pytest.raises(ValueError, match=f"reads {limit} tokens .* needed 3 or more"):
        checked_length(load_tokenizer(bert), None, most=130, pair=False)


@pytest.mark.parametrize("length", [True, 64.0, 64.5, float("nan"), "64", 4, 131])
def test_a_chosen_length_is_a_whole_number_in_range(length):
    with pytest.raises(ValueError, match="from 5 to 130"):
        checked_length(small_bert(), length, most=130, pair=True)
    assert checked_length(small_bert(), np.int64(5), most=130, pair=True) == 5


# Score and alignment read the same tokens


LONG = " ".join(f"reef{i} fish" for i in range(40))


def tokens_read(tokenizer, *texts):
    """Tokens that a plain tokenizer makes, cut as the publisher's library cuts them."""
    only = "only_second" if len(texts) > 1 else True
    return tokenizer(*texts, truncation=only, max_length=tokenizer.model_max_length)["input_ids"]


SETTINGS = {
    "left": {"truncation_side": "left"},
    "padding left": {"padding_side": "left", "truncation_side": "left"},
    "no mask, no types": {"model_input_names": ["input_ids"]},
    "special tokens are text": {"split_special_tokens": True},
    "cleaned up": {"clean_up_tokenization_spaces": True, "truncation_side": "left"},
}
EDITED = ["[MASK] begins. " + LONG, LONG + " a [SEP] b", LONG + " coral"]


@pytest.mark.parametrize("kind", ["dot", "cat"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_alignment_reads_what_the_tokenizer_reads(bert, settings, kind):
    say(bert, model_max_length=32, **settings)
    tokenizer, plain = load_tokenizer(bert), AutoTokenizer.from_pretrained(bert)
    pairs = [
        me.Pair("q", str(i), "a [SEP] reef", LONG, text, "x", 1) for i, text in enumerate(EDITED)
    ]
    before = ["a [SEP] reef"] * (kind == "cat")
    aligned = align(pairs, tokenizer, kind=kind, filler="pad").aligned
    assert len(aligned) == 3
    for pair in aligned:
        # The side that was not cut holds the edit, so nothing but shared tokens was lost.
        whole = plain(*before, pair.pair.perturbed)["input_ids"]
        ids = pair.perturbed_ids[pair.perturbed_mask == 1].tolist()
        is_at_end = pair.pair.perturbed.startswith(LONG)
        if is_at_end == (tokenizer.truncation_side == "left"):
            assert ids == tokens_read(plain, *before, pair.pair.perturbed)
        else:
            assert set(ids) <= set(whole)
        n_special = plain.num_special_tokens_to_add(pair=kind == "cat")
        assert np.isin(pair.roles, [Role.CLS, Role.SEP]).sum() == n_special
        assert len(ids) == 32


@pytest.mark.parametrize("kind", ["dot", "cat"])
def test_a_fixed_document_is_cut_on_the_side_of_the_tokenizer(bert, kind):
    say(bert, model_max_length=24, truncation_side="left")
    tokenizer = load_tokenizer(bert)
    text = LONG + " the end"
    pair = me.Pair("q", "d", "sea", text, text, "x", 1, perturbed_query="sea water", term="end")
    (aligned,) = align([pair], tokenizer, kind=kind, filler="pad").aligned
    if kind == "dot":
        assert aligned.fixed_ids.tolist() == tokens_read(tokenizer, text)
    else:
        assert aligned.perturbed_ids.tolist() == tokens_read(tokenizer, "sea water", text)
        assert aligned.roles[-2:].tolist() == [Role.OCCURRENCE, Role.SEP]


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """A bi-encoder and a cross-encoder that cut from the left at 24 tokens, the mask unnamed."""
    rankers = {}
    for kind in KINDS:
        folder = save_bert(small_bert(), tmp_path_factory.mktemp(kind), kind)
        names = ["input_ids", "token_type_ids"]
        say(folder, truncation_side="left", model_max_length=24, model_input_names=names)
        rankers[kind] = load(folder, kind)
    return rankers


@pytest.mark.parametrize("kind", ["dot", "cat"])
def test_scores_and_patches_are_of_the_same_tokens(left, kind):
    ranker, pair = left[kind], me.Pair("q", "d", "reef", LONG, LONG + " coral", "x", 1)
    scores = me.score_pairs(ranker, [pair])
    alone = ranker.score("reef", [pair.perturbed])
    np.testing.assert_allclose(scores.perturbed, alone, rtol=1e-5)
    np.testing.assert_allclose(me.read_pair(ranker, pair).perturbed_score, alone[0], rtol=1e-5)
    donor = me.patch(ranker, [pair], direction="perturbed_to_baseline", progress=False).donor
    np.testing.assert_allclose(donor, alone, rtol=1e-5)


@pytest.mark.parametrize("kind", ["dot", "cat"])
def test_a_short_text_is_scored_alike_beside_a_long_one(left, kind):
    texts = ["reef", LONG, "a fish"]
    together = left[kind].score("reef", texts)
    alone = [left[kind].score("reef", text)[0] for text in texts]
    np.testing.assert_allclose(together, alone, rtol=1e-4)


# Positions around the padding token


PADDED = ["the <pad> token <pad> fills", "<pad>", "<pad> <pad> first", "last <pad>", "none"]
COUNTING = ["roberta", "xlm-roberta", "mpnet"]


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """A ranker of a family and a kind, and the same model of plain Hugging Face."""
    made = {}

    def load(family, kind, suffix):
        if (family, kind) not in made:
            folder = save_model(family, suffix, tmp_path_factory.mktemp(family), num_labels=1)
            auto = {
                "Model": transformers.AutoModel,
                "ForSequenceClassification": transformers.AutoModelForSequenceClassification,
            }
            plain = auto[suffix].from_pretrained(folder).eval()
            made[family, kind] = {"dot": me.Dot, "cat": me.Cat}[kind](str(folder)), plain
        return made[family, kind]

    return load


@torch.no_grad()
@pytest.mark.parametrize("family", COUNTING)
def test_a_padding_token_in_a_text_takes_the_publishers_position(counting, family):
    ranker, plain = counting(family, "dot", "Model")
    tokenizer = byte_level_bpe()
    query, *texts = [
        plain(**tokenizer(text, return_tensors="pt"))[0][0, 0] for text in ("a <pad> b", *PADDED)
    ]
    wanted = [float(query @ text) for text in texts]
    np.testing.assert_allclose(ranker.score("a <pad> b", PADDED), wanted, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("family", COUNTING)
def test_a_padding_token_in_a_pair_takes_the_publishers_position(counting, family):
    ranker, plain = counting(family, "cat", "ForSequenceClassification")
    tokenizer = byte_level_bpe()
    wanted = [
        plain(**tokenizer("a <pad> b", text, return_tensors="pt")).logits.item() for text in PADDED
    ]
    np.testing.assert_allclose(ranker.score("a <pad> b", PADDED), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["dot", "cat"])
@pytest.mark.parametrize("filler", ["a", "pad"])
@pytest.mark.parametrize("change", ["in the text", "in the edit"])
def test_an_aligned_padding_token_takes_the_same_position(counting, kind, filler, change):
    suffix = {"dot": "Model", "cat": "ForSequenceClassification"}[kind]
    ranker, _ = counting("roberta", kind, suffix)
    baseline = "the <pad> fills it" if change == "in the text" else "the fish fills it"
    perturbed = f"{baseline} reef" if change == "in the text" else "the fish <pad> fills it"
    pair = me.Pair("q", "d", "what is <pad>", baseline, perturbed, "x", 1)
    scores = me.score_pairs(ranker, [pair], filler=filler)
    alone = ranker.score(pair.query, perturbed)
    np.testing.assert_allclose(scores.perturbed, alone, rtol=1e-4, atol=1e-5)
    result = me.patch(ranker, [pair], filler=filler, progress=False, method="naive")
    fast = me.patch(ranker, [pair], filler=filler, progress=False)
    np.testing.assert_allclose(fast.scores, result.scores, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("family", COUNTING)
def test_padding_on_the_left_is_numbered_by_the_publisher(counting, family):
    ranker, plain = counting(family, "dot", "Model")
    tokens = copy.deepcopy(byte_level_bpe())(  # which remembers the side
        ["a reef", LONG], padding=True, padding_side="left", return_tensors="pt"
    )
    tokens = {name: tokens[name][:, -120:] for name in ("input_ids", "attention_mask")}
    wanted = plain(**tokens)[0][:, -1]
    got = ranker.hidden(ranker.model_inputs(**tokens))[:, -1]
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_a_masked_filler_does_not_renumber_what_is_behind_it(counting):
    ranker, _ = counting("roberta", "dot", "Model")
    pair = me.Pair("q", "d", "reef", "a reef fish", "a coral reef fish", "x", 1)
    (aligned,) = align([pair], ranker.tokenizer, kind="dot", filler="pad").aligned
    ids, mask = (torch.tensor(a)[None] for a in (aligned.baseline_ids, aligned.baseline_mask))
    positions = ranker.model_inputs(ids, mask)["position_ids"]
    assert positions.diff().unique().tolist() == [1]


def test_other_families_count_the_padding_token(left):
    ids = left["dot"].tokenize("a [PAD] b")["input_ids"]
    assert left["dot"].model_inputs(ids)["position_ids"].tolist() == [[0, 1, 2, 3, 4]]


def test_a_word_that_is_the_padding_token_is_no_filler():
    with pytest.raises(ValueError, match="take filler='pad'"):
        align([], small_bert(), kind="dot", filler="a [PAD]")
