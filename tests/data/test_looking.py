"""What is said of a picture's size, colours and equals holds to the last pixel."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vision_transformers.data.inspection.looking import Picture, look_at


def look(path: Path, pixels: np.ndarray) -> Picture:
    Image.fromarray(pixels).save(path)
    found = look_at(path)
    assert isinstance(found, Picture)
    return found


@pytest.mark.parametrize(
    ("height", "width", "oddities"),
    [
        (16, 20, ()),
        (15, 20, ("small",)),
        (20, 15, ("small",)),
        (16, 64, ()),
        (16, 65, ("thin",)),
        (65, 16, ("thin",)),
    ],
)
def test_small_is_under_16_pixels_and_thin_over_4_to_1(
    tmp_path: Path, height: int, width: int, oddities: tuple[str, ...]
) -> None:
    assert look(tmp_path / "it.png", np.zeros((height, width, 3), np.uint8)).oddities == oddities


def test_one_pixel_of_one_channel_makes_a_picture_coloured_and_another_one(tmp_path: Path) -> None:
    grey = look(tmp_path / "it.png", np.zeros((20, 20, 3), np.uint8))
    assert grey.is_grey
    for channel in range(3):
        pixels = np.zeros((20, 20, 3), np.uint8)
        pixels[19, 19, channel] = 9
        coloured = look(tmp_path / "it.png", pixels)
        assert not coloured.is_grey
        assert coloured.digest != grey.digest


def test_pictures_of_another_shape_are_no_copies_though_their_bytes_are_equal(tmp_path: Path) -> None:
    wide, high = (
        look(tmp_path / "it.png", np.zeros(shape, np.uint8)) for shape in ((20, 40, 3), (40, 20, 3))
    )
    assert wide.digest != high.digest
