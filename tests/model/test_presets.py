from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from vision_transformers.errors import UsageFailure
from vision_transformers.model.presets import PRESETS, preset
from vision_transformers.model.vit import ViT
from vision_transformers.weights.preset_names import TIMM, TORCHVISION

PARAMETERS = {
    "ViT-Ti/16": 5_717_416,
    "ViT-S/16": 22_050_664,
    "ViT-B/16": 86_567_656,
    "ViT-B/32": 88_224_232,
    "ViT-L/16": 304_326_632,
    "ViT-L/32": 306_535_400,
    "ViT-H/14": 632_045_800,
    "DINOv2-g/14": 1_136_479_232,
}


def number_of_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def on_meta(name: str, **changes: Any) -> ViT:
    with torch.device("meta"):
        return ViT.from_config(preset(name, **changes))


@pytest.mark.parametrize(("name", "expected"), PARAMETERS.items())
def test_a_preset_has_as_many_parameters_as_its_paper_says(name, expected):
    """One number that is off means another model, whose published weights do not fit."""
    assert number_of_parameters(on_meta(name)) == expected


@pytest.mark.parametrize(("name", "timm_name"), TIMM.items())
def test_a_preset_has_as_many_parameters_as_timms(name, timm_name):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    with torch.device("meta"):
        expected = number_of_parameters(
            timm.create_model(timm_name, num_classes=preset(name).number_of_classes)
        )
    assert number_of_parameters(on_meta(name)) == expected


@pytest.mark.parametrize(("name", "torchvision_name"), TORCHVISION.items())
def test_a_preset_has_as_many_parameters_as_torchvisions(name, torchvision_name):
    with torch.device("meta"):
        expected = number_of_parameters(torchvision.models.get_model(torchvision_name))
    assert number_of_parameters(on_meta(name)) == expected


def test_a_preset_with_changes_is_another_model():
    config = preset("ViT-B/16", number_of_classes=10)
    assert config.number_of_classes == 10
    assert PRESETS["ViT-B/16"].number_of_classes == 1000


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UsageFailure, match="no preset is called 'ViT-B16': did you mean 'ViT-B/16'"):
        preset("ViT-B16")
