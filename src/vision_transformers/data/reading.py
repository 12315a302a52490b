"""Reads images a batch at a time, in loader workers."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.decoding import PictureReader, decode_pixels, part_of
from vision_transformers.data.images import ImageFiles, Images
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.resizing import resize_pixels
from vision_transformers.data.vary_batch import vary_batch
from vision_transformers.data.workers import load_batches, stack_images

Positions = tuple[int, list[int]]
"""Which images make a batch: the epoch, and their places in the data set."""
VaryImage = Callable[..., UInt8[Tensor, "channels height width"]]
"""`vary_image`, but for the picture, the epoch and the image's place."""
PixelsAndIndices = tuple[UInt8[Tensor, "batch channels height width"], Int[Tensor, " batch"]]


@dataclass(frozen=True)
class Variation:
    """How training images are varied while they are read."""

    augmentation: Augmentation
    seed: int

    def of_single_images(self, preprocessing: Preprocessing) -> VaryImage | None:
        """Varies an image by itself; None where batches are varied.

        A crop is cut out of the whole picture, not of what is left of it at the model's size.
        """
        if not self.augmentation.needs_single_images and self.augmentation.resized_crop is None:
            return None
        # Here, where it is needed: torchvision takes as long to import as torch. And before workers are
        # started, which would each import it.
        from vision_transformers.data.vary_image import vary_image

        return partial(
            vary_image, preprocessing=preprocessing, augmentation=self.augmentation, seed=self.seed
        )


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
    vary_image = variation.of_single_images(preprocessing) if variation is not None else None
    batches = _Batches(images, preprocessing, variation, vary_image)
    for pixels, indices in load_batches(batches, positions, workers, pin_memory=device.type == "cuda"):
        yield pixels.to(device, non_blocking=True), indices.to(device, non_blocking=True)


@dataclass(frozen=True)
class _Batches(Dataset[PixelsAndIndices]):
    """Batches by their positions."""

    images: Images
    preprocessing: Preprocessing
    variation: Variation | None
    vary_image: VaryImage | None

    def __getitem__(self, positions: Positions) -> PixelsAndIndices:
        epoch, places = positions
        pixels = stack_images([self._read(epoch, index) for index in places])
        indices = torch.tensor(places)
        if self.variation is not None and self.vary_image is None:
            pixels = vary_batch(pixels, indices, self.variation.augmentation, self.variation.seed, epoch)
        return pixels, indices

    def _read(self, epoch: int, index: int) -> UInt8[Tensor, "channels height width"]:
        picture = self._picture(index)
        if self.vary_image is None:
            return resize_pixels(picture(None), self.preprocessing)
        return self.vary_image(picture, epoch=epoch, index=index)

    def _picture(self, index: int) -> PictureReader:
        if isinstance(self.images, ImageFiles):
            path, how = self.images.paths[index], self.preprocessing
            return partial(decode_pixels, path, how.channels, how.background)
        return partial(part_of, self.images.pixels[index].permute(1, 2, 0).numpy())
