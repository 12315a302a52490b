import math

import pytest
import torch

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.vary_batch import (
    CROP_ASPECT,
    DISTORTION_DRAWS,
    ERASED_GREY,
    distort,
    erase,
    mirror,
    resized_crop,
    shift,
    vary_batch,
)
from vision_transformers.randomness import derive_seed, uniform

EVERYTHING = Augmentation(
    resized_crop=(0.3, 1.0),
    rotation=20.0,
    scaling=0.2,
    shear=10.0,
    elastic=1.0,
    shift=3,
    flip=True,
    erasing=0.5,
)


def images(count, channels=3, height=12, width=16):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator)


def numbers(count, draws, seed=0):
    return uniform(derive_seed(seed, "test"), torch.arange(count), draws)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 300])
def test_an_image_is_varied_alike_in_any_batch(batch_size):
    """Else a resumed run with another batch order would train on other images."""
    pixels, indices = images(300), torch.randperm(300, generator=torch.Generator().manual_seed(1))
    whole = vary_batch(pixels[indices], indices, EVERYTHING, seed=0, epoch=2)
    parts = [
        vary_batch(pixels[part], part, EVERYTHING, seed=0, epoch=2) for part in indices.split(batch_size)
    ]
    assert torch.equal(torch.cat(parts), whole)


def test_nothing_that_ran_before_matters_and_the_global_generator_is_not_used():
    pixels, indices = images(20), torch.arange(20)
    first = vary_batch(pixels, indices, EVERYTHING, seed=0, epoch=0)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert torch.equal(vary_batch(pixels, indices, EVERYTHING, seed=0, epoch=0), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_epochs_and_images_are_varied_differently():
    pixels = images(1).expand(20, -1, -1, -1)
    indices = torch.arange(20)
    first = vary_batch(pixels, indices, EVERYTHING, seed=0, epoch=0)
    assert len({tuple(image.flatten().tolist()) for image in first}) == 20
    for seed, epoch in [(0, 1), (1, 0)]:
        assert not torch.equal(vary_batch(pixels, indices, EVERYTHING, seed, epoch), first)


def test_without_variation_pixels_stay_as_they_are():
    pixels = images(5)
    varied = vary_batch(pixels, torch.arange(5), Augmentation(mixup=1.0, cutmix=1.0), seed=0, epoch=0)
    assert torch.equal(varied, pixels)


def test_the_callers_pixels_are_not_changed():
    """Else images in memory would decay from epoch to epoch."""
    pixels = images(20)
    before = pixels.clone()
    vary_batch(pixels, torch.arange(20), EVERYTHING, seed=0, epoch=0)
    assert torch.equal(pixels, before)


def test_a_shift_is_the_one_that_a_loop_over_pixels_makes():
    pixels, most = images(40, height=5, width=6), 3
    chosen = numbers(40, 2)
    shifted = shift(pixels, most, chosen)
    for image in range(40):
        up, left = ((chosen[image] * (2 * most + 1)).int() - most).tolist()
        for row in range(5):
            for column in range(6):
                inside = 0 <= row + up < 5 and 0 <= column + left < 6
                expected = pixels[image, :, row + up, column + left] if inside else torch.zeros(3)
                assert torch.equal(shifted[image, :, row, column], expected.byte())


def test_every_shift_occurs_about_equally_often():
    dot = torch.zeros(4900, 1, 9, 9, dtype=torch.uint8)
    dot[:, 0, 4, 4] = 1
    counts = shift(dot, 3, numbers(4900, 2)).sum(0)[0]
    assert counts.sum() == 4900
    assert (counts[1:8, 1:8] > 60).all()
    assert (counts[1:8, 1:8] < 150).all()


def test_a_shift_larger_than_the_image_is_possible():
    assert shift(images(50), 100, numbers(50, 2)).shape == (50, 3, 12, 16)


def test_half_of_the_images_are_mirrored_and_the_others_are_not():
    pixels, indices = images(400), torch.arange(400)
    varied = vary_batch(pixels, indices, Augmentation(flip=True), seed=0, epoch=0)
    mirrored = (varied == pixels.flip(-1)).flatten(1).all(1)
    plain = (varied == pixels).flatten(1).all(1)
    assert (mirrored ^ plain).all()
    assert 150 < mirrored.sum() < 250


def test_mirroring_twice_is_no_change():
    pixels, indices = images(50), torch.arange(50)
    augmentation = Augmentation(flip=True)
    once = vary_batch(pixels, indices, augmentation, seed=0, epoch=0)
    assert torch.equal(vary_batch(once, indices, augmentation, seed=0, epoch=0), pixels)


def test_turning_one_variation_on_does_not_change_the_others():
    pixels, indices = images(50), torch.arange(50)
    flipped = vary_batch(pixels, indices, Augmentation(flip=True), seed=0, epoch=0)
    erased = vary_batch(pixels, indices, Augmentation(flip=True, erasing=0.3), seed=0, epoch=0)
    assert torch.equal(erased[erased != ERASED_GREY], flipped[erased != ERASED_GREY])


def test_the_magnitude_of_rand_augment_and_the_area_of_erasing_are_the_recipes() -> None:
    pixels, indices = images(8, height=24, width=24), torch.arange(8)
    weak, strong = (
        vary_batch(pixels, indices, Augmentation(rand_augment=2, rand_augment_magnitude=magnitude), 0, 0)
        for magnitude in (1, 30)
    )
    assert not torch.equal(weak, strong)
    black = torch.zeros_like(pixels)
    erased = vary_batch(black, indices, Augmentation(erasing=1.0, erasing_area=(0.5, 0.6)), 0, 0)
    assert ((erased == ERASED_GREY).float().mean(dim=(1, 2, 3)) > 0.4).all()


@pytest.mark.parametrize("share", [(0.02, 0.33), (0.2, 0.2), (1.0, 1.0)])
def test_the_erased_share_is_within_its_bounds(share):
    black = torch.zeros(500, 3, 40, 30, dtype=torch.uint8)
    erased = erase(black, share, numbers(500, 4), torch.ones(500, dtype=torch.bool)) == ERASED_GREY
    shares = erased[:, 0].float().mean(dim=(1, 2))
    assert (shares > share[0] * 0.8).all()
    assert (shares < share[1] * 1.1 + 0.01).all()
    assert torch.equal(erased.any(1), erased.all(1))


def test_an_erased_region_is_one_rectangle_that_may_lie_anywhere():
    black = torch.zeros(2000, 1, 16, 16, dtype=torch.uint8)
    erased = erase(black, (0.05, 0.3), numbers(2000, 4), torch.ones(2000, dtype=torch.bool))[:, 0] > 0
    rectangles = erased.any(2)[:, :, None] & erased.any(1)[:, None, :]
    assert torch.equal(erased, rectangles)
    assert erased.any(0).all()


def rectangle(height: int, width: int, share: float, *chosen: float) -> torch.Tensor:
    """Where one is erased, by the numbers that choose its area, aspect, row and column."""
    black = torch.zeros(1, 1, height, width, dtype=torch.uint8)
    return erase(black, (share, share), torch.tensor([chosen]), torch.ones(1, dtype=torch.bool))[0, 0] > 0


def test_an_erased_rectangle_reaches_the_last_row_and_column_and_each_corner() -> None:
    assert rectangle(9, 11, 0.2, 0.5, 0.5, 0.9999, 0.9999)[-1, -1]
    assert rectangle(20, 20, 0.1, 0.5, 0.5, 0.0, 0.9999)[0, -1]
    assert rectangle(20, 20, 0.1, 0.5, 0.5, 0.9999, 0.0)[-1, 0]


@pytest.mark.parametrize(("height", "width"), [(100, 10), (10, 100)])
def test_erased_rectangles_of_a_long_image_have_the_area_that_was_asked_for(height: int, width: int) -> None:
    for number in (0.0, 0.3, 0.9999):
        share = rectangle(height, width, 0.9, 0.5, number, 0.5, 0.5).float().mean().item()
        assert share == pytest.approx(0.9, abs=0.06)


def test_erased_rectangles_are_as_often_high_as_wide_up_to_10_to_3() -> None:
    black = torch.zeros(2000, 1, 60, 60, dtype=torch.uint8)
    erased = erase(black, (0.05, 0.05), numbers(2000, 4), torch.ones(2000, dtype=torch.bool))[:, 0] > 0
    heights, widths = erased.any(2).sum(1), erased.any(1).sum(1)
    logarithms = (widths / heights).log()
    assert logarithms.mean().item() == pytest.approx(0, abs=0.07)
    assert logarithms.max().item() == pytest.approx(math.log(10 / 3), abs=0.15)
    assert logarithms.min().item() == pytest.approx(-math.log(10 / 3), abs=0.15)


def test_only_the_chosen_share_of_images_is_erased():
    black = torch.zeros(1000, 1, 16, 16, dtype=torch.uint8)
    varied = vary_batch(black, torch.arange(1000), Augmentation(erasing=0.25), seed=0, epoch=0)
    assert 200 < (varied > 0).flatten(1).any(1).sum() < 300


def test_a_crop_of_the_whole_area_is_no_change():
    pixels = images(50, height=16, width=16)
    assert torch.equal(resized_crop(pixels, (1.0, 1.0), numbers(50, 4)), pixels)


def cropped(share: tuple[float, float], chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Areas and aspects of crops, measured on a picture whose pixels say where they are."""
    ramp = torch.arange(0, 200, 4, dtype=torch.uint8)
    picture = torch.stack([ramp[:, None].expand(50, 50), ramp.expand(50, 50)])
    pixels = resized_crop(picture.expand(len(chosen), -1, -1, -1), share, chosen).float()
    span = (pixels.amax((2, 3)) - pixels.amin((2, 3))) / 4 * 50 / 49
    return span.prod(1) / 2500, span[:, 1] / span[:, 0]


def test_a_crop_covers_the_area_and_the_aspect_that_were_asked_for():
    share, aspect = cropped((0.25, 0.75), numbers(300, 4))
    assert (share > 0.22).all()
    assert (share < 0.78).all()
    assert (aspect > CROP_ASPECT[0] * 0.95).all()
    assert (aspect < CROP_ASPECT[1] * 1.05).all()
    assert share.std() > 0.1
    assert aspect.std() > 0.1


def test_the_aspect_of_a_crop_goes_from_3_to_4_up_to_4_to_3() -> None:
    _, aspect = cropped((0.3, 0.3), torch.tensor([[0.5, 0.0, 0.5, 0.5], [0.5, 0.9999, 0.5, 0.5]]))
    torch.testing.assert_close(aspect, torch.tensor([3 / 4, 4 / 3]), rtol=0.05, atol=0)


def test_a_crop_may_lie_in_each_corner() -> None:
    """The area and the aspect that are chosen say nothing of its row and column."""
    corner = torch.zeros(1, 1, 20, 20, dtype=torch.uint8)
    corner[0, 0, :10, 10:] = 200
    chosen = torch.tensor([[0.0, 0.5, 0.0, 0.9999]])
    assert resized_crop(corner, (0.25, 0.25), chosen).float().mean() > 190


def test_a_plain_picture_keeps_its_level_where_it_is_resampled() -> None:
    """Cut off instead of rounded, each level would come out one lower at some pixels."""
    plain = torch.full((64, 1, 25, 25), 101, dtype=torch.uint8)
    assert (resized_crop(plain, (0.3, 1.0), numbers(64, 4)) == 101).all()
    turned = distort(plain, Augmentation(rotation=20.0), numbers(64, DISTORTION_DRAWS))
    assert (turned[:, :, 8:17, 8:17] == 101).all()


def test_a_crop_of_a_long_image_stays_inside():
    enlarged = resized_crop(images(200, height=4, width=40).clamp(min=1), (0.9, 1.0), numbers(200, 4))
    assert enlarged.min() >= 1


def test_a_distortion_of_no_strength_is_no_change():
    pixels = images(50)
    assert torch.equal(distort(pixels, Augmentation(), numbers(50, DISTORTION_DRAWS)), pixels)


def test_a_distortion_stays_in_range_and_keeps_the_shape():
    """A wrong sign in the interpolation would wrap around 255."""
    white = torch.full((200, 3, 12, 16), 255, dtype=torch.uint8)
    distorted = distort(
        white,
        Augmentation(rotation=180.0, scaling=0.5, shear=45.0, elastic=2.0),
        numbers(200, DISTORTION_DRAWS),
    )
    assert distorted.shape == white.shape
    assert (distorted[:, :, 5:7, 7:9] == 255).all()
    assert (distorted == 0).any()


def drawn(*first):
    """Numbers of which only the first differ from no change."""
    return torch.tensor([[*first, *[0.5] * (DISTORTION_DRAWS - len(first))]])


def test_a_quarter_turn_is_the_one_that_numpy_makes():
    pixels = images(1, height=15, width=15)
    for number, turns in [(0.0, 1), (1.0, -1)]:
        turned = distort(pixels, Augmentation(rotation=90.0), drawn(number))
        assert torch.equal(turned, pixels.rot90(turns, (2, 3)))


@pytest.mark.parametrize(("number", "side"), [(1.0, 16), (0.0, 4)])
def test_scaling_changes_the_size_of_what_is_in_the_middle(number, side):
    square = torch.zeros(1, 1, 24, 24, dtype=torch.uint8)
    square[:, :, 7:17, 7:17] = 200
    scaled = distort(square, Augmentation(scaling=0.6), drawn(0.5, number))
    assert ((scaled[0, 0] > 100).sum(dim=0).max() - side).abs() <= 1
    assert (scaled.int() - scaled.flip(2, 3).int()).abs().max() <= 1


def test_a_shear_moves_each_row_along_itself_in_proportion_to_its_height():
    line = torch.zeros(1, 1, 21, 21, dtype=torch.uint8)
    line[..., 10] = 200
    slanted = distort(line, Augmentation(shear=45.0), drawn(0.5, 0.5, 1.0))
    assert torch.equal(slanted[0, 0], 200 * torch.eye(21, dtype=torch.uint8).flip(0))


def test_bending_moves_a_point_of_the_grid_by_its_whole_displacement_and_the_next_ones_not():
    """Of 5 x 5 points in 17 x 17 pixels: a dot at the middle comes from a pixel below and to its left."""
    dot = torch.zeros(1, 1, 17, 17, dtype=torch.uint8)
    dot[..., 8, 8] = dot[..., 12, 8] = dot[..., 8, 4] = 200
    down, across = [0.5] * 25, [0.5] * 25
    down[12], across[12] = 1.0, 0.0
    bent = distort(dot, Augmentation(elastic=1.0), drawn(0.5, 0.5, 0.5, *down, *across))[0, 0]
    assert bent[8, 8] == 0
    assert bent[12, 8] == bent[8, 4] == 200
    dot[..., 9, 7] = 90
    assert distort(dot, Augmentation(elastic=1.0), drawn(0.5, 0.5, 0.5, *down, *across))[0, 0, 8, 8] == 90


def test_bends_are_as_large_as_was_asked_for_and_smooth():
    """Of a slope, whose grey levels tell where each pixel came from."""
    slope = (8 * torch.arange(28, dtype=torch.uint8)).expand(300, 1, 28, 28)
    bent = distort(slope, Augmentation(elastic=2.0), numbers(300, DISTORTION_DRAWS))
    moved = (bent.float() - slope)[:, 0, 4:-4, 4:-4] / 8
    assert 1.7 < moved.abs().max() < 2 * 1.375**2  # cubics overshoot
    assert 0.6 < moved.std() < 1.2
    assert moved.diff(dim=1).abs().max() < 1


def test_distortions_lie_on_both_sides_of_none():
    """Of a dot to the right of the middle: turned up and down, moved out and in."""
    dot = torch.zeros(400, 1, 33, 33, dtype=torch.uint8)
    dot[:, :, 15:18, 25:28] = 255
    mass = distort(dot, Augmentation(rotation=20.0, scaling=0.2), numbers(400, DISTORTION_DRAWS))[
        :, 0
    ].float()
    places = torch.arange(33.0) - 16
    rows = (mass.sum(2) * places).sum(1) / mass.sum((1, 2))
    columns = (mass.sum(1) * places).sum(1) / mass.sum((1, 2))
    assert abs(rows.mean()) < 0.4
    assert rows.std() > 1
    radius = (rows**2 + columns**2).sqrt()
    assert 9.5 < radius.mean() < 10.5
    assert radius.std() > 0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_varies_alike_each_time():
    pixels, indices = images(100).cuda(), torch.arange(100).cuda()
    first, second = (vary_batch(pixels, indices, EVERYTHING, seed=0, epoch=0) for _ in range(2))
    assert torch.equal(first, second)


def test_a_batch_is_varied_alike_however_its_pixels_lie_in_memory():
    """Pictures from files have a pixel's channels side by side, images in memory have them apart."""
    pixels, indices = images(64), torch.arange(64)
    aside = pixels.contiguous(memory_format=torch.channels_last)
    varied = vary_batch(pixels, indices, EVERYTHING, seed=0, epoch=0)
    assert torch.equal(vary_batch(aside, indices, EVERYTHING, seed=0, epoch=0), varied)


def test_mirroring_exchanges_left_and_right_in_the_chosen_images_alone():
    pixels, chosen = images(10), torch.arange(10) % 3 == 0
    mirrored = mirror(pixels, chosen)
    assert torch.equal(mirrored[chosen], pixels[chosen].flip(-1))
    assert torch.equal(mirrored[~chosen], pixels[~chosen])
