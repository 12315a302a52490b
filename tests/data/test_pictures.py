"""Whatever a person has in hand is a picture, or the promised failure says why not."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.photographs import noise

from vision_transformers.data.pictures import Picture, ReadPicture, read_pictures
from vision_transformers.data.preprocessing import Crop, Preprocessing


def read(picture: Picture, crop: Crop = "center") -> ReadPicture:
    ((one,),) = read_pictures([picture], Preprocessing(size=(8, 8), channels=3, crop=crop), 4, 0)
    return one


def failure(picture: Picture, crop: Crop = "center") -> str:
    found = read(picture, crop)
    assert found.pixels is None
    return str(found.failure)


@pytest.mark.parametrize("crop", ["center", "squash"])
def test_a_picture_without_pixels_is_told(crop: Crop) -> None:
    nothing = (
        Image.new("RGB", (0, 5)),
        np.zeros((5, 0, 3), np.uint8),
        torch.zeros(3, 0, 5, dtype=torch.uint8),
    )
    for picture in nothing:
        message = f"this {type(picture).__name__} cannot be used as a picture: it has no pixels"
        assert failure(picture, crop) == message


def test_a_picture_that_was_opened_but_is_damaged_is_told_as_its_file_is(tmp_path: Path) -> None:
    """Pillow reads the pixels of what was opened when they are needed, and then meets any kind of damage."""
    path = tmp_path / "broken.png"
    Image.fromarray(noise(0, 40, 40)).save(path)
    content = path.read_bytes()
    end = content.index(b"IDAT") - 4
    (length,) = struct.unpack(">I", content[end : end + 4])
    half = content[end + 8 : end + 8 + length // 2]
    chunk = struct.pack(">I", len(half)) + b"IDAT" + half + struct.pack(">I", zlib.crc32(b"IDAT" + half))
    path.write_bytes(content[:end] + chunk + struct.pack(">I", 9) + b"\0\1\2\3" + b"damaged bytes")
    assert f"{path} cannot be decoded" in failure(path)
    with Image.open(path) as opened:
        assert "this PngImageFile cannot be used as a picture" in failure(opened)


@pytest.mark.parametrize("shape", [(8, 9, 3), (1, 1, 1, 8, 9), (9,)])
def test_a_tensor_in_another_order_is_told_in_which_it_is_read(shape: tuple[int, ...]) -> None:
    expected = "a tensor (channels, height, width), and several pictures have four dimensions"
    assert expected in failure(torch.zeros(shape, dtype=torch.uint8))


def test_an_array_in_another_order_is_told_in_which_it_is_read() -> None:
    assert "an array is (height, width) or (height, width, channels)" in failure(
        np.zeros((3, 8, 9), np.uint8)
    )
