"""The cross-encoder that learns: how it is set up, how it reads pairs, how it is written."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from transformers import BertForSequenceClassification, BertModel

from distillation import keeping_apart, late_comparison, workers
from distillation.lists import Lists, draw_batch
from distillation.low_rank import LowRankLinear, make_low_rank, merge_all, widen
from distillation.precision import autocast
from distillation.sides import N_APART, Batch, make_batch
from mechir_edu.files import embedded_folder, write_whole
from mechir_edu.rankers.embedded import base_model, load_tokenizer, read_adapter


def starting_point(lists: Lists, options: argparse.Namespace) -> BertForSequenceClassification:
    """Read the model that training starts from, or set it up in the output folder first."""
    if options.adapter:
        return load_student(options.adapter, options.device)
    path = options.out / "start.safetensors"
    with workers.first_alone():
        if not path.exists():
            model = set_up(lists, options)
            save_adapter(model, path, torch.float32)
    return load_student(path, options.device)


def set_up(lists: Lists, options: argparse.Namespace) -> BertForSequenceClassification:
    """Give a cross-encoder MiniLM's cosine as its score, and low-rank directions to learn in."""
    model = student()
    tokenizer = load_tokenizer()

    def draw(step: int) -> Batch:
        pairs = [p for texts, *_ in draw_batch(lists, step, options, stream=4) for p in texts]
        return make_batch(encode_pairs(tokenizer, pairs[: options.polish_pairs]))

    own = model.bert.encoder.layer[:N_APART]
    sample = [draw(-1 - n) for n in range(options.sample)]
    keeping_apart.keep_apart(model, sample)
    widen(own, 4)
    base = BertModel.from_pretrained(embedded_folder(), attn_implementation="eager").eval()
    keeping_apart.polish(
        model.to(options.device),
        base.to(options.device),
        lambda step: draw(step).to(options.device),
        steps=options.polish,
    )
    model.cpu()
    merge_all(model, torch.float32)
    late_comparison.compare(model, sample, late_comparison.mark_sides(model, sample))
    for block in own:  # queries and keys have room enough to learn in by now
        attention = block.attention
        for part in (attention.self.value, attention.output, block.intermediate, block.output):
            widen(part, options.rank)
    for block in model.bert.encoder.layer[N_APART:]:
        widen(block.attention, options.rank)
        # With zeros on both sides of its neurons a feed-forward part would never learn.
        widen(block.intermediate, options.rank, size=0.05)
        widen(block.output, options.rank)
    return model


def student() -> BertForSequenceClassification:
    """The cross-encoder before any training, its encoder's layers made low-rank trainable."""
    model = base_model()
    # On a CPU, bfloat16 attention spelled out runs four times faster than the fused kernel.
    model.set_attn_implementation("eager")
    model.bert.embeddings.requires_grad_(False)
    model.bert.embeddings.LayerNorm.requires_grad_(True)
    model.bert.embeddings.token_type_embeddings.requires_grad_(True)
    make_low_rank(model.bert.encoder)
    return model.eval()  # no dropout: most lists are seen only a few times


def load_student(path: Path, device: str) -> BertForSequenceClassification:
    """Make an adapter file trainable again."""
    model, tensors = student(), read_adapter(path)
    for name, module in model.named_modules():
        if isinstance(module, LowRankLinear):
            module.append(tensors[f"{name}.A"], tensors[f"{name}.B"])
    model.load_state_dict(tensors, strict=False)
    model.to(device)
    merge_all(model)
    return model


def adapter_tensors(model: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Collect what was trained, under the names that `embedded.merge` expects."""
    return {
        name: parameter.detach().to(dtype).cpu().contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def save_adapter(model: nn.Module, path: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write an adapter file that `mechir_edu.rankers.embedded.load` reads, whole or not at all."""
    write_whole(path, save(adapter_tensors(model, dtype)))


def encode_pairs(tokenizer, texts: Sequence[tuple[str, str]], *, max_length: int = 128):
    """Encode (query, passage) pairs, padded to the longest."""
    return tokenizer(
        *(list(column) for column in zip(*texts, strict=True)),
        truncation="only_second", max_length=max_length, padding=True, return_tensors="pt",
    )  # fmt: skip


def score_texts(model, tokenizer, texts: Sequence[tuple[str, str]], *, chunk=8) -> Tensor:
    """Score (query, passage) pairs, [pair]; chunks of like length waste little on padding."""
    device = next(model.parameters()).device
    order = np.argsort([len(query) + len(passage) for query, passage in texts], kind="stable")
    scores = []
    for start in range(0, len(order), chunk):
        part = [texts[i] for i in order[start : start + chunk]]
        inputs = encode_pairs(tokenizer, part).to(device)
        with autocast(device):
            hidden = model.bert(**inputs).last_hidden_state
        # The head reads small differences of one coordinate, which bfloat16 would round away.
        scores.append(model.classifier(model.bert.pooler(hidden.float()))[:, 0])
    # argsort of a permutation is its inverse
    return torch.cat(scores)[torch.tensor(np.argsort(order), device=device)]
