"""The least time that exact head patching can take: its operations at the speed of a bare product.

Counted is what changes when one head's output is replaced: in the head's own layer W_O on that
head's output and the MLP, and every layer behind it, of which the last is needed at one position
alone where the score reads no other. Both runs without a patch are needed once. Multiplications
and additions of matrix products and attention count; LayerNorm, GELU and softmax are taken as free.

Less is possible: a head's change has rank d_head, and LN1 only centres and scales, so the MLP's
first product need not be made anew but only added to (`Operations.folds`). Our exact method does
so; the floor is given both ways. It is also given at two speeds: that of the product which a plain
forward pass gets, and that of the fastest one there is (`gemm_peaks`).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# Rows, inner and columns of MiniLM's products on what exact patching stacks.
SHAPES = ((2256, 384, 1536), (2256, 1536, 384), (2256, 384, 1152), (2256, 384, 384))
SECONDS = 0.25  # for each shape


@dataclass(frozen=True)
class Operations:
    """Floating-point operations of a post-LN encoder's parts, for one sequence of ``n`` tokens."""

    d_model: int
    d_mlp: int
    n_layers: int
    n_heads: int
    first_row_only: bool  # the score reads position 0 alone
    folds: bool = False  # a head's change goes straight into its own layer's MLP

    @classmethod
    def of(cls, ranker: Any, *, folds: bool = False) -> "Operations":
        """Read the sizes off a ranker."""
        config = ranker.hf_model.config
        sizes = config.hidden_size, config.intermediate_size, ranker.n_layers, ranker.n_heads
        return cls(*sizes, ranker.reads_first_position_only, folds)

    def rows(self, layer: int, n: int) -> int:
        """Positions at which a layer's output is needed."""
        return 1 if self.first_row_only and layer == self.n_layers - 1 else n

    def mlp(self, rows: int) -> int:
        """Both products of an MLP."""
        return 4 * rows * self.d_model * self.d_mlp

    def layer(self, layer: int, n: int) -> int:
        """A whole layer: q and W_O where its output is needed, k and v everywhere."""
        rows = self.rows(layer, n)
        projections = 4 * (rows + n) * self.d_model**2
        return projections + 4 * rows * n * self.d_model + self.mlp(rows)

    def one_head(self, layer: int, n: int) -> int:
        """From a head's replaced output to the last layer's."""
        rows, d_head = self.rows(layer, n), self.d_model // self.n_heads
        into_mlp = d_head if self.folds else self.d_model
        own = 2 * rows * (d_head * self.d_model + (into_mlp + self.d_model) * self.d_mlp)
        return own + sum(self.layer(later, n) for later in range(layer + 1, self.n_layers))

    def all_heads(self, lengths: Sequence[int]) -> int:
        """Every head of every pair, and both runs that give and take."""
        layers = range(self.n_layers)
        return sum(
            sum(
                self.n_heads * self.one_head(layer, n) + 2 * self.layer(layer, n)
                for layer in layers
            )
            for n in lengths
        )


def gemm_peaks() -> dict[str, float]:
    """Operations a second of fp32 matrix products, the best of `SHAPES`, by CPU time.

    Of ``torch.mm`` (MKL, in most builds), which is what a forward pass gets, and of oneDNN.
    """
    import torch
    from torch.nn import functional as F

    def plain(a: Any, b: Any) -> Any:
        return F.linear(a, b)

    def onednn(a: Any, b: Any) -> Any:
        return F.linear(a.to_mkldnn(), b)

    ways = {"torch.mm": plain, "oneDNN": onednn}
    if not torch.backends.mkldnn.is_available():
        del ways["oneDNN"]
    return {name: max(_speed(way, *shape) for shape in SHAPES) for name, way in ways.items()}


def _speed(multiply: Callable[[Any, Any], Any], rows: int, inner: int, columns: int) -> float:
    import torch

    a, b = torch.randn(rows, inner), torch.randn(columns, inner)
    multiply(a, b)
    start, n = time.process_time(), 0
    while (spent := time.process_time() - start) < SECONDS:
        multiply(a, b)
        n += 1
    return 2 * rows * inner * columns * n / spent
