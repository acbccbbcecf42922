"""Several processes that train one model: each draws lists of its own, gradients are averaged.

``torchrun --nproc-per-node 2 SCRIPT ...`` starts them. In a process that was started alone
everything here does nothing, and training is what it always was.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import distributed, nn


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that torchrun started, if it did."""
    together = "WORLD_SIZE" in os.environ
    if together:
        distributed.init_process_group("gloo")
    try:
        yield
    finally:
        if together:
            distributed.destroy_process_group()


def number() -> int:
    """Return the number of this process, from 0; number 0 writes, prints and evaluates."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def count() -> int:
    """Return how many processes train."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


@contextmanager
def first_alone() -> Iterator[None]:
    """Let number 0 run a block before the others do, so that they find what it wrote."""
    if number() > 0:
        distributed.barrier()
    yield
    if number() == 0 and count() > 1:
        distributed.barrier()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each process's gradients by their mean over processes."""
    if count() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients]).cpu()
    distributed.all_reduce(flat)
    pieces = (flat / count()).split([g.numel() for g in gradients])
    for gradient, piece in zip(gradients, pieces, strict=True):
        gradient.copy_(piece.view_as(gradient))
