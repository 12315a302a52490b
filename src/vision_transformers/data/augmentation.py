"""How training images are varied: a part of every recipe."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Augmentation:
    """Variations of the training images; everything is off unless a recipe turns it on."""

    resized_crop: tuple[float, float] | None = None
    """Crops this share of the area (least, most), of aspect 3/4 to 4/3, and resizes it to the model's."""
    shift: int = 0
    """Shifts by up to this many pixels each way; what comes in is black."""
    rotation: float = 0.0
    """Turns by up to this many degrees each way; what comes in is black."""
    scaling: float = 0.0
    """Enlarges or shrinks by up to this share; what comes in is black."""
    shear: float = 0.0
    """Slants to the left or right by up to this many degrees; what comes in is black."""
    elastic: float = 0.0
    """Bends: moves 5 x 5 points by up to this many pixels, and what lies between smoothly with them."""
    flip: bool = False
    """Mirrors half of the images, left to right."""
    rand_augment: int = 0
    """RandAugment's number of operations for an image (Cubuk et al. 2020); 0 for none."""
    rand_augment_magnitude: int = 9
    """RandAugment's strength, 0 to 30."""
    color_jitter: float = 0.0
    """Changes brightness, contrast and saturation by up to this share."""
    erasing: float = 0.0
    """Chance that a rectangle of the image is painted over (Zhong et al. 2020)."""
    erasing_area: tuple[float, float] = (0.02, 0.33)
    """Share of the image that an erased rectangle covers, least and most."""
    mixup: float = 0.0
    """Alpha of mixup (Zhang et al. 2018), which blends pairs of images and of labels; 0 for none."""
    cutmix: float = 0.0
    """Alpha of CutMix (Yun et al. 2019), which swaps rectangles between images; 0 for none."""
    mix_probability: float = 1.0
    """Chance that a batch is mixed at all; with both, each mixes half of the mixed batches."""

    def __post_init__(self) -> None:
        for name in ("erasing", "mix_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augmentation.{name} is {getattr(self, name)}: expected 0 to 1")
        for name in ("shift", "elastic", "rand_augment", "color_jitter", "mixup", "cutmix"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"augmentation.{name} is {getattr(self, name)}: expected 0 or more")
        for name, limit in (("rotation", 360), ("scaling", 1), ("shear", 90)):
            if not 0 <= getattr(self, name) < limit:
                raise ValueError(
                    f"augmentation.{name} is {getattr(self, name)}: expected at least 0 and less than {limit}"
                )
        if not 0 <= self.rand_augment_magnitude <= 30:
            raise ValueError(
                f"augmentation.rand_augment_magnitude is {self.rand_augment_magnitude}: expected 0 to 30"
            )
        for name in ("resized_crop", "erasing_area"):
            share = getattr(self, name)
            if share is not None and not 0 < share[0] <= share[1] <= 1:
                raise ValueError(f"augmentation.{name} is {share}: expected 0 < least <= most <= 1")

    @property
    def distorts(self) -> bool:
        """Whether images are turned, scaled, slanted or bent."""
        return max(self.rotation, self.scaling, self.shear, self.elastic) > 0

    @property
    def mixes(self) -> bool:
        """Whether pairs of images of a batch may be mixed."""
        return max(self.mixup, self.cutmix) > 0

    @property
    def needs_single_images(self) -> bool:
        """Whether a variation, but on a GPU, is of one image at a time: Pillow's, in loader workers."""
        return self.rand_augment > 0 or self.color_jitter > 0
