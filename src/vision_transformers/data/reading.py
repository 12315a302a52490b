"""Reads images one at a time, with Pillow, in loader workers."""

import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2.functional import to_pil_image

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.decoding import decode
from vision_transformers.data.images import ImageFiles, Images
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.resizing import resize, to_pixels
from vision_transformers.data.vary_image import vary_image
from vision_transformers.errors import DataFailure

Item = tuple[UInt8[Tensor, "channels height width"], int]
PixelsAndIndices = tuple[UInt8[Tensor, "batch channels height width"], Int[Tensor, " batch"]]


@dataclass(frozen=True)
class Variation:
    """How training images are varied while they are read."""

    augmentation: Augmentation
    seed: int


def read_batches(
    images: Images,
    positions: Iterable[list[tuple[int, int]]],
    preprocessing: Preprocessing,
    variation: Variation | None,
    device: torch.device,
    workers: int,
) -> Iterator[PixelsAndIndices]:
    """Reads batches in the order of `positions`, whatever the number of workers.

    Args:
        images: what to read; those in memory must be on the CPU.
        positions: for each batch, the epoch and the index of each of its images.
        preprocessing: channels, size and how to resize.
        variation: how to vary the images; None to read them as they are.
        device: where the batches go.
        workers: how many processes read; with 0, this one does.

    Yields:
        The pixels and the indices of each batch, on the device.

    Raises:
        DataFailure: an image cannot be decoded.
    """
    loader = DataLoader(
        _SingleImages(images, preprocessing, variation),
        batch_sampler=positions,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=device.type == "cuda",
        worker_init_fn=leave_signals_to_main_process,
        generator=torch.Generator(),  # without one, the loader draws from the global generator
    )
    for batch in loader:
        if isinstance(batch, DataFailure):
            raise batch
        pixels, indices = batch
        yield pixels.to(device, non_blocking=True), indices.to(device, non_blocking=True)


@dataclass(frozen=True)
class _SingleImages(Dataset[Item | DataFailure]):
    """Images by epoch and index. A failure is a value: the loader buries what is raised in workers."""

    images: Images
    preprocessing: Preprocessing
    variation: Variation | None

    def __getitem__(self, position: tuple[int, int]) -> Item | DataFailure:
        epoch, index = position
        try:
            image = self._open(index)
        except DataFailure as failure:
            return failure
        if self.variation is None:
            return to_pixels(resize(image, self.preprocessing)), index
        augmentation, seed = self.variation.augmentation, self.variation.seed
        return vary_image(image, self.preprocessing, augmentation, seed, epoch, index), index

    def _open(self, index: int) -> Image.Image:
        if isinstance(self.images, ImageFiles):
            return decode(
                self.images.paths[index], self.preprocessing.channels, self.preprocessing.background
            )
        image: Image.Image = to_pil_image(self.images.pixels[index])
        return image


def _collate(items: list[Item | DataFailure]) -> PixelsAndIndices | DataFailure:
    read = []
    for item in items:
        if isinstance(item, DataFailure):
            return item
        read.append(item)
    pixels, indices = zip(*read, strict=True)
    return torch.stack(pixels), torch.tensor(indices)


def leave_signals_to_main_process(worker: int) -> None:  # noqa: ARG001 - the loader passes it
    """Ctrl-C and a scheduler's SIGTERM reach every process of a run; the main one ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
