"""Pictures that are nearly the same are found among any number of others, each pair once."""

import itertools

import numpy as np
import pytest

from vision_transformers.data.inspection import likeness
from vision_transformers.data.inspection.likeness import LIKE, PLAIN, SIDE, Likeness, find_likenesses


def by_definition(thumbnails: list[bytes]) -> set[Likeness]:
    levels = [np.frombuffer(each, np.uint8).reshape(SIDE, SIDE).astype(float) for each in thumbnails]
    found = set()
    for first, second in itertools.combinations(range(len(levels)), 2):
        one, other = levels[first], levels[second]
        if min(one.std(), other.std()) < PLAIN:
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
    thumbnails += [bytes([100 + number] * SIDE * SIDE) for number in range(4)]
    found = list(find_likenesses(thumbnails))
    assert len(found) == len(set(found))
    assert set(found) == by_definition(thumbnails)
    assert {each.is_mirrored for each in found} == {True, False}


def test_of_no_pictures_and_of_plain_ones_none_are_alike() -> None:
    assert list(find_likenesses([])) == []
    assert list(find_likenesses([bytes(SIDE * SIDE)] * 3)) == []
