"""RandAugment (Cubuk et al. 2020) of a batch, on the device where it is.

The operations and their strengths are torchvision's, which loader workers apply to one image after another.
Here each is computed of all images, and every image takes that of its own choice: all sizes are fixed, so
that a GPU can replay it.
"""

import math
from functools import partial

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2.functional import autocontrast_image, equalize_image

from vision_transformers.data.vary_colors import brighten, chosen, contrast, saturate, sharpen

STRONGEST = 30
"""The magnitude at which the following are reached."""
SLANT = 0.3
"""Columns a row, or rows a column."""
MOVE = 150 / 331
"""Share of the width or height."""
TURN = 30
"""Degrees."""
BLEND = 0.9
"""How far a factor of brightness, saturation, contrast or sharpness is from 1."""
BITS = 4
"""How many are taken from a pixel's 8."""
MOVEMENTS = 6
"""The first operations: nothing, a slant or a move in one of two directions, a turn."""
OPERATIONS = MOVEMENTS + 8

Pixels = UInt8[Tensor, "batch channels height width"]


def rand_augment(pixels: Pixels, magnitude: int, numbers: Float[Tensor, "batch draws"]) -> Pixels:
    """Some operations for each image, one after another.

    Args:
        pixels: the images.
        magnitude: how strong, 0 to 30.
        numbers: in [0, 1), two for each operation: which one, and in which of two directions.
    """
    for pair in numbers.split(2, dim=1):
        choice = (pair[:, 0] * OPERATIONS).long()
        directions = torch.where(pair[:, 1] < 0.5, -1.0, 1.0)
        pixels = operate(pixels, magnitude, choice, directions)
    return pixels


def operate(
    pixels: Pixels, magnitude: int, choice: Int[Tensor, " batch"], directions: Float[Tensor, " batch"]
) -> Pixels:
    """One operation for each image, of 0 to 13; directions are -1 and 1, for those that have two."""
    strength = magnitude / STRONGEST
    operations = (
        *(brighten, saturate, contrast, sharpen),
        partial(_posterize, bits=round(BITS * strength)),
        partial(_solarize, threshold=255 * (1 - strength)),
        *(_stretch, _equalize),
    )
    factors = [1 + BLEND * strength * directions] * len(operations)
    recolored = chosen(pixels, choice - MOVEMENTS, operations, factors)
    moved = _move(pixels, choice, strength * directions)
    return torch.where((choice < MOVEMENTS)[:, None, None, None], moved, recolored)


def _move(pixels: Pixels, choice: Int[Tensor, " batch"], strengths: Float[Tensor, " batch"]) -> Pixels:
    """What comes in is black; between pixels it is bilinear."""
    height, width = pixels.shape[-2:]
    strengths = strengths[:, None, None]
    choice = choice[:, None, None]
    rows = (torch.arange(height, device=pixels.device) + 0.5)[:, None]
    columns = torch.arange(width, device=pixels.device) + 0.5
    across = columns + SLANT * strengths * (choice == 1) * rows
    down = rows + SLANT * strengths * (choice == 2) * columns
    across = across - (MOVE * width * strengths).trunc() * (choice == 3) - width / 2
    down = down - (MOVE * height * strengths).trunc() * (choice == 4) - height / 2
    angle = math.radians(TURN) * strengths * (choice == 5)
    across, down = (
        angle.cos() * across - angle.sin() * down,
        angle.sin() * across + angle.cos() * down,
    )
    points = torch.stack([across * (2 / width), down * (2 / height)], dim=-1)
    moved = functional.grid_sample(pixels.float(), points, padding_mode="zeros", align_corners=False)
    return moved.round().byte()


def _posterize(pixels: Pixels, _: Float[Tensor, " batch"], *, bits: int) -> Pixels:
    """Without the last bits."""
    return pixels & (256 - 2**bits)


def _solarize(pixels: Pixels, _: Float[Tensor, " batch"], *, threshold: float) -> Pixels:
    """What is as bright as that is inverted."""
    return torch.where(pixels >= threshold, 255 - pixels, pixels)


def _stretch(pixels: Pixels, _: Float[Tensor, " batch"]) -> Pixels:
    stretched: Tensor = autocontrast_image(pixels)
    return stretched


def _equalize(pixels: Pixels, _: Float[Tensor, " batch"]) -> Pixels:
    equalized: Tensor = equalize_image(pixels)
    return equalized
