"""The moving average of the weights."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class MovingAverage(AveragedModel):
    """PyTorch's, for one model whose parameters stay where they are: it does not look for them each time."""

    def update_parameters(self, model: nn.Module) -> None:
        """Follows the model; the first time it takes its weights as they are."""
        if not hasattr(self, "pairs"):
            self.pairs = self._tensors(self.module), self._tensors(model)
        averages, current = self.pairs
        with torch.no_grad():
            if self.n_averaged == 0:
                torch._foreach_copy_(averages, current)
            else:
                self.multi_avg_fn(averages, current, self.n_averaged)  # type: ignore[misc]
        self.n_averaged += 1

    @staticmethod
    def _tensors(model: nn.Module) -> list[Tensor]:
        return list(model.parameters())


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of the model whose weights follow its own; early on it follows faster.

    After n updates the decay is min(decay, (1 + n) / (10 + n)): a fixed one would remember the first,
    random weights for long in a short run.
    """

    def follow(averages: list[Tensor], current: list[Tensor], updates: Tensor) -> None:
        count = float(updates)
        torch._foreach_lerp_(averages, current, 1 - min(decay, (1 + count) / (10 + count)))

    average = MovingAverage(model, multi_avg_fn=follow)  # type: ignore[arg-type]
    return average.eval().requires_grad_(False)
