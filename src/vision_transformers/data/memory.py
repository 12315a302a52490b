"""Images in memory: brought to a model's size and channels once, and hashed."""

import hashlib
from dataclasses import replace

import torch

from vision_transformers.data.as_seen import to_array, to_picture
from vision_transformers.data.images import ImagesInMemory
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.resizing import resize, takes_all


def preprocess(images: ImagesInMemory, preprocessing: Preprocessing) -> ImagesInMemory:
    """Brings all images to the size and channels of `preprocessing`, as single pictures would be."""
    if _fits(images, preprocessing):
        return images
    mode = "L" if preprocessing.channels == 1 else "RGB"
    pixels = torch.empty((len(images), preprocessing.channels, *preprocessing.size), dtype=torch.uint8)
    # As arrays, all of them: of pictures this small, a tensor for each would take most of the time.
    for target, original in zip(pixels.numpy(), images.pixels.permute(0, 2, 3, 1).numpy(), strict=True):
        resized = resize(to_picture(original).convert(mode), preprocessing)
        target[:] = to_array(resized).transpose(2, 0, 1)
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
