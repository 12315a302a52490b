"""Many small images on one sheet, with a caption under each."""

import io
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from vision_transformers.data.as_seen import to_picture
from vision_transformers.files import write_file
from vision_transformers.report.style import drawable, font_file

MOST_IMAGES = 64
_SMALL = 112
"""Images are enlarged until their longer side would pass so many pixels."""
_GAP = 12
_FONT_SIZE = 13
_CAPTION_HEIGHT = 22
_PAPER, _INK = (255, 255, 255), (60, 60, 60)


def image_sheet(
    pixels: UInt8[np.ndarray, "images height width channels"], captions: Sequence[str]
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """Lays out the first 64 images, as near to a square as can be.

    Small images are enlarged by a whole number, each pixel to a block, so that what is seen is what is there.

    Args:
        pixels: Grey (one channel) or RGB (three).
        captions: One for each image; what is longer than the image is wide ends in an ellipsis.
    """
    if len(pixels) != len(captions) or not len(pixels):
        raise ValueError(f"{len(pixels)} images and {len(captions)} captions: expected as many, at least one")
    pixels = pixels[:MOST_IMAGES]
    factor = max(1, _SMALL // max(pixels.shape[1:3]))
    tiles = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    count, height, width, _ = tiles.shape
    columns = math.ceil(math.sqrt(count))
    across, down = width + _GAP, height + _CAPTION_HEIGHT + _GAP
    sheet = Image.new("RGB", (columns * across + _GAP, math.ceil(count / columns) * down + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (tile, caption) in enumerate(zip(tiles, captions, strict=False)):
        row, column = divmod(place, columns)
        left, top = _GAP + column * across, _GAP + row * down
        sheet.paste(to_picture(tile), (left, top))
        middle = (left + width / 2, top + height + _CAPTION_HEIGHT / 2)
        text = drawable(caption)
        font = _font(font_file(text))
        draw.text(middle, _fitted(text, width, font), fill=_INK, font=font, anchor="mm")
    return np.asarray(sheet)


def encode_png(pixels: UInt8[np.ndarray, "height width channels"]) -> bytes:
    """A picture, grey (one channel) or RGB (three), as the bytes of a PNG file."""
    encoded = io.BytesIO()
    to_picture(pixels).save(encoded, "PNG")
    return encoded.getvalue()


def write_png(path: Path, pixels: UInt8[np.ndarray, "height width channels"]) -> None:
    """Writes a picture, grey or RGB, as PNG.

    Raises:
        Failure: The file cannot be written.
    """
    write_file(path, encode_png(pixels))


def _fitted(caption: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    if font.getlength(caption) <= width:
        return caption
    while caption and font.getlength(caption + "…") > width:
        caption = caption[:-1]
    return caption + "…"


@cache
def _font(file: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, _FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)
