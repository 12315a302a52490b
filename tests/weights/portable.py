"""Small models with random weights on their way between files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tests.parity.weights import assert_same_outputs, randomise

from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.model.config import ViTConfig
from vision_transformers.model.vit import ViT
from vision_transformers.weights.conversion import PortableModel, export_model, import_model
from vision_transformers.weights.format import Format, Given
from vision_transformers.weights.model_folder import ModelDescription
from vision_transformers.weights.report import Report

CLIP_OPTIONS: dict[str, Any] = {
    "number_of_classes": 0,
    "patch_bias": False,
    "normalization_before_blocks": True,
    "normalization_epsilon": 1e-5,
}
"""What CLIP's towers have, and ViTs of the paper have not."""
VIT_PYTORCH_OPTIONS: dict[str, Any] = {
    "patch_normalization": True,
    "normalization_epsilon": 1e-5,
    "query_bias": False,
    "key_bias": False,
    "value_bias": False,
}
"""What vit-pytorch's ViT has, and that of the paper has not."""


def portable(**options: Any) -> PortableModel:
    sizes: dict[str, Any] = {
        "patch_shape": (8, 8),
        "model_dimension": 32,
        "number_of_layers": 2,
        "number_of_heads": 4,
        "hidden_dimension": 43,
        "number_of_channels": 3,
        "number_of_classes": 5,
        "max_image_shape": (32, 32),
    }
    config = ViTConfig(**(sizes | options))
    model = ViT.from_config(config)
    randomise(model)
    preprocessing = Preprocessing(
        size=config.max_image_shape,
        channels=config.number_of_channels,  # type: ignore[arg-type]
        crop="center",
        crop_fraction=0.8,
        interpolation="bicubic",
        mean=(0.4,) * config.number_of_channels,
        std=(0.2,) * config.number_of_channels,
    )
    classes = ("cat", "dog", "owl", "größe", "emu")[: config.number_of_classes]
    return PortableModel(model.state_dict(), ModelDescription(config, preprocessing, classes))


def outputs(model: PortableModel) -> tuple[torch.Tensor, torch.Tensor]:
    config = model.description.model
    shape = (3, config.number_of_channels, *config.max_image_shape)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    ours = ViT.from_config(config).eval()
    ours.load_state_dict(model.weights)
    with torch.no_grad():
        return images, ours(images)


def check_reference(model: PortableModel, format: Format, folder: Path) -> None:
    """The other library computes the same from what is written."""
    export_model(folder, model, format, Report())
    images, expected = outputs(model)
    assert format.reference is not None
    theirs = format.reference(folder, model.description)
    with torch.no_grad():
        assert_same_outputs(expected, theirs(images))


def check_round_trip(model: PortableModel, format: Format, folder: Path, given: Given | None = None) -> None:
    """What is written is read again without a change, with what our file beside it says of these weights."""
    model = replace(model, description=replace(model.description, temperature=1.5))
    export_model(folder, model, format, Report())
    report = Report()
    found = import_model(folder, format, given or Given(), report)
    assert found.description == model.description
    assert found.weights.keys() == model.weights.keys()
    for name, value in model.weights.items():
        assert torch.equal(found.weights[name], value), name
    assert report.left_out == report.newly_made == []
