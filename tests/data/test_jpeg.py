"""JPEG files that Pillow does not decode have the pixels that it would give, whole and in part."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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


@pytest.mark.parametrize("size", [(75, 93), (64, 64), (17, 5)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_part_has_the_pixels_of_the_whole_picture(tmp_path: Path, kind: str, size: tuple[int, int]) -> None:
    """Else what a model learns from would depend on where a crop ends."""
    mode, options = KINDS[kind]
    photograph(mode, size).save(tmp_path / "picture.jpg", **options)
    for bottom in range(1, size[1] + 1):
        assert_alike(tmp_path / "picture.jpg", bottom)


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
    monkeypatch.setattr(decoding, "_opened", None)
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
