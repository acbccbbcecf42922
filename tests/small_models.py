"""Tiny random models of every family, saved as checkpoints that ``Dot`` and ``Cat`` can load.

Two layers, four heads, 32 dimensions. All weights, biases and LayerNorms included, are drawn with
a standard deviation of 0.3, ten times the usual one: whatever is wrong then moves the output by
far more than rounding does.
"""

import copy
from pathlib import Path

import torch
import transformers
from small_tokenizers import byte_level_bpe, decoder_bpe, unigram, wordpiece

MAX_LENGTH = 128  # of texts; RoBERTa, XLM-R and MPNet have no use for their first two positions
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL |= {"intermediate_size": 48, "max_position_embeddings": MAX_LENGTH + 2}
DISTIL = {
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": MAX_LENGTH + 2,
}
# One global layer, and one in which a token sees three to the left and three to the right.
MODERN = {**SMALL, "global_attn_every_n_layers": 2, "local_attention": 6}
MODERN |= {"attention_bias": True, "mlp_bias": True, "norm_bias": True}

FAMILIES = {  # prefix of its classes, settings, tokenizer
    "bert": ("Bert", SMALL, wordpiece),
    "distilbert": ("DistilBert", DISTIL, wordpiece),
    "electra": ("Electra", {**SMALL, "embedding_size": 32}, wordpiece),
    "electra-narrow": ("Electra", {**SMALL, "embedding_size": 16}, wordpiece),
    "roberta": ("Roberta", {**SMALL, "type_vocab_size": 1}, byte_level_bpe),
    "xlm-roberta": ("XLMRoberta", {**SMALL, "type_vocab_size": 1}, byte_level_bpe),
    "mpnet": ("MPNet", SMALL, byte_level_bpe),
    "modernbert": ("ModernBert", MODERN, wordpiece),
}

# Heads wider than the stream divided by them, and stacks of different depth.
T5 = {"d_model": 32, "d_kv": 12, "num_heads": 2, "num_layers": 3, "num_decoder_layers": 2}
T5 |= {"d_ff": 48, "decoder_start_token_id": 0, "relative_attention_num_buckets": 8}
T5 |= {"relative_attention_max_distance": 20, "dropout_rate": 0.0}
ENCODER_DECODERS = {  # as T5, as Flan-T5 (gated, an own head), and mT5
    "t5": ("T5", T5),
    "flan-t5": ("T5", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "mt5": ("MT5", {**T5, "feed_forward_proj": "gated-gelu"}),
}

# Heads in groups of two, wider than the stream divided by them where a family allows that.
CAUSAL = {**SMALL, "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 2}
WINDOWS = {**CAUSAL, "head_dim": 12, "sliding_window": 4, "query_pre_attn_scalar": 12}
WINDOWS |= {"layer_types": ["sliding_attention", "full_attention"]}
DECODERS = {
    "llama": ("Llama", {**CAUSAL, "attention_bias": True}, decoder_bpe),
    "mistral": ("Mistral", {**CAUSAL, "head_dim": 12, "sliding_window": 4}, decoder_bpe),
    "qwen2": ("Qwen2", CAUSAL, decoder_bpe),
    "qwen3": ("Qwen3", {**CAUSAL, "head_dim": 12}, decoder_bpe),
    # Soft caps low enough that random weights reach them.
    "gemma2": ("Gemma2", {**WINDOWS, "attn_logit_softcapping": 2.0}, decoder_bpe),
    "gemma3": ("Gemma3Text", WINDOWS, decoder_bpe),
}


def save_mono_t5(family, folder, *, seed=0, **settings):
    """Save a random encoder-decoder with its tokenizer; gives the folder."""
    prefix, shape = ENCODER_DECODERS[family]
    model_class = getattr(transformers, f"{prefix}ForConditionalGeneration")
    tokenizer = unigram()
    ids = {"vocab_size": len(tokenizer) + 3, "pad_token_id": tokenizer.pad_token_id}
    config = model_class.config_class(**ids, **{**shape, **settings})
    model = draw_weights(model_class(config).eval(), seed)
    return save(model, tokenizer, folder)


def build_model(family, suffix="Model", *, seed=0, **settings):
    """Random model of a family, in evaluation mode; ``suffix`` completes its class's name."""
    prefix, shape, make_tokenizer = (FAMILIES | DECODERS)[family]
    tokenizer = make_tokenizer()
    ids = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    name = prefix + suffix
    model_class = getattr(transformers, "Gemma3ForCausalLM" if "TextForC" in name else name)
    model = model_class(model_class.config_class(**ids, **{**shape, **settings})).eval()
    return draw_weights(model, seed)


@torch.no_grad()
def draw_weights(model, seed=0):
    """Draw all weights of a model anew, in place; gives the model."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        is_scale = parameter.dim() == 1 and name.endswith("weight")
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(0.3 * noise + is_scale)
    return model


def save_model(family, suffix, folder, **settings):
    """Save `build_model`'s model with its tokenizer; gives the folder."""
    return save(build_model(family, suffix, **settings), (FAMILIES | DECODERS)[family][2](), folder)


def save(model, tokenizer, folder):
    """Save a small model with its tokenizer as a checkpoint; gives the folder."""
    model.save_pretrained(folder)
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.model_max_length = MAX_LENGTH
    tokenizer.save_pretrained(folder)
    return Path(folder)


def save_sentence_transformer(folder, family="bert", *, pooling="mean", after=(), **settings):
    """Save a random bi-encoder as sentence-transformers does, and give that library's model.

    ``after`` are modules behind the pooling; ``settings`` are SentenceTransformer's.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    transformer = Transformer(str(save_model(family, "Model", folder / "encoder")))
    pool = Pooling(transformer.get_embedding_dimension(), pooling_mode=pooling)
    model = SentenceTransformer(modules=[transformer, pool, *after], device="cpu", **settings)
    model.save(str(folder / "saved"), create_model_card=False)
    return model


CHAT = (
    '{{- "<s>system\\nJudge." -}}'
    '{%- for m in messages if m.role == "system" -%}{{ " " + m.content }}{%- endfor -%}'
    '{{- "</s>\\n<s>user\\n<Query>: " -}}'
    '{%- for m in messages if m.role == "query" -%}{{ m.content }}{%- endfor -%}'
    '{{- "\\n<Document>: " -}}'
    '{%- for m in messages if m.role == "document" -%}{{ m.content }}{%- endfor -%}'
    '{{- "</s>\\n<s>assistant\\n" -}}'
)


def save_yes_no(folder, family="qwen3", *, chat=CHAT, answers=(300, 301), **settings):
    """Save a random reranker that answers as sentence-transformers does; gives that library's."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    tokenizer = copy.deepcopy(DECODERS[family][2]())
    tokenizer.chat_template = chat
    save(build_model(family, "ForCausalLM"), tokenizer, folder / "lm")
    model = Transformer(str(folder / "lm"), transformer_task="text-generation")
    ranker = CrossEncoder(modules=[model, LogitScore(*answers)], device="cpu", **settings)
    ranker.save_pretrained(str(folder / "saved"), create_model_card=False)
    return ranker
