"""Rules that several formats share."""

from vision_transformers.model.config import ViTConfig
from vision_transformers.weights.rules import Rule, rule
from vision_transformers.weights.transformations import SAME, Transformation, convolution_as_linear


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
