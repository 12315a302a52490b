"""Pixels of ordinary JPEG files, sooner than Pillow gives them; of a crop, without what lies below it."""

import struct
from dataclasses import dataclass, replace

import numpy as np
import simplejpeg
from jaxtyping import UInt8

_SEQUENTIAL = (0xC0, 0xC1)
"""Markers of frames whose rows are stored one after the other (ITU-T T.81, table B.1)."""
_PROGRESSIVE = 0xC2
_SCAN = 0xDA
"""Marker of what the pixels follow."""
_BEFORE_A_SCAN = (0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0))
"""Markers of tables, comments and what programs add; each is followed by its length."""
_METADATA = 0xE1
"""Marker of EXIF and XMP, which may say that the camera was held sideways."""
_IN_A_SCAN = (0x00, *range(0xD0, 0xD8))
"""What follows the byte 0xFF within a scan: nothing, or a restart."""
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
    has_metadata: bool = False
    """Whether there is EXIF or XMP."""
    start_of_scan: int = 0
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
    frame, has_metadata, place = None, False, len(_START_OF_IMAGE)
    while place + 10 < len(content) and content[place] == 0xFF:
        marker, start = content[place + 1], place
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == _SCAN:
            return None if frame is None else replace(frame, has_metadata=has_metadata, start_of_scan=place)
        if frame is None and (marker in _SEQUENTIAL or marker == _PROGRESSIVE):
            frame = _frame(content, start)
            if frame is None:
                return None
        elif marker not in _BEFORE_A_SCAN:
            return None
        has_metadata = has_metadata or marker == _METADATA
    return None


def _frame(content: bytes, place: int) -> JpegHeader | None:
    """Marker, length, precision, height, width and number of channels (ITU-T T.81, B.2.2)."""
    precision, height, width, channels = struct.unpack_from(">BHHB", content, place + 4)
    if precision != 8 or channels not in (1, 3) or height == 0 or width == 0:
        return None
    return JpegHeader(width, height, channels, content[place + 1] in _SEQUENTIAL, place + 5)


def upper_rows(
    content: bytes, header: JpegHeader, rows: int
) -> UInt8[np.ndarray, "upper_rows width channels"]:
    """The picture down to these rows and a little further, or all of it; pixels are those of Pillow.

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
    if not header.is_sequential:
        return False
    scan = np.frombuffer(content, dtype=np.uint8, offset=header.start_of_scan)[: -len(_END_OF_IMAGE)]
    following = scan[1:][scan[:-1] == 0xFF]
    return bool(np.isin(following, _IN_A_SCAN).all()) and scan[-1:].tolist() != [0xFF]
