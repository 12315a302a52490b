"""Pictures whose class one patch alone decides: what an explanation should point at is known.

A picture is a 6 x 6 grid of cells of 8 x 8 pixels on a noisy, unevenly lit ground. One cell, anywhere, has a
texture that is the class: stripes that lie, stand or fall, or a chequerboard, in any phase, strength, sign,
and tint. Some other cells have distractors, which are as strong but the same for every class: spots, rings,
blobs and plain squares.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

CELL, CELLS = 8, 6
SIDE = CELL * CELLS
CLASSES = ("lying", "standing", "falling", "chequered")
DISTRACTORS = 5


@dataclass(frozen=True)
class Planted:
    """Pictures with their classes, and the cell that decides each."""

    images: Float[Tensor, "images 3 height width"]
    labels: Int[Tensor, " images"]
    cells: Int[Tensor, " images"]
    """Row after row from the top left."""


def plant(number_of_images: int, seed: int) -> Planted:
    """Makes pictures: the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(len(CLASSES), (number_of_images,), generator=generator)
    places = torch.rand(number_of_images, CELLS**2, generator=generator).argsort(dim=1)
    images = _grounds(number_of_images, generator)
    cues = _textures(labels, generator)
    patterns = torch.cat([cues[:, None], _distractors(number_of_images, generator)], dim=1)
    chosen = places[:, : 1 + DISTRACTORS]
    # A view of the pictures as cells, by row and column.
    cells = images.unflatten(3, (CELLS, CELL)).unflatten(2, (CELLS, CELL)).permute(0, 2, 4, 1, 3, 5)
    picture = torch.arange(number_of_images)[:, None]
    cells[picture, chosen // CELLS, chosen % CELLS] += _painted(patterns, generator)
    return Planted(images, labels, places[:, 0])


def _grounds(number_of_images: int, generator: torch.Generator) -> Float[Tensor, "images 3 height width"]:
    """Noise, and light that falls from any side."""
    noise = 0.25 * torch.randn(number_of_images, 3, SIDE, SIDE, generator=generator)
    slope = torch.linspace(-1, 1, SIDE)
    across, down = 0.5 * torch.randn(2, number_of_images, 1, 1, 1, generator=generator)
    return noise + across * slope + down * slope[:, None]


def _painted(
    patterns: Float[Tensor, "images patterns rows columns"], generator: torch.Generator
) -> Float[Tensor, "images patterns 3 rows columns"]:
    """Patterns of -1 to 1, each in any strength, sign and tint."""
    each = patterns.shape[:2]
    strength = 0.8 + 0.7 * torch.rand(*each, 1, 1, 1, generator=generator)
    sign = torch.where(torch.rand(*each, 1, 1, 1, generator=generator) < 0.5, 1, -1)
    tint = 0.6 + 0.4 * torch.rand(*each, 3, 1, 1, generator=generator)
    return sign * strength * tint * patterns[:, :, None]


def _textures(
    labels: Int[Tensor, " images"], generator: torch.Generator
) -> Float[Tensor, "images rows columns"]:
    """Bars of two pixels, or squares of two pixels, in any phase."""
    down, across = torch.randint(4, (2, len(labels), 1, 1), generator=generator)
    pixels = torch.arange(CELL)
    y, x = torch.broadcast_tensors(pixels[:, None] + down, pixels + across)
    bars = torch.stack([y // 2, x // 2, (x + y) // 2, y // 2 + x // 2], dim=1)
    return 1.0 - 2.0 * (bars[torch.arange(len(labels)), labels] % 2)


def _distractors(
    number_of_images: int, generator: torch.Generator
) -> Float[Tensor, "images distractors rows columns"]:
    """Spots, rings, blobs and plain squares."""
    each = (number_of_images, DISTRACTORS)
    down, across = 2.5 + 2 * torch.rand(2, *each, 1, 1, generator=generator)
    pixels = torch.arange(CELL)
    distance = ((pixels[:, None] - down) ** 2 + (pixels - across) ** 2).sqrt()
    shapes = torch.stack(
        [
            (distance < 2).float(),
            ((distance - 2.5).abs() < 0.8).float(),
            torch.exp(-(distance**2) / 8),
            torch.ones_like(distance),
        ],
        dim=2,
    )
    kinds = torch.randint(shapes.shape[2], (*each, 1, 1, 1), generator=generator)
    return shapes.take_along_dim(kinds, dim=2).squeeze(2)
