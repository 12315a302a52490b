"""Pixels of ordinary JPEG files, sooner than Pillow gives them; of a crop, without what lies below it."""

import re
import struct
from dataclasses import dataclass

import numpy as np
import simplejpeg
from jaxtyping import UInt8

_SEQUENTIAL = (0xC0, 0xC1)
"""Markers of frames whose rows are stored one after the other (ITU-T T.81, table B.1)."""
_PROGRESSIVE = 0xC2
_SCAN = 0xDA
"""Marker of what the pixels follow."""
_APPLICATIONS = range(0xE0, 0xF0)
"""Markers of what programs add."""
_BEFORE_A_SCAN = (0xC4, 0xDB, 0xDD, 0xFE, *_APPLICATIONS)
"""Markers of tables, comments and what programs add; each is followed by its length."""
_FOR_PILLOW = (0xE1, 0xED)
"""Of these, EXIF and XMP, which may say that the camera was held sideways, and Photoshop's."""
_SHORT = 16
"""Bytes of what a program adds that may be less than Pillow expects of it, which it then refuses."""
_NOT_IN_A_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7]")
"""Any marker but a restart's; 0xFF as a number is followed by 0."""
_WHOLE_SPECTRUM = b"\x00\x3f\x00"
"""How the header of a sequential scan ends; the decoder only warns of others, and then hides errors."""
_MOST_PIXELS = 65_500
"""Along a side: libjpeg decodes no more."""
_START_OF_IMAGE, _END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
_BELOW = 2
"""Rows decoded below the last one asked for: colours of half the height are interpolated from them."""


@dataclass(frozen=True)
class JpegHeader:
    """What a JPEG file says before its pixels."""

    width: int
    height: int
    channels: int
    """1 for grey, 3 for colours."""
    is_sequential: bool
    """Whether rows are stored one after the other."""
    place_of_height: int
    """Where the file says how high the picture is."""
    has_metadata: bool
    """Whether programs added what may turn the picture, or what Pillow may refuse."""
    start_of_scan: int
    """Where the first scan's pixels begin."""


def read_header(content: bytes) -> JpegHeader | None:
    """The header of a whole file of 8 bits a channel; None for any other, which is for Pillow to judge.

    Which pictures are damaged must not depend on who decodes them, so that a file whose end is missing is no
    whole one.

    Args:
        content: of a file, whatever its format.
    """
    if not (content.startswith(_START_OF_IMAGE) and content.endswith(_END_OF_IMAGE)):
        return None
    frame, has_metadata, place = 0, False, len(_START_OF_IMAGE)
    while place + 10 < len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == _SCAN:
            return _header(content, frame, has_metadata, place + 2 + length) if frame else None
        if not frame and (marker in _SEQUENTIAL or marker == _PROGRESSIVE):
            frame = place
        elif marker not in _BEFORE_A_SCAN:
            return None
        has_metadata |= marker in _FOR_PILLOW or (marker in _APPLICATIONS and length < _SHORT)
        place += 2 + length
    return None


def _header(content: bytes, frame: int, has_metadata: bool, start_of_scan: int) -> JpegHeader | None:
    """By the frame's marker, length, precision, height, width and number of channels (ITU-T T.81, B.2.2)."""
    precision, height, width, channels = struct.unpack_from(">BHHB", content, frame + 4)
    is_possible = 0 < height <= _MOST_PIXELS and 0 < width <= _MOST_PIXELS
    if precision != 8 or channels not in (1, 3) or not is_possible:
        return None
    is_sequential = content[frame + 1] in _SEQUENTIAL
    return JpegHeader(width, height, channels, is_sequential, frame + 5, has_metadata, start_of_scan)


def upper_rows(
    content: bytes, header: JpegHeader, rows: int
) -> UInt8[np.ndarray, "upper_rows width channels"]:
    """The picture down to these rows and a little further, or all of it.

    Pixels are those of Pillow where it has libjpeg-turbo, as its own wheels do.

    Args:
        content: of the file.
        header: what `read_header` found in it.
        rows: how many are needed.

    Raises:
        ValueError: it is damaged: Pillow may still decode it, or says why not.
    """
    colorspace = "GRAY" if header.channels == 1 else "RGB"
    if rows + _BELOW >= header.height or not _is_one_scan(content, header):
        return simplejpeg.decode_jpeg(content, colorspace)
    # With a smaller height, the decoder stops there. What follows is no error to Pillow, either.
    cut = bytearray(content)
    cut[header.place_of_height : header.place_of_height + 2] = (rows + _BELOW).to_bytes(2, "big")
    return simplejpeg.decode_jpeg(cut, colorspace, strict=False)


def _is_one_scan(content: bytes, header: JpegHeader) -> bool:
    """Whether the file's rows are stored once, and nothing else between them, so that it can end anywhere."""
    if not header.is_sequential or not content[: header.start_of_scan].endswith(_WHOLE_SPECTRUM):
        return False
    return _NOT_IN_A_SCAN.search(content, header.start_of_scan, len(content) - 1) is None
