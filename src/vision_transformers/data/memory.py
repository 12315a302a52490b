"""Images in memory: brought to a model's size and channels once, and hashed."""

import hashlib
from dataclasses import replace

import torch
from torchvision.transforms.v2 import functional

from vision_transformers.data.images import ImagesInMemory
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.resizing import resize, takes_all, to_pixels


def preprocess(images: ImagesInMemory, preprocessing: Preprocessing) -> ImagesInMemory:
    """Brings all images to the size and channels of `preprocessing`, as single pictures would be."""
    if _fits(images, preprocessing):
        return images
    mode = "L" if preprocessing.channels == 1 else "RGB"
    pixels = torch.empty((len(images), preprocessing.channels, *preprocessing.size), dtype=torch.uint8)
    for target, original in zip(pixels, images.pixels, strict=True):
        picture = functional.to_pil_image(original).convert(mode)
        target.copy_(to_pixels(resize(picture, preprocessing)))
    return replace(images, pixels=pixels)


def fingerprint(*parts: ImagesInMemory) -> str:
    """The sha256 of the pixels and labels of a data set's parts, as published: in their own size."""
    digest = hashlib.sha256()
    for part in parts:
        for tensor in (part.pixels, part.labels.long()):
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _fits(images: ImagesInMemory, preprocessing: Preprocessing) -> bool:
    """Whether preprocessing would change nothing."""
    return takes_all(preprocessing) and images.pixels.shape[1:] == (
        preprocessing.channels,
        *preprocessing.size,
    )
