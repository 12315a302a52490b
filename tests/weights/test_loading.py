"""Somebody's files as a classifier at once: what they do not tell is said, and nothing of them is lost."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.parity.weights import randomise
from tests.weights.portable import CLIP_OPTIONS, portable
from torchvision.models import VisionTransformer

from vision_transformers.classifier import load
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.weights.conversion import SIDECAR, export_model, read_native
from vision_transformers.weights.formats.table import FORMATS
from vision_transformers.weights.report import Report


def published_google(folder: Path) -> Path:
    """Weights alone, whose heads the shapes tell, but not their preprocessing."""
    model = portable(activation="gelu-tanh", number_of_classes=0)
    export_model(folder, model, FORMATS["google"], Report())
    (folder / SIDECAR).unlink()
    return folder


def test_what_files_do_not_tell_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = published_google(tmp_path / "model")
    load(folder, format="google", device="cpu")
    assert f"{folder}: preprocessing is what the project uses" in caplog.text


def test_a_run_that_begins_with_them_says_it_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from tests.training.recipes import tiny

    from vision_transformers.training.initial import settle_recipe

    folder = published_google(tmp_path / "model")
    settle_recipe(tiny(init=str(folder), init_format="google"))
    assert f"{folder}: preprocessing is what the project uses" in caplog.text


def test_what_was_kept_aside_goes_where_the_classifier_is_saved(tmp_path: Path) -> None:
    model = portable(**CLIP_OPTIONS)
    export_model(tmp_path / "published", model, FORMATS["clip"], Report())
    file = tmp_path / "published" / "open_clip_model.safetensors"
    projection, text = torch.randn(32, 16), torch.randn(16)
    beside = {"visual.proj": projection, "transformer.resblocks.0.ln_1.weight": text}
    save_file(load_file(file) | beside, file)
    load(tmp_path / "published", format="clip", device="cpu").save(tmp_path / "saved")
    load(tmp_path / "saved", device="cpu").save(tmp_path / "saved again")
    export_model(tmp_path / "back", read_native(tmp_path / "saved again"), FORMATS["clip"], Report())
    back = load_file(tmp_path / "back" / "open_clip_model.safetensors")
    assert all(torch.equal(back[name], tensor) for name, tensor in beside.items())


def test_imagenets_class_names_need_not_be_typed(tmp_path: Path) -> None:
    theirs = VisionTransformer(16, 8, 1, 4, 768, 8, num_classes=1000)
    randomise(theirs)
    torch.save(theirs.state_dict(), tmp_path / "vit.pth")
    classifier = load(tmp_path / "vit.pth", format="torchvision", device="cpu", classes="imagenet-1k")
    assert (classifier.classes[0], classifier.classes[207]) == ("tench", "golden retriever")
    with pytest.raises(
        UsageFailure, match="classes are 'imagenet': expected a list of names, or 'imagenet-1k'"
    ):
        load(tmp_path / "vit.pth", format="torchvision", classes="imagenet")
    with pytest.raises(Failure, match=r"1000 classes, but 0 class names.* give 'imagenet-1k'"):
        load(tmp_path / "vit.pth", format="torchvision")
