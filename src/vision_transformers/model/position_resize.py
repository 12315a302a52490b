"""Learned positions for another grid, by the rules of those who trained them.

The rules differ far above rounding error, so a model keeps the name of its own.
"""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vision_transformers.model.config import PositionResize

Table = Float[Tensor, "1 model_dimension rows columns"]
ResizedTable = Float[Tensor, "1 model_dimension new_rows new_columns"]


def resize_positions(
    positions: Float[Tensor, "1 positions model_dimension"],
    grid: tuple[int, int],
    new_grid: tuple[int, int],
    rule: PositionResize,
) -> Float[Tensor, "1 new_positions model_dimension"]:
    """Resizes the positions of patches, in float32, from one grid to another (section 3.2)."""
    table = positions.float().unflatten(1, grid).permute(0, 3, 1, 2)
    resized = _RULES[rule](table, new_grid)
    return resized.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)


def _bicubic_antialias(table: Table, grid: tuple[int, int]) -> ResizedTable:
    return F.interpolate(table, grid, mode="bicubic", antialias=True)


def _bicubic(table: Table, grid: tuple[int, int]) -> ResizedTable:
    return F.interpolate(table, grid, mode="bicubic")


def _bicubic_aligned_corners(table: Table, grid: tuple[int, int]) -> ResizedTable:
    return F.interpolate(table, grid, mode="bicubic", align_corners=True)


def _bicubic_offset(table: Table, grid: tuple[int, int]) -> ResizedTable:
    """DINOv2 without registers scales coordinates by (n + 0.1) / m instead of n / m."""
    scale = [(new + 0.1) / old for new, old in zip(grid, table.shape[2:], strict=True)]
    return F.interpolate(table, scale_factor=scale, mode="bicubic")


def _bilinear(table: Table, grid: tuple[int, int]) -> ResizedTable:
    return F.interpolate(table, grid, mode="bilinear")


def _bilinear_aligned_corners(table: Table, grid: tuple[int, int]) -> ResizedTable:
    return F.interpolate(table, grid, mode="bilinear", align_corners=True)


_RULES: dict[PositionResize, Callable[[Table, tuple[int, int]], ResizedTable]] = {
    "bicubic-antialias": _bicubic_antialias,
    "bicubic": _bicubic,
    "bicubic-aligned-corners": _bicubic_aligned_corners,
    "bicubic-offset": _bicubic_offset,
    "bilinear": _bilinear,
    "bilinear-aligned-corners": _bilinear_aligned_corners,
}
