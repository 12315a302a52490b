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
    for index in range(number_of_images):
        cue = _texture(int(labels[index]), generator)
        _add(images[index], cue, int(places[index, 0]), generator)
        for cell in places[index, 1 : 1 + DISTRACTORS].tolist():
            _add(images[index], _distractor(generator), cell, generator)
    return Planted(images, labels, places[:, 0])


def _grounds(number_of_images: int, generator: torch.Generator) -> Float[Tensor, "images 3 height width"]:
    """Noise, and light that falls from any side."""
    noise = 0.25 * torch.randn(number_of_images, 3, SIDE, SIDE, generator=generator)
    slope = torch.linspace(-1, 1, SIDE)
    across, down = 0.5 * torch.randn(2, number_of_images, 1, 1, 1, generator=generator)
    return noise + across * slope + down * slope[:, None]


def _add(
    image: Float[Tensor, "3 height width"],
    pattern: Float[Tensor, "rows columns"],
    cell: int,
    generator: torch.Generator,
) -> None:
    """Puts a pattern of -1 to 1 into a cell, in any strength, sign and tint."""
    row, column = (CELL * number for number in divmod(cell, CELLS))
    strength = 0.8 + 0.7 * float(torch.rand((), generator=generator))
    sign = 1 if torch.rand((), generator=generator) < 0.5 else -1
    tint = 0.6 + 0.4 * torch.rand(3, 1, 1, generator=generator)
    image[:, row : row + CELL, column : column + CELL] += sign * strength * tint * pattern


def _texture(label: int, generator: torch.Generator) -> Float[Tensor, "rows columns"]:
    """Bars of two pixels, or squares of two pixels, in any phase."""
    down, across = torch.randint(4, (2,), generator=generator).tolist()
    y, x = torch.meshgrid(torch.arange(CELL) + down, torch.arange(CELL) + across, indexing="ij")
    bars = (y // 2, x // 2, (x + y) // 2, y // 2 + x // 2)[label]
    return 1.0 - 2.0 * (bars % 2)


def _distractor(generator: torch.Generator) -> Float[Tensor, "rows columns"]:
    """A spot, a ring, a blob or a plain square."""
    middle = 2.5 + 2 * torch.rand(2, 1, 1, generator=generator)
    y, x = torch.meshgrid(torch.arange(CELL), torch.arange(CELL), indexing="ij")
    distance = ((y - middle[0]) ** 2 + (x - middle[1]) ** 2).sqrt()
    shapes = (
        (distance < 2).float(),
        ((distance - 2.5).abs() < 0.8).float(),
        torch.exp(-(distance**2) / 8),
        torch.ones(CELL, CELL),
    )
    return shapes[int(torch.randint(len(shapes), (), generator=generator))]
