"""Pixels to what a model sees, and back."""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.vary_colors import RED_GREEN_BLUE


def normalise(
    pixels: UInt8[Tensor, "batch channels height width"], preprocessing: Preprocessing
) -> Float[Tensor, "batch channels height width"]:
    """Turns pixels of 0 to 255 into the model's input, `(pixels / 255 - mean) / std`."""
    if pixels.device.type == "cpu":
        return _normalise_on_cpu(pixels, preprocessing)
    mean = _of_channels(tuple(preprocessing.mean), pixels.device)
    std = _of_channels(tuple(preprocessing.std), pixels.device)
    floats = torch.empty_like(pixels, dtype=torch.float32, memory_format=torch.contiguous_format)
    return floats.copy_(pixels).div_(255).sub_(mean).div_(std)


@cache
def _of_channels(values: tuple[float, ...], device: torch.device) -> Float[Tensor, "channels 1 1"]:
    """On the device, where they are sent once: each sending waits for what the device is doing."""
    return torch.tensor(values, device=device)[:, None, None]


_IN_CACHE = 2**18
"""Numbers of four bytes that a core's own cache holds: all steps pass over them before the next ones come."""


def _normalise_on_cpu(
    pixels: UInt8[Tensor, "batch channels height width"], preprocessing: Preprocessing
) -> Float[Tensor, "batch channels height width"]:
    """The same numbers, with NumPy on this thread alone: `vary_on_cpu` says why."""
    mean = np.array(preprocessing.mean, dtype=np.float32)[:, None, None]
    std = np.array(preprocessing.std, dtype=np.float32)[:, None, None]
    normalised = np.empty(pixels.shape, dtype=np.float32)
    step = max(1, _IN_CACHE * len(pixels) // max(1, pixels.numel()))
    for start in range(0, len(pixels), step):
        part = normalised[start : start + step]
        np.divide(pixels[start : start + step].numpy(), np.float32(255), out=part, dtype=np.float32)
        np.subtract(part, mean, out=part)
        np.divide(part, std, out=part)
    return torch.from_numpy(normalised)


def denormalise(
    images: Float[Tensor, "batch channels height width"], preprocessing: Preprocessing
) -> UInt8[Tensor, "batch channels height width"]:
    """Turns the model's input back into pixels, for people to look at."""
    return (_of_light(images, preprocessing) * 255).round().clamp(0, 255).byte()


def for_another(
    images: Float[Tensor, "batch channels height width"], preprocessing: Preprocessing, other: Preprocessing
) -> Float[Tensor, "batch other_channels other_height other_width"]:
    """Turns a model's input into another model's: of the same pixels, which are not rounded in between.

    Another size is reached by bilinear interpolation with antialiasing, and nothing is cropped. Grey is
    repeated for colours; of colours it is made by the weights that Pillow gives them.

    Args:
        images: normalised, and perhaps mixed.
        preprocessing: that they are of.
        other: that of the other model.
    """
    light = _of_light(images, preprocessing)
    if other.channels < preprocessing.channels:
        light = (light * _of_channels(RED_GREEN_BLUE, images.device)).sum(dim=1, keepdim=True)
    if light.shape[-2:] != other.size:
        light = F.interpolate(light, other.size, mode="bilinear", antialias=True)
    mean, std = (_of_channels(tuple(values), images.device) for values in (other.mean, other.std))
    return (light.expand(-1, other.channels, -1, -1) - mean) / std


def _of_light(
    images: Float[Tensor, "batch channels height width"], preprocessing: Preprocessing
) -> Float[Tensor, "batch channels height width"]:
    """How light pixels are: 0 is black, 1 is white."""
    mean = _of_channels(tuple(preprocessing.mean), images.device)
    std = _of_channels(tuple(preprocessing.std), images.device)
    return images * std + mean
