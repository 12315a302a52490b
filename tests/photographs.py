"""Picture files as people really have them, good and bad."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def noise(seed: int, height: int = 24, width: int = 20, channels: int = 3) -> np.ndarray:
    """Random pixels of 8 bits, with large structures."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, channels), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def save_photographs(folder: Path, count: int, suffix: str = ".jpg") -> list[Path]:
    """Files 000, 001, ... of noise, in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03}{suffix}" for number in range(count)]
    for number, path in enumerate(paths):
        Image.fromarray(noise(number)).save(path)
    return paths


def save_readable(folder: Path) -> list[Path]:
    """One of each kind that a person would call a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(noise(1))
    deep = Image.fromarray(noise(2, channels=3)[..., 0].astype(np.uint16) * 257)
    palette = picture.quantize(8)
    frames = [Image.fromarray(noise(seed)) for seed in (3, 4, 5)]
    files = {
        "cmyk.jpg": lambda path: picture.convert("CMYK").save(path),
        "deep.png": deep.save,
        "palette.png": lambda path: palette.save(path, transparency=0),
        "moving.gif": lambda path: frames[0].save(path, save_all=True, append_images=frames[1:]),
        "grey.bmp": picture.convert("L").save,
        "see-through.webp": lambda path: picture.convert("RGBA").save(path, lossless=True),
    }
    for name, save in files.items():
        save(folder / name)
    return [folder / name for name in sorted(files)]


def save_unreadable(folder: Path) -> list[Path]:
    """One of each kind that cannot be used."""
    folder.mkdir(parents=True, exist_ok=True)
    encoded = io.BytesIO()
    Image.fromarray(noise(1, 200, 200)).save(encoded, "JPEG")
    files = {
        "bomb.png": _bomb(),
        "cut-short.jpg": encoded.getvalue()[: len(encoded.getvalue()) // 3],
        "empty.jpg": b"",
        "page.jpg": b"<!doctype html><title>404</title>",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in sorted(files)]


def _bomb() -> bytes:
    """A PNG of a few hundred bytes that says it has 10,000 million pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )
