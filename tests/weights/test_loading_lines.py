"""What `vit convert` prints to load a model with is true: each library's model then computes the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.parity.weights import assert_same_outputs
from tests.weights.portable import VIT_PYTORCH_OPTIONS, outputs, portable

from vision_transformers.weights.conversion import export_model
from vision_transformers.weights.formats.table import FORMATS
from vision_transformers.weights.report import Report

for library in ("timm", "transformers", "vit_pytorch"):
    pytest.importorskip(library, reason=f"{library} is not installed")

MEAN = VIT_PYTORCH_OPTIONS | {"class_token": False, "pool": "mean"}
SIMPLE = MEAN | {"positions": "sine-cosine", "attention_projection_bias": False}
WITHOUT_HEAD: dict[str, Any] = {"number_of_classes": 0}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("timm", {"activation": "swiglu", "hidden_dimension": 44}),
    ("timm", {"distillation_token": True}),
    ("timm", WITHOUT_HEAD),
    ("huggingface", {}),
    ("huggingface", {"distillation_token": True}),
    ("huggingface", WITHOUT_HEAD),
    ("torchvision", {}),
    ("torchvision", {"pre_logits_dimension": 16}),
    ("torchvision", WITHOUT_HEAD),
    ("vit-pytorch", VIT_PYTORCH_OPTIONS),
    ("vit-pytorch", MEAN | {"max_image_shape": (32, 48), "number_of_channels": 1}),
    ("vit-pytorch", SIMPLE),
    ("vit-pytorch", VIT_PYTORCH_OPTIONS | WITHOUT_HEAD),
]


@pytest.mark.parametrize(("format", "options"), CASES)
def test_the_lines_that_are_printed_load_the_model(
    format: str, options: dict[str, Any], tmp_path: Path
) -> None:
    model, target = portable(**options), tmp_path / "it's here"
    export_model(target, model, FORMATS[format], Report())
    loading = FORMATS[format].loading
    assert loading is not None
    names: dict[str, Any] = {}
    exec("\n".join(loading(target, model.description)), names)
    images, expected = outputs(model)
    with torch.no_grad():
        found = names["model"](images)
    if format == "huggingface":
        found = found.logits if model.description.model.number_of_classes else found.last_hidden_state[:, 0]
    assert_same_outputs(expected, found)


def test_what_loads_pictures_too_makes_them_of_the_models_size(tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.new("RGB", (50, 40))
    seen: dict[str, Any] = {}
    for format in ("timm", "huggingface"):
        model = portable()
        export_model(tmp_path / format, model, FORMATS[format], Report())
        loading = FORMATS[format].loading
        assert loading is not None
        exec("\n".join(loading(tmp_path / format, model.description)), seen)
    assert seen["transform"](picture).shape == (3, 32, 32)
    assert seen["processor"](picture, return_tensors="pt")["pixel_values"].shape == (1, 3, 32, 32)
