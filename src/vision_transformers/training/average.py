"""The moving average of the weights."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of the model whose weights follow its own; early on it follows faster.

    After n updates the decay is min(decay, (1 + n) / (10 + n)): a fixed one would remember the first,
    random weights for long in a short run.
    """

    def follow(averages: list[Tensor], current: list[Tensor], updates: Tensor) -> None:
        count = float(updates)
        torch._foreach_lerp_(averages, current, 1 - min(decay, (1 + count) / (10 + count)))

    average = AveragedModel(model, multi_avg_fn=follow)  # type: ignore[arg-type]
    return average.eval().requires_grad_(False)
