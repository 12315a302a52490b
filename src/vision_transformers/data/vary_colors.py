"""Brightness, contrast, saturation and sharpness of a batch, each image by a factor of its own.

As in Pillow: a blend of the image and of what it has at a factor of 0; above 1 it goes away from that.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

Pixels = UInt8[Tensor, "batch channels height width"]
Factors = Float[Tensor, " batch"]
RED_GREEN_BLUE = (0.2989, 0.587, 0.114)
"""How much of each a grey has (ITU-R 601, as torchvision rounds it)."""
JITTER_DRAWS = 4
"""How many random numbers `jitter` needs for an image."""


def brighten(pixels: Pixels, factors: Factors) -> Pixels:
    """0 is black."""
    return _blend(pixels, torch.zeros_like(pixels[:, :1, :1, :1], dtype=torch.float32), factors)


def contrast(pixels: Pixels, factors: Factors) -> Pixels:
    """0 is the mean grey of the image."""
    return _blend(pixels, _grey(pixels).mean(dim=(1, 2, 3), keepdim=True), factors)


def saturate(pixels: Pixels, factors: Factors) -> Pixels:
    """0 is grey; a grey image stays as it is."""
    return pixels if pixels.shape[1] == 1 else _blend(pixels, _grey(pixels), factors)


def sharpen(pixels: Pixels, factors: Factors) -> Pixels:
    """0 is smoothed by a kernel of 3 x 3, whose middle is five times its borders; edges stay as they are."""
    if min(pixels.shape[-2:]) < 3:
        return pixels
    whole = pixels.float()
    inside = whole[..., 1:-1, 1:-1]
    smoothed = whole.clone()
    smoothed[..., 1:-1, 1:-1] = ((9 * functional.avg_pool2d(whole, 3, 1) + 4 * inside) / 13).round()
    return _blend(pixels, smoothed, factors)


def jitter(pixels: Pixels, most: float, numbers: Float[Tensor, "batch 4"]) -> Pixels:
    """Brightness, contrast and saturation, in an order of each image's own.

    Args:
        pixels: the images.
        most: how far a factor is from 1 at most.
        numbers: in [0, 1); three choose the factors, the last the order.
    """
    factors = (1 + most * (2 * numbers[:, :3] - 1)).clamp(min=0).unbind(1)
    order = (6 * numbers[:, 3]).long()
    first = order // 2
    second = (first + 1 + order % 2) % 3
    operations = (brighten, contrast, saturate)
    for choice in (first, second, 3 - first - second):
        pixels = chosen(pixels, choice, operations, factors)
    return pixels


def chosen(
    pixels: Pixels,
    choice: Int[Tensor, " batch"],
    operations: Sequence[Callable[[Pixels, Factors], Pixels]],
    factors: Sequence[Factors],
) -> Pixels:
    """Each image by the operation of its number, of all that are computed; unchanged by any other number."""
    result = pixels
    for number, (operation, factor) in enumerate(zip(operations, factors, strict=True)):
        is_chosen = (choice == number)[:, None, None, None]
        result = torch.where(is_chosen, operation(pixels, factor), result)
    return result


def _blend(pixels: Pixels, other: Float[Tensor, "batch ..."], factors: Factors) -> Pixels:
    factors = factors[:, None, None, None]
    return (pixels * factors + other * (1 - factors)).clamp(0, 255).byte()


def _grey(pixels: Pixels) -> Float[Tensor, "batch 1 height width"]:
    if pixels.shape[1] == 1:
        return pixels.float()
    red, green, blue = pixels.split(1, dim=1)
    of_red, of_green, of_blue = RED_GREEN_BLUE
    return (of_red * red + of_green * green + of_blue * blue).floor()
