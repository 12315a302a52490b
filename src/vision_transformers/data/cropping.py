"""Cuts a rectangle out of a picture at random and resizes it to a model's input, faster than Pillow alone."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from vision_transformers.data.decoding import PictureReader
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.resizing import resize_pixels
from vision_transformers.data.vary_batch import CROP_ASPECT

_FILTERS_OF_TORCH = ("bilinear", "bicubic")
"""PyTorch resizes bytes with these, antialiased as Pillow does, in a fraction of Pillow's time. Its weights
have 16 bits where Pillow's have 22: a few in a hundred of a photograph's pixels are one level of 255 off, and
with `bicubic`, which overshoots at edges, very few are off by more."""


class RandomResizedCrop:
    """torchvision's variation of that name, with the rectangles that torchvision draws.

    Evaluation resizes with Pillow alone, to the last bit; a variation has no picture that it must match.

    Args:
        preprocessing: the model's size, and how to resize.
        share: part of the picture's area that the rectangle covers, least and most.
    """

    def __init__(self, preprocessing: Preprocessing, share: tuple[float, float]) -> None:
        self.rectangles = v2.RandomResizedCrop(preprocessing.size, share, CROP_ASPECT)
        # Of the part that is cut out nothing more is cut.
        self.preprocessing = replace(preprocessing, crop="squash")

    def __call__(self, picture: PictureReader) -> UInt8[Tensor, "channels height width"]:
        """Draws from torch's global generator."""
        cut = picture(self._rectangle)
        if self.preprocessing.interpolation not in _FILTERS_OF_TORCH:
            return resize_pixels(cut, self.preprocessing)
        interpolation = v2.InterpolationMode(self.preprocessing.interpolation)
        size = list(self.preprocessing.size)
        # PyTorch would copy a part of a picture, too, but on all threads: `vary_on_cpu` says why not.
        together = torch.from_numpy(np.ascontiguousarray(cut)).permute(2, 0, 1)
        pixels: Tensor = functional.resize(together, size, interpolation, antialias=True)
        return pixels

    def _rectangle(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        width, height = size
        box = self.rectangles.make_params([torch.empty(1, height, width, device="meta")])
        left, top = box["left"], box["top"]
        return left, top, left + box["width"], top + box["height"]
