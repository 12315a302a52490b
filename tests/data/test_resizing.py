"""A picture comes to the model in the size and crop that its preprocessing says."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from vision_transformers.data.preprocessing import CropRounding, Preprocessing
from vision_transformers.data.resizing import resize, resize_pixels, seen_part, to_pixels


def picture(width: int, height: int) -> Image.Image:
    random = np.random.default_rng(0)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_squash_is_pillows_resize(interpolation: str) -> None:
    preprocessing = Preprocessing(size=(12, 20), interpolation=interpolation)  # type: ignore[arg-type]
    resized = resize(picture(50, 30), preprocessing)
    expected = picture(50, 30).resize((20, 12), Image.Resampling[interpolation.upper()])
    assert np.array_equal(np.asarray(resized), np.asarray(expected))


@pytest.mark.parametrize("size", [(57, 41), (41, 57), (100, 33), (8, 9)])
def test_center_gives_the_pixels_of_torchvisions_resize_and_center_crop(size: tuple[int, int]) -> None:
    preprocessing = Preprocessing(size=(28, 28), crop="center", crop_fraction=0.875)
    expected = functional.center_crop(functional.resize(picture(*size), [32]), [28, 28])
    assert np.array_equal(np.asarray(resize(picture(*size), preprocessing)), np.asarray(expected))


@pytest.mark.parametrize("size", [(57, 41), (41, 57), (3, 300), (300, 3)])
def test_center_covers_a_crop_that_is_not_square(size: tuple[int, int]) -> None:
    white = Image.new("L", size, 255)
    preprocessing = Preprocessing(size=(10, 30), crop="center", crop_fraction=0.9)
    cropped = np.asarray(resize(white, preprocessing))
    assert cropped.shape == (10, 30)
    assert cropped.min() == 255  # no black border


def test_the_middle_is_cut_out_of_a_picture_of_the_models_size_all_the_same() -> None:
    preprocessing = Preprocessing(size=(28, 28), crop="center", crop_fraction=0.5)
    expected = picture(28, 28).resize((56, 56), Image.Resampling.BILINEAR).crop((14, 14, 42, 42))
    found = resize_pixels(np.asarray(picture(28, 28)).copy(), preprocessing)
    assert np.array_equal(found.permute(1, 2, 0).numpy(), np.asarray(expected))


@pytest.mark.parametrize(("rounding", "margin"), [("even", 2), ("down", 1)])
def test_an_odd_margin_is_rounded_as_the_model_was_trained(rounding: CropRounding, margin: int) -> None:
    """Of 1.5 pixels: half of a margin that is cut off both sides."""
    preprocessing = Preprocessing(size=(28, 28), crop="center", crop_fraction=28 / 31, crop_rounding=rounding)
    expected = np.asarray(picture(31, 31))[margin : margin + 28, margin : margin + 28]
    assert np.array_equal(np.asarray(resize(picture(31, 31), preprocessing)), expected)


def test_a_picture_that_is_squashed_is_seen_whole() -> None:
    assert seen_part(picture(50, 20), Preprocessing(size=(28, 28))) == (0.0, 0.0, 1.0, 1.0)


def test_pixels_have_channels_first() -> None:
    image = picture(5, 3)
    assert torch.equal(to_pixels(image), torch.from_numpy(np.array(image)).permute(2, 0, 1))
    assert to_pixels(image.convert("L")).shape == (1, 3, 5)


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_a_thin_picture_takes_no_more_memory_than_others(size: tuple[int, int]) -> None:
    """Enlarged whole before it is cut, it would have 12 billion numbers."""
    preprocessing = Preprocessing(size=(224, 224), crop="center", crop_fraction=0.875)
    assert resize(Image.new("RGB", size, (7, 8, 9)), preprocessing).getcolors() == [(224 * 224, (7, 8, 9))]


def test_the_part_that_is_seen_never_reaches_beyond_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vision_transformers.data.resizing._MOST_PIXELS", 0)
    for side in range(1, 120):
        preprocessing = Preprocessing(size=(49, 49), crop="center", crop_fraction=1.0)
        assert resize(Image.new("L", (side, side)), preprocessing).size == (49, 49)


def test_only_the_part_that_is_seen_is_as_when_the_whole_is_resized(monkeypatch: pytest.MonkeyPatch) -> None:
    preprocessing = Preprocessing(size=(28, 20), crop="center", crop_fraction=0.8)
    for width, height in ((57, 41), (41, 57), (300, 31), (20, 200)):
        whole = np.asarray(resize(picture(width, height), preprocessing)).astype(int)
        with monkeypatch.context() as patch:
            patch.setattr("vision_transformers.data.resizing._MOST_PIXELS", 0)
            part = np.asarray(resize(picture(width, height), preprocessing)).astype(int)
        assert abs(whole - part).max() <= 1
