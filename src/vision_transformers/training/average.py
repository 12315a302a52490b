"""The moving average of the weights."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class MovingAverage(AveragedModel):
    """A copy of a model whose weights follow the model's own; early on it follows faster.

    After n updates the decay is min(decay, (1 + n) / (10 + n)): a fixed one would remember the first,
    random weights for long in a short run. Unlike PyTorch's it does not look for the parameters in each step:
    they stay where they are. Buffers are not followed; a ViT has none that change.

    Args:
        model: what it follows.
        decay: at least 0 and less than 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model)
        self.decay = decay
        self.averages: list[Tensor] = list(self.module.parameters())
        self.current: list[Tensor] = list(model.parameters())
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:  # noqa: ARG002 - the one that it was made of
        """Follows the model; the first time it takes its weights as they are."""
        if self.n_averaged == 0:
            torch._foreach_copy_(self.averages, self.current)
        else:
            count = float(self.n_averaged)
            weight = 1 - min(self.decay, (1 + count) / (10 + count))
            torch._foreach_lerp_(self.averages, self.current, weight)
        self.n_averaged += 1
