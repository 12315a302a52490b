"""JPEG files that Pillow does not decode have the pixels that it would give, whole and in part."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from vision_transformers.data import decoding, jpeg
from vision_transformers.data.decoding import decode, decode_pixels
from vision_transformers.errors import DataFailure


def photograph(mode: str = "RGB", size: tuple[int, int] = (75, 93)) -> Image.Image:
    """Smooth colours with noise, so that every row and column differs, also in colour alone."""
    random, (width, height) = np.random.default_rng(0), size
    columns, rows = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    colours = np.stack([columns, rows, 1 - columns * rows], -1) * 200 + random.normal(
        0, 20, (height, width, 3)
    )
    return Image.fromarray(colours.clip(0, 255).astype(np.uint8)).convert(mode)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def turned_in_xmp() -> bytes:
    description = b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    start = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    return start + description + b"</rdf:RDF></x:xmpmeta>"


def upright() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    return exif


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "colours of full size": ("RGB", {"subsampling": "4:4:4"}),
    "colours of half the width": ("RGB", {"subsampling": "4:2:2"}),
    "colours of half the size": ("RGB", {"subsampling": "4:2:0"}),
    "best quality": ("RGB", {"quality": 100, "subsampling": 2}),
    "own tables": ("RGB", {"optimize": True}),
    "progressive": ("RGB", {"progressive": True}),
    "restart markers": ("RGB", {"restart_marker_rows": 1}),
    "many restart markers": ("RGB", {"restart_marker_blocks": 3}),
    "comment and profile": ("RGB", {"comment": b"\xff\xc0" * 9, "icc_profile": b"\xff\xd9\xff\xc0" * 50}),
    "held sideways": ("RGB", {"exif": turned()}),
    "held sideways, as XMP says": ("RGB", {"xmp": turned_in_xmp()}),
    "held upright": ("RGB", {"exif": upright()}),
    "stored as red, green and blue": ("RGB", {"keep_rgb": True}),
    "grey": ("L", {}),
    "printer's colours": ("CMYK", {}),
}


def box_down_to(bottom: int) -> Callable[[tuple[int, int]], tuple[int, int, int, int]]:
    def part(size: tuple[int, int]) -> tuple[int, int, int, int]:
        width, height = size
        return width // 4, min(bottom, height) // 3, width - width // 5, min(bottom, height)

    return part


def assert_alike(path: Path, bottom: int) -> None:
    part = box_down_to(bottom)
    for channels in (1, 3):
        whole = decode(path, channels, 255)
        cut = whole.crop(part(whole.size))
        assert np.array_equal(decode_pixels(path, channels, 255), with_channels(whole))
        assert np.array_equal(decode_pixels(path, channels, 255, part), with_channels(cut)), (
            channels,
            bottom,
        )


def with_channels(picture: Image.Image) -> np.ndarray:
    return np.array(picture).reshape(picture.height, picture.width, -1)


@pytest.mark.parametrize("size", [(75, 93), (64, 64), (17, 5), (1, 40)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_part_has_the_pixels_of_the_whole_picture(tmp_path: Path, kind: str, size: tuple[int, int]) -> None:
    """Else what a model learns from would depend on where a crop ends."""
    mode, options = KINDS[kind]
    photograph(mode, size).save(tmp_path / "picture.jpg", **options)
    for bottom in range(1, size[1] + 1):
        assert_alike(tmp_path / "picture.jpg", bottom)


@pytest.mark.parametrize("subsampling", ["440", "411"])
def test_colours_that_pillow_does_not_write_so_are_read_as_it_reads_them(
    tmp_path: Path, subsampling: str
) -> None:
    pixels = np.array(photograph())
    content = simplejpeg.encode_jpeg(pixels, colorsubsampling=subsampling)
    (tmp_path / "picture.jpg").write_bytes(content)
    for bottom in range(1, 94, 4):
        assert_alike(tmp_path / "picture.jpg", bottom)


@pytest.mark.parametrize("after", [b"", b"\n", b"a program's own notes", b"\xff\xd9"])
def test_what_stands_behind_a_picture_changes_nothing(tmp_path: Path, after: bytes) -> None:
    photograph().save(tmp_path / "picture.jpg")
    with (tmp_path / "picture.jpg").open("ab") as file:
        file.write(after)
    assert_alike(tmp_path / "picture.jpg", 30)


@pytest.mark.parametrize("kind", ["best quality", "progressive", "held sideways", "printer's colours"])
@pytest.mark.parametrize("damaged", [False, True])
def test_the_part_is_asked_for_once(tmp_path: Path, kind: str, damaged: bool) -> None:
    """It is drawn at random: asked again, it would be another one."""
    mode, options = KINDS[kind]
    path, asked = tmp_path / "picture.jpg", []
    photograph(mode).save(path, **options)
    if damaged:  # not so that Pillow would mind
        content = bytearray(path.read_bytes())
        content[-20:-10] = bytes(10)
        path.write_bytes(content)

    def part(size: tuple[int, int]) -> tuple[int, int, int, int]:
        asked.append(size)
        return 3, 5, 40, size[1]

    assert decode_pixels(path, 3, 255, part).shape[1:] == (37, 3)
    assert len(asked) == 1


def test_a_file_that_is_not_there_or_no_file_is_named_as_by_decode(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    for name, said in {
        "missing.jpg": "does not exist",
        ".": "is a folder",
        "empty.jpg": "it is empty",
    }.items():
        with pytest.raises(DataFailure, match=said):
            decode_pixels(tmp_path / name, 3, 255)


def test_an_unfinished_picture_is_never_taken_for_pixels(tmp_path: Path) -> None:
    """Warnings hide the decoder's errors: memory that nobody wrote to would be a picture."""
    photograph().save(tmp_path / "picture.jpg")
    content = bytearray((tmp_path / "picture.jpg").read_bytes())
    scan = content.index(b"\xff\xda")
    content[scan + 6] = 0x77  # tables that are not there, behind a spectrum that is not whole
    content[scan + 13] = 0x3E
    (tmp_path / "picture.jpg").write_bytes(content)
    for part in (None, box_down_to(20)):
        with pytest.raises(DataFailure, match="cannot be decoded"):
            decode_pixels(tmp_path / "picture.jpg", 3, 255, part)


@pytest.mark.parametrize(
    "segment", [b"\xff\xe0\x00\x07JFIF\0", b"\xff\xee\x00\x08Adobe\0", b"\xff\xed\x00\x04\x00\x00"]
)
def test_what_pillow_refuses_of_a_header_is_refused(tmp_path: Path, segment: bytes) -> None:
    photograph().save(tmp_path / "picture.jpg")
    content = (tmp_path / "picture.jpg").read_bytes()
    (tmp_path / "picture.jpg").write_bytes(content[:2] + segment + content[2:])
    try:
        decode(tmp_path / "picture.jpg", 3, 255)
    except DataFailure:
        with pytest.raises(DataFailure):
            decode_pixels(tmp_path / "picture.jpg", 3, 255)
    else:
        assert_alike(tmp_path / "picture.jpg", 30)


def test_other_formats_give_parts_too(tmp_path: Path) -> None:
    for suffix in ("png", "webp", "tif", "gif", "bmp"):
        photograph().save(tmp_path / f"picture.{suffix}")
        assert_alike(tmp_path / f"picture.{suffix}", 40)


def test_of_a_photograph_only_the_upper_rows_are_decoded(tmp_path: Path) -> None:
    """Else crops would take as long as whole pictures, which is what this is for."""
    photograph().save(tmp_path / "picture.jpg")
    content = (tmp_path / "picture.jpg").read_bytes()
    header = jpeg.read_header(content)
    assert header is not None
    assert len(jpeg.upper_rows(content, header, 20)) < 30


def test_pillow_opens_no_ordinary_photograph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else files would take as long as Pillow takes for them."""
    photograph().save(tmp_path / "picture.jpg")
    monkeypatch.setattr(decoding, "opened", None)
    assert decode_pixels(tmp_path / "picture.jpg", 3, 255).shape == (93, 75, 3)


@pytest.mark.parametrize("fill", [b"\xff", b"\xff\xff\xff", b"\x00", b"\xff\x01"])
def test_unusual_bytes_between_a_headers_parts_change_nothing(tmp_path: Path, fill: bytes) -> None:
    buffer = io.BytesIO()
    photograph().save(buffer, "JPEG")
    tables = buffer.getvalue().index(b"\xff\xdb")
    (tmp_path / "picture.jpg").write_bytes(buffer.getvalue()[:tables] + fill + buffer.getvalue()[tables:])
    try:
        decode(tmp_path / "picture.jpg", 3, 255)
    except DataFailure:
        with pytest.raises(DataFailure):
            decode_pixels(tmp_path / "picture.jpg", 3, 255, box_down_to(30))
    else:
        assert_alike(tmp_path / "picture.jpg", 30)


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
def test_a_truncated_file_is_named_whatever_is_cut_out_of_it(tmp_path: Path, kept: float) -> None:
    """Else a run would fail in the epoch in which a crop first reaches what is missing."""
    path = tmp_path / "truncated.jpg"
    photograph(size=(200, 300)).save(path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(DataFailure, match=r"truncated\.jpg cannot be decoded: .*truncated"):
        decode_pixels(path, 3, 255, box_down_to(20))


def test_damage_within_a_picture_changes_a_part_as_it_changes_the_whole(tmp_path: Path) -> None:
    photograph().save(tmp_path / "whole.jpg")
    whole = np.frombuffer((tmp_path / "whole.jpg").read_bytes(), dtype=np.uint8)
    random, alike = np.random.default_rng(1), 0
    for _ in range(300):
        changed = whole.copy()
        changed[random.integers(len(whole), size=2)] = random.integers(256, size=2)
        (tmp_path / "changed.jpg").write_bytes(changed.tobytes())
        try:
            decode(tmp_path / "changed.jpg", 3, 255)
        except DataFailure:
            with pytest.raises(DataFailure):
                decode_pixels(tmp_path / "changed.jpg", 3, 255, box_down_to(40))
            continue
        assert_alike(tmp_path / "changed.jpg", 40)
        alike += 1
    assert alike > 100
