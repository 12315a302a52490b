"""What a person sees in a file is what the model gets, and a bad file is one message, never a crash."""

import contextlib
import io
import logging
import os
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image, ImageFile, TiffImagePlugin
from tests.photographs import save_photographs

from vision_transformers.data import decoding
from vision_transformers.data.as_seen import as_seen
from vision_transformers.data.decoding import check_file, decode, decode_pixels
from vision_transformers.data.pictures import read_pictures
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.errors import DataFailure, ReadFailure

# How the upright picture is stored so that each orientation tag turns it back.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def upright() -> Image.Image:
    return Image.fromarray(np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3) * 3)


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png_of_size(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("orientation", STORED)
def test_photographs_are_upright_however_the_camera_was_held(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    turn = STORED[orientation]
    stored = upright() if turn is None else upright().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"picture{suffix}", exif=exif, quality=100)
    decoded = decode(tmp_path / f"picture{suffix}", channels=3, background=255)
    loss = np.abs(np.asarray(decoded, dtype=int) - np.asarray(upright(), dtype=int))
    assert loss.max() <= (12 if suffix == ".jpg" else 0)  # a wrong turn is off by 27 and more


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0II*\0", b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x03"]
)
def test_broken_exif_leaves_the_picture_as_it_is_stored(tmp_path: Path, exif: bytes) -> None:
    path = tmp_path / "picture.jpg"
    upright().save(path, exif=exif)
    broken = np.asarray(decode(path, channels=3, background=255))
    upright().save(path)
    assert np.array_equal(broken, np.asarray(decode(path, channels=3, background=255)))


@pytest.mark.parametrize("name", ["grey.png", "grey.tif"])
def test_16_bits_are_scaled_not_clipped_to_white(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 128, 129, 257], [300, 32768, 65406, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    decoded = np.asarray(decode(tmp_path / name, channels=1, background=255))
    assert np.array_equal(decoded, np.round(values / 257))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_x_ray_whose_zero_is_white_is_no_negative(tmp_path: Path, dtype: type) -> None:
    """As TIFF files may have it, with 16 bits as with 8."""
    most = np.iinfo(dtype).max
    values = np.array([[0, most // 5, most]], dtype)
    Image.fromarray(values).save(tmp_path / "x-ray.tif")
    shown = np.asarray(decode(tmp_path / "x-ray.tif", channels=1, background=255))
    bytes_of_it = bytearray((tmp_path / "x-ray.tif").read_bytes())
    place = bytes_of_it.index(struct.pack("<HHIH", TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 3, 1, 1))
    bytes_of_it[place + 8] = 0
    (tmp_path / "x-ray.tif").write_bytes(bytes_of_it)
    assert (np.asarray(decode(tmp_path / "x-ray.tif", channels=1, background=255)) == 255 - shown).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_as_eyes_measure_them_are_read_in_grey_too(tmp_path: Path, channels: Literal[1, 3]) -> None:
    Image.new("LAB", (2, 2), (128, 128, 128)).save(tmp_path / "lab.tif")
    decoded = np.asarray(decode(tmp_path / "lab.tif", channels=channels, background=255))
    assert np.abs(decoded.astype(int) - 118).max() <= 2


def test_16_bits_take_no_many_times_their_own_memory() -> None:
    """A server decodes several at a time, of as many pixels as it allows."""
    picture = Image.fromarray(np.zeros((2500, 2000), np.uint16))
    tracemalloc.start()
    as_seen(picture, channels=1, background=255)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * picture.width * picture.height


def test_the_transparent_value_of_a_picture_with_16_bits_shows_the_background(tmp_path: Path) -> None:
    values = np.array([[0, 4369, 1, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "grey.png", transparency=0)
    for channels in (1, 3):
        decoded = np.asarray(decode(tmp_path / "grey.png", channels=channels, background=200))
        assert decoded.reshape(4, channels)[:, 0].tolist() == [200, 17, 0, 255]


def test_the_transparent_colour_of_a_picture_with_16_bits_shows_the_background(tmp_path: Path) -> None:
    """Pillow cuts the pixels to 8 bits, and not the colour."""
    rows = struct.pack(">B6H", 0, 1000, 1000, 1000, 60000, 60000, 60000)
    (tmp_path / "colour.png").write_bytes(png(b"\x10\x02", rows, tRNS=struct.pack(">3H", 1000, 1000, 1000)))
    decoded = np.asarray(decode(tmp_path / "colour.png", channels=3, background=200))
    assert decoded[0, :, 0].tolist() == [200, 234]
    picture = Image.open(tmp_path / "colour.png")
    for _ in range(2):  # the caller's own stays as it is
        assert np.asarray(as_seen(picture, 3, 200))[0, :, 0].tolist() == [200, 234]


def png(depth_and_kind: bytes, rows: bytes, **chunks: bytes) -> bytes:
    """A file of two pixels on one row, written by hand: Pillow writes none of 16 bits a channel."""
    head = struct.pack(">2I", 2, 1) + depth_and_kind + bytes(3)
    parts = {"IHDR": head, **chunks, "IDAT": zlib.compress(rows), "IEND": b""}
    written = b"\x89PNG\r\n\x1a\n"
    for name, content in parts.items():
        body = name.encode() + content
        written += struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
    return written


def test_big_endian_and_32_bit_tiffs_are_scaled_too(tmp_path: Path) -> None:
    values = np.array([[0, 257, 65535]])
    Image.frombytes("I;16B", (3, 1), values.astype(">u2").tobytes()).save(tmp_path / "big-endian.tif")
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "32-bit.tif")
    for name in ("big-endian.tif", "32-bit.tif"):
        assert np.asarray(decode(tmp_path / name, channels=1, background=255)).tolist() == [[0, 1, 255]]


@pytest.mark.parametrize("values", [np.array([[0, 70000]], np.int32), np.array([[0.0, 1.0]], np.float32)])
def test_pixels_of_unknown_range_are_refused_not_guessed(tmp_path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(tmp_path / "measured.tif")
    with pytest.raises(DataFailure, match=r"measured\.tif cannot be decoded: its pixels"):
        decode(tmp_path / "measured.tif", channels=1, background=255)


def test_cmyk_is_shown_in_its_colours(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=100)
    red, green, blue = np.asarray(decode(tmp_path / "red.jpg", channels=3, background=255))[4, 4]
    assert red > 250
    assert max(green, blue) < 5


@pytest.mark.parametrize("background", [0, 100, 255])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA"])
def test_transparent_pixels_show_the_background(tmp_path: Path, mode: str, background: int) -> None:
    image = Image.new("RGBA", (2, 1), (10, 10, 10, 255))
    image.putpixel((1, 0), (90, 90, 90, 0))
    path = tmp_path / ("picture.tif" if mode == "PA" else "picture.png")
    stored = image.convert(mode[:1] if mode == "PA" else mode)
    if mode == "PA":
        stored.putalpha(image.getchannel("A"))
    stored.save(path)
    decoded = decode(path, channels=1, background=background)
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [10, background]


def test_palette_without_transparency_keeps_its_colours(tmp_path: Path) -> None:
    picture = Image.new("RGB", (2, 1), (200, 30, 60))
    picture.quantize(4).save(tmp_path / "palette.png")
    assert decode(tmp_path / "palette.png", channels=3, background=0).getpixel((0, 0)) == (200, 30, 60)


def test_an_animation_gives_its_first_frame_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [Image.new("RGB", (4, 4), (value, 0, 0)) for value in (255, 128, 64)]
    frames[0].save(tmp_path / "animation.gif", save_all=True, append_images=frames[1:])
    decoding._has_warned_of_frames.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            decoded = decode(tmp_path / "animation.gif", channels=3, background=255)
    assert decoded.getpixel((0, 0)) == (255, 0, 0)
    assert caplog.text.count("animation.gif holds several frames or pages: only the first is used") == 1


@pytest.mark.parametrize("suffix", ["gif", "tif"])
def test_a_grey_animation_gives_its_first_frame_too(tmp_path: Path, suffix: str) -> None:
    first = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path, second = tmp_path / f"grey.{suffix}", Image.fromarray(first[::-1].copy())
    Image.fromarray(first).save(path, save_all=True, append_images=[second])
    for channels in (1, 3):
        pixels = decode_pixels(path, channels=channels, background=255)
        assert np.array_equal(pixels, np.repeat(first[..., None], channels, axis=2))


def test_pipes_can_be_decoded(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation("seek")

    upright().save(tmp_path / "picture.png")
    pipe = Pipe((tmp_path / "picture.png").read_bytes())
    assert decode(pipe, channels=3, background=255).size == upright().size


def truncated() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        buffer, "JPEG"
    )
    return buffer.getvalue()[:2000]


def other_format() -> bytes:
    buffer = io.BytesIO()
    upright().save(buffer, "PPM")
    return buffer.getvalue()


SAVE, SMALLER = "Save it as JPEG or PNG", "Make it smaller"
BROKEN: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "truncated": (truncated, "truncated", SAVE),
    "html": (lambda: b"<!DOCTYPE html><html></html>", "it begins with b'<!DOCTYPE html>", SAVE),
    "empty": (lambda: b"", "it is empty", "Copy or download it again"),
    "unlisted format": (other_format, "it is none of JPEG", SAVE),
    "bomb that Pillow refuses": (lambda: png_of_size(30_000, 30_000), "exceeds limit", SMALLER),
    "bomb that Pillow warns of": (lambda: png_of_size(10_000, 10_000), "more than the limit of", SMALLER),
    "no pixels": (
        lambda: b"GIF89a" + b"\0" * 7 + b",\0\0\0\0\0\0\0\0\0\x02\x01\0\0;",
        "cannot be decoded",
        SAVE,
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", BROKEN)
def test_a_bad_file_is_one_message_with_its_name_cause_and_remedy(tmp_path: Path, kind: str) -> None:
    make, cause, remedy = BROKEN[kind]
    path = tmp_path / "picture.jpg"
    path.write_bytes(make())
    with pytest.raises(DataFailure) as failure:
        decode(path, channels=3, background=255)
    assert str(path) in str(failure.value)
    assert cause in str(failure.value)
    assert str(failure.value).endswith(f". {remedy}, or remove it")
    assert ".." not in str(failure.value)


def test_what_the_system_cannot_read_now_is_not_said_to_be_a_bad_picture(tmp_path: Path) -> None:
    """Whoever follows `remove it` would throw away what a disk or a network gives back tomorrow."""
    path = tmp_path / "picture.png"
    path.symlink_to("/proc/self/mem")  # reading its beginning is an input/output error
    for read in (check_file, lambda path: decode_pixels(path, channels=3, background=255)):
        with pytest.raises(ReadFailure, match=r"picture\.png cannot be read now: Input/output") as failure:
            read(path)
        assert "remove" not in str(failure.value)
    (whole,) = save_photographs(tmp_path, 1)
    for workers in (0, 1):
        batches = read_pictures([path, whole], Preprocessing(), batch_size=1, workers=workers)
        failures = [one.failure for batch in batches for one in batch]
        assert isinstance(failures[0], ReadFailure), "the others are read all the same"
        assert failures[1] is None


def test_too_little_memory_is_no_fault_of_the_picture() -> None:
    class Large:
        def read(self) -> bytes:
            raise MemoryError

    with pytest.raises(MemoryError):
        decode(Large(), channels=3, background=255)


def test_a_path_that_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataFailure, match=r"missing\.png does not exist"):
        decode(tmp_path / "missing.png", channels=3, background=255)
    with pytest.raises(DataFailure, match="is a folder"):
        decode(tmp_path, channels=3, background=255)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret.png").touch(mode=0)
    with pytest.raises(DataFailure, match=r"secret\.png may not be read"):
        decode(tmp_path / "secret.png", channels=3, background=255)


def test_no_change_of_bytes_gives_anything_but_a_picture_or_a_message(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for suffix in ("png", "gif", "tif", "bmp", "webp", "jpg"):
        upright().save(tmp_path / f"picture.{suffix}")
        whole = np.frombuffer((tmp_path / f"picture.{suffix}").read_bytes(), dtype=np.uint8)
        for _ in range(30):
            changed = whole.copy()
            changed[random.integers(len(whole), size=3)] = random.integers(256, size=3)
            with contextlib.suppress(DataFailure):
                assert decode(io.BytesIO(changed.tobytes()), channels=3, background=255).mode == "RGB"


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp", "webp", "jpg"])
def test_checking_a_file_finds_one_that_broke_off_but_allows_more_behind_its_end(
    suffix: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    picture = Image.fromarray(random.integers(0, 256, (40, 30, 3), dtype=np.uint8))
    path = tmp_path / f"picture.{suffix}"
    picture.save(path)
    check_file(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b"added by a program")
    check_file(path)
    for kept in (0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * kept)])
        with pytest.raises(DataFailure, match="cannot be decoded"):
            check_file(path)


def test_checking_a_file_finds_what_is_no_picture_and_reads_no_pixels_of_what_has_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upright().save(tmp_path / "whole.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it was decoded"))
    check_file(tmp_path / "whole.png")
    (tmp_path / "page.jpg").write_bytes(b"<html>")
    with pytest.raises(DataFailure, match=r"page\.jpg"):
        check_file(tmp_path / "page.jpg")
    (tmp_path / "bomb.png").write_bytes(png_of_size(10_000, 10_000))
    with pytest.raises(DataFailure, match="more than the limit"):
        check_file(tmp_path / "bomb.png")


def test_decoding_leaves_pillow_and_the_warnings_of_the_program_alone(tmp_path: Path) -> None:
    upright().save(tmp_path / "picture.png")
    before = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    decode(tmp_path / "picture.png", channels=3, background=255)
    assert (list(warnings.filters), Image.MAX_IMAGE_PIXELS) == before
