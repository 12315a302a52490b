"""Models with a name: one table."""

from dataclasses import replace
from typing import Any

from vision_transformers.config import nearest
from vision_transformers.errors import UsageFailure
from vision_transformers.model.config import ViTConfig, check_options


def _imagenet(patch: int, dimension: int, layers: int, heads: int, hidden: int, **options: Any) -> ViTConfig:
    sizes: dict[str, Any] = {"max_image_shape": (224, 224), "number_of_classes": 1000} | options
    return ViTConfig(
        patch_shape=(patch, patch),
        model_dimension=dimension,
        number_of_layers=layers,
        number_of_heads=heads,
        hidden_dimension=hidden,
        number_of_channels=3,
        **sizes,
    )


def _dinov2(dimension: int, layers: int, heads: int, hidden: int, **options: Any) -> ViTConfig:
    fixed: dict[str, Any] = {"max_image_shape": (518, 518), "number_of_classes": 0, "layer_scale": 1e-5}
    return _imagenet(
        14, dimension, layers, heads, hidden, position_resize="bicubic-offset", **fixed, **options
    )


PRESETS = {
    # name: patch, model dimension, layers, heads, hidden dimension
    "ViT-Ti/16": _imagenet(16, 192, 12, 3, 768),  # DeiT, arXiv 2012.12877, table 1
    "ViT-S/16": _imagenet(16, 384, 12, 6, 1536),
    "ViT-S/32": _imagenet(32, 384, 12, 6, 1536),
    "ViT-B/16": _imagenet(16, 768, 12, 12, 3072),  # the paper, table 1
    "ViT-B/32": _imagenet(32, 768, 12, 12, 3072),
    "ViT-L/16": _imagenet(16, 1024, 24, 16, 4096),
    "ViT-L/32": _imagenet(32, 1024, 24, 16, 4096),
    "ViT-H/14": _imagenet(14, 1280, 32, 16, 5120),
    "DINOv2-S/14": _dinov2(384, 12, 6, 1536),  # arXiv 2304.07193
    "DINOv2-B/14": _dinov2(768, 12, 12, 3072),
    "DINOv2-L/14": _dinov2(1024, 24, 16, 4096),
    "DINOv2-g/14": _dinov2(1536, 40, 24, 4096, activation="swiglu"),
    "MNIST": ViTConfig((7, 7), 128, 4, 4, 256, 1, 10, (28, 28), positions="sine-cosine", pool="mean"),
    "CIFAR": ViTConfig((4, 4), 192, 9, 12, 384, 3, 10, (32, 32), pool="mean"),  # arXiv 2112.13492
}


def preset(name: str, **changes: Any) -> ViTConfig:
    """A named model, with fields changed: `preset("ViT-B/16", number_of_classes=10)`.

    Raises:
        UsageFailure: no preset has that name; names the nearest.
        TypeError: `ViTConfig` has no field of a name; names the nearest.
    """
    if name not in PRESETS:
        raise UsageFailure(f"no preset is called {name!r}: {nearest(name, PRESETS)}")
    check_options(changes)
    return replace(PRESETS[name], **changes)
