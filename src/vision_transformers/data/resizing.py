"""A picture of any size to the size of a model's input."""

import math

from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from vision_transformers.data.preprocessing import Preprocessing


def resize(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Resizes, and crops where `preprocessing.crop` says so, to `preprocessing.size`."""
    rows, columns = preprocessing.size
    interpolation = Image.Resampling[preprocessing.interpolation.upper()]
    if preprocessing.crop == "squash":
        return image.resize((columns, rows), interpolation)
    width, height = _covering(image, preprocessing)
    rounded = round if preprocessing.crop_rounding == "even" else math.floor
    left, top = rounded((width - columns) / 2), rounded((height - rows) / 2)
    resized = image.resize((width, height), interpolation)
    return resized.crop((left, top, left + columns, top + rows))


def to_pixels(image: Image.Image) -> UInt8[Tensor, "channels height width"]:
    """The pixels of a picture of mode `L` or `RGB`, 0 to 255."""
    pixels: Tensor = functional.pil_to_tensor(image)
    return pixels


def _covering(image: Image.Image, preprocessing: Preprocessing) -> tuple[int, int]:
    """Width and height of the smallest picture of the same aspect out of which the crop is cut."""
    height, width = (round(side / preprocessing.crop_fraction) for side in preprocessing.size)
    if image.width * height >= image.height * width:
        return image.width * height // image.height, height
    return width, image.height * width // image.width
