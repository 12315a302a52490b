"""Pictures that are nearly the same: made smaller, compressed anew, lighter or darker, grey, or mirrored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

SIDE = 16
"""Rows and columns of the thumbnails by which pictures are compared."""
LIKE = 0.985
"""Correlation of the thumbnails of nearly the same picture, at least. With less, ever more pairs of CIFAR-10
are different ships on the same sea."""
PLAIN = 10.0
"""Standard deviation, in levels of 255, below which a thumbnail shows too little to say whose it is."""
_AT_ONCE = 2048
"""Thumbnails that are compared with as many others in one product."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Two pictures that are nearly the same, by their places in the list; first < second."""

    first: int
    second: int
    is_mirrored: bool
    """Whether only the mirror image of one is like the other."""


def thumbnail_of(pixels: UInt8[np.ndarray, "height width channels"]) -> bytes:
    """What is left of a picture in SIDE x SIDE levels of grey, row by row, each the mean of its part."""
    grey = Image.fromarray(pixels).convert("L")
    return grey.resize((SIDE, SIDE), Image.Resampling.BOX).tobytes()


def find_likenesses(thumbnails: Sequence[bytes], kinds: Sequence[int]) -> Iterator[Likeness]:
    """All pairs of pictures that are nearly the same, each once, but for those that show too little.

    Two patterns are no farther apart than their places along any direction, by which they are sorted: each is
    compared with those that are near enough there, a third of all in CIFAR-10. So ten times as many pictures
    take a hundred times as long.

    Args:
        thumbnails: of the pictures.
        kinds: a number for each; pictures of the same one are not compared.
    """
    levels = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, SIDE * SIDE)
    pictures = np.flatnonzero(_deviations(levels) >= PLAIN)
    if not len(pictures):
        return
    levels, kind_of = levels[pictures], np.asarray(kinds)[pictures]
    along = _places_along(_direction(levels), levels)
    order = np.argsort(along, kind="stable")
    pictures, levels, kind_of, along = pictures[order], levels[order], kind_of[order], along[order]
    reach = np.sqrt(2 - 2 * LIKE) + 1e-4  # how far apart two of this correlation are, and some rounding
    ends = np.searchsorted(along, along + reach, side="right")
    for start in range(0, len(pictures), _AT_ONCE):
        some = slice(start, min(start + _AT_ONCE, len(pictures)))
        for other_start in range(start, int(ends[some.stop - 1]), _AT_ONCE):
            others = slice(other_start, other_start + _AT_ONCE)
            plainly, mirrored = _correlations(levels[some], levels[others])
            if max(plainly.max(), mirrored.max()) < LIKE:  # as most are, and it is soon known
                continue
            alike = np.maximum(plainly, mirrored) >= LIKE
            alike &= kind_of[some, None] != kind_of[others]
            if start == other_start:  # neither twice, nor with itself
                alike = np.triu(alike, 1)
            for row, column in zip(*np.nonzero(alike), strict=True):
                first, second = sorted((int(pictures[start + row]), int(pictures[other_start + column])))
                yield Likeness(first, second, bool(plainly[row, column] < LIKE))


def _deviations(levels: UInt8[np.ndarray, "pictures levels"]) -> Float32[np.ndarray, " pictures"]:
    """Standard deviations, without a copy of all levels as numbers of four bytes."""
    squares = np.einsum("ij,ij->i", levels, levels, dtype=np.float32) / levels.shape[1]
    return np.sqrt(np.maximum(squares - levels.mean(axis=1, dtype=np.float32) ** 2, 0))


def _patterns(levels: UInt8[np.ndarray, "pictures levels"]) -> Float32[np.ndarray, "pictures levels"]:
    """Thumbnails of mean 0 and length 1, whose products are correlations."""
    patterns = levels.astype(np.float32)
    patterns -= patterns.mean(axis=1, keepdims=True)
    patterns /= np.linalg.norm(patterns, axis=1, keepdims=True)
    return patterns


def _mirrored(
    patterns: Float32[np.ndarray, "pictures levels"],
) -> Float32[np.ndarray, "pictures levels"]:
    return patterns.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(-1, SIDE * SIDE)


def _direction(levels: UInt8[np.ndarray, "pictures levels"]) -> Float32[np.ndarray, " levels"]:
    """Along which patterns differ most, of those that mirroring does not change; of length 1 at most."""
    some = _patterns(levels[:: len(levels) // 4096 + 1])
    some += _mirrored(some)
    some -= some.mean(axis=0)
    _, directions = np.linalg.eigh(some.T @ some)
    first = directions[:, -1]
    return (
        first + _mirrored(first[None])[0]
    ) / 2  # `first` is so already, but for rounding, or where no pattern is


def _places_along(
    direction: Float32[np.ndarray, " levels"], levels: UInt8[np.ndarray, "pictures levels"]
) -> Float32[np.ndarray, " pictures"]:
    parts = [levels[start : start + _AT_ONCE] for start in range(0, len(levels), _AT_ONCE)]
    return np.concatenate([_patterns(part) @ direction for part in parts])


def _correlations(
    some: UInt8[np.ndarray, "some levels"], others: UInt8[np.ndarray, "others levels"]
) -> tuple[Float32[np.ndarray, "some others"], Float32[np.ndarray, "some others"]]:
    """Of each with each, and of each with the mirror image of each."""
    one, other = _patterns(some), _patterns(others)
    return one @ other.T, one @ _mirrored(other).T
