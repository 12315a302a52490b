"""Pictures have the channels of their model: grey ones come to a grey one, and four channels are refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.parity.weights import assert_same_outputs, randomise
from tests.photographs import noise
from tests.weights.portable import CLIP_OPTIONS, outputs, portable
from torchvision.models import VisionTransformer

from vision_transformers.classifier import load
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.errors import Failure
from vision_transformers.weights.conversion import SIDECAR, export_model, import_model, write_native
from vision_transformers.weights.format import Given
from vision_transformers.weights.formats.table import FORMATS
from vision_transformers.weights.report import Report

CLASSES = ("cat", "dog", "owl", "cow", "emu")


def test_a_grey_torchvision_model_predicts(tmp_path: Path) -> None:
    theirs = VisionTransformer(32, 8, 2, 4, 32, 48, num_classes=5)
    theirs.conv_proj = torch.nn.Conv2d(1, 32, 8, 8)
    randomise(theirs)
    torch.save(theirs.state_dict(), tmp_path / "grey.pth")
    given = Given(number_of_heads=4, classes=CLASSES)
    found = import_model(tmp_path / "grey.pth", FORMATS["torchvision"], given, Report())
    write_native(tmp_path / "model", found)
    classifier = load(tmp_path / "model", device="cpu")
    assert classifier.preprocessing.channels == 1
    assert classifier.preprocessing.mean == pytest.approx([(0.485 + 0.456 + 0.406) / 3])
    assert len(classifier.predict([noise(1)])[0].top) == 5


@pytest.mark.parametrize(
    ("format", "options", "given"),
    [
        ("facebook", {}, Given(number_of_heads=4)),
        ("google", {"activation": "gelu-tanh"}, Given()),
        ("clip", CLIP_OPTIONS, Given(number_of_heads=4, activation="gelu")),
    ],
)
def test_files_that_say_nothing_of_grey_pictures_have_them(
    format: str, options: dict[str, Any], given: Given, tmp_path: Path
) -> None:
    export_model(tmp_path / "grey", portable(number_of_channels=1, **options), FORMATS[format], Report())
    (tmp_path / "grey" / SIDECAR).unlink()
    for config in (tmp_path / "grey").glob("*config.json"):
        config.unlink()
    preprocessing = import_model(
        tmp_path / "grey", FORMATS[format], given, Report()
    ).description.preprocessing
    assert (preprocessing.channels, len(preprocessing.mean), len(preprocessing.std)) == (1, 1, 1)


def test_a_processor_for_colours_is_averaged_for_a_grey_model(tmp_path: Path) -> None:
    export_model(tmp_path / "hub", portable(number_of_channels=1), FORMATS["huggingface"], Report())
    (tmp_path / "hub" / SIDECAR).unlink()
    file = tmp_path / "hub" / "preprocessor_config.json"
    colours = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.1, 0.2, 0.3]}
    file.write_text(json.dumps(json.loads(file.read_text()) | colours))
    found = import_model(tmp_path / "hub", FORMATS["huggingface"], Given(), Report())
    assert found.description.preprocessing.mean == pytest.approx([0.5])
    assert found.description.preprocessing.std == pytest.approx([0.2])


def test_a_grey_file_of_vit_pytorch_is_read(tmp_path: Path) -> None:
    vit_pytorch = pytest.importorskip("vit_pytorch", reason="vit-pytorch is not installed")
    sizes = {
        "image_size": 32,
        "patch_size": 8,
        "dim": 32,
        "depth": 2,
        "heads": 4,
        "mlp_dim": 48,
        "dim_head": 8,
    }
    theirs = vit_pytorch.ViT(**sizes, num_classes=5, channels=1)
    randomise(theirs)
    torch.save(theirs.state_dict(), tmp_path / "grey.pt")
    report = Report()
    found = import_model(tmp_path / "grey.pt", FORMATS["vit-pytorch"], Given(number_of_heads=4), report)
    assert "patches of 8 x 8 pixels with one channel" in report.notes
    assert found.description.preprocessing.channels == 1
    images, ours = outputs(found)
    with torch.no_grad():
        assert_same_outputs(ours, theirs(images))


def test_four_channels_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 4}
    theirs = timm.create_model("vit_tiny_patch16_224", **sizes, num_classes=5, in_chans=4)
    timm.models.save_for_hf(theirs, tmp_path / "timm")
    with pytest.raises(Failure, match="images have 4 channels: expected 1 for grey pictures, or 3"):
        import_model(tmp_path / "timm", FORMATS["timm"], Given(), Report())


def test_a_description_of_grey_pictures_for_a_model_of_colours_is_refused() -> None:
    description = portable().description
    with pytest.raises(ValueError, match=r"number_of_channels is 3, but preprocessing\.channels is 1"):
        replace(description, preprocessing=Preprocessing(size=(32, 32), channels=1))
