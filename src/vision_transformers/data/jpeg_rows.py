"""A JPEG file's upper rows alone: a crop needs nothing below it, and decoding is most of its cost."""

import io

from PIL import Image

_SEQUENTIAL = (0xC0, 0xC1)
"""Markers of frames whose rows are stored one after the other (ITU-T T.81, table B.1)."""
_BEFORE_A_FRAME = (0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0))
"""Markers of tables, comments and what programs add; each is followed by its length."""
_END_OF_IMAGE = b"\xff\xd9"
_BELOW = 2
"""Rows decoded below the last one asked for: colours of half the height are interpolated from them."""


def upper_rows(image: Image.Image, rows: int) -> Image.Image:
    """The picture down to these rows, with the same pixels, and a little more; or, if need be, all of it.

    The header is given a smaller height, so that the decoder stops there. A file whose end is missing stays
    as it is: which pictures are damaged must not depend on what is cut out of them.

    Args:
        image: a JPEG file that was opened, and not loaded yet.
        rows: how many are needed.
    """
    if rows + _BELOW >= image.height:
        return image
    file = image.fp  # type: ignore[attr-defined]
    file.seek(0)
    content = bytearray(file.read())
    place = _place_of_height(content)
    if place is None or not content.endswith(_END_OF_IMAGE):
        return image
    content[place : place + 2] = (rows + _BELOW).to_bytes(2, "big")
    return Image.open(io.BytesIO(content), formats=("JPEG",))


def _place_of_height(content: bytearray) -> int | None:
    """Where the header says how high the picture is; None where rows are not stored one after the other."""
    place = 2
    while place + 7 < len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker in _SEQUENTIAL:
            return place + 5
        if marker not in _BEFORE_A_FRAME:
            return None
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return None
