"""A map's colours say what speaks for and against, where it lies in the picture."""

import numpy as np
import pytest

from vision_transformers.report.overlay import AGAINST, FOR, map_colours, overlaid


def test_orange_is_for_and_blue_against_as_strong_as_the_strongest_of_both() -> None:
    colours = map_colours(np.array([[4.0, -2.0], [0.0, -8.0]], dtype=np.float32))
    assert colours[..., 3].tolist() == [[128, 64], [0, 255]]
    assert colours[0, 0, :3].tolist() == list(FOR)
    assert colours[0, 1, :3].tolist() == colours[1, 1, :3].tolist() == list(AGAINST)


def test_a_map_of_nothing_against_begins_at_its_least() -> None:
    assert map_colours(np.array([[1.0, 3.0]], dtype=np.float32))[..., 3].tolist() == [[0, 255]]


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (10, 10)])
def test_each_patch_is_seen_however_small_the_picture_is(size: tuple[int, int]) -> None:
    for row, column in ((0, 0), (3, 8), (13, 13)):
        values = np.zeros((14, 14), np.float32)
        values[row, column] = 1
        found = overlaid(np.zeros((*size, 3), np.uint8), values, (0.0, 0.0, 1.0, 1.0))
        assert found.any(axis=2).mean() == pytest.approx(1 / 14**2, rel=1.0)


def test_a_map_lies_over_the_part_that_was_seen() -> None:
    picture = np.full((40, 80, 3), 100, np.uint8)
    values = np.array([[0.0, 1.0], [0.0, 0.0]], dtype=np.float32)
    found = overlaid(picture, values, (0.25, 0.0, 0.75, 1.0), opacity=1.0)
    assert (found[:20, 40:60] == FOR).all()
    assert (found[20:, 20:60] == 100).all()
    assert (found[:20, 20:40] == 100).all()
    assert (found[:, :20] == found[:, 60:]).all()
    assert (found[:, :20] > 150).all()
