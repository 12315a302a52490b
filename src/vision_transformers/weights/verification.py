"""Whether two libraries compute the same from the same weights."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vision_transformers.weights.conversion import PortableModel
from vision_transformers.weights.model_folder import build

IMAGES = 4
TOLERANCE = 1e-5
"""Of the largest output."""


@dataclass(frozen=True)
class Difference:
    """How far two models' outputs are apart, over random images."""

    largest: float
    """Largest absolute difference."""
    largest_output: float

    @property
    def is_small(self) -> bool:
        """Whether it is what the order of additions makes in float32."""
        return self.largest <= TOLERANCE * self.largest_output


@torch.no_grad()
def compare(model: PortableModel, theirs: Callable[[Tensor], Tensor]) -> Difference:
    """Runs both on the same random images, in float32: logits, or pooled vectors where there is no head."""
    config = model.description.model
    ours = build(config, model.weights)
    shape = (IMAGES, config.number_of_channels, *config.max_image_shape)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    mine, other = ours(images), theirs(images)
    return Difference(float((mine - other).abs().max()), float(other.abs().max()))
