"""Batches of images on the device: the same from memory and from files, and from any batch on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.images import Images, ImagesInMemory
from vision_transformers.data.order import Order
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.reading import PixelsAndIndices, Variation, read_batches
from vision_transformers.data.vary_batch import vary_batch


@dataclass(frozen=True)
class Batch:
    """Images that are ready for the model."""

    images: Float[Tensor, "batch channels height width"]
    """Normalised."""
    labels: Int[Tensor, " batch"]
    indices: Int[Tensor, " batch"]
    """The images' places in their data set."""
    valid: Bool[Tensor, " batch"]
    """False for the repeated images that fill up the last batch of an evaluation."""


def on_device(images: Images, device: torch.device) -> Images:
    """Moves images in memory to a device, so that each use of them need not; files stay files."""
    if isinstance(images, ImagesInMemory):
        return replace(images, pixels=images.pixels.to(device), labels=images.labels.to(device))
    return images


def normalise(
    pixels: UInt8[Tensor, "batch channels height width"], preprocessing: Preprocessing
) -> Float[Tensor, "batch channels height width"]:
    """Turns pixels of 0 to 255 into the model's input, `(pixels / 255 - mean) / std`."""
    mean = torch.tensor(preprocessing.mean, device=pixels.device)[:, None, None]
    std = torch.tensor(preprocessing.std, device=pixels.device)[:, None, None]
    return (pixels.float() / 255 - mean) / std


def training_batches(
    images: Images,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    order: Order,
    first: int,
    last: int,
    device: torch.device,
    workers: int,
) -> Iterator[Batch]:
    """The varied batches with the numbers `first` to `last - 1`, counted over the whole run.

    A batch depends on its number alone: not on `first`, on the number of workers or on what ran before.

    Raises:
        DataFailure: an image cannot be decoded.
    """
    numbers = range(first, last)
    if isinstance(images, ImagesInMemory) and not augmentation.needs_single_images:
        batches = _vary_in_memory(images, augmentation, order, numbers, device)
    else:
        batches = _vary_while_reading(images, preprocessing, augmentation, order, numbers, device, workers)
    labels = images.labels.to(device)
    for pixels, indices in batches:
        valid = torch.ones_like(indices, dtype=torch.bool)
        yield Batch(normalise(pixels, preprocessing), labels[indices], indices, valid)


def evaluation_batches(
    images: Images, preprocessing: Preprocessing, batch_size: int, device: torch.device, workers: int
) -> Iterator[Batch]:
    """All images as they are, in order; the last batch is filled up with its last image, marked not valid.

    Raises:
        DataFailure: an image cannot be decoded.
    """
    places = torch.arange(len(images)).split(batch_size)
    if isinstance(images, ImagesInMemory):
        batches = _in_memory(images, places, device)
    else:
        positions = ([(0, index) for index in indices.tolist()] for indices in places)
        batches = _to_device(
            read_batches(images, positions, preprocessing, None, workers, device.type == "cuda"), device
        )
    labels = images.labels.to(device)
    rows = torch.arange(batch_size, device=device)
    for pixels, indices in batches:
        filled = rows.clamp(max=len(indices) - 1)
        pixels, indices = pixels[filled], indices[filled]
        yield Batch(normalise(pixels, preprocessing), labels[indices], indices, rows < len(indices))
