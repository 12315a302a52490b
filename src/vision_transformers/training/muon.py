"""Muon, momentum whose steps are orthogonal (Jordan et al. 2024, kellerjordan.github.io/posts/muon)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vision_transformers.runtime.precision import has_bfloat16

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial a x + b x^3 + c x^5, which moves singular values toward 1."""
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """As `torch.optim.Muon`; matrices of one shape are orthogonalised together.

    A model has the same few shapes in every layer: a dozen small products for each matrix become as many
    for all of them.

    Args:
        parameters: matrices, or groups of matrices.
        lr: the learning rate of square matrices; that of tall ones is larger by sqrt(rows / columns).
        weight_decay: decoupled.
        momentum: Nesterov's.

    Raises:
        ValueError: a parameter is no matrix.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.dim() != 2:
                    raise ValueError(f"Muon is for matrices, and a parameter is {tuple(parameter.shape)}")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Changes the matrices that have a gradient.

        Raises:
            ValueError: a closure is given, which optimizers call that take several looks at a loss.
        """
        if closure is not None:
            raise ValueError("Muon takes its steps from gradients that are there; it calls no closure")
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for matrices in by_shape.values():
                self._step_together(matrices, group["lr"], group["weight_decay"], group["momentum"])

    def _step_together(
        self, matrices: list[Tensor], rate: float | Tensor, weight_decay: float, momentum: float
    ) -> None:
        gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
        for matrix in matrices:
            if "momentum_buffer" not in self.state[matrix]:
                self.state[matrix]["momentum_buffer"] = torch.zeros_like(matrix)
        buffers = [self.state[matrix]["momentum_buffer"] for matrix in matrices]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        directions = torch._foreach_lerp(gradients, buffers, momentum)
        steps = orthogonalised(torch.stack(directions)).to(matrices[0].dtype)
        rows, columns = matrices[0].shape
        torch._foreach_mul_(matrices, 1 - rate * weight_decay)
        rate = rate * max(1, rows / columns) ** 0.5
        if isinstance(rate, Tensor):  # of a recorded step
            torch._foreach_sub_(matrices, list((steps * rate).unbind(0)))
        else:
            torch._foreach_add_(matrices, list(steps.unbind(0)), alpha=-rate)


def orthogonalised(
    matrices: Float[Tensor, "count rows columns"],
) -> Float[Tensor, "count rows columns"]:
    """The same singular vectors, with singular values near 1: Newton-Schulz iterations.

    In bfloat16, which is enough, or in float32 where a device has no instructions for it.
    """
    first, third, fifth = COEFFICIENTS
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.to(torch.bfloat16 if has_bfloat16(matrices.device) else torch.float32)
    x = x.mT if is_tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        squares = x @ x.mT
        polynomial = torch.baddbmm(squares, squares, squares, beta=third, alpha=fifth)
        x = torch.baddbmm(x, polynomial, x, beta=first)
    return x.mT if is_tall else x
