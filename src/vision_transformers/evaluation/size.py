"""How large a model is, told by its config: nothing is allocated, computed or downloaded."""

from dataclasses import dataclass, replace

import torch

from vision_transformers.evaluation.matrix_products import matrix_products, operations_of
from vision_transformers.model.config import ViTConfig
from vision_transformers.model.vit import ViT


@dataclass(frozen=True)
class ModelSize:
    """What a model holds, and what it does for an image of `max_image_shape`."""

    parameters: int
    multiplications: int
    """Of its matrix products, each with its addition (MACs), as computed here: where the head reads the class
    token alone, the last layer works for it alone, and papers, which count that layer whole, have more."""


def size_of(config: ViTConfig) -> ModelSize:
    """The size of the model that a config describes."""
    parameters = sum(parameter.numel() for parameter in _without_memory(config).parameters())
    # Layers are equal, but for the last: two tell of all.
    one, two = (_multiplications(replace(config, number_of_layers=layers)) for layers in (1, 2))
    return ModelSize(parameters, one + (config.number_of_layers - 1) * (two - one))


def _multiplications(config: ViTConfig) -> int:
    model = _without_memory(config).eval()
    image = torch.empty(1, config.number_of_channels, *config.max_image_shape, device="meta")
    with torch.no_grad():
        return operations_of(matrix_products(lambda: model(image))) // 2


def _without_memory(config: ViTConfig) -> ViT:
    """The model with the shapes of its parameters, and without their numbers."""
    with torch.device("meta"):
        return ViT.from_config(config)
