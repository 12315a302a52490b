"""Reads images a batch at a time, in loader workers."""

import multiprocessing
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.cropping import Picture, part_of
from vision_transformers.data.decoding import decode_pixels
from vision_transformers.data.images import ImageFiles, Images
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.resizing import resize_pixels
from vision_transformers.data.vary_batch import vary_batch
from vision_transformers.data.vary_image import vary_image
from vision_transformers.errors import DataFailure

Positions = tuple[int, list[int]]
"""Which images make a batch: the epoch, and their places in the data set."""
PixelsAndIndices = tuple[UInt8[Tensor, "batch channels height width"], Int[Tensor, " batch"]]


@dataclass(frozen=True)
class Variation:
    """How training images are varied while they are read."""

    augmentation: Augmentation
    seed: int

    @property
    def singly(self) -> bool:
        """Whether each image is varied by itself: a crop is cut out of the whole picture, not of what is left
        of it at the model's size."""
        return self.augmentation.needs_single_images or self.augmentation.resized_crop is not None


def read_batches(
    images: Images,
    positions: Iterable[Positions],
    preprocessing: Preprocessing,
    variation: Variation | None,
    device: torch.device,
    workers: int,
) -> Iterator[PixelsAndIndices]:
    """Reads batches in the order of `positions`, whatever the number of workers.

    Args:
        images: what to read; those in memory must be on the CPU.
        positions: the images of each batch.
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
        _Batches(images, preprocessing, variation),
        batch_size=None,  # what is asked for by its position is a batch already
        sampler=positions,
        num_workers=workers,
        collate_fn=as_it_is,
        pin_memory=device.type == "cuda",
        worker_init_fn=leave_signals_to_main_process,
        generator=torch.Generator(),  # without one, the loader draws from the global generator
    )
    for batch in started(loader):
        if isinstance(batch, DataFailure):
            raise batch
        pixels, indices = batch
        yield pixels.to(device, non_blocking=True), indices.to(device, non_blocking=True)


@dataclass(frozen=True)
class _Batches(Dataset[PixelsAndIndices | DataFailure]):
    """Batches by their positions. A failure is a value: the loader buries what is raised in workers."""

    images: Images
    preprocessing: Preprocessing
    variation: Variation | None

    def __getitem__(self, positions: Positions) -> PixelsAndIndices | DataFailure:
        epoch, places = positions
        try:
            pixels = stack_images([self._read(epoch, index) for index in places])
        except DataFailure as failure:
            return failure
        indices = torch.tensor(places)
        if self.variation is not None and not self.variation.singly:
            pixels = vary_batch(pixels, indices, self.variation.augmentation, self.variation.seed, epoch)
        return pixels, indices

    def _read(self, epoch: int, index: int) -> UInt8[Tensor, "channels height width"]:
        picture = self._picture(index)
        if self.variation is None or not self.variation.singly:
            return resize_pixels(picture(None), self.preprocessing)
        augmentation, seed = self.variation.augmentation, self.variation.seed
        return vary_image(picture, self.preprocessing, augmentation, seed, epoch, index)

    def _picture(self, index: int) -> Picture:
        if isinstance(self.images, ImageFiles):
            path, how = self.images.paths[index], self.preprocessing
            return partial(decode_pixels, path, how.channels, how.background)
        return partial(part_of, self.images.pixels[index].permute(1, 2, 0).numpy())


def stack_images(
    images: list[UInt8[Tensor, "channels height width"]],
) -> UInt8[Tensor, "batch channels height width"]:
    """One tensor, in the order of memory that Pillow's pictures have: a pixel's channels side by side."""
    pictures = [image.permute(1, 2, 0) for image in images]
    stacked: Tensor
    if get_worker_info() is None:  # on this thread alone: `vary_on_cpu` says why
        stacked = torch.from_numpy(np.stack([picture.numpy() for picture in pictures]))
    else:  # into memory that the main process shares
        stacked = default_collate(pictures)
    return stacked.permute(0, 3, 1, 2)


def started(loader: DataLoader[Any]) -> Iterator[Any]:
    """The loader's batches.

    Raises:
        OSError: the system refuses to start all workers; those that it started are ended.
    """
    before = multiprocessing.active_children()
    try:
        return iter(loader)
    except OSError:
        # Python would end them by SIGTERM, which they ignore, and then wait for them.
        for process in multiprocessing.active_children():
            if process not in before:
                process.kill()
        raise


def as_it_is(batch: Any) -> Any:
    """For a loader whose data set gives whole batches."""
    return batch


def leave_signals_to_main_process(worker: int) -> None:  # noqa: ARG001 - the loader passes it
    """Ctrl-C and a scheduler's SIGTERM reach every process of a run; the main one ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
