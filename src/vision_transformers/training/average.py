"""The moving average of the weights."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Follow = Callable[[list[Tensor], list[Tensor], float], None]
"""Moves averages toward current values; the number says how often that was done before."""


class MovingAverage(AveragedModel):
    """PyTorch's, of one model whose parameters stay where they are: it does not look for them in each step.

    Buffers are not followed; a ViT has none that change.
    """

    def __init__(self, model: nn.Module, follow: Follow) -> None:
        super().__init__(model)
        self.follow = follow
        self.averages: list[Tensor] = list(self.module.parameters())
        self.current: list[Tensor] = list(model.parameters())

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:  # noqa: ARG002 - the one that it was made of
        """Follows the model; the first time it takes its weights as they are."""
        if self.n_averaged == 0:
            torch._foreach_copy_(self.averages, self.current)
        else:
            self.follow(self.averages, self.current, float(self.n_averaged))
        self.n_averaged += 1


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of the model whose weights follow its own; early on it follows faster.

    After n updates the decay is min(decay, (1 + n) / (10 + n)): a fixed one would remember the first,
    random weights for long in a short run.
    """

    def follow(averages: list[Tensor], current: list[Tensor], count: float) -> None:
        torch._foreach_lerp_(averages, current, 1 - min(decay, (1 + count) / (10 + count)))

    return MovingAverage(model, follow).eval().requires_grad_(False)
