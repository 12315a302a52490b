"""Varies one training image at a time, with Pillow and torchvision: what loader workers do."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torchvision.transforms import v2

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.cropping import RandomResizedCrop
from vision_transformers.data.decoding import PictureReader
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.resizing import resize_pixels, to_pixels
from vision_transformers.data.vary_batch import DISTORTION_DRAWS, distort, erase
from vision_transformers.randomness import derive_seed

_ON_ONE_THREAD = 32_000
"""PyTorch spreads operations on more numbers than 32,768 (`at::internal::GRAIN_SIZE`) over threads."""


def vary_image(
    picture: PictureReader,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    seed: int,
    epoch: int,
    index: int,
) -> UInt8[Tensor, "channels height width"]:
    """Varies an image and brings it to the model's size.

    The result depends on the arguments alone: torchvision draws from torch's global generator, which is
    seeded for this image and put back after.

    Args:
        picture: gives all of a picture, or the part that is cut out of it.
        preprocessing: the model's size; how to resize where `augmentation` does not crop.
        augmentation: which variations; mixup and CutMix are left to `mix`.
        seed: the run's seed.
        epoch: which pass over the data set.
        index: the image's place in the data set.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "image", epoch, index))
        pixels: Tensor = _variation(preprocessing, augmentation)(picture)
    return pixels


@cache
def _variation(preprocessing: Preprocessing, augmentation: Augmentation) -> v2.Compose:
    """The steps that are on; what comes in from outside the image is black."""
    steps: list[Callable[[Any], Any]] = []
    if augmentation.resized_crop is None:
        steps.append(lambda picture: resize_pixels(picture(None), preprocessing))
    else:
        steps.append(RandomResizedCrop(preprocessing, augmentation.resized_crop))
    if augmentation.distorts:
        steps.append(partial(_distorted, augmentation))
    if augmentation.shift > 0:
        steps.append(v2.RandomCrop(preprocessing.size, padding=augmentation.shift))
    if augmentation.flip:
        steps.append(_mirrored_half_of_the_time)
    if augmentation.needs_single_images:
        steps.extend([v2.ToPILImage(), *_of_pictures(augmentation), to_pixels])
    if augmentation.erasing > 0:
        steps.append(partial(_erased, augmentation))
    return v2.Compose(steps)


def _distorted(
    augmentation: Augmentation, pixels: UInt8[Tensor, "channels height width"]
) -> UInt8[Tensor, "channels height width"]:
    return distort(pixels[None], augmentation, torch.rand(1, DISTORTION_DRAWS))[0]


def _erased(
    augmentation: Augmentation, pixels: UInt8[Tensor, "channels height width"]
) -> UInt8[Tensor, "channels height width"]:
    chosen = torch.rand(1) < augmentation.erasing
    return erase(pixels[None], augmentation.erasing_area, torch.rand(1, 4), chosen)[0]


def _mirrored_half_of_the_time(
    pixels: UInt8[Tensor, "channels height width"],
) -> UInt8[Tensor, "channels height width"]:
    """torchvision's RandomHorizontalFlip, by parts for which PyTorch calls on no other thread.

    `vary_on_cpu` says why. Here NumPy would take several times as long: it copies pixel by pixel.
    """
    if torch.rand(1) >= 0.5:
        return pixels
    mirrored = torch.empty_like(pixels)
    rows = max(1, _ON_ONE_THREAD // pixels[:, 0].numel())
    for part, source in zip(mirrored.split(rows, dim=1), pixels.split(rows, dim=1), strict=True):
        part.copy_(source.flip(-1))
    return mirrored


def _of_pictures(augmentation: Augmentation) -> list[Callable[[Any], Any]]:
    """The steps that Pillow is best at."""
    steps: list[Callable[[Any], Any]] = []
    if augmentation.rand_augment > 0:
        steps.append(
            v2.RandAugment(
                augmentation.rand_augment,
                augmentation.rand_augment_magnitude,
                interpolation=v2.InterpolationMode.BILINEAR,
            )
        )
    if augmentation.color_jitter > 0:
        steps.append(v2.ColorJitter(*[augmentation.color_jitter] * 3))
    return steps
