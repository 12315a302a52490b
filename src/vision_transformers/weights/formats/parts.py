"""What several formats share."""

from collections.abc import Mapping
from typing import Any, get_args

from torch import Tensor

from vision_transformers.data.preprocessing import Interpolation
from vision_transformers.model.config import ViTConfig
from vision_transformers.weights.format import CannotExpress
from vision_transformers.weights.rules import Rule, rule
from vision_transformers.weights.transformations import SAME, Transformation, convolution_as_linear

CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher")
"""Under which names training scripts keep the weights beside other things; the first that is there."""
INTERPOLATIONS: dict[str, Interpolation] = {name: name for name in get_args(Interpolation)}
"""By the word that timm and open_clip write, which is ours."""
_WRAPPERS = ("module.", "_orig_mod.", "_checkpoint_wrapped_module.")


def stripped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors out of a training script's container, without the prefixes of its wrappers."""
    for container in CONTAINERS:
        inside = {
            name.removeprefix(f"{container}."): tensor
            for name, tensor in tensors.items()
            if name.startswith(f"{container}.")
        }
        if inside:
            tensors = inside
            break
    plain = {}
    for name, tensor in tensors.items():
        for wrapper in _WRAPPERS:
            name = name.replace(wrapper, "")  # noqa: PLW2901
        plain[name] = tensor
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
