"""Rotary positions in two dimensions, as in DINOv3 (arXiv 2508.10104; RoPE: arXiv 2104.09864)."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Rotation(NamedTuple):
    """Angles of patches, as cosines and sines: of all of a grid, or of those that each image has."""

    cosine: Float[Tensor, "*batch patches head_dimension"]
    sine: Float[Tensor, "*batch patches head_dimension"]


class RotaryPositions(nn.Module):
    """Makes the rotation of a grid of patches.

    Patch centres have coordinates from -1 to 1 along each axis, and angles of 2 pi coordinate / period:
    first those of y, then those of x, the whole list twice, for head_dimension / 4 periods from 1 up to
    (not including) `base`.

    Args:
        head_dimension: width of one attention head; 4 divides it.
        base: the period after the longest.
    """

    def __init__(self, head_dimension: int, base: float = 100.0) -> None:
        super().__init__()
        self.head_dimension = head_dimension
        self.base = base

    def forward(self, grid: tuple[int, int], device: torch.device) -> Rotation:
        """The rotation of each patch, in rows from the top left."""
        quarter = self.head_dimension // 4
        exponents = torch.arange(quarter, dtype=torch.float32, device=device) / quarter
        periods = self.base**exponents
        y, x = (
            2 * (torch.arange(size, dtype=torch.float32, device=device) + 0.5) / size - 1 for size in grid
        )
        centres = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1)
        angles = (2 * torch.pi * centres[:, :, None] / periods).flatten(1).repeat(1, 2)
        return Rotation(angles.cos(), angles.sin())


class NoRotation(nn.Module):
    """For a model without rotary positions."""

    def forward(self, grid: tuple[int, int], device: torch.device) -> None:
        """Nothing to rotate."""


def rotate(
    vectors: Float[Tensor, "batch heads tokens head_dimension"], rotation: Rotation | None
) -> Float[Tensor, "batch heads tokens head_dimension"]:
    """Rotates the queries or keys of patches, which are the last tokens; prefix tokens stay as they are.

    The two halves of a head are the two coordinates of its rotations (not neighbouring pairs).
    """
    if rotation is None:
        return vectors
    number_of_patches = rotation.cosine.shape[-2]
    prefix, patches = vectors.tensor_split([vectors.shape[2] - number_of_patches], dim=2)
    first, second = patches.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    rotated = patches * rotation.cosine.to(patches.dtype) + turned * rotation.sine.to(patches.dtype)
    return torch.cat([prefix, rotated], dim=2)
