"""Pictures that are nearly the same are found among any number of others, each pair once."""

import itertools

import numpy as np
import pytest

from vision_transformers.data.inspection import likeness
from vision_transformers.data.inspection.likeness import LIKE, PLAIN, SIDE, Likeness, find_likenesses


def by_definition(thumbnails: list[bytes], kinds: list[int]) -> set[Likeness]:
    levels = [np.frombuffer(each, np.uint8).reshape(SIDE, SIDE).astype(float) for each in thumbnails]
    found = set()
    for first, second in itertools.combinations(range(len(levels)), 2):
        one, other = levels[first], levels[second]
        if min(one.std(), other.std()) < PLAIN or kinds[first] == kinds[second]:
            continue
        plainly = np.corrcoef(one.ravel(), other.ravel())[0, 1] >= LIKE
        if plainly or np.corrcoef(one.ravel(), other[:, ::-1].ravel())[0, 1] >= LIKE:
            found.add(Likeness(first, second, not plainly))
    return found


@pytest.mark.parametrize("at_once", [3, 7, 1000])
def test_all_pairs_are_found_once_however_many_are_compared_at_once(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likeness, "_AT_ONCE", at_once)
    random = np.random.default_rng(0)
    kinds = random.integers(40, 216, (12, SIDE, SIDE))
    kinds[:6] = kinds[:6, :, :1]  # stripes, which mirroring does not change
    thumbnails = []
    for number in range(60):
        kind = kinds[number % 12][:, :: 1 - 2 * (number % 5 == 0)]
        noise = random.normal(0, 1 + 5 * (number % 3), (SIDE, SIDE))
        lighter = kind * (1 - 0.1 * (number % 4)) + noise
        thumbnails.append(lighter.clip(0, 255).round().astype(np.uint8).tobytes())
    kinds = [max(number, 20) for number in range(60)]
    found = list(find_likenesses(thumbnails, kinds))
    assert len(found) == len(set(found))
    assert set(found) == by_definition(thumbnails, kinds)
    assert {each.is_mirrored for each in found} == {True, False}


def test_pictures_that_all_differ_in_what_mirroring_changes_are_found() -> None:
    """Light from the left or from the right: no direction would sort them."""
    ramp = np.linspace(40, 200, SIDE).astype(np.uint8)[None, :].repeat(SIDE, axis=0)
    ramps = [ramp[:, :: 1 - 2 * (number % 2)] for number in range(6)]
    thumbnails = [each.tobytes() for each in ramps]
    found = {(each.first, each.second): each.is_mirrored for each in find_likenesses(thumbnails, range(6))}
    assert found == {(a, b): (a + b) % 2 == 1 for a, b in itertools.combinations(range(6), 2)}


def test_pictures_that_show_too_little_are_like_no_other() -> None:
    faint = np.linspace(100, 100 + 1.7 * PLAIN, SIDE * SIDE).astype(np.uint8)
    plainer = np.linspace(100, 100 + 3.7 * PLAIN, SIDE * SIDE).astype(np.uint8)
    assert faint.std() < PLAIN < plainer.std()
    assert list(find_likenesses([faint.tobytes()] * 3, range(3))) == []
    assert len(list(find_likenesses([plainer.tobytes()] * 3, range(3)))) == 3
    assert list(find_likenesses([bytes(SIDE * SIDE)] * 3, range(3))) == []
    assert list(find_likenesses([], [])) == []
