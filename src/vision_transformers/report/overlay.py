"""A map of patches as colours, and over the picture that it is about."""

import math

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

FOR, AGAINST = (213, 94, 0), (0, 114, 178)
"""Orange (there: vermilion) and blue of Okabe and Ito (2008), told apart with any kind of colour vision."""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as parts of a picture's width and height."""
LONGEST_SIDE = 800
"""Of a picture in a report, in pixels."""


def shown(picture: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    """The picture as a report has it: in its own aspect, and not larger than need be."""
    copy = picture.convert("RGB")
    copy.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return np.asarray(copy)


def map_colours(values: Float[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "rows columns 4"]:
    """Red, green, blue and opacity of each patch: the larger, the more orange; below 0, the more blue.

    A map without negative values goes from nothing at its least to orange at its largest.
    """
    if values.min() >= 0:
        values = values - values.min()
    strength = values / max(float(np.abs(values).max()), 1e-30)
    colours = np.where((strength >= 0)[..., None], np.array(FOR), np.array(AGAINST))
    return np.concatenate([colours, np.abs(strength)[..., None] * 255], axis=2).round().astype(np.uint8)


def overlaid(
    picture: UInt8[np.ndarray, "height width 3"],
    values: Float[np.ndarray, "rows columns"],
    box: Box,
    opacity: float = 0.75,
) -> UInt8[np.ndarray, "shown_height shown_width 3"]:
    """A map over the part of a picture that the model saw, each patch a block; the rest is paled.

    A picture with fewer pixels than patches is enlarged by a whole number.

    Args:
        picture: in any size and aspect.
        values: the map.
        box: the part that the model saw.
        opacity: of the strongest colour, 0 to 1.
    """
    seen_size = ((box[3] - box[1]) * picture.shape[0], (box[2] - box[0]) * picture.shape[1])
    patches_a_pixel = max(count / size for count, size in zip(values.shape, seen_size, strict=True))
    factor = max(math.ceil(patches_a_pixel - 1e-6), 1)  # less what was lost in dividing
    picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = picture.shape[:2]
    left, top, right, bottom = (
        round(part * size) for part, size in zip(box, (width, height, width, height), strict=True)
    )
    size = (max(right - left, 1), max(bottom - top, 1))
    layer = np.asarray(Image.fromarray(map_colours(values), "RGBA").resize(size, Image.Resampling.NEAREST))
    paled = (0.35 * picture + 0.65 * 255).astype(np.float32)
    seen = picture[top : top + size[1], left : left + size[0]].astype(np.float32)
    share = opacity * layer[: seen.shape[0], : seen.shape[1], 3:] / 255
    paled[top : top + size[1], left : left + size[0]] = (
        seen * (1 - share) + layer[: seen.shape[0], : seen.shape[1], :3] * share
    )
    return paled.round().astype(np.uint8)
