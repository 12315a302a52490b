"""Cuts a rectangle out of a picture at random and resizes it to a model's input, faster than Pillow alone."""

from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.resizing import to_pixels
from vision_transformers.data.vary_batch import CROP_ASPECT

_FILTERS_OF_TORCH = ("bilinear", "bicubic")
"""PyTorch resizes bytes with these, antialiased as Pillow does and up to two levels of 255 alike: its weights
have 16 bits where Pillow's have 22, and it rounds after rows and after columns as Pillow does."""


class RandomResizedCrop:
    """torchvision's variation of that name, with the rectangles that torchvision draws.

    Evaluation resizes with Pillow alone, to the last bit; there is no picture that a variation has to match.

    Args:
        preprocessing: the model's size, and how to resize.
        share: part of the picture's area that the rectangle covers, least and most.
    """

    def __init__(self, preprocessing: Preprocessing, share: tuple[float, float]) -> None:
        self.interpolation = v2.InterpolationMode(preprocessing.interpolation)
        self.in_torch = preprocessing.interpolation in _FILTERS_OF_TORCH
        self.drawn = v2.RandomResizedCrop(preprocessing.size, share, CROP_ASPECT, self.interpolation)

    def __call__(self, image: Image.Image) -> UInt8[Tensor, "channels height width"]:
        """Of a picture of mode `L` or `RGB`; draws from torch's global generator."""
        if not self.in_torch:
            return to_pixels(self.drawn(image))
        box = self.drawn.make_params([image])
        left, top = box["left"], box["top"]
        # Cut before it becomes a tensor: what is not seen is not copied.
        cut = to_pixels(image.crop((left, top, left + box["width"], top + box["height"])))
        pixels: Tensor = functional.resize(cut, self.drawn.size, self.interpolation, antialias=True)
        return pixels
