"""`vit models` tells which models have a name, how large they are, and what they are called elsewhere."""

import json

import pytest

from vision_transformers.cli import models
from vision_transformers.cli.main import main
from vision_transformers.config import from_json
from vision_transformers.model.config import ViTConfig
from vision_transformers.model.presets import PRESETS, preset


def test_every_preset_has_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    head, *rows = (line.split("  ") for line in capsys.readouterr().out.splitlines())
    assert head[0] == "name"
    assert [row[0] for row in rows[: len(PRESETS)]] == list(PRESETS)
    base = [cell.strip() for cell in rows[list(PRESETS).index("ViT-B/16")] if cell]
    assert base[:3] == ["ViT-B/16", "16 x 16", "224 x 224 x 3"]
    assert base[8:] == ["86,567,656", "16.12", "vit_base_patch16_224", "vit_b_16"]


def test_scripts_get_exact_numbers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "PRESETS", {name: PRESETS[name] for name in ("ViT-B/16", "MNIST")})
    assert main(["models", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["ViT-B/16", "MNIST"]
    assert found["ViT-B/16"]["parameters"] == 86_567_656
    assert (found["ViT-B/16"]["timm"], found["MNIST"]["timm"]) == ("vit_base_patch16_224", None)
    assert from_json(ViTConfig, found["MNIST"]["model"]) == preset("MNIST")


def test_one_model_is_printed_as_its_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "DINOv2-g/14"]) == 0
    assert from_json(ViTConfig, json.loads(capsys.readouterr().out)) == preset("DINOv2-g/14")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["models", "vit_tiny_patch16_224"], "that is timm's name for ViT-Ti/16"),
        (["models", "vit_b_16"], "that is torchvision's name for ViT-B/16"),
        (["benchmark", "vit_small_patch14_dinov2.lvd142m"], "that is timm's name for DINOv2-S/14"),
        (["train", "--preset", "vit_tiny_patch16_224"], "that is timm's name for ViT-Ti/16"),
    ],
)
def test_what_others_call_a_model_is_answered_with_ours(
    capsys: pytest.CaptureFixture[str], arguments: list[str], answer: str
) -> None:
    assert main(arguments) == 2
    assert answer in capsys.readouterr().err


def test_a_misspelt_name_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "ViT-B16"]) == 2
    assert "no preset is called 'ViT-B16': did you mean 'ViT-B/16'?" in capsys.readouterr().err
