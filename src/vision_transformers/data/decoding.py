"""One file to one picture, as a person would see it; every command decodes here."""

import functools
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from vision_transformers.data.endings import may_lack_its_end
from vision_transformers.data.jpeg_rows import upper_rows
from vision_transformers.errors import DataFailure

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""What is decoded; Pillow opens MPO, the JPEG of cameras with two pictures, as JPEG."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_logger = logging.getLogger(__name__)


@runtime_checkable
class Stream(Protocol):
    """What bytes are read from: a file opened for it, a pipe, a member of an archive."""

    def read(self) -> bytes: ...


Part = Callable[[tuple[int, int]], tuple[int, int, int, int]]
"""Chooses a rectangle of a picture by its width and height: left, top, right and bottom, in pixels."""


def decode(
    source: Path | Stream, channels: Literal[1, 3], background: int, part: Part | None = None
) -> Image.Image:
    """Decodes a picture: upright, 8 bits a channel, opaque; of an animation, the first frame.

    Args:
        source: a file's path, or what its bytes are read from.
        channels: 1 for grey (mode `L`), 3 for red, green and blue (mode `RGB`).
        background: grey level, 0 to 255, behind transparent pixels.
        part: which rectangle of the upright picture to give; None for all of it. The pixels are the same,
            and sooner there where it ends far above the bottom.

    Raises:
        DataFailure: it is missing, empty, damaged, too large or no picture; the message says which.
    """
    with _opened(source) as image:
        if part is None:
            picture = as_seen(image, channels, background)
        else:
            picture = _part_as_seen(image, channels, background, part)
        # An MPO's further frames are the other eye or a depth map: nobody misses them.
        if image.format != "MPO" and getattr(image, "is_animated", False):
            _warn_of_frames()
    return picture


def as_seen(image: Image.Image, channels: Literal[1, 3], background: int) -> Image.Image:
    """What a person sees of an opened picture: upright, 8 bits a channel, opaque.

    Args:
        image: of any mode.
        channels: 1 for grey (mode `L`), 3 for red, green and blue (mode `RGB`).
        background: grey level, 0 to 255, behind transparent pixels.

    Raises:
        ValueError: its pixels are numbers of which nobody knows what is black and what white.
    """
    _check_mode(image)
    image.load()
    turn = _turn(image)
    picture, mode = _opaque(_eight_bits(image), background), "L" if channels == 1 else "RGB"
    if picture.mode != mode:  # where nothing is converted, Pillow would copy
        picture = picture.convert(mode)
    return picture if turn is None else picture.transpose(turn)


def _part_as_seen(image: Image.Image, channels: Literal[1, 3], background: int, part: Part) -> Image.Image:
    # Only a JPEG's header is sure to hold its orientation; with a turn, "above" is another side.
    if image.format == "JPEG" and _turn(image) is None:
        box = part(image.size)
        return as_seen(upper_rows(image, box[3]), channels, background).crop(box)
    whole = as_seen(image, channels, background)
    return whole.crop(part(whole.size))


def check_file(path: Path) -> None:
    """Reads a picture's header and last bytes; its pixels only where the end seems to be missing.

    That is fast, and finds most files that are no pictures, and those that broke off.

    Raises:
        DataFailure: as `decode`.
    """
    with _opened(path) as image:
        if may_lack_its_end(image.fp, str(image.format)):  # type: ignore[attr-defined]
            image.load()


@contextmanager
def _opened(source: Path | Stream) -> Iterator[Image.Image]:
    """A picture of which the header was read; what fails, also inside `with`, becomes a DataFailure."""
    name = str(source) if isinstance(source, Path) else str(getattr(source, "name", "the image"))
    try:
        with warnings.catch_warnings(), _file(source) as file:
            # Pillow warns of broken metadata, once a file and epoch; the picture does without it.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield _identify(file)
    except Exception as error:  # decoders meet broken bytes with any exception there is
        raise _explained(error, name) from error


def _file(source: Path | Stream) -> io.BufferedReader | io.BytesIO:
    """A file that can seek, also where the source is a pipe, and that may be closed."""
    return open(source, "rb") if isinstance(source, Path) else io.BytesIO(source.read())


def _identify(file: io.BufferedReader | io.BytesIO) -> Image.Image:
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        file.seek(0)
        start = file.read(16)
        kinds = ", ".join(FORMATS)
        cause = f"it is none of {kinds}, or is damaged; it begins with {start!r}" if start else "it is empty"
        raise ValueError(cause) from error
    if min(image.size) < 1:
        raise ValueError("it has no pixels")
    limit = Image.MAX_IMAGE_PIXELS
    # Pillow only warns of up to twice the limit. The filters that make a warning an error are shared by all
    # threads of a process, so that they cannot be relied on.
    if limit is not None and image.width * image.height > limit:
        raise ValueError(
            f"its {image.width:,} x {image.height:,} pixels are more than the limit of {limit:,}"
        )
    _check_mode(image)
    return image


def _check_mode(image: Image.Image) -> None:
    if image.mode == "F":
        raise ValueError(
            "its pixels are floating-point numbers, which do not say what is black and what white"
        )


def _explained(error: Exception, name: str) -> DataFailure:
    """Says what an exception means for the person who has the file."""
    match error:
        case FileNotFoundError():
            return DataFailure(f"{name} does not exist: check the path")
        case IsADirectoryError():
            return DataFailure(f"{name} is a folder: an image file is needed here")
        case PermissionError():
            return DataFailure(f"{name} may not be read: give this user the permission to read it")
        case _:
            cause = str(error).rstrip(".") or type(error).__name__
            return DataFailure(f"{name} cannot be decoded: {cause}. Save it again as JPEG or PNG")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What sets a picture upright that was stored as the camera was held (EXIF's orientation)."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken EXIF fails in any way there is; the picture is used as it is stored
        return None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scales 16 bits a pixel to 8; Pillow's own conversion would make all above 255 white."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"its pixels reach from {values.min()} to {values.max()}: 0 to 65535 are known here")
    scaled = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    transparent = image.info.get("transparency")  # one of the values, in grey PNG files
    if not isinstance(transparent, int):
        return scaled
    opaque = Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
    return Image.merge("LA", (scaled, opaque))


def _opaque(image: Image.Image, background: int) -> Image.Image:
    """Lays a picture with transparent pixels over a grey background."""
    if not image.has_transparency_data:
        return image
    backdrop = Image.new("RGBA", image.size, (background, background, background, 255))
    return Image.alpha_composite(backdrop, image.convert("RGBA"))


@functools.cache
def _warn_of_frames() -> None:
    """Cached, so that it is said once in a process."""
    _logger.warning("some image files hold several frames or pages: only the first of each is used")
