"""Many small images on one sheet, with a caption under each."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
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
_LINE_HEIGHT = 16
"""Of each further line."""
_MOST_LINES = 2
"""Of a caption."""
_PAPER, _INK = (255, 255, 255), (60, 60, 60)


def image_sheet(
    pixels: UInt8[np.ndarray, "images height width channels"], captions: Sequence[str], legend: str = ""
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """Lays out the first 64 images, as near to a square as can be.

    Small images are enlarged by a whole number, each pixel to a block, so that what is seen is what is there.

    Args:
        pixels: Grey (one channel) or RGB (three).
        captions: One for each image, on two lines where one is too short; what is longer ends in an ellipsis.
        legend: What is said below all images, in ASCII.
    """
    if len(pixels) != len(captions) or not len(pixels):
        raise ValueError(f"{len(pixels)} images and {len(captions)} captions: expected as many, at least one")
    pixels = pixels[:MOST_IMAGES]
    factor = max(1, _SMALL // max(pixels.shape[1:3]))
    tiles = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    count, height, width, _ = tiles.shape
    columns = math.ceil(math.sqrt(count))
    texts = [_text(caption, width, _MOST_LINES) for caption in captions[:count]]
    caption_height = _CAPTION_HEIGHT + _LINE_HEIGHT * (max(len(text.lines) for text in texts) - 1)
    across, down = width + _GAP, height + caption_height + _GAP
    sheet_width, legend_top = columns * across + _GAP, math.ceil(count / columns) * down + _GAP
    said = _text(legend, sheet_width - 2 * _GAP) if legend else None
    legend_height = _LINE_HEIGHT * len(said.lines) + _GAP if said else 0
    sheet = Image.new("RGB", (sheet_width, legend_top + legend_height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (tile, text) in enumerate(zip(tiles, texts, strict=True)):
        row, column = divmod(place, columns)
        left, top = _GAP + column * across, _GAP + row * down
        sheet.paste(to_picture(tile), (left, top))
        text.draw(draw, left + width / 2, top + height + _CAPTION_HEIGHT / 2, "mm")
    if said:
        said.draw(draw, float(_GAP), legend_top + _LINE_HEIGHT / 2, "lm")
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


@dataclass(frozen=True)
class _Text:
    """Lines that fit where they will stand."""

    lines: Sequence[str]
    font: ImageFont.FreeTypeFont

    def draw(self, draw: ImageDraw.ImageDraw, across: float, down: float, anchor: str) -> None:
        """With the anchor of the first line at that place, the others below it."""
        for number, line in enumerate(self.lines):
            place = (across, down + number * _LINE_HEIGHT)
            draw.text(place, line, fill=_INK, font=self.font, anchor=anchor)


def _text(text: str, width: int, most_lines: int | None = None) -> _Text:
    """Broken between words; what is wider even so, or has too many lines, ends in an ellipsis."""
    text = drawable(text)
    font = _font(font_file(text))
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if not lines[-1] or len(lines) == most_lines or font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return _Text([_fitted(line, width, font) for line in lines], font)


def _fitted(caption: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    if font.getlength(caption) <= width:
        return caption
    while caption and font.getlength(caption + "…") > width:
        caption = caption[:-1]
    return caption + "…"


@cache
def _font(file: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, _FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)
