import random
from functools import partial

import numpy
import pytest
import torch
from PIL import Image

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.decoding import part_of
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.resizing import resize, to_pixels
from vision_transformers.data.vary_batch import ERASED_GREY
from vision_transformers.data.vary_image import vary_image

EVERYTHING = Augmentation(
    resized_crop=(0.3, 1.0),
    rotation=20.0,
    scaling=0.2,
    shear=10.0,
    shift=2,
    flip=True,
    rand_augment=2,
    color_jitter=0.4,
    erasing=0.5,
)
SIZE = Preprocessing(size=(16, 20))


def picture(mode="RGB", width=40, height=30):
    channels = {"L": (), "RGB": (3,)}[mode]
    return Image.fromarray(
        numpy.random.default_rng(0).integers(0, 256, (height, width, *channels), dtype=numpy.uint8)
    )


def vary(augmentation, image=None, seed=0, epoch=0, index=0, preprocessing=SIZE):
    picture_to_vary = image or picture()
    pixels = numpy.array(picture_to_vary).reshape(picture_to_vary.height, picture_to_vary.width, -1)
    return vary_image(partial(part_of, pixels), preprocessing, augmentation, seed, epoch, index)


def test_the_same_position_gives_the_same_pixels_whatever_ran_before():
    """Else a resumed run, or one with other workers, would train on other images."""
    once = [vary(EVERYTHING, index=index) for index in range(20)]
    for source in (torch.manual_seed, random.seed, numpy.random.seed):
        source(1234)
    again = [vary(EVERYTHING, index=index) for index in reversed(range(20))]
    assert all(torch.equal(a, b) for a, b in zip(once, again[::-1], strict=True))


def test_the_global_generators_are_left_as_they_were():
    torch.manual_seed(5)
    before = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tolist()
    for index in range(20):
        vary(EVERYTHING, index=index)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert numpy.random.get_state()[1].tolist() == before[2]


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}, {"index": 1}])
def test_seeds_epochs_and_images_are_varied_differently(other):
    assert not torch.equal(vary(EVERYTHING), vary(EVERYTHING, **other))


def test_without_variation_an_image_is_only_resized():
    assert torch.equal(vary(Augmentation()), to_pixels(resize(picture(), SIZE)))


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(resized_crop=(0.2, 1.0)),
        Augmentation(shift=30),
        Augmentation(rotation=30.0),
        Augmentation(scaling=0.5),
        Augmentation(shear=30.0),
        Augmentation(elastic=2.0),
        Augmentation(flip=True),
        Augmentation(rand_augment=2, rand_augment_magnitude=30),
        Augmentation(color_jitter=1.0),
        Augmentation(erasing=1.0),
    ],
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_each_variation_gives_the_size_of_the_model_and_varies(augmentation, mode):
    channels = {"L": 1, "RGB": 3}[mode]
    preprocessing = Preprocessing(size=(16, 20), channels=channels)
    image = picture(mode)
    varied = [vary(augmentation, image, index=index, preprocessing=preprocessing) for index in range(60)]
    assert all(pixels.shape == (channels, 16, 20) and pixels.dtype == torch.uint8 for pixels in varied)
    assert any(not torch.equal(varied[0], pixels) for pixels in varied[1:])


def test_a_shift_moves_the_image_by_whole_pixels_and_brings_in_black():
    white = Image.new("L", (20, 16), 255)
    preprocessing = Preprocessing(size=(16, 20), channels=1)
    rows = set()
    for index in range(100):
        (pixels,) = vary(Augmentation(shift=2), white, index=index, preprocessing=preprocessing)
        assert set(pixels.unique().tolist()) <= {0, 255}
        rows.add(int((pixels == 255).any(1).sum()))
    assert rows == {14, 15, 16}


def test_half_of_the_images_are_mirrored():
    plain = vary(Augmentation())
    varied = [vary(Augmentation(flip=True), index=index) for index in range(200)]
    mirrored = sum(torch.equal(pixels, plain.flip(-1)) for pixels in varied)
    assert mirrored + sum(torch.equal(pixels, plain) for pixels in varied) == 200
    assert 70 < mirrored < 130


def test_an_erased_rectangle_is_grey_and_of_the_size_that_was_asked_for():
    black = Image.new("RGB", (40, 40))
    preprocessing = Preprocessing(size=(40, 40))
    augmentation = Augmentation(erasing=1.0, erasing_area=(0.1, 0.3))
    for index in range(50):
        pixels = vary(augmentation, black, index=index, preprocessing=preprocessing)
        assert set(pixels.unique().tolist()) == {0, ERASED_GREY}
        assert 0.08 < (pixels == ERASED_GREY).float().mean() < 0.32


@pytest.mark.parametrize("area", [(0.8, 1.0), (1.0, 1.0)])
def test_every_image_that_is_to_be_erased_is(area):
    black, preprocessing = Image.new("RGB", (64, 16)), Preprocessing(size=(16, 64))
    augmentation = Augmentation(erasing=1.0, erasing_area=area)
    for index in range(20):
        pixels = vary(augmentation, black, index=index, preprocessing=preprocessing)
        assert (pixels == ERASED_GREY).float().mean() > 0.7


def test_mixing_is_left_to_batches():
    assert torch.equal(vary(Augmentation(mixup=0.8, cutmix=1.0)), vary(Augmentation()))


@pytest.mark.parametrize(
    ("weaker", "stronger"),
    [
        (Augmentation(rand_augment=1), Augmentation(rand_augment=3)),
        (
            Augmentation(rand_augment=1, rand_augment_magnitude=1),
            Augmentation(rand_augment=1, rand_augment_magnitude=30),
        ),
    ],
)
def test_rand_augment_is_as_strong_as_the_recipe_says(weaker: Augmentation, stronger: Augmentation) -> None:
    plain = vary(Augmentation()).int()
    changes = [
        sum((vary(each, index=index).int() - plain).abs().float().mean() for index in range(40))
        for each in (weaker, stronger)
    ]
    assert changes[1] > 1.2 * changes[0]


def test_a_jitter_of_colours_goes_as_far_as_the_recipe_says_and_no_farther() -> None:
    """Of a plain picture, contrast and saturation both change how far its colour is from grey."""
    plain = Image.new("RGB", (20, 16), (150, 100, 100))
    varied = [
        vary(Augmentation(color_jitter=0.3), plain, index=index)[:, 0, 0].double() for index in range(60)
    ]
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    brightness = [float(colour @ luma) / 114.95 for colour in varied]
    assert 0.66 < min(brightness) < 0.76
    assert 1.24 < max(brightness) < 1.34
    distances = [
        float(colour[0] - colour[1]) / (50 * bright)
        for colour, bright in zip(varied, brightness, strict=True)
    ]
    assert 0.47 < min(distances) < 0.62
    assert 1.42 < max(distances) < 1.71


def test_a_resized_crop_shows_the_share_of_the_recipe() -> None:
    slope = Image.fromarray(numpy.tile(numpy.arange(100, dtype=numpy.uint8)[None, :, None], (100, 1, 3)))
    for index in range(20):
        seen = vary(Augmentation(resized_crop=(0.81, 1.0)), slope, index=index)
        assert int(seen.max()) - int(seen.min()) > 70
