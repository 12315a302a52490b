"""Small models whose exports can go wrong in different ways."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tests.classifiers import random_classifier
from tests.parity.weights import randomise

from vision_transformers.classifier import Classifier
from vision_transformers.data.preprocessing import Preprocessing, channels_of
from vision_transformers.model.config import ViTConfig
from vision_transformers.model.vit import ViT
from vision_transformers.weights.model_folder import ModelDescription

OPTIONS: dict[str, dict[str, Any]] = {
    "rotary, registers, SwiGLU": {
        "positions": "rotary",
        "number_of_register_tokens": 2,
        "activation": "swiglu",
        "layer_scale": 1.0,
        "key_bias": False,
        "pool": "class-mean",
    },
    "attention pool, sines, grey": {
        "positions": "sine-cosine",
        "class_token": False,
        "pool": "attention",
        "number_of_channels": 1,
        "number_of_layers": 1,
    },
    "mean pool, stem, resized positions": {
        "patch_extractor": "stem",
        "pool": "mean",
        "final_normalization": "after-pool",
        "activation": "quick-gelu",
        "query_key_normalization": True,
        "max_image_shape": (16, 16),
        "number_of_layers": 1,
    },
    "distillation": {
        "patch_extractor": "convolutional",
        "distillation_token": True,
        "prefix_positions": "class",
        "normalization_before_blocks": True,
    },
    "no head": {
        "number_of_classes": 0,
        "positions": "none",
        "attention_projection": False,
        "number_of_layers": 1,
    },
}
SIZE = (12, 20)
CLASSES = ("cat", "dog", "owl", "größer \udcff", "cow")


def save_classifier(name: str, folder: Path) -> Classifier:
    """For pictures of 12 rows and 20 columns, with random weights; writes its model folder, too."""
    sizes = {"model_dimension": 32, "number_of_layers": 2, "number_of_heads": 4, "hidden_dimension": 48}
    images = {"number_of_channels": 3, "number_of_classes": len(CLASSES), "max_image_shape": SIZE}
    config = ViTConfig(**({"patch_shape": (4, 4)} | sizes | images | OPTIONS[name]))
    torch.manual_seed(0)
    model = ViT.from_config(config)
    randomise(model)
    channels = channels_of(config.number_of_channels)
    preprocessing = Preprocessing(SIZE, channels, mean=(0.45, 0.5, 0.4)[:channels], std=(0.25,))
    classes = CLASSES[: config.number_of_classes]
    classifier = Classifier(model, ModelDescription(config, preprocessing, classes, {}, 1.5), device="cpu")
    classifier.save(folder)
    return classifier


def cropping_classifier(temperature: float = 1.5) -> Classifier:
    """The paper's model, for the middle of colour pictures."""
    plain = random_classifier(temperature=temperature)
    preprocessing = replace(plain.preprocessing, crop="center", crop_fraction=0.875)
    return Classifier(plain.model, replace(plain.description, preprocessing=preprocessing), device="cpu")


def wide_classifier() -> Classifier:
    """Wide enough for sums to be long, and for weights to be most of a file."""
    sizes = {"model_dimension": 384, "number_of_layers": 1, "number_of_heads": 6, "hidden_dimension": 768}
    config = ViTConfig((8, 8), **sizes, number_of_channels=3, number_of_classes=5, max_image_shape=(32, 32))
    torch.manual_seed(0)
    description = ModelDescription(config, Preprocessing((32, 32)), CLASSES, {})
    return Classifier(ViT.from_config(config), description, device="cpu")
