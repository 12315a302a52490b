"""Varies a batch of training images on the device where it is, each image in its own way."""

import math

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from vision_transformers.data import vary_on_cpu
from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.vary_colors import JITTER_DRAWS, jitter
from vision_transformers.randomness import derive_seed, uniform

CROP_ASPECT = (3 / 4, 4 / 3)
"""Width over height of a resized crop, least and most (Szegedy et al. 2015)."""
ERASED_ASPECT = (0.3, 1 / 0.3)
"""Width over height of an erased rectangle, least and most (Zhong et al. 2020)."""
ERASED_GREY = 128
"""What an erased rectangle is painted with, in every channel."""
BENT_POINTS = 5
"""How many points along each side an elastic distortion moves."""
DISTORTION_DRAWS = 3 + 2 * BENT_POINTS**2
"""How many random numbers `distort` needs for an image."""


def vary_batch(
    pixels: UInt8[Tensor, "batch channels height width"],
    indices: Int[Tensor, " batch"],
    augmentation: Augmentation,
    seed: int,
    epoch: int,
) -> UInt8[Tensor, "batch channels height width"]:
    """Crops, distorts, shifts, flips, changes colours and erases.

    An image's variation depends on the seed, the epoch and the image alone, not on its batch.

    Args:
        pixels: the images, of the model's size.
        indices: their places in the data set, on the same device.
        augmentation: which variations; mixup and CutMix are left to `mix`.
        seed: the run's seed.
        epoch: which pass over the data set.
    """
    return vary_by(pixels, indices, augmentation, epoch_seed(seed, epoch))


def epoch_seed(seed: int, epoch: int) -> int:
    """From which all variations of an epoch are drawn."""
    return derive_seed(seed, "batch", epoch)


def vary_by(
    pixels: UInt8[Tensor, "batch channels height width"],
    indices: Int[Tensor, " batch"],
    augmentation: Augmentation,
    seed: int | Int[Tensor, ""],
) -> UInt8[Tensor, "batch channels height width"]:
    """The same, from an `epoch_seed`, which may be a number on the device."""
    draws = [4, 2, 1, 5, DISTORTION_DRAWS, JITTER_DRAWS, 2 * augmentation.rand_augment]
    numbers = uniform(seed, indices, sum(draws))
    crop, offsets, mirrored, erased, distortion, jittered, operations = numbers.split(draws, dim=1)
    if augmentation.resized_crop is not None:
        pixels = resized_crop(pixels, augmentation.resized_crop, crop)
    if augmentation.distorts:
        pixels = distort(pixels, augmentation, distortion)
    if augmentation.shift > 0:
        pixels = shift(pixels, augmentation.shift, offsets)
    if augmentation.flip:
        pixels = mirror(pixels, mirrored[:, 0] < 0.5)
    if augmentation.rand_augment > 0:
        from vision_transformers.data.rand_augment import rand_augment  # torchvision, which takes seconds

        pixels = rand_augment(pixels, augmentation.rand_augment_magnitude, operations)
    if augmentation.color_jitter > 0:
        pixels = jitter(pixels, augmentation.color_jitter, jittered)
    if augmentation.erasing > 0:
        chosen = erased[:, 0] < augmentation.erasing
        pixels = erase(pixels, augmentation.erasing_area, erased[:, 1:], chosen)
    return pixels


def shift(
    pixels: UInt8[Tensor, "batch channels height width"], most: int, numbers: Float[Tensor, "batch 2"]
) -> UInt8[Tensor, "batch channels height width"]:
    """Moves each image by whole pixels; what comes in is black.

    Args:
        pixels: the images.
        most: how far an image moves at most, in pixels each way.
        numbers: in [0, 1); they choose how far up and how far to the left.
    """
    corners = _whole(numbers, 2 * most + 1)
    if pixels.device.type == "cpu":
        return vary_on_cpu.shift(pixels, most, corners)
    height, width = pixels.shape[-2:]
    windows = functional.pad(pixels, [most] * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(pixels), device=pixels.device), :, corners[:, 0], corners[:, 1]]


def mirror(
    pixels: UInt8[Tensor, "batch channels height width"], chosen: Bool[Tensor, " batch"]
) -> UInt8[Tensor, "batch channels height width"]:
    """Exchanges left and right in each chosen image."""
    if pixels.device.type == "cpu":
        return vary_on_cpu.mirror(pixels, chosen)
    return torch.where(chosen[:, None, None, None], pixels.flip(-1), pixels)


def resized_crop(
    pixels: UInt8[Tensor, "batch channels height width"],
    share: tuple[float, float],
    numbers: Float[Tensor, "batch 4"],
) -> UInt8[Tensor, "batch channels height width"]:
    """Enlarges a rectangle of each image to the whole (Szegedy et al. 2015), with bilinear interpolation.

    Args:
        pixels: the images.
        share: part of the area that the rectangle covers, least and most.
        numbers: in [0, 1); they choose the rectangle's area, aspect, row and column.
    """
    height, width = pixels.shape[-2:]
    heights, widths = _rectangles(height, width, share, CROP_ASPECT, numbers[:, :2])
    rows = _sampling_points(height, heights, numbers[:, 2])
    columns = _sampling_points(width, widths, numbers[:, 3])
    points = torch.stack(
        [columns[:, None, :].expand(-1, height, -1), rows[:, :, None].expand(-1, -1, width)], dim=-1
    )
    enlarged = functional.grid_sample(pixels.float(), points, padding_mode="border", align_corners=False)
    return enlarged.round().byte()


def distort(
    pixels: UInt8[Tensor, "batch channels height width"],
    augmentation: Augmentation,
    numbers: Float[Tensor, "batch draws"],
) -> UInt8[Tensor, "batch channels height width"]:
    """Turns, scales and slants each image around its centre, and bends it; what comes in is black.

    Bent as by Simard et al. 2003, but by displacements of a few points with cubics between them, where theirs
    are of every pixel and smoothed. Elementwise up to the sampling points, for the reason that
    `_sampling_points` gives; sampled once for all.

    Args:
        pixels: the images.
        augmentation: its `rotation`, `scaling`, `shear` and `elastic`.
        numbers: in [0, 1), `DISTORTION_DRAWS` for each image; 0.5 is no change.
    """
    height, width = pixels.shape[-2:]
    either_way = 2 * numbers - 1
    angle, scale, slant = either_way[:, :3, None, None].unbind(1)
    angle, slant = angle * math.radians(augmentation.rotation), slant * math.radians(augmentation.shear)
    enlarged = 1 + scale * augmentation.scaling
    rows = (torch.arange(height, device=pixels.device) - (height - 1) / 2)[:, None] / enlarged
    columns = (torch.arange(width, device=pixels.device) - (width - 1) / 2) / enlarged
    down = angle.cos() * rows - angle.sin() * columns
    across = angle.sin() * rows + angle.cos() * columns + slant.tan() * down
    if augmentation.elastic > 0:
        points = either_way[:, 3:].unflatten(1, (2, BENT_POINTS, BENT_POINTS)) * augmentation.elastic
        bends = functional.interpolate(points, (height, width), mode="bicubic", align_corners=True)
        down, across = down + bends[:, 0], across + bends[:, 1]
    points = torch.stack([across * (2 / width), down * (2 / height)], dim=-1)
    distorted = functional.grid_sample(pixels.float(), points, padding_mode="zeros", align_corners=False)
    return distorted.round().byte()


def erase(
    pixels: UInt8[Tensor, "batch channels height width"],
    share: tuple[float, float],
    numbers: Float[Tensor, "batch 4"],
    chosen: Bool[Tensor, " batch"],
) -> UInt8[Tensor, "batch channels height width"]:
    """Paints a rectangle of each chosen image with mid-grey (random erasing, Zhong et al. 2020).

    Args:
        pixels: the images.
        share: part of the area that the rectangle covers, least and most, up to whole pixels.
        numbers: in [0, 1); they choose the rectangle's area, aspect, row and column.
        chosen: which images are erased.
    """
    height, width = pixels.shape[-2:]
    heights, widths = _rectangles(height, width, share, ERASED_ASPECT, numbers[:, :2])
    rows = _interval(height, heights, numbers[:, 2])
    columns = _interval(width, widths, numbers[:, 3])
    inside = rows[:, None, :, None] & columns[:, None, None, :] & chosen[:, None, None, None]
    return torch.where(inside, ERASED_GREY, pixels)


def _rectangles(
    height: int,
    width: int,
    share: tuple[float, float],
    aspect: tuple[float, float],
    numbers: Float[Tensor, "batch 2"],
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Heights and widths, in pixels, of rectangles that fit into an image of this height and width.

    The area is uniform in `share`; the aspect is log-uniform in `aspect`, narrowed to what fits for that
    area, so that no rectangle has to be drawn again.
    """
    area_number, aspect_number = numbers.unbind(1)
    area = (share[0] + area_number * (share[1] - share[0])) * height * width
    tallest, widest = area / height**2, width**2 / area
    least = tallest.clamp(min=aspect[0]).minimum(widest)
    most = widest.clamp(max=aspect[1]).maximum(tallest)
    chosen = least * (most / least) ** aspect_number
    return (area / chosen).sqrt().clamp(max=height), (area * chosen).sqrt().clamp(max=width)


def _sampling_points(
    length: int, extents: Float[Tensor, " batch"], numbers: Float[Tensor, " batch"]
) -> Float[Tensor, "batch length"]:
    """Where to sample along one side so that an interval of each extent fills it, in -1 to 1.

    Elementwise, unlike `affine_grid`, whose matrix product may depend on the size of the batch.
    """
    starts = numbers * (length - extents)
    centers = (torch.arange(length, device=numbers.device) + 0.5) / length
    return (starts[:, None] + centers * extents[:, None]) * (2 / length) - 1


def _interval(
    length: int, extents: Float[Tensor, " batch"], numbers: Float[Tensor, " batch"]
) -> Bool[Tensor, "batch length"]:
    """Which pixels along one side lie in an interval of each extent, rounded to whole pixels."""
    extents = extents.round().clamp(min=1).long()
    starts = _whole(numbers, length - extents + 1)
    places = torch.arange(length, device=numbers.device)
    return (places >= starts[:, None]) & (places < (starts + extents)[:, None])


def _whole(numbers: Float[Tensor, "..."], count: int | Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """Numbers in [0, 1) as whole numbers from 0 to `count` - 1."""
    return (numbers * count).long()
