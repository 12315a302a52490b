"""Small models with random weights, whose logits differ much from picture to picture."""

from pathlib import Path
from typing import Any

import torch
from tests.parity.weights import randomise

from vision_transformers.classifier import Classifier
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.model.config import ViTConfig
from vision_transformers.model.vit import ViT
from vision_transformers.weights.model_folder import ModelDescription

CLASSES = ("cat", "dog", "owl", "=cmd", "fish", "cow", "emu")


def random_classifier(
    classes: tuple[str, ...] = CLASSES, temperature: float | None = None, **options: Any
) -> Classifier:
    """For colour pictures of 16 x 16; options are those of the model."""
    config = ViTConfig(
        patch_shape=(4, 4),
        model_dimension=32,
        number_of_layers=2,
        number_of_heads=4,
        hidden_dimension=48,
        number_of_channels=3,
        number_of_classes=len(classes),
        max_image_shape=(16, 16),
        **options,
    )
    torch.manual_seed(0)
    model = ViT.from_config(config)
    randomise(model)
    preprocessing = Preprocessing(size=(16, 16), mean=(0.45, 0.5, 0.4), std=(0.2, 0.25, 0.3))
    return Classifier(model, ModelDescription(config, preprocessing, classes, {}, temperature), device="cpu")


def save_random_model(folder: Path, temperature: float | None = None) -> Path:
    """Writes its model folder."""
    random_classifier(temperature=temperature).save(folder)
    return folder
