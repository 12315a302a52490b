"""Varies one training image at a time, with Pillow and torchvision: what loader workers do."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.resizing import resize, to_pixels
from vision_transformers.data.vary_batch import CROP_ASPECT, ERASED_ASPECT, ERASED_GREY
from vision_transformers.randomness import derive_seed


def vary_image(
    image: Image.Image,
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
        image: a decoded picture, grey or RGB, of any size.
        preprocessing: the model's size; how to resize where `augmentation` does not crop.
        augmentation: which variations; mixup and CutMix are left to `mix`.
        seed: the run's seed.
        epoch: which pass over the data set.
        index: the image's place in the data set.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "image", epoch, index))
        pixels: Tensor = _variation(preprocessing, augmentation)(image)
    return pixels


@cache
def _variation(preprocessing: Preprocessing, augmentation: Augmentation) -> v2.Compose:
    """The steps that are on; what comes in from outside the image is black."""
    steps: list[Callable[[Any], Any]] = []
    if augmentation.resized_crop is None:
        steps.append(partial(resize, preprocessing=preprocessing))
    else:
        interpolation = v2.InterpolationMode(preprocessing.interpolation)
        steps.append(
            v2.RandomResizedCrop(preprocessing.size, augmentation.resized_crop, CROP_ASPECT, interpolation)
        )
    if augmentation.distorts:
        scales = (1 - augmentation.scaling, 1 + augmentation.scaling)
        bilinear = v2.InterpolationMode.BILINEAR
        steps.append(
            v2.RandomAffine(augmentation.rotation, None, scales, augmentation.shear, interpolation=bilinear)
        )
    if augmentation.shift > 0:
        steps.append(v2.RandomCrop(preprocessing.size, padding=augmentation.shift))
    if augmentation.flip:
        steps.append(v2.RandomHorizontalFlip())
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
    steps.append(to_pixels)
    if augmentation.erasing > 0:
        steps.append(
            v2.RandomErasing(
                augmentation.erasing, augmentation.erasing_area, ERASED_ASPECT, value=ERASED_GREY
            )
        )
    return v2.Compose(steps)
