"""Single pictures that a report shows, with what was thought of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from vision_transformers.report.sheet import image_sheet

THUMBNAIL = 160
"""Longest side of a picture in a report, in pixels."""


@dataclass(frozen=True)
class Specimen:
    """One picture of a gallery."""

    pixels: UInt8[np.ndarray, "height width channels"]
    """Grey (one channel) or RGB (three), as the person's file looks, at most `THUMBNAIL` pixels long."""
    name: str
    """Its file, or its place in a data set, such as `mnist test[17]`."""
    truth: str
    guess: str
    probability: float
    """Of the guess, 0 to 1."""
    likely: str | None = None
    """Of a label that is likely wrong, what it should be."""
    baseline: str | None = None
    """What the baseline guesses, where it is shown beside it."""

    @property
    def enlargement(self) -> int:
        """By which whole number a small picture is enlarged, each pixel to a block."""
        return max(1, THUMBNAIL // max(self.pixels.shape[:2]))

    @property
    def is_right(self) -> bool:
        """Whether the guess is the label."""
        return self.guess == self.truth


@dataclass(frozen=True)
class Galleries:
    """The pictures that say most about a model."""

    mistakes: tuple[Specimen, ...]
    """Wrong guesses, the surest first."""
    uncertain: tuple[Specimen, ...]
    """Guesses of the least probability, the least first."""
    label_errors: tuple[Specimen, ...]
    """Labels that are likely wrong, the likeliest first."""
    gained: tuple[Specimen, ...] = ()
    """Guesses that are right, and a baseline's wrong."""
    lost: tuple[Specimen, ...] = ()
    """The reverse."""


def specimen_sheet(specimens: Sequence[Specimen]) -> UInt8[np.ndarray, "height width 3"]:
    """All of them on one picture: each with its truth, guess and probability, or with what it likely is."""
    pictures = [_enlarged(specimen) for specimen in specimens]
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    captions = [
        f"{one.truth} → {one.likely}" if one.likely else f"{one.truth} → {one.guess} {one.probability:.0%}"
        for one in specimens
    ]
    return image_sheet(np.stack([_centred(picture, height, width) for picture in pictures]), captions)


def _enlarged(specimen: Specimen) -> UInt8[np.ndarray, "height width 3"]:
    factor = specimen.enlargement
    colored = np.repeat(specimen.pixels, 3 // specimen.pixels.shape[2], axis=2)
    return colored.repeat(factor, axis=0).repeat(factor, axis=1)


def _centred(
    picture: UInt8[np.ndarray, "height width 3"], height: int, width: int
) -> UInt8[np.ndarray, "canvas_height canvas_width 3"]:
    """The picture in the middle of white paper."""
    paper = np.full((height, width, 3), 255, np.uint8)
    top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    paper[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return paper


def thumbnail_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns that a picture is shown with: its own, or fewer with the same aspect."""
    factor = min(1.0, THUMBNAIL / max(height, width))
    return max(1, math.floor(height * factor)), max(1, math.floor(width * factor))
