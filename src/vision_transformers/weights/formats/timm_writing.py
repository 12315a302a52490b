"""timm's folder, written: `config.json` and `model.safetensors`, as `save_for_hf` writes them."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.errors import UsageFailure
from vision_transformers.files import write_json
from vision_transformers.model.config import ViTConfig
from vision_transformers.weights.formats import timm_eva
from vision_transformers.weights.formats.picture_notes import crop_shift
from vision_transformers.weights.formats.timm_reading import ACTIVATIONS, POOLS
from vision_transformers.weights.model_folder import ModelDescription, write_tensors

ARCHITECTURES = {1e-6: "vit_base_patch16_224", 1e-5: "vit_base_patch16_clip_224"}
"""By the epsilon of its LayerNorms, which no argument changes: what we build upon; arguments say the rest."""


def write(folder: Path, tensors: dict[str, Tensor], description: ModelDescription) -> None:
    """Writes `config.json` and `model.safetensors`, as `timm.create_model("local-dir:...")` reads them."""
    model, preprocessing = description.model, description.preprocessing
    write_tensors(folder / "model.safetensors", tensors)
    pool = {ours: theirs for theirs, ours in POOLS.items()} | {"mean-all": "avg"}
    mean, std = (_each(values, preprocessing.channels) for values in (preprocessing.mean, preprocessing.std))
    content: dict[str, Any] = {
        "architecture": _architecture_name(model),
        "num_classes": model.number_of_classes,
        "num_features": model.model_dimension,
        "global_pool": pool[model.pool],
        "label_names": list(description.classes),
        # Without num_classes: transformers would give it twice.
        "model_args": _arguments(model) | {"global_pool": pool[model.pool]},
        "pretrained_cfg": {
            "tag": "vision_transformers",
            "custom_load": False,
            "input_size": [preprocessing.channels, *preprocessing.size],
            "fixed_input_size": True,
            "interpolation": preprocessing.interpolation,
            "crop_pct": _crop_pct(preprocessing),
            "crop_mode": preprocessing.crop,
            "mean": mean,
            "std": std,
            "num_classes": model.number_of_classes,
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": ["head", "head_dist"] if model.distillation_token else "head",
        },
    }
    if not description.classes:
        del content["label_names"]
    write_json(folder / "config.json", content)


def picture_notes(preprocessing: Preprocessing) -> tuple[str, ...]:
    """Where its transforms resize or crop otherwise."""
    rows, columns = preprocessing.size
    if preprocessing.crop == "center" and rows != columns:
        return (
            f"timm rounds the longer side of pictures that are resized for {rows} x {columns}, which is "
            "rounded down here: the crop of many is a pixel away, and logits differ a little",
        )
    return crop_shift("timm", "even", preprocessing)


def reference(path: Path) -> Callable[[Tensor], Tensor]:
    """The model as timm builds it from a folder with `config.json`.

    Raises:
        UsageFailure: timm is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise UsageFailure("--verify needs timm: pip install timm") from error
    model = timm.create_model(f"local-dir:{path}", pretrained=True).eval()
    return lambda images: torch.as_tensor(model(images))


def pictures(path: Path) -> Callable[[Image.Image], Tensor]:
    """timm's transforms for evaluation, as `config.json` has them."""
    import timm

    model = timm.create_model(f"local-dir:{path}", pretrained=False)
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=model))
    return lambda picture: torch.as_tensor(transform(picture))[None]


def loading(folder: Path, description: ModelDescription) -> tuple[str, ...]:
    """Lines of Python that load what was written, and its preprocessing."""
    del description
    return (
        "import timm",
        f"model = timm.create_model({f'local-dir:{folder}'!r}, pretrained=True).eval()",
        "transform = timm.data.create_transform(**timm.data.resolve_data_config(model=model))",
    )


def _crop_pct(preprocessing: Preprocessing) -> float:
    """The fraction as timm needs it to come to the same size before the crop."""
    if preprocessing.crop == "squash":  # which timm crops, too
        return 1.0
    size, fraction = preprocessing.size[0], preprocessing.crop_fraction
    before_crop = round(size / fraction)
    if math.floor(size / fraction) == before_crop:
        return fraction
    return math.nextafter(size / before_crop, 0.0)  # timm rounds the size before the crop down


def _architecture_name(model: ViTConfig) -> str:
    if model.positions == "rotary":
        return timm_eva.architecture_name(model)
    if model.distillation_token:
        return "deit_base_distilled_patch16_224"
    if model.activation == "swiglu":
        return "vit_giant_patch14_dinov2"
    return ARCHITECTURES[model.normalization_epsilon]


def _arguments(model: ViTConfig) -> dict[str, Any]:
    """The constructor's arguments by which the architecture differs from the named one, or may."""
    if model.positions == "rotary":
        return timm_eva.arguments(model, _ratio(model.hidden_dimension, model.model_dimension))
    packed = model.activation == "swiglu"
    inner = model.hidden_dimension * (2 if packed else 1)
    arguments: dict[str, Any] = {
        "img_size": list(model.max_image_shape),
        "patch_size": list(model.patch_shape),
        "in_chans": model.number_of_channels,
        "embed_dim": model.model_dimension,
        "depth": model.number_of_layers,
        "num_heads": model.number_of_heads,
        "mlp_ratio": _ratio(inner, model.model_dimension),
        "qkv_bias": model.value_bias,
        "qk_norm": model.query_key_normalization,
        "proj_bias": model.attention_projection_bias,
        "init_values": model.layer_scale,
        "class_token": model.class_token,
        "reg_tokens": model.number_of_register_tokens,
        "no_embed_class": model.prefix_positions == "none",
        "pos_embed": "learn" if model.positions == "learnable" else "",
        "pre_norm": model.normalization_before_blocks,
        "fc_norm": model.final_normalization == "after-pool",
        "pool_include_prefix": model.pool in ("mean-all", "attention"),
    }
    if not packed:
        theirs = {ours: name for name, ours in ACTIVATIONS.items()}
        arguments["act_layer"] = theirs[model.activation]
    return arguments


def _ratio(hidden: int, dimension: int) -> float:
    """The ratio of which timm's int(dimension * ratio) gives the width back."""
    ratio = hidden / dimension
    return ratio if int(dimension * ratio) == hidden else math.nextafter(ratio, math.inf)


def _each(values: tuple[float, ...], channels: int) -> list[float]:
    return list(values) * (channels if len(values) == 1 else 1)
