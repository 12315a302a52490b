"""Batches of images on the device: the same from any batch on, and from memory and from files.

But for `resized_crop`: files are cropped out of the whole picture, images in memory out of what they hold.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeGuard

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.images import Images, ImagesInMemory
from vision_transformers.data.normalising import normalise
from vision_transformers.data.order import Order
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.reading import PixelsAndIndices, Variation, read_batches
from vision_transformers.data.vary_batch import epoch_seed, vary_by
from vision_transformers.runtime.recording import Recording


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


def are_varied_together(
    images: Images, augmentation: Augmentation, device: torch.device
) -> TypeGuard[ImagesInMemory]:
    """Whether images are held in memory, and varied in batches, by this device."""
    may_be = device.type == "cuda" or not augmentation.needs_single_images
    return may_be and isinstance(images, ImagesInMemory)


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
    """This process's parts of the varied batches number `first` to `last - 1`, counted over the whole run.

    A batch depends on its number alone: not on `first`, on the number of workers or on what ran before.

    Raises:
        DataFailure: an image cannot be decoded.
    """
    numbers = range(first, last)
    if are_varied_together(images, augmentation, device):
        batches = _gather_varied(images, augmentation, order, numbers, device)
    else:
        batches = _read_varied(images, preprocessing, augmentation, order, numbers, device, workers)
    labels = images.labels.to(device)
    for pixels, indices in batches:
        valid = torch.ones_like(indices, dtype=torch.bool)
        yield Batch(normalise(pixels, preprocessing), labels[indices], indices, valid)


def evaluation_batches(
    images: Images,
    preprocessing: Preprocessing,
    batch_size: int,
    device: torch.device,
    workers: int,
    share: int = 0,
    shares: int = 1,
) -> Iterator[Batch]:
    """All images as they are, in order; the last batch is filled up with its last image, marked not valid.

    Of several `shares`, one for each process, the `share` has every so manieth batch.

    Raises:
        DataFailure: an image cannot be decoded.
    """
    starts = range(0, len(images), batch_size)[share::shares]
    parts = [range(start, min(start + batch_size, len(images))) for start in starts]
    batches: Iterator[PixelsAndIndices]
    if isinstance(images, ImagesInMemory):
        pixels = images.pixels.to(device)
        batches = ((pixels[part.start : part.stop], torch.tensor(part, device=device)) for part in parts)
    else:
        positions = ((0, list(part)) for part in parts)
        batches = read_batches(images, positions, preprocessing, None, device, workers)
    labels = images.labels.to(device)
    rows = torch.arange(batch_size, device=device)
    for part_of_pixels, part_of_indices in batches:
        count = len(part_of_indices)
        filled = rows.clamp(max=count - 1)
        indices = part_of_indices[filled]
        yield Batch(normalise(part_of_pixels[filled], preprocessing), labels[indices], indices, rows < count)


def _gather_varied(
    images: ImagesInMemory, augmentation: Augmentation, order: Order, numbers: range, device: torch.device
) -> Iterator[PixelsAndIndices]:
    pixels = images.pixels.to(device)
    vary: Callable[[Tensor, int], Tensor]
    if device.type == "cuda":
        vary = RecordedVariation(pixels, augmentation, order.batch_size // order.shares)
    else:
        vary = partial(_vary, pixels, augmentation)
    for number in numbers:
        indices = order.own_indices(number).to(device)
        yield vary(indices, epoch_seed(order.seed, order.epoch(number))), indices


def _vary(
    pixels: UInt8[Tensor, "images channels height width"],
    augmentation: Augmentation,
    indices: Int[Tensor, " batch"],
    seed: int | Int[Tensor, ""],
) -> UInt8[Tensor, "batch channels height width"]:
    return vary_by(pixels[indices], indices, augmentation, seed)


class RecordedVariation:
    """Gathers and varies images on a GPU by kernels that are recorded once and replayed.

    Args:
        pixels: all images, on the GPU.
        augmentation: how they are varied.
        batch_size: of every batch.
    """

    def __init__(
        self,
        pixels: UInt8[Tensor, "images channels height width"],
        augmentation: Augmentation,
        batch_size: int,
    ) -> None:
        self.indices = torch.zeros(batch_size, dtype=torch.long, device=pixels.device)
        self.seed = torch.zeros((), dtype=torch.long, device=pixels.device)
        self.vary = partial(_vary, pixels, augmentation, self.indices, self.seed)
        self.recording = Recording(pixels.device)

    def __call__(
        self, indices: Int[Tensor, " batch"], seed: int
    ) -> UInt8[Tensor, "batch channels height width"]:
        """The images at these places, by an `epoch_seed`."""
        self.indices.copy_(indices)
        self.seed.fill_(seed)
        varied = self.recording(self.vary)
        assert varied is not None
        return varied.clone()


def _read_varied(
    images: Images,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    order: Order,
    numbers: range,
    device: torch.device,
    workers: int,
) -> Iterator[PixelsAndIndices]:
    if isinstance(images, ImagesInMemory):
        images = on_device(images, torch.device("cpu"))
        # They were cropped to the model's size when they were loaded; "center" would crop them again.
        preprocessing = replace(preprocessing, crop="squash")
    positions = ((order.epoch(number), order.own_indices(number).tolist()) for number in numbers)
    return read_batches(
        images, positions, preprocessing, Variation(augmentation, order.seed), device, workers
    )
