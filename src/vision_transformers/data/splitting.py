"""Which images are held out of training, to validate or to test."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from vision_transformers.errors import DataFailure
from vision_transformers.randomness import generator


def hold_out(
    labels: Int[Tensor, " images"], classes: Sequence[str], fraction: float, seed: int
) -> tuple[Int[Tensor, " kept"], Int[Tensor, " held_out"]]:
    """Splits images by class: of each, `fraction` is held out, but at least one image on both sides.

    Args:
        labels: the images' classes, as places in `classes`.
        classes: the classes' names, for messages.
        fraction: above 0 and less than 1.
        seed: chooses which images; equal arguments, equal parts.

    Returns:
        Places of the images that are kept, and of those held out, each in rising order.

    Raises:
        DataFailure: a class has fewer than two images.
    """
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label, name in enumerate(classes):
        places = (labels == label).nonzero().flatten()
        if len(places) < 2:
            raise DataFailure(
                f"the class {name!r} has {len(places)} of the 2 images that it needs to hold one out, "
                "not counting those that are held out already: add some, remove the class, or set "
                "--data.validation-fraction 0 or --data.test-fraction 0"
            )
        count = number_held_out(len(places), fraction)
        order = torch.randperm(len(places), generator=generator(seed, "hold out", label))
        held_out[places[order[:count]]] = True
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


def number_held_out(images: int, fraction: float) -> int:
    """How many of a class's images `hold_out` takes: none of one alone, which it refuses."""
    return min(max(round(fraction * images), 1), images - 1)
