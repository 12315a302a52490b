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
    """Mixes a batch with itself in reverse order, by mixup or by CutMix, or leaves it as it is.

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
    methods = [
        (method, alpha)
        for method, alpha in [(_mixup, augmentation.mixup), (_cutmix, augmentation.cutmix)]
        if alpha > 0
    ]
    if not methods or random.random() >= augmentation.mix_probability:
        return images, targets
    method, alpha = methods[random.integers(len(methods))]
    mixed, kept = method(images, random.beta(alpha, alpha), random)
    return mixed, kept * targets + (1 - kept) * targets.flip(0)


def _mixup(
    images: Float[Tensor, "batch channels height width"], share: float, random: numpy.random.Generator
) -> tuple[Float[Tensor, "batch channels height width"], float]:
    """Blends each image with its partner (Zhang et al. 2018), and says which share of it is kept."""
    return share * images + (1 - share) * images.flip(0), share


def _cutmix(
    images: Float[Tensor, "batch channels height width"], share: float, random: numpy.random.Generator
) -> tuple[Float[Tensor, "batch channels height width"], float]:
    """Pastes a rectangle of its partner into each image (Yun et al. 2019), and says which share is kept.

    The rectangle is cut at the edge, so that the share of the pixels that is kept may be more than `share`.
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
