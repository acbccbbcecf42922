"""Losses and updates."""

import argparse

import torch
from torch import Tensor, nn
from torch.nn import functional

from distillation import workers
from distillation.low_rank import update
from distillation.student import score_texts


def list_loss(scores: Tensor, teacher: Tensor, grade: Tensor) -> Tensor:
    """Kullback-Leibler divergence from the teacher, plus a pairwise loss where grades differ.

    Parameters
    ----------
    scores, teacher, grade : [passage], one query's list; grade is NaN where unknown.
    """
    target = torch.softmax(teacher, 0)
    loss = functional.kl_div(torch.log_softmax(scores, 0), target, reduction="sum")
    better = grade[:, None] - grade[None, :]
    pairs = better > 0  # False where either grade is NaN
    if pairs.any():
        gap = (scores[:, None] - scores[None, :])[pairs]
        loss = loss + 0.5 * (better[pairs] * functional.softplus(-gap)).sum() / better[pairs].sum()
    return loss


def learning_rate(step: int, options: argparse.Namespace) -> float:
    """Warm up, stay, then fall to zero over the last share of the steps."""
    warm = min(1.0, (step + 1) / options.warmup)
    left = (options.steps - step) / max(1, options.steps * options.decay)
    return options.lr * min(warm, 1.0, left)


def make_optimizer(model: nn.Module, options: argparse.Namespace) -> torch.optim.AdamW:
    """AdamW on whatever is trainable."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trainable, lr=options.lr, betas=(0.9, 0.98), weight_decay=0.01)


def batch_loss(model, tokenizer, batch: list[tuple]) -> Tensor:
    """Mean loss of some lists, a scalar."""
    device = next(model.parameters()).device
    scores = score_texts(model, tokenizer, [pair for texts, *_ in batch for pair in texts])
    losses, at = [], 0
    for texts, teacher, grade in batch:
        labels = [torch.tensor(x, dtype=torch.float32, device=device) for x in (teacher, grade)]
        losses.append(list_loss(scores[at : at + len(texts)], *labels))
        at += len(texts)
    return torch.stack(losses).mean()


def train_step(model, tokenizer, optimizer, batch: list[tuple], lr: float) -> float:
    """Make one update, and return the mean loss of this process's lists."""
    loss = batch_loss(model, tokenizer, batch)
    loss.backward()
    workers.average_gradients(optimizer.param_groups[0]["params"])
    update(model, optimizer, lr)
    return loss.item()
