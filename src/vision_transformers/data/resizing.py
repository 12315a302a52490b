"""A picture of any size to the size of a model's input."""

import math

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from vision_transformers.data.as_seen import to_array, to_picture
from vision_transformers.data.preprocessing import Preprocessing

_MOST_PIXELS = 2**25
"""Of a picture that is resized whole before it is cropped, as everybody does; thin ones grow beyond it."""


def resize(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Resizes, and crops where `preprocessing.crop` says so, to `preprocessing.size`."""
    rows, columns = preprocessing.size
    interpolation = Image.Resampling[preprocessing.interpolation.upper()]
    if preprocessing.crop == "squash":
        return image.resize((columns, rows), interpolation)
    width, height = _covering(image, preprocessing)
    left, top = _corner((width, height), preprocessing)
    if width * height > _MOST_PIXELS:
        first, above, last, below = seen_part(image, preprocessing)
        box = (first * image.width, above * image.height, last * image.width, below * image.height)
        return image.resize((columns, rows), interpolation, box=box)
    resized = image.resize((width, height), interpolation)
    return resized.crop((left, top, left + columns, top + rows))


def seen_part(image: Image.Image, preprocessing: Preprocessing) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what the model sees of a picture, as parts of its width and height."""
    if preprocessing.crop == "squash":
        return 0.0, 0.0, 1.0, 1.0
    rows, columns = preprocessing.size
    width, height = _covering(image, preprocessing)
    left, top = _corner((width, height), preprocessing)
    return left / width, top / height, (left + columns) / width, (top + rows) / height


def to_pixels(image: Image.Image) -> UInt8[Tensor, "channels height width"]:
    """The pixels of a picture of mode `L` or `RGB`, 0 to 255."""
    return torch.from_numpy(to_array(image)).permute(2, 0, 1)


def resize_pixels(
    pixels: UInt8[np.ndarray, "height width channels"], preprocessing: Preprocessing
) -> UInt8[Tensor, "channels rows columns"]:
    """The pixels of `resize`; those of the model's size are taken as they are."""
    if pixels.shape[:2] == preprocessing.size and takes_all(preprocessing):
        return torch.from_numpy(pixels).permute(2, 0, 1)
    return to_pixels(resize(to_picture(pixels), preprocessing))


def takes_all(preprocessing: Preprocessing) -> bool:
    """Whether nothing is cut off pictures that have the model's aspect."""
    return preprocessing.crop == "squash" or preprocessing.crop_fraction == 1


def _corner(covering: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """Left and top of the crop, in pixels of the resized picture."""
    rounded = round if preprocessing.crop_rounding == "even" else math.floor
    (width, height), (rows, columns) = covering, preprocessing.size
    return rounded((width - columns) / 2), rounded((height - rows) / 2)


def _covering(image: Image.Image, preprocessing: Preprocessing) -> tuple[int, int]:
    """Width and height of the smallest picture of the same aspect out of which the crop is cut."""
    height, width = (round(side / preprocessing.crop_fraction) for side in preprocessing.size)
    if image.width * height >= image.height * width:
        return image.width * height // image.height, height
    return width, image.height * width // image.width
