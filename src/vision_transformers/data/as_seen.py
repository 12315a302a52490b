"""An opened picture as a person sees it, upright, 8 bits a channel, opaque; and as an array."""

from typing import Literal

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_AT_ONCE = 1 << 20
"""Pixels that are scaled together."""


def as_seen(image: Image.Image, channels: Literal[1, 3], background: int) -> Image.Image:
    """What a person sees of an opened picture: upright, 8 bits a channel, opaque.

    Args:
        image: of any mode.
        channels: 1 for grey (mode `L`), 3 for red, green and blue (mode `RGB`).
        background: grey level, 0 to 255, behind transparent pixels.

    Raises:
        ValueError: it has no pixels, or they are numbers of which nobody knows what is black and what white.
    """
    check_pixels(image)
    image.load()
    turn = turn_of(image)
    picture, mode = _opaque(_eight_bits(image), background), "L" if channels == 1 else "RGB"
    if picture.mode == "LAB":  # of which Pillow makes nothing else
        picture = picture.convert("RGB")
    if picture.mode != mode:  # where nothing is converted, Pillow would copy
        picture = picture.convert(mode)
    return picture if turn is None else picture.transpose(turn)


def to_array(picture: Image.Image) -> UInt8[np.ndarray, "height width channels"]:
    """The pixels of a picture of mode `L` or `RGB`."""
    return np.array(picture).reshape(picture.height, picture.width, -1)


def to_picture(pixels: UInt8[np.ndarray, "height width channels"]) -> Image.Image:
    """The picture of mode `L` or `RGB` that these pixels are."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def check_pixels(image: Image.Image) -> None:
    """Raises ValueError as `as_seen`, before anything is decoded."""
    if min(image.size) < 1:
        raise ValueError("it has no pixels")
    if image.mode == "F":
        raise ValueError(
            "its pixels are floating-point numbers, which do not say what is black and what white"
        )


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """What sets a picture upright that was stored as the camera was held (EXIF's orientation)."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken EXIF fails in any way there is; the picture is used as it is stored
        return None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scales 16 bits a pixel to 8; Pillow's own conversion would make all above 255 white."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"its pixels reach from {values.min()} to {values.max()}: 0 to 65535 are known here")
    scaled = Image.fromarray(_scaled(values))
    if _has_white_at_zero(image):
        scaled = ImageOps.invert(scaled)
    transparent = image.info.get("transparency")  # one of the values, in grey PNG files
    if not isinstance(transparent, int):
        return scaled
    opaque = Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
    return Image.merge("LA", (scaled, opaque))


def _has_white_at_zero(image: Image.Image) -> bool:
    """Of a TIFF file, as X-rays may be: Pillow inverts such a one of 8 bits, and none of 16."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0


def _scaled(values: Integer[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """The nearest of 0 to 255, a part at a time: of all at once, sums would take many times the picture."""
    flat = values.reshape(-1)
    scaled = np.empty(flat.shape, np.uint8)
    for start in range(0, flat.size, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        scaled[part] = (flat[part].astype(np.uint32) + 128) // 257
    return scaled.reshape(values.shape)


def _opaque(image: Image.Image, background: int) -> Image.Image:
    """Lays a picture with transparent pixels over a grey background."""
    if not image.has_transparency_data:
        return image
    transparent = image.info.get("transparency")
    if isinstance(transparent, tuple) and max(transparent) > 255:  # in a PNG file of 16 bits a channel
        image = image.copy()  # it is the caller's
        image.info["transparency"] = tuple(value >> 8 for value in transparent)  # as Pillow cuts its pixels
    backdrop = Image.new("RGBA", image.size, (background, background, background, 255))
    return Image.alpha_composite(backdrop, image if image.mode == "RGBA" else image.convert("RGBA"))
