"""Random models of every kind that an explanation must cope with."""

from typing import Any

import torch
from tests.parity.weights import randomise

from vision_transformers.model.vit import ViT

OPTIONS: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "mean": {"pool": "mean"},
    "no class token": {"pool": "mean", "class_token": False},
    "mean of all": {"pool": "mean-all"},
    "class and mean": {"pool": "class-mean"},
    "attention pool": {"pool": "attention", "class_token": False},
    "registers": {"number_of_register_tokens": 3},
    "distillation": {"distillation_token": True},
    "rotary": {"positions": "rotary", "layer_scale": 0.5},
    "sine-cosine": {"positions": "sine-cosine"},
    "SwiGLU": {"activation": "swiglu", "query_key_normalization": True},
    "CLIP": {"normalization_before_blocks": True, "activation": "quick-gelu", "patch_bias": False},
    "after the pool": {"pool": "mean", "final_normalization": "after-pool"},
    "pre-logits": {"pre_logits_dimension": 12},
    "key bias missing": {"key_bias": False},
    "stem": {"patch_extractor": "stem"},
}
GRID = (2, 3)
IMAGES = torch.randn(3, 3, 8, 12, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([1, 4, 0])


def random_model(options: dict[str, Any], patch_shape: tuple[int, int] = (4, 4)) -> ViT:
    """Three layers, five classes, for a grid that is not square."""
    torch.manual_seed(0)
    model = ViT(patch_shape, 16, 3, 2, 24, 3, 5, (8, 12), **options)
    randomise(model)
    return model.eval()
