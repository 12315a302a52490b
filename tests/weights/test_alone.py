"""What a format's own files say is read from them, without our file beside them, which tells all."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.parity.weights import assert_same_outputs
from tests.weights import (
    test_facebook,
    test_google,
    test_huggingface,
    test_timm,
    test_torchvision,
    test_vit_pytorch,
)
from tests.weights.portable import CLIP_OPTIONS, outputs, portable

from vision_transformers.model.config import PositionResize
from vision_transformers.weights.conversion import SIDECAR, export_model, import_model
from vision_transformers.weights.format import Given
from vision_transformers.weights.formats.table import FORMATS
from vision_transformers.weights.report import Report

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALF = {"mean": (0.5,), "std": (0.5,)}
MIDDLE = {"crop": "center", "crop_fraction": 0.875, "interpolation": "bicubic"} | IMAGENET
HEADS = Given(number_of_heads=4)
OF_THIS_SIZE = Given(number_of_heads=4, max_image_shape=(32, 32))


@dataclass(frozen=True)
class Case:
    """An architecture, what has to be given, and what is then read."""

    options: dict[str, Any]
    position_resize: PositionResize
    preprocessing: dict[str, Any] = field(default_factory=dict)
    given: Given = field(default_factory=Given)


FACEBOOK = {
    "DeiT": Case({}, "bicubic", MIDDLE),
    "DeiT with a distillation token": Case({}, "bicubic", MIDDLE),
    "DeiT III": Case({}, "bicubic", IMAGENET),
    "MAE, fine-tuned": Case({}, "bicubic", IMAGENET),
    "DINOv2": Case({}, "bicubic-offset", MIDDLE),
    "DINOv2 with registers": Case({}, "bicubic-antialias", MIDDLE),
    "DINOv2 with SwiGLU": Case({}, "bicubic-offset", MIDDLE),
    "DINOv3": Case({}, "bicubic-antialias", IMAGENET, OF_THIS_SIZE),
    "DINOv3 with SwiGLU and no biases": Case({}, "bicubic-antialias", IMAGENET, OF_THIS_SIZE),
}
CLIP_OF_OPENAI = Case(
    CLIP_OPTIONS | {"activation": "quick-gelu"},
    "bicubic-antialias",
    {
        "size": (32, 32),
        "crop": "center",
        "crop_fraction": 1.0,
        "interpolation": "bicubic",
        "mean": (0.48145466, 0.4578275, 0.40821073),
        "std": (0.26862954, 0.26130258, 0.27577711),
    },
    replace(HEADS, activation="quick-gelu"),
)


def cases() -> Iterator[Any]:
    """Every architecture that the tests of these formats write, by format."""
    for name, case in FACEBOOK.items():
        given = case.given if case.given != Given() else HEADS
        yield "facebook", name, replace(case, options=test_facebook.OPTIONS[name], given=given)
    bilinear = {"crop": "center", "crop_fraction": 0.875, "interpolation": "bilinear"} | IMAGENET
    for name, options in test_torchvision.OPTIONS.items():
        yield "torchvision", name, Case(options, "bicubic-aligned-corners", bilinear, HEADS)
    for name, options in test_google.OPTIONS.items():
        squashed = HALF | ({"crop": "squash"} if "class token" in name else {})
        shape = {"sines and a pre-logits layer": (32, 32), "oblong": (32, 48)}.get(name)
        given = Given() if shape is None else Given(max_image_shape=shape)
        yield "google", name, Case(options, "bilinear-aligned-corners", squashed, given)
    for name, options in test_vit_pytorch.OPTIONS.items():
        squashed = HALF | {"crop": "squash"}
        given = Given(number_of_heads=options.get("number_of_heads", 4))
        given = replace(given, max_image_shape=(32, 32)) if name == "SimpleViT" else given
        yield "vit-pytorch", name, Case(options, "bicubic-antialias", squashed, given)
    for name in ("the paper's", "DINOv2 with registers", "DINOv3"):
        yield "timm", name, Case(test_timm.OPTIONS[name], "bicubic-antialias")
    for name in ("ViT", "DINOv2", "DINOv2 with registers", "DINOv3"):
        resize: PositionResize = "bicubic-antialias" if "registers" in name else "bicubic"
        yield "huggingface", name, Case(test_huggingface.OPTIONS[name], resize)
    yield "clip", "OpenAI's", CLIP_OF_OPENAI


@pytest.mark.parametrize(
    ("format", "case"),
    [pytest.param(format, case, id=f"{format}, {name}") for format, name, case in cases()],
)
def test_a_models_files_tell_it_without_ours(format: str, case: Case, tmp_path: Path) -> None:
    model, folder = portable(**case.options), tmp_path / "model"
    export_model(folder, model, FORMATS[format], Report())
    (folder / SIDECAR).unlink()
    (folder / "open_clip_config.json").unlink(missing_ok=True)  # which OpenAI's files do not have
    report = Report()
    found = import_model(folder, FORMATS[format], case.given, report)
    untold = {"patch_extractor": "linear", "dropout": 0.0, "position_resize": case.position_resize}
    assert found.description.model == replace(model.description.model, **untold)
    read = {name: getattr(found.description.preprocessing, name) for name in case.preprocessing}
    assert read == case.preprocessing
    assert report.left_out == report.newly_made == []
    kernel = "patches.projector.weight"  # of which a convolution is read as a linear layer
    assert found.weights.keys() == model.weights.keys()
    assert all(
        torch.equal(found.weights[name], model.weights[name]) for name in found.weights.keys() - {kernel}
    )
    assert_same_outputs(outputs(model)[1], outputs(found)[1])
