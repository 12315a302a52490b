"""One file to one picture, as a person would see it; every command decodes here."""

import errno
import io
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from vision_transformers.data.as_seen import as_seen, check_pixels, to_array, to_picture, turn_of
from vision_transformers.data.endings import may_lack_its_end
from vision_transformers.data.jpeg import JpegHeader, read_header, upper_rows
from vision_transformers.errors import DataFailure, ReadFailure

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""What is decoded; Pillow opens MPO, the JPEG of cameras with two pictures, as JPEG."""

_logger = logging.getLogger(__name__)


@runtime_checkable
class Stream(Protocol):
    """What bytes are read from: a file opened for it, a pipe, a member of an archive."""

    def read(self) -> bytes: ...


Part = Callable[[tuple[int, int]], tuple[int, int, int, int]]
"""Chooses a rectangle of a picture by its width and height: left, top, right and bottom, in pixels."""
Pixels = UInt8[np.ndarray, "_ _ channels"]
PictureReader = Callable[[Part | None], Pixels]
"""Gives a part of a picture, or all of it."""


def part_of(pixels: Pixels, part: Part | None) -> Pixels:
    """A part of what was decoded already."""
    if part is None:
        return pixels
    height, width = pixels.shape[:2]
    left, top, right, bottom = part((width, height))
    return pixels[top:bottom, left:right]


def decode(source: Path | Stream, channels: Literal[1, 3], background: int) -> Image.Image:
    """Decodes a picture: upright, 8 bits a channel, opaque; of an animation, the first frame.

    Args:
        source: a file's path, or what its bytes are read from.
        channels: 1 for grey (mode `L`), 3 for red, green and blue (mode `RGB`).
        background: grey level, 0 to 255, behind transparent pixels.

    Raises:
        DataFailure: it is missing, empty, damaged, too large or no picture; the message says which.
        ReadFailure: the system does not give it back now, as a disk that fails; the picture may be whole.
    """
    with opened(source) as image:
        # Asked first: to count frames, Pillow leaves the first one, and would forget its pixels.
        # An MPO's further frames are the other eye or a depth map: nobody misses them.
        if image.format != "MPO" and getattr(image, "is_animated", False):
            _warn_of_frames(_name(source))
        return as_seen(image, channels, background)


def decode_pixels(
    source: Path | Stream, channels: Literal[1, 3], background: int, part: Part | None = None
) -> UInt8[np.ndarray, "height width channels"]:
    """The pixels of `decode`, or of a part of it: sooner where it is an ordinary JPEG file.

    Args:
        source: a file's path, or what its bytes are read from.
        channels: 1 for grey, 3 for red, green and blue.
        background: grey level, 0 to 255, behind transparent pixels.
        part: which rectangle of the upright picture to give, asked once; None for all of it.

    Raises:
        DataFailure: as `decode`.
    """
    file = _content(source)
    header = _header_without_pillow(file)
    if header is None:
        return _cut(decode(file, channels, background), part)
    box = (0, 0, header.width, header.height) if part is None else part((header.width, header.height))
    left, top, right, bottom = box
    try:
        pixels = upper_rows(file.content, header, bottom)[top:bottom, left:right]
    except (ValueError, RuntimeError, MemoryError):  # Pillow says what is wrong with it
        return _cut(decode(file, channels, background), lambda _: box)
    return (
        pixels if header.channels == channels else to_array(as_seen(to_picture(pixels), channels, background))
    )


@dataclass(frozen=True)
class _Content:
    """A file's bytes, which may be read more than once, and its name."""

    content: bytes
    name: str

    def read(self) -> bytes:
        return self.content


def _content(source: Path | Stream) -> _Content:
    name = _name(source)
    try:
        return _Content(source.read_bytes() if isinstance(source, Path) else source.read(), name)
    except Exception as error:  # an archive's member may be broken in many ways
        raise _explained(error, name) from error


def _header_without_pillow(file: _Content) -> JpegHeader | None:
    """The header of a JPEG file that needs nothing of what only Pillow does; None for other files."""
    header = read_header(file.content)
    if header is None or _is_too_large(header.width, header.height):
        return None
    if header.has_metadata:
        with opened(file) as image:
            return header if turn_of(image) is None else None
    return header


def _cut(picture: Image.Image, part: Part | None) -> UInt8[np.ndarray, "height width channels"]:
    return to_array(picture if part is None else picture.crop(part(picture.size)))


def check_file(path: Path) -> None:
    """Reads a picture's header and last bytes; its pixels only where the end seems to be missing.

    That is fast, and finds most files that are no pictures, and those that broke off.

    Raises:
        DataFailure: as `decode`.
    """
    with opened(path) as image:
        if may_lack_its_end(image.fp, str(image.format)):  # type: ignore[attr-defined]
            image.load()


@contextmanager
def opened(source: Path | Stream) -> Iterator[Image.Image]:
    """A picture of which the header was read; what fails, also inside `with`, is raised as of `decode`."""
    name = _name(source)
    try:
        with warnings.catch_warnings(), _file(source) as file:
            # Pillow warns of broken metadata, once a file and epoch; the picture does without it.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield _identify(file)
    except Exception as error:  # decoders meet broken bytes with any exception there is
        raise _explained(error, name) from error


def _name(source: Path | Stream) -> str:
    return str(source) if isinstance(source, Path) else str(getattr(source, "name", "the image"))


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
        if not start:
            raise _Unfit("it is empty", "Copy or download it again") from error
        raise ValueError(f"it is none of {kinds}, or is damaged; it begins with {start!r}") from error
    except Image.DecompressionBombError as error:
        raise _Unfit(str(error).rstrip("."), _MAKE_SMALLER) from error
    # Pillow only warns of up to twice the limit. The filters that make a warning an error are shared by all
    # threads of a process, so that they cannot be relied on.
    if _is_too_large(image.width, image.height):
        raise _Unfit(
            f"its {image.width:,} x {image.height:,} pixels are more than the limit of "
            f"{Image.MAX_IMAGE_PIXELS:,}",
            _MAKE_SMALLER,
        )
    check_pixels(image)
    return image


def _is_too_large(width: int, height: int) -> bool:
    return Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS


_MAKE_SMALLER = "Make it smaller"
_OF_THIS_FILE = (errno.EINVAL, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.ESPIPE, errno.ENXIO)
"""What the system says of a name or a position that no file has, or of what is no file; all else is no matter
of the picture."""


class _Unfit(Exception):
    """A file that need not be saved anew."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.remedy = remedy


def _explained(error: Exception, name: str) -> DataFailure | MemoryError:
    """Says what an exception means for the person who has the file."""
    match error:
        case MemoryError():
            return MemoryError(f"to decode {name}")
        case FileNotFoundError():
            return DataFailure(f"{name} does not exist: check the path")
        case IsADirectoryError():
            return DataFailure(f"{name} is a folder: an image file is needed here")
        case PermissionError():
            return DataFailure(f"{name} may not be read: give this user the permission to read it")
        case OSError() if error.errno is not None and error.errno not in _OF_THIS_FILE:
            return ReadFailure(
                f"{name} cannot be read now: {error.strerror}. See to its disk, or the limits of this process"
            )
        case _:
            cause = str(error).rstrip(".") or type(error).__name__
            remedy = error.remedy if isinstance(error, _Unfit) else "Save it as JPEG or PNG"
            return DataFailure(f"{name} cannot be decoded: {cause}. {remedy}, or remove it")


_has_warned_of_frames = threading.Event()


def _warn_of_frames(name: str) -> None:
    """Said once in a process, of the first such file."""
    if not _has_warned_of_frames.is_set():
        _has_warned_of_frames.set()
        _logger.warning("%s holds several frames or pages: only the first is used, here and elsewhere", name)
