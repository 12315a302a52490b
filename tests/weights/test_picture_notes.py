"""Where another library would show a model other pixels, the report of the conversion says so."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tests.photographs import noise
from tests.weights.portable import portable
from torch import Tensor

from vision_transformers.data.normalising import normalise
from vision_transformers.data.preprocessing import CropRounding, Preprocessing
from vision_transformers.data.resizing import resize, to_pixels
from vision_transformers.weights.conversion import export_model
from vision_transformers.weights.formats.table import FORMATS
from vision_transformers.weights.report import Report
from vision_transformers.weights.verification import LEVELS, compare_pictures

pytest.importorskip("timm", reason="timm is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

SHIFTED = 6 / 255 / 0.2
"""Six levels, normalised: a shift by a pixel makes more of noise, and another resize at most three."""


def theirs_in(folder: Path, format: str) -> Callable[[Image.Image], Tensor]:
    pictures = FORMATS[format].pictures
    assert pictures is not None
    return pictures(folder)


def notes_of(preprocessing: Preprocessing, format: str, folder: Path) -> list[str]:
    model, report = portable(max_image_shape=preprocessing.size), Report()
    model = replace(model, description=replace(model.description, preprocessing=preprocessing))
    export_model(folder, model, FORMATS[format], report)
    return report.notes


def differ(preprocessing: Preprocessing, theirs: Callable[[Image.Image], Tensor], side: int) -> bool:
    """Whether a picture of 100 rows and that many columns comes to other pixels."""
    picture = Image.fromarray(noise(1, 100, side))
    ours = normalise(to_pixels(resize(picture, preprocessing))[None], preprocessing)
    return bool((ours - theirs(picture)).abs().max() > SHIFTED)


@pytest.mark.parametrize("format", ["huggingface", "timm"])
@pytest.mark.parametrize("rounding", ["even", "down"])
@pytest.mark.parametrize("margin", [0, 5, 7, 16])
def test_a_crop_that_another_library_shifts_by_a_pixel_is_noted(
    margin: int, rounding: CropRounding, format: str, tmp_path: Path
) -> None:
    """Half of 7 is 4 to even and 3 down; that of 5 is 2 both ways."""
    described = portable(max_image_shape=(64, 64)).description.preprocessing
    preprocessing = replace(described, crop_fraction=64 / (64 + margin), crop_rounding=rounding)
    notes = notes_of(preprocessing, format, tmp_path / "there")
    theirs = theirs_in(tmp_path / "there", format)
    assert any("margin of 7 pixels is odd" in note for note in notes) == differ(preprocessing, theirs, 100)
    oblong = [differ(preprocessing, theirs, side) for side in range(130, 140)]
    assert (notes != []) == any(oblong)
    assert (compare_pictures(preprocessing, theirs) > LEVELS) == any(oblong)


@pytest.mark.parametrize(
    ("format", "told"),
    [
        ("huggingface", "brings the shorter side of every picture to 40 pixels"),
        ("timm", "timm rounds the longer side of pictures that are resized for 64 x 32"),
    ],
)
def test_crops_that_are_not_square_are_cut_out_otherwise(format: str, told: str, tmp_path: Path) -> None:
    described = portable(max_image_shape=(64, 32)).description.preprocessing
    (note,) = notes_of(described, format, tmp_path / "there")
    assert told in note
    assert compare_pictures(described, theirs_in(tmp_path / "there", format)) > LEVELS


def test_of_pictures_that_are_squashed_nothing_is_noted(tmp_path: Path) -> None:
    described = portable().description.preprocessing
    squashed = replace(described, crop="squash", crop_fraction=0.9)
    assert notes_of(squashed, "huggingface", tmp_path / "there") == []
