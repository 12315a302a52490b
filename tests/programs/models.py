"""The models that are compiled and exported: the plain one, and one with the options that are hardest."""

from typing import Any

import torch
from torch import Tensor

from vision_transformers.model.vit import ViT

LOADED: dict[str, Any] = {
    "number_of_register_tokens": 2,
    "positions": "rotary",
    "activation": "swiglu",
    "layer_scale": 1.0,
    "key_bias": False,
    "stochastic_depth": 0.5,
    "pool": "class-mean",
}


def model(**options: Any) -> ViT:
    """A model so small that to compile it takes seconds."""
    torch.manual_seed(0)
    return ViT((4, 4), 16, 2, 2, 24, 3, 5, (8, 12), **options).eval()


def images(batch: int = 3) -> Tensor:
    """A batch for it."""
    return torch.randn(batch, 3, 8, 12)
