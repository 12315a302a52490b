"""Pictures without labels, from wherever they come, read a batch at a time and in their order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from vision_transformers.data.as_seen import as_seen
from vision_transformers.data.decoding import decode
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.resizing import resize, to_pixels
from vision_transformers.data.workers import load_batches, stack_images
from vision_transformers.errors import DataFailure

Picture = Path | Image.Image | np.ndarray | Tensor
"""A file; or what was opened or decoded already: an array of 8 bits, (height, width) or (height, width,
channels), or a tensor of 8 bits, (channels, height, width)."""


Pictures = str | Picture | Iterable[str | Picture]
"""One picture, or many: paths, PIL images, arrays and tensors of 8 bits."""
MOST_CHANNELS = 4
"""Of an array or a tensor: red, green, blue and opacity."""
_ONE = (str, Path, Image.Image, np.ndarray, Tensor)


@dataclass(frozen=True)
class ReadPicture:
    """A picture at the model's size, or why there is none."""

    source: Picture
    pixels: UInt8[Tensor, "channels height width"] | None = None
    failure: DataFailure | None = None


def one_after_another(pictures: Pictures) -> Iterator[Picture]:
    """Each picture, as it is asked for, whether there is one or many."""
    many = [pictures] if isinstance(pictures, _ONE) and not _is_batch(pictures) else pictures
    return (Path(picture) if isinstance(picture, str) else picture for picture in many)  # type: ignore[union-attr]


def _is_batch(pictures: object) -> bool:
    """Whether an array or tensor holds several pictures, one after another along its first dimension."""
    return isinstance(pictures, np.ndarray | Tensor) and pictures.ndim == 4


def read_pictures(
    pictures: Iterable[Picture], preprocessing: Preprocessing, batch_size: int, workers: int
) -> Iterator[list[ReadPicture]]:
    """Reads pictures in their order, whatever the number of workers; a failure takes its picture's place.

    Args:
        pictures: they are asked for as they are needed, so that there may be more than fit into memory.
        preprocessing: channels, size and how to resize.
        batch_size: pictures in a batch; the last may have fewer.
        workers: how many processes read; with 0, or where there is one batch only, this one does.
    """
    batches = _batches(pictures, batch_size)
    first = next(batches, [])
    if not first:
        return
    number_of_workers = workers if len(first) == batch_size else 0
    for batch, pixels in load_batches(_Batches(preprocessing), chain([first], batches), number_of_workers):
        rows = iter(pixels)
        yield [one if one.failure is not None else replace(one, pixels=next(rows)) for one in batch]


_WithoutPixels = list[ReadPicture]


@dataclass(frozen=True)
class _Batches(Dataset[tuple[_WithoutPixels, Tensor]]):
    """Batches, whose pictures the sampler names, and the pixels of all that could be read in one tensor: from
    a worker, each tensor takes an open file."""

    preprocessing: Preprocessing

    def __getitem__(self, pictures: list[Picture]) -> tuple[_WithoutPixels, Tensor]:
        batch = [self._read(picture) for picture in pictures]
        readable = [one.pixels for one in batch if one.pixels is not None]
        pixels = stack_images(readable) if readable else torch.empty(0)
        return [replace(one, pixels=None) for one in batch], pixels

    def _read(self, picture: Picture) -> ReadPicture:
        try:
            seen = _seen(picture, self.preprocessing)
        except DataFailure as failure:
            return ReadPicture(picture, failure=failure)
        return ReadPicture(picture, to_pixels(resize(seen, self.preprocessing)))


def _seen(picture: Picture, preprocessing: Preprocessing) -> Image.Image:
    """The picture in the channels of the preprocessing, in its own size."""
    channels, background = preprocessing.channels, preprocessing.background
    if isinstance(picture, Path):
        return decode(picture, channels, background)
    try:
        image = picture if isinstance(picture, Image.Image) else _from_array(picture)
        return as_seen(image, channels, background)
    except MemoryError:
        raise
    except Exception as error:  # what was opened is decoded here, and broken bytes fail in any way there is
        raise DataFailure(f"this {type(picture).__name__} cannot be used as a picture: {error}") from error


def _from_array(array: np.ndarray | Tensor) -> Image.Image:
    if array.dtype not in (np.uint8, torch.uint8):
        raise ValueError(
            f"its values are {array.dtype}: give 8 bits, 0 to 255; what is normalised goes to `.model` itself"
        )
    channels_last = isinstance(array, np.ndarray)
    channels = 1 if array.ndim == 2 else array.shape[-1 if channels_last else 0]
    if array.ndim not in (2, 3) or not 1 <= channels <= MOST_CHANNELS:
        raise ValueError(
            f"its shape is {tuple(array.shape)}: an array is (height, width) or (height, width, channels), "
            "a tensor (channels, height, width), and several pictures have four dimensions"
        )
    from torchvision.transforms.v2.functional import to_pil_image  # takes as long to import as torch

    image: Image.Image = to_pil_image(array)
    return image


def _batches(pictures: Iterable[Picture], size: int) -> Iterator[list[Picture]]:
    rest = iter(pictures)
    while batch := list(islice(rest, size)):
        yield batch
