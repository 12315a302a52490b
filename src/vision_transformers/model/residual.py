"""What may stand between a branch and the residual sum."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LayerScale(nn.Module):
    """A learned scale for each channel of a residual branch (arXiv 2103.17239).

    Args:
        model_dimension: width of a token.
        initial_value: first value of every scale.
    """

    def __init__(self, model_dimension: int, initial_value: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((model_dimension,), initial_value))

    def forward(
        self, branch: Float[Tensor, "batch tokens model_dimension"]
    ) -> Float[Tensor, "batch tokens model_dimension"]:
        """The branch, scaled."""
        return branch * self.scale


class StochasticDepth(nn.Module):
    """In training, drops a residual branch for some images and scales it up for the rest (arXiv 1603.09382).

    Args:
        rate: chance that an image's branch is dropped.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(
        self, branch: Float[Tensor, "batch tokens model_dimension"]
    ) -> Float[Tensor, "batch tokens model_dimension"]:
        """The branch, or zeros, image by image."""
        if not self.training:
            return branch
        keep = 1 - self.rate
        kept = torch.rand(branch.shape[0], 1, 1, device=branch.device) < keep
        return branch * (kept.to(branch.dtype) / keep)
