"""How a picture becomes the model's input: one description for training, evaluation and prediction."""

import math
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Crop = Literal["squash", "center"]
CropRounding = Literal["even", "down"]


@dataclass(frozen=True)
class Preprocessing:
    """Size, crop, interpolation, channels and normalisation; stored in the model folder."""

    size: tuple[int, int] = (28, 28)
    """Rows and columns of the model's input, in pixels."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for red, green and blue."""
    crop: Crop = "squash"
    """`squash` resizes to the size; `center` keeps the aspect, then cuts the middle out."""
    crop_fraction: float = 1.0
    """For `center`: the part of the resized picture, along its shorter side, that the crop keeps."""
    crop_rounding: CropRounding = "even"
    """For `center`, where the margin is odd: half a pixel rounded to `even` (timm, torchvision) or `down`
    (transformers)."""
    interpolation: Interpolation = "bilinear"
    """Pillow's filter of that name, with antialiasing."""
    mean: tuple[float, ...] = (0.5,)
    """Subtracted from pixels in 0 to 1: one for all channels, or one each."""
    std: tuple[float, ...] = (0.5,)
    """Divides what is left: one for all channels, or one each."""
    background: int = 255
    """Grey level, 0 to 255, behind transparent pixels."""

    def __post_init__(self) -> None:
        for name in ("size", "mean", "std"):  # lists, too: equal ones are equal, whatever they came in
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if min(self.size) < 1:
            raise ValueError(f"preprocessing.size is {self.size}: expected at least one pixel each way")
        if not 0 < self.crop_fraction <= 1:
            raise ValueError(
                f"preprocessing.crop_fraction is {self.crop_fraction}: expected above 0, at most 1"
            )
        if not 0 <= self.background <= 255:
            raise ValueError(f"preprocessing.background is {self.background}: expected 0 to 255")
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, self.channels):
                raise ValueError(
                    f"preprocessing.{name} has {len(getattr(self, name))} values: "
                    f"expected 1, or {self.channels} for {self.channels} channels"
                )
        if not all(math.isfinite(value) for value in self.mean):
            raise ValueError(f"preprocessing.mean is {self.mean}: expected finite numbers")
        if not all(0 < value < math.inf for value in self.std):
            raise ValueError(f"preprocessing.std is {self.std}: expected numbers above 0")


def channels_of(number: int) -> Literal[1, 3]:
    """A number of channels that pictures have.

    Raises:
        ValueError: they have no such number of channels.
    """
    if number == 1:
        return 1
    if number == 3:
        return 3
    raise ValueError(
        f"images have {number} channels: expected 1 for grey pictures, or 3 for red, green and blue"
    )


def averaged_if_grey(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """A mean or std of pictures: for one channel that of colours becomes its average, as timm has it."""
    return (fmean(values),) if channels == 1 else values
