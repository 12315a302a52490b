"""Shifts and mirrors a batch in the memory of the CPU, on this thread alone.

PyTorch calls on all its threads for an operation on more than some ten thousand numbers, and waits for the
last one. For operations of microseconds, on cores that decode pictures or do other work at the same time, the
waiting takes many times as long as the work; copies of parts with NumPy need no other thread.
"""

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor


def shift(
    pixels: UInt8[Tensor, "batch channels height width"], most: int, corners: Int[Tensor, "batch 2"]
) -> UInt8[Tensor, "batch channels height width"]:
    """Cuts each image's size out of the image with a black border around it.

    Args:
        pixels: the images.
        most: how wide the border is, in pixels.
        corners: top and left of what is cut out of each image with its border.
    """
    count, channels, height, width = pixels.shape
    bordered = np.zeros((count, channels, height + 2 * most, width + 2 * most), dtype=np.uint8)
    bordered[:, :, most : most + height, most : most + width] = pixels.numpy()
    shifted = np.empty(pixels.shape, dtype=np.uint8)
    for image, source, (top, left) in zip(shifted, bordered, corners.tolist(), strict=True):
        image[...] = source[:, top : top + height, left : left + width]
    return torch.from_numpy(shifted)


def mirror(
    pixels: UInt8[Tensor, "batch channels height width"], chosen: Bool[Tensor, " batch"]
) -> UInt8[Tensor, "batch channels height width"]:
    """Exchanges left and right in each chosen image."""
    mirrored = pixels.numpy().copy(order="K")
    mirrored[chosen.numpy()] = mirrored[chosen.numpy(), ..., ::-1]
    return torch.from_numpy(mirrored)
