"""Whether two libraries compute the same from the same weights."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vision_transformers.data.normalising import normalise
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.resizing import resize, to_pixels
from vision_transformers.weights.conversion import PortableModel
from vision_transformers.weights.model_folder import build

IMAGES = 4
TOLERANCE = 1e-5
"""Of the largest output."""
PICTURES = 12
LEVELS = 4
"""Of 255: more is not what another library's resize makes of the same part of a picture."""


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


def compare_pictures(preprocessing: Preprocessing, theirs: Callable[[Image.Image], Tensor]) -> float:
    """How far pixels of random pictures are apart at most, in levels of 255, before they are normalised.

    They are two by three times the model's size, and their widths follow one another, so that half of the
    margin beside the crop is rounded in every way.
    """
    generator = np.random.default_rng(0)
    std = torch.tensor(preprocessing.std).view(-1, 1, 1)
    largest = 0.0
    side = min(preprocessing.size)
    for columns in range(3 * side, 3 * side + PICTURES):
        shape = (2 * side, columns) if preprocessing.channels == 1 else (2 * side, columns, 3)
        picture = Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8))
        ours = normalise(to_pixels(resize(picture, preprocessing))[None], preprocessing)
        largest = max(largest, float(((ours - theirs(picture)) * std).abs().max()) * 255)
    return largest
