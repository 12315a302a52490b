"""Each rule against code that we did not write: a checkpoint's rule is part of what it computes."""

import math
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from tests.parity.weights import randomise
from torch import Tensor

from vision_transformers.model.config import PositionResize
from vision_transformers.model.position_resize import resize_positions
from vision_transformers.model.vit import ViT

GRID = (7, 7)
NEW_GRIDS = [(5, 9), (14, 14), (3, 4), (8, 7)]
DIMENSION = 6


def table() -> Tensor:
    return torch.randn(1, GRID[0] * GRID[1], DIMENSION, generator=torch.Generator().manual_seed(0))


def as_grid(positions: Tensor) -> np.ndarray:
    return positions[0].unflatten(0, GRID).double().numpy()


def linear(source: float) -> dict[int, float]:
    first = math.floor(source)
    return {first: 1 - (source - first), first + 1: source - first}


def cubic(source: float) -> dict[int, float]:
    """Keys' kernel with a = -0.75, the one that PyTorch and OpenCV have."""

    def kernel(distance: float) -> float:
        if distance <= 1:
            return (1.25 * distance - 2.25) * distance**2 + 1
        return ((-0.75 * distance + 3.75) * distance - 6) * distance + 3

    first = math.floor(source)
    return {index: kernel(abs(source - index)) for index in range(first - 1, first + 3)}


def resized(
    grid: np.ndarray,
    new_grid: tuple[int, int],
    weights: Callable[[float], dict[int, float]],
    source: Callable[[int, int, int], float],
) -> np.ndarray:
    """Resizes along both axes; `source(index, old, new)` is where a new cell lies among the old ones."""
    for axis in (0, 1):
        old, new = grid.shape[axis], new_grid[axis]
        matrix = np.zeros((new, old))
        for row in range(new):
            for column, weight in weights(source(row, old, new)).items():
                matrix[row, min(max(column, 0), old - 1)] += weight
        grid = np.moveaxis(np.tensordot(matrix, grid, axes=(1, axis)), 0, axis)
    return grid


def half_pixel(index: int, old: int, new: int) -> float:
    return (index + 0.5) * old / new - 0.5


def half_pixel_with_offset(index: int, old: int, new: int) -> float:
    return (index + 0.5) * old / (new + 0.1) - 0.5


def aligned_corners(index: int, old: int, new: int) -> float:
    return index * (old - 1) / (new - 1)


def bicubic(positions: Tensor, new_grid: tuple[int, int]) -> np.ndarray:
    return resized(as_grid(positions), new_grid, cubic, half_pixel)


def bicubic_offset(positions: Tensor, new_grid: tuple[int, int]) -> np.ndarray:
    return resized(as_grid(positions), new_grid, cubic, half_pixel_with_offset)


def bicubic_aligned_corners(positions: Tensor, new_grid: tuple[int, int]) -> np.ndarray:
    return resized(as_grid(positions), new_grid, cubic, aligned_corners)


def bilinear(positions: Tensor, new_grid: tuple[int, int]) -> np.ndarray:
    return resized(as_grid(positions), new_grid, linear, half_pixel)


def bilinear_aligned_corners(positions: Tensor, new_grid: tuple[int, int]) -> np.ndarray:
    """As google-research/vision_transformer does it."""
    ndimage = pytest.importorskip("scipy.ndimage", reason="scipy is not installed")
    zoom = (new_grid[0] / GRID[0], new_grid[1] / GRID[1], 1)
    result: np.ndarray = ndimage.zoom(as_grid(positions), zoom, order=1)
    return result


def bicubic_antialias(positions: Tensor, new_grid: tuple[int, int]) -> np.ndarray:
    layers = pytest.importorskip("timm.layers", reason="timm is not installed")
    result = layers.resample_abs_pos_embed(positions, list(new_grid), list(GRID), num_prefix_tokens=0)
    return result[0].unflatten(0, new_grid).numpy()


REFERENCES: dict[str, Callable[[Tensor, tuple[int, int]], np.ndarray]] = {
    "bicubic-antialias": bicubic_antialias,
    "bicubic": bicubic,
    "bicubic-aligned-corners": bicubic_aligned_corners,
    "bicubic-offset": bicubic_offset,
    "bilinear": bilinear,
    "bilinear-aligned-corners": bilinear_aligned_corners,
}


@pytest.mark.parametrize("new_grid", NEW_GRIDS)
@pytest.mark.parametrize("rule", get_args(PositionResize))
def test_a_rule_gives_what_its_reference_gives(rule, new_grid):
    positions = table()
    ours = resize_positions(positions, GRID, new_grid, rule)[0].unflatten(0, new_grid)
    np.testing.assert_allclose(ours.numpy(), REFERENCES[rule](positions, new_grid), rtol=0, atol=1e-5)


def test_bicubic_aligned_corners_is_torchvisions_rule():
    models = pytest.importorskip(
        "torchvision.models.vision_transformer", reason="torchvision is not installed"
    )
    positions = torch.cat([torch.randn(1, 1, DIMENSION), table()], dim=1)
    state = models.interpolate_embeddings(40, 4, {"encoder.pos_embedding": positions})
    ours = resize_positions(positions[:, 1:], GRID, (10, 10), "bicubic-aligned-corners")
    torch.testing.assert_close(ours, state["encoder.pos_embedding"][:, 1:], rtol=0, atol=1e-6)


def test_the_rules_differ_far_above_rounding():
    """Else the tests of this file could not tell one rule from another."""
    results = [resize_positions(table(), GRID, (5, 9), rule) for rule in get_args(PositionResize)]
    for index, first in enumerate(results):
        for second in results[index + 1 :]:
            assert (first - second).abs().max() > 1e-2


@pytest.mark.parametrize("rule", get_args(PositionResize))
def test_half_precision_positions_are_resized_in_full_precision(rule):
    """Else a bfloat16 model would lose digits at every other size."""
    half = table().bfloat16()
    expected = resize_positions(half.float(), GRID, (5, 9), rule).bfloat16()
    assert torch.equal(resize_positions(half, GRID, (5, 9), rule), expected)


@pytest.mark.parametrize("rule", get_args(PositionResize))
@pytest.mark.parametrize("image_shape", [(20, 36), (8, 8), (56, 40)])
def test_a_model_takes_the_rule_of_its_config(rule, image_shape):
    model = randomise(ViT((4, 4), 8, 1, 2, 8, 1, 2, (28, 28), position_resize=rule))
    grid = (image_shape[0] // 4, image_shape[1] // 4)
    rows = model.positions.position_embeddings
    expected = torch.cat([rows[:, :1], resize_positions(rows[:, 1:], GRID, grid, rule)], dim=1)
    assert torch.equal(model.positions.positions(grid), expected)
    assert model(torch.randn(2, 1, *image_shape)).shape == (2, 2)
