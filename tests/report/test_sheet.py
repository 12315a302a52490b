"""A sheet shows the pixels that the model sees, each with the caption that belongs to it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vision_transformers.report.sheet import image_sheet, write_png

GAP = 12


def images(count: int, side: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, channels), dtype=np.uint8)


@pytest.mark.parametrize(("side", "factor"), [(8, 14), (28, 4), (32, 3), (224, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_enlarged_whole_and_not_blended(side: int, factor: int, channels: int) -> None:
    pixels = images(2, side, channels)
    sheet = image_sheet(pixels, ["first", "second"])
    for place in range(2):
        left = GAP + place * (side * factor + GAP)
        shown = sheet[GAP : GAP + side * factor : factor, left : left + side * factor : factor]
        np.testing.assert_array_equal(shown, np.broadcast_to(pixels[place], shown.shape))


def test_a_caption_stands_under_its_own_image() -> None:
    pixels = images(2, 28, 1)
    plain, named = image_sheet(pixels, ["", ""]), image_sheet(pixels, ["", "7"])
    rows, columns = np.nonzero((plain != named).any(axis=-1))
    assert rows.min() >= GAP + 112
    assert columns.min() > GAP + 112


@pytest.mark.parametrize("caption", ["a very long name of a class", "averylongnameofaclass"])
def test_a_long_caption_does_not_reach_the_next_image(caption: str) -> None:
    sheet = image_sheet(images(2, 28, 1), [caption, ""])
    _, columns = np.nonzero((sheet[GAP + 112 :] < 255).any(axis=-1))
    assert GAP <= columns.min() <= columns.max() < GAP + 112


def test_a_guess_and_the_truth_are_read_whole_below_a_small_image() -> None:
    """Two words that do not fit side by side stand one below the other."""
    pixels = images(1, 32, 3)
    two_lines = image_sheet(pixels, ["automobile (motorcycle)"])
    for cut in ("automobile (motorcycl)", "automobil (motorcycle)"):
        assert not np.array_equal(two_lines, image_sheet(pixels, [cut]))
    assert len(two_lines) > len(image_sheet(pixels, ["automobile"]))


def test_a_legend_stands_below_all_images_and_inside_the_sheet() -> None:
    pixels = images(2, 28, 1)
    plain = image_sheet(pixels, ["cat", "dog"])
    named = image_sheet(pixels, ["cat", "dog"], "orange speaks for the guess, blue against it")
    np.testing.assert_array_equal(named[: len(plain)], plain)
    rows, columns = np.nonzero((named[len(plain) :] < 255).any(axis=-1))
    assert rows.max() - rows.min() > 20, "two lines"
    assert columns.max() < named.shape[1] - GAP


def test_captions_that_no_font_has_are_told_apart() -> None:
    pixels = images(1, 28, 1)
    sheets = [image_sheet(pixels, [caption]) for caption in ("\U00012001", "\U00012002", "\U00012001")]
    assert not np.array_equal(sheets[0], sheets[1])
    assert np.array_equal(sheets[0], sheets[2])


def test_at_most_64_images_are_shown() -> None:
    pixels = images(65, 8, 1)
    captions = [str(number) for number in range(65)]
    np.testing.assert_array_equal(image_sheet(pixels, captions), image_sheet(pixels[:64], captions[:64]))


def test_a_missing_caption_is_a_mistake_that_is_told() -> None:
    with pytest.raises(ValueError, match="3 images and 2 captions"):
        image_sheet(images(3, 8, 1), ["a", "b"])


def test_the_file_is_the_array_and_equal_sheets_are_equal_files(tmp_path: Path) -> None:
    sheet = image_sheet(images(5, 28, 3), ["été", "über", "λόγος", "мир", "1"])
    for name in ("first.png", "second.png"):
        write_png(tmp_path / name, sheet)
    with Image.open(tmp_path / "first.png") as image:
        np.testing.assert_array_equal(np.asarray(image), sheet)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
