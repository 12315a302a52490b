"""What several formats share."""

from collections.abc import Mapping
from typing import Any, get_args

from torch import Tensor

from vision_transformers.data.preprocessing import Interpolation
from vision_transformers.model.config import ViTConfig
from vision_transformers.weights.containers import below, first_prefix, without_wrappers
from vision_transformers.weights.format import CannotExpress
from vision_transformers.weights.rules import Rule, rule
from vision_transformers.weights.transformations import SAME, Transformation, convolution_as_linear

INTERPOLATIONS: dict[str, Interpolation] = {name: name for name in get_args(Interpolation)}
"""By the word that timm and open_clip write, which is ours."""


def stripped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the prefixes of wrappers, and of containers in which all of them lie."""
    plain = without_wrappers(tensors)
    while (container := first_prefix(plain)) and len(inside := below(container, plain)) == len(plain):
        plain = inside
    return plain


def patch_kernel(config: ViTConfig) -> Transformation:
    """From a convolution's kernel to the patch extractor that the architecture has."""
    if config.patch_extractor == "convolutional":
        return SAME
    return convolution_as_linear(config.patch_shape, config.number_of_channels)


def patches(theirs: str, config: ViTConfig) -> list[Rule]:
    """The projection of patches, which is a convolution there."""
    kernel = rule(f"{theirs}.weight", "patches.projector.weight", patch_kernel(config))
    bias = [rule(f"{theirs}.bias", "patches.projector.bias")]
    return [kernel, *(bias if config.patch_bias else [])]


def refuse(format: str, config: ViTConfig, **possible: tuple[Any, ...]) -> None:
    """Compares options with those that a format can express; none can express a stem of convolutions.

    Raises:
        CannotExpress: names the first that it cannot.
    """
    for name, values in {"patch_extractor": ("linear", "convolutional"), **possible}.items():
        value = getattr(config, name)
        if value not in values:
            raise CannotExpress(format, name, value, values)
