"""Every picture file decoded once and whole: what it is like, a hash of its pixels, and a thumbnail."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch.utils.data import Dataset

from vision_transformers.data.as_seen import as_seen, to_array, turn_of
from vision_transformers.data.decoding import opened
from vision_transformers.data.endings import may_lack_its_end
from vision_transformers.data.inspection.likeness import thumbnail_of
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.workers import load_batches
from vision_transformers.errors import DataFailure

Oddity = Literal[
    "turned", "16-bit", "palette", "transparent", "cmyk", "several-frames", "misnamed", "small", "thin"
]
SMALL = 16
"""Pixels of the shorter side, below which a picture is called small."""
THIN = 4
"""How many times its shorter side the longer one is, above which a picture is called thin."""
_AT_ONCE = 32
"""Pictures that a worker takes."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A file that could be decoded."""

    path: Path
    width: int
    """Of the upright picture, in pixels."""
    height: int
    digest: bytes
    """Of size and colours, as a person sees them: equal for equal pictures, whatever the format."""
    thumbnail: bytes
    """By which it is compared with others that are nearly the same."""
    is_grey: bool
    """Whether red, green and blue are equal everywhere."""
    oddities: tuple[Oddity, ...]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that could not be decoded."""

    path: Path
    reason: str
    """What is wrong, with the path, and what to do."""
    is_cut_short: bool
    """Whether it begins as a picture does, and lacks its end."""


def look_at_all(paths: Sequence[Path], workers: int) -> Iterator[Picture | Unreadable]:
    """Decodes files in their order, whatever the number of workers.

    Args:
        paths: of the files.
        workers: how many processes decode; with 0, this one does.

    Raises:
        OSError: the system refuses to start the workers.
    """
    batches = [paths[start : start + _AT_ONCE] for start in range(0, len(paths), _AT_ONCE)]
    for batch in load_batches(_Looked(), batches, workers):
        yield from batch


class _Looked(Dataset[list[Picture | Unreadable]]):
    """What batches of files are like, asked for by their paths."""

    def __getitem__(self, paths: Sequence[Path]) -> list[Picture | Unreadable]:
        return [look_at(path) for path in paths]


def look_at(path: Path) -> Picture | Unreadable:
    """Decodes one file."""
    try:
        with opened(path) as image:
            # Asked first, as `decode` says.
            has_frames = image.format != "MPO" and getattr(image, "is_animated", False)
            pixels = to_array(as_seen(image, 3, Preprocessing.background))
            found = _of_content(image, has_frames)
    except DataFailure as failure:
        return Unreadable(path, str(failure), _is_cut_short(path))
    height, width = pixels.shape[:2]
    found |= {
        "misnamed": _kind(Image.registered_extensions()[path.suffix.lower()]) != _kind(image.format),
        "small": min(height, width) < SMALL,
        "thin": max(height, width) > THIN * min(height, width),
    }
    oddities = tuple(name for name, is_so in found.items() if is_so)
    return Picture(path, width, height, _digest(pixels), thumbnail_of(pixels), _is_grey(pixels), oddities)


def _of_content(image: Image.Image, has_frames: bool) -> dict[Oddity, bool]:
    return {
        "turned": turn_of(image) is not None,
        "16-bit": image.mode.startswith("I"),
        "palette": image.mode in ("P", "PA"),
        "transparent": image.has_transparency_data,
        "cmyk": image.mode == "CMYK",
        "several-frames": has_frames,
    }


def _kind(format: str | None) -> str | None:
    """Pillow's name for a format; cameras' JPEG files with two pictures are JPEG files."""
    return "JPEG" if format == "MPO" else format


def _digest(pixels: UInt8[np.ndarray, "height width channels"]) -> bytes:
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(pixels.data)
    return digest.digest()


def _is_grey(pixels: UInt8[np.ndarray, "height width channels"]) -> bool:
    """Asked row by row: the first tells of most pictures that they are in colour."""
    return all((row == row[:, :1]).all() for row in pixels)


def _is_cut_short(path: Path) -> bool:
    try:
        with opened(path) as image:
            return may_lack_its_end(image.fp, str(image.format))  # type: ignore[attr-defined]
    except DataFailure:
        return False
