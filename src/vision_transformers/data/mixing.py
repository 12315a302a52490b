"""Mixes pairs of training images and of their labels: mixup and CutMix."""

import math

import numpy
from jaxtyping import Float
from torch import Tensor

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.randomness import derive_seed


def mix(
    images: Float[Tensor, "batch channels height width"],
    targets: Float[Tensor, "batch classes"],
    augmentation: Augmentation,
    seed: int,
    step: int,
    micro_batch: int,
) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch classes"]]:
    """Mixes a batch with itself in reverse order, or leaves it as it is.

    mixup (Zhang et al. 2018) blends each image with its partner; CutMix (Yun et al. 2019) pastes a
    rectangle of the partner into it.

    What is drawn depends on the seed, the step and the micro-batch alone, and is one for the whole batch.

    Args:
        images: the normalised images.
        targets: a distribution over the classes for each image.
        augmentation: `mixup`, `cutmix` and `mix_probability`; with both, a coin chooses for each batch.
        seed: the run's seed.
        step: the optimizer's step.
        micro_batch: which part of the step's images, where gradients are accumulated.

    Returns:
        The mixed images, and targets mixed in the same proportion.
    """
    random = numpy.random.Generator(numpy.random.Philox(derive_seed(seed, "mix", step, micro_batch)))
    mixup, cutmix = augmentation.mixup, augmentation.cutmix
    if mixup == cutmix == 0 or random.random() >= augmentation.mix_probability:
        return images, targets
    if cutmix > 0 and (mixup == 0 or random.random() < 0.5):
        mixed, share = _cutmix(images, random.beta(cutmix, cutmix), random)
    else:
        share = random.beta(mixup, mixup)
        mixed = _blend(images, share)
    return mixed, _blend(targets, share)


def _blend(values: Float[Tensor, "batch ..."], share: float) -> Float[Tensor, "batch ..."]:
    """Keeps this share of each element of a batch; the rest comes from its partner."""
    return share * values + (1 - share) * values.flip(0)


def _cutmix(
    images: Float[Tensor, "batch channels height width"], share: float, random: numpy.random.Generator
) -> tuple[Float[Tensor, "batch channels height width"], float]:
    """Pastes rectangles of a part 1 - `share` of the image, and says which share of it is left.

    That is more than `share` where the rectangle reaches over the edge.
    """
    height, width = images.shape[-2:]
    rows = _interval(height, math.sqrt(1 - share), random)
    columns = _interval(width, math.sqrt(1 - share), random)
    mixed = images.clone()
    mixed[..., rows, columns] = images[..., rows, columns].flip(0)
    pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, 1 - pasted / (height * width)


def _interval(length: int, share: float, random: numpy.random.Generator) -> slice:
    """An interval of this share of a side around a uniformly chosen centre, cut where the side ends."""
    extent = round(length * share)
    start = int(random.integers(length)) - extent // 2
    return slice(max(start, 0), min(start + extent, length))
