"""What another model sees of images that are ready for a first one is what it sees of the pictures."""

import numpy as np
import pytest
import torch
from PIL import Image

from vision_transformers.data.as_seen import as_seen, to_array
from vision_transformers.data.normalising import for_another, normalise
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.resizing import resize_pixels, to_pixels

COLOUR = Preprocessing(size=(24, 20), channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
GREY = Preprocessing(size=(24, 20), channels=1, mean=(0.3,), std=(0.4,))


@pytest.mark.parametrize(
    ("seen", "other", "levels"),
    [
        (COLOUR, Preprocessing(size=(24, 20), mean=(0.5,), std=(0.25,)), 0.001),
        (GREY, COLOUR, 0.001),
        (COLOUR, GREY, 0.6),
        (COLOUR, Preprocessing(size=(10, 12), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)), 1.01),
        (COLOUR, Preprocessing(size=(37, 48), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)), 1.01),
        (GREY, Preprocessing(size=(8, 8), channels=3, mean=(0.4,), std=(0.3,)), 1.01),
        (COLOUR, Preprocessing(size=(12, 10), channels=1), 1.6),
    ],
)
def test_it_is_what_its_own_preprocessing_gives(
    seen: Preprocessing, other: Preprocessing, levels: float
) -> None:
    """Within levels, of 255, by which Pillow rounds where it resizes and where it turns colours to grey."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, seen.channels), dtype=np.uint8)
    picture = Image.fromarray(pixels if seen.channels == 3 else pixels[..., 0])
    own = resize_pixels(to_array(as_seen(picture, other.channels, 255)), other)[None]
    found = for_another(normalise(to_pixels(picture)[None], seen), seen, other)
    mean, std = (torch.tensor(values)[:, None, None] for values in (other.mean, other.std))
    assert found.shape == (1, other.channels, *other.size)
    torch.testing.assert_close((found * std + mean) * 255, own.float(), rtol=0, atol=levels)
