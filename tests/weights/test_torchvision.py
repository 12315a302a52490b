"""Weights come from torchvision and go to it, unchanged, and torchvision computes the same with them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.parity.weights import assert_same_outputs, randomise
from tests.photographs import noise
from tests.weights.portable import check_reference, check_round_trip, outputs, portable
from torch import nn
from torchvision import models
from torchvision.models import VisionTransformer

from vision_transformers.data.resizing import resize, to_pixels
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.weights.conversion import export_model, import_model
from vision_transformers.weights.foreign_files import open_foreign
from vision_transformers.weights.format import Given
from vision_transformers.weights.formats.torchvision import TORCHVISION
from vision_transformers.weights.report import Report

OPTIONS: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "with a pre-logits layer": {"pre_logits_dimension": 12},
    "convolutional": {"patch_extractor": "convolutional", "dropout": 0.1},
}


@pytest.mark.parametrize("options", list(OPTIONS.values()), ids=list(OPTIONS))
def test_torchvision_computes_the_same_from_what_was_written(options: dict[str, Any], tmp_path: Path) -> None:
    check_reference(portable(**options), TORCHVISION, tmp_path / "model")


@pytest.mark.parametrize(
    "options", [*OPTIONS.values(), {"number_of_classes": 0}], ids=[*OPTIONS, "without a head"]
)
def test_what_was_written_is_read_again_without_a_change(options: dict[str, Any], tmp_path: Path) -> None:
    check_round_trip(portable(**options), TORCHVISION, tmp_path / "model")


@pytest.mark.parametrize("published_names", [False, True])
def test_a_file_of_torch_save_is_read(published_names: bool, tmp_path: Path) -> None:
    theirs = VisionTransformer(32, 8, 2, 4, 32, 48, num_classes=5)
    randomise(theirs)
    state = theirs.state_dict()
    if published_names:
        state = {
            name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value
            for name, value in state.items()
        }
    torch.save(state, tmp_path / "vit.pth")
    report = Report()
    found = import_model(tmp_path / "vit.pth", TORCHVISION, Given(number_of_heads=4), report)
    assert found.description.preprocessing.crop_fraction == 0.875
    images, ours = outputs(found)
    with torch.no_grad():
        assert_same_outputs(ours, theirs.eval()(images))
    export_model(tmp_path / "back", found, TORCHVISION, Report())
    again = import_model(tmp_path / "back", TORCHVISION, Given(), Report())
    assert all(torch.equal(again.weights[name], value) for name, value in found.weights.items())


def replace_head(model: VisionTransformer, where: str, head: nn.Module) -> VisionTransformer:
    owner, name = (model, "heads") if where == "heads" else (model.heads, "head")
    setattr(owner, name, head)
    return model


@pytest.mark.parametrize("where", ["heads", "heads.head"])
@pytest.mark.parametrize("dropout", [False, True])
def test_a_head_that_a_person_put_there_is_read(where: str, dropout: bool, tmp_path: Path) -> None:
    linear = nn.Linear(32, 3)
    theirs = VisionTransformer(32, 8, 2, 4, 32, 48, num_classes=5)
    replace_head(theirs, where, nn.Sequential(nn.Dropout(0.2), linear) if dropout else linear)
    randomise(theirs)
    torch.save(theirs.state_dict(), tmp_path / "vit.pth")
    report = Report()
    found = import_model(tmp_path / "vit.pth", TORCHVISION, Given(number_of_heads=4), report)
    assert report.left_out == []
    images, ours = outputs(found)
    with torch.no_grad():
        assert_same_outputs(ours, theirs.eval()(images))


@pytest.mark.parametrize("first", [nn.Linear(32, 32), nn.LayerNorm(32)], ids=["two linear layers", "a norm"])
def test_a_head_of_more_layers_is_not_read_as_one(first: nn.Module, tmp_path: Path) -> None:
    theirs = VisionTransformer(32, 8, 2, 4, 32, 48, num_classes=5)
    replace_head(theirs, "heads", nn.Sequential(first, nn.Linear(32, 3)))
    torch.save(theirs.state_dict(), tmp_path / "vit.pth")
    report = Report()
    import_model(tmp_path / "vit.pth", TORCHVISION, Given(number_of_heads=4), report)
    with pytest.raises(Failure, match=r"4 tensors would be left out:\n  heads.0.weight"):
        report.check(())


def test_heads_are_not_guessed(tmp_path: Path) -> None:
    torch.save(VisionTransformer(32, 8, 2, 4, 32, 48, num_classes=5).state_dict(), tmp_path / "vit.pth")
    with pytest.raises(UsageFailure, match="no published model is 32 wide: give --number-of-heads"):
        import_model(tmp_path / "vit.pth", TORCHVISION, Given(), Report())


@pytest.mark.parametrize(
    ("options", "named"),
    [({"pool": "mean"}, "pool='mean'"), ({"number_of_channels": 1}, "number_of_channels=1")],
)
def test_what_torchvision_cannot_express_is_refused_by_name(
    options: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageFailure, match=f"torchvision cannot express {named}"):
        export_model(tmp_path / "model", portable(**options), TORCHVISION, Report())


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_the_reference_reads_what_is_converted(suffix: str, tmp_path: Path) -> None:
    model = portable()
    export_model(tmp_path / "model", model, TORCHVISION, Report())
    tensors = open_foreign(tmp_path / "model").tensors
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({"model": dict(tensors), "epoch": 3}, path)
    else:
        save_file(dict(tensors), path)
    images, expected = outputs(model)
    assert TORCHVISION.reference is not None
    with torch.no_grad():
        assert_same_outputs(expected, TORCHVISION.reference(path, model.description)(images))


SHAPES = {"vit_b_16": (768, 16), "vit_b_32": (768, 32), "vit_l_16": (1024, 16), "vit_l_32": (1024, 32)}
SHAPES |= {"vit_h_14": (1280, 14)}


@pytest.mark.parametrize("name", list(SHAPES))
def test_pictures_come_to_a_published_model_as_torchvision_prepares_them(name: str, tmp_path: Path) -> None:
    width, patch = SHAPES[name]
    for weights in models.get_model_weights(name):
        transform = weights.transforms()
        side = transform.crop_size[0]
        theirs = VisionTransformer(side, patch, 1, 16, width, 8)
        torch.save(theirs.state_dict(), tmp_path / "vit.pth")
        report = Report()
        given = Given(number_of_heads=16, classes=("a",))
        found = import_model(tmp_path / "vit.pth", TORCHVISION, given, report).description.preprocessing
        is_ambiguous = any("IMAGENET1K_SWAG_LINEAR_V1" in note for note in report.notes)
        assert is_ambiguous == (side == 224 and patch == 16)
        if is_ambiguous and "LINEAR" in weights.name:
            continue
        picture = Image.fromarray(noise(1, 300, 451))
        mean, std = (torch.tensor(values)[:, None, None] for values in (transform.mean, transform.std))
        pixels = ((transform(picture) * std + mean) * 255).round().int()
        assert (to_pixels(resize(picture, found)).int() - pixels).abs().max() <= 2, weights
