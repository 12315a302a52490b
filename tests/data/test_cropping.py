"""Crops are torchvision's, and as near to Pillow's pixels as rounding lets them be."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from vision_transformers.data.cropping import RandomResizedCrop
from vision_transformers.data.decoding import decode, decode_pixels, part_of
from vision_transformers.data.preprocessing import Interpolation, Preprocessing
from vision_transformers.data.resizing import to_pixels
from vision_transformers.data.vary_batch import CROP_ASPECT


def photograph(index: int = 0) -> Image.Image:
    from sklearn.datasets import load_sample_images

    return Image.fromarray(load_sample_images().images[index])


def pixels_of(image: Image.Image) -> np.ndarray:
    return np.array(image).reshape(image.height, image.width, -1)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(
    ("interpolation", "levels"), [("nearest", 0), ("bilinear", 2), ("bicubic", 8), ("lanczos", 0)]
)
def test_a_crop_is_the_one_that_torchvision_makes_with_pillow(
    interpolation: Interpolation, levels: int, mode: str
) -> None:
    image = photograph().convert(mode)
    preprocessing = Preprocessing(size=(96, 128), interpolation=interpolation)
    crop = RandomResizedCrop(preprocessing, (0.08, 1.0))
    theirs = v2.RandomResizedCrop(
        preprocessing.size, (0.08, 1.0), CROP_ASPECT, v2.InterpolationMode(interpolation)
    )
    for seed in range(20):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            ours = crop(partial(part_of, pixels_of(image))).int()
            torch.manual_seed(seed)
            expected = to_pixels(theirs(image)).int()
        assert (ours - expected).abs().max() <= levels
        assert (ours - expected).abs().float().mean() <= (0.3 if levels else 0)


def test_a_crop_of_a_file_is_the_crop_of_what_was_decoded_before(tmp_path: Path) -> None:
    """From files and from memory, a run learns from the same pixels."""
    photograph().save(tmp_path / "photograph.jpg")
    path = tmp_path / "photograph.jpg"
    crop = RandomResizedCrop(Preprocessing(size=(32, 32)), (0.08, 1.0))
    decoded = np.array(decode(path, 3, 255))
    for seed in range(20):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            from_file = crop(partial(decode_pixels, path, 3, 255))
            torch.manual_seed(seed)
            from_memory = crop(partial(part_of, decoded))
        assert torch.equal(from_file, from_memory)


def test_a_crop_does_not_depend_on_how_pixels_lie_in_memory() -> None:
    """Pictures have a pixel's channels side by side; tensors of images in memory have them apart."""
    image = photograph().resize((50, 40))
    apart = np.ascontiguousarray(pixels_of(image).transpose(2, 0, 1))
    again = apart.transpose(1, 2, 0)
    crop = RandomResizedCrop(Preprocessing(size=(16, 16)), (0.5, 1.0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = crop(partial(part_of, pixels_of(image)))
        torch.manual_seed(0)
        assert torch.equal(first, crop(partial(part_of, again)))
