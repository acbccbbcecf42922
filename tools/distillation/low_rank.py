"""Linear layers whose weight changes by low-rank factors only (Hu et al., "LoRA", ICLR 2022)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from distillation.precision import working_dtype


class _LowRankLinear(torch.autograd.Function):
    """A linear layer whose weight is already merged; gradients go to the two factors only.

    Running the merged weight costs one matrix product each way, where running base and factors
    apart costs three and keeps their outputs.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, a, b):
        x = x.to(weight.dtype)
        ctx.save_for_backward(x, weight, a, b)
        return functional.linear(x, weight, bias.to(weight.dtype))

    @staticmethod
    def backward(ctx, grad):
        x, weight, a, b = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        x_rows, grad_rows = x.flatten(0, -2), grad.flatten(0, -2)
        low = grad_rows @ b.to(weight.dtype)
        grad_a = (low.T @ x_rows).float()
        grad_b = (grad_rows.T @ (x_rows @ a.to(weight.dtype).T)).float()
        return grad @ weight, None, grad_rows.float().sum(0), grad_a, grad_b


class LowRankLinear(nn.Module):
    """A frozen linear layer plus a trainable change ``B @ A``, of rank 0 at first.

    Call `merge` after each change of the factors.

    Attributes
    ----------
    A : float32 [rank, in].
    B : float32 [out, rank].
    bias : float32 [out], trainable.
    weight : [out, in], base and change, in the precision of the last `merge`.
    """

    def __init__(self, base: nn.Linear):
        super().__init__()
        self.register_buffer("base", base.weight.detach(), persistent=False)
        self.bias = nn.Parameter(base.bias.detach().clone())
        self.A = nn.Parameter(torch.empty(0, base.in_features, device=base.weight.device))
        self.B = nn.Parameter(torch.empty(base.out_features, 0, device=base.weight.device))
        self.merge(torch.float32)

    @torch.no_grad()
    def merge(self, dtype: torch.dtype) -> None:
        """Recompute the weight that the forward pass uses."""
        self.weight = torch.addmm(self.base, self.B, self.A).to(dtype)

    @torch.no_grad()
    def append(self, a: Tensor, b: Tensor) -> None:
        """Append factors, a [rank, in] and b [out, rank], and merge in float32."""
        self.A = nn.Parameter(torch.cat([self.A, a.to(self.A)]))
        self.B = nn.Parameter(torch.cat([self.B, b.to(self.B)], dim=1))
        self.merge(torch.float32)

    def widen(self, rank: int, *, size: float = 0.0) -> None:
        """Append random directions to learn in; size 0 leaves the weight as it is."""
        out_features, in_features = self.base.shape
        a = torch.randn(rank, in_features) * 0.5 / in_features**0.5
        self.append(a, size * torch.randn(out_features, rank))

    def replace_row(self, index: int, row: Tensor) -> None:
        """Make one row of the weight, [in], what is given, by a change of rank 1."""
        self.append((row - self.weight[index])[None], unit(self.base.shape[0], index)[:, None])

    def replace_column(self, index: int, column: Tensor) -> None:
        """Make one column of the weight, [out], what is given, by a change of rank 1."""
        self.append(
            unit(self.base.shape[1], index)[None], (column - self.weight[:, index])[:, None]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the merged layer, in the precision of its weight."""
        return _LowRankLinear.apply(x, self.weight, self.bias, self.A, self.B)


def unit(n: int, index, value: float = 1.0) -> Tensor:
    """A vector [n] that is 0 but for ``value`` at one index, or at several."""
    vector = torch.zeros(n)
    vector[index] = value
    return vector


def make_low_rank(block: nn.Module) -> None:
    """Replace every linear layer in a module by a `LowRankLinear`, in place."""
    for parent in list(block.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, LowRankLinear(child))


def low_rank_layers(module: nn.Module) -> list[LowRankLinear]:
    """All low-rank layers of a module, in its own order."""
    return [m for m in module.modules() if isinstance(m, LowRankLinear)]


def merge_all(module: nn.Module, dtype: torch.dtype | None = None) -> None:
    """Bring every low-rank layer's weight up to date, by default in the `working_dtype`."""
    for layer in low_rank_layers(module):
        layer.merge(dtype or working_dtype(layer.base.device))


def widen(module: nn.Module, rank: int, *, size: float = 0.0) -> None:
    """Give every low-rank layer of a module more directions to learn in."""
    for layer in low_rank_layers(module):
        layer.widen(rank, size=size)


def update(module: nn.Module, optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Apply the gradients that are there, and bring the module's low-rank layers up to date."""
    for group in optimizer.param_groups:
        nn.utils.clip_grad_norm_(group["params"], 1.0)
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad()
    merge_all(module)
