"""timm's folder, read: what its `config.json` and the shapes of its tensors say."""

import math
from argparse import Namespace
from collections.abc import Mapping
from typing import Literal, TypeVar

from torch import Tensor

from vision_transformers.data.preprocessing import Preprocessing, averaged_if_grey, channels_of
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.model.config import Activation, Pool, ViTConfig
from vision_transformers.weights.foreign_config import ForeignConfig
from vision_transformers.weights.foreign_files import ForeignModel
from vision_transformers.weights.foreign_shapes import length_of, shape_of
from vision_transformers.weights.format import Given, NotTold
from vision_transformers.weights.formats import timm_eva, timm_names, weights_alone
from vision_transformers.weights.formats.parts import INTERPOLATIONS
from vision_transformers.weights.model_folder import ModelDescription
from vision_transformers.weights.report import Report

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_tanh": "gelu-tanh",
    "quick_gelu": "quick-gelu",
    "silu": "swiglu",
}
"""`act_layer`, by timm's word."""
POOLS: dict[str, Pool] = {"token": "class", "avg": "mean", "map": "attention"}
"""`global_pool`, by timm's word."""
_HEADS_BY_WIDTH = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
_CROPS: dict[str, Literal["squash", "center"]] = {"squash": "squash", "center": "center"}
_NUMBER_OF_HEADS = ("the number of attention heads", "--number-of-heads NUMBER")
_IMAGE_SHAPE = ("the size of the images", "--max-image-shape ROWS COLUMNS")

Told = TypeVar("Told")


def describe(foreign: ForeignModel, given: Given, report: Report) -> ModelDescription:
    """Architecture, preprocessing and class names, from `config.json` and the tensors' shapes.

    Raises:
        NotTold: neither tells the number of heads or the image's size.
        UsageFailure: what is given says nothing about DINOv3, or no model here is one of that name.
    """
    config = foreign.config or _config_of_training(foreign)
    arguments, pretrained = config.part("model_args"), config.part("pretrained_cfg") or config
    name = timm_names.architecture_of(config.text("architecture", ""))
    timm_names.check_architecture(name)
    if timm_eva.is_eva(foreign.tensors):
        given.check(timm_eva.GIVEN, "timm's files of DINOv3")
        model = timm_eva.architecture(
            foreign.tensors,
            _required(_heads(name, arguments, given), *_NUMBER_OF_HEADS),
            _required(_image_shape(arguments, pretrained, given), *_IMAGE_SHAPE),
            arguments.number("rope_temperature", 100.0),
            _pool_of_eva(config, arguments, given),
        )
    else:
        model = _architecture(foreign.tensors, name, arguments, config, pretrained, given, report)
    if timm_names.heads_of(name) is None:
        _note_assumptions(name, model, config, arguments, given, report)
    classes = given.classes or _classes(config, pretrained)
    return ModelDescription(model, _preprocessing(pretrained, model, report), classes)


def _config_of_training(foreign: ForeignModel) -> ForeignConfig:
    """What timm's training script keeps beside weights, as `config.json` would say it."""
    name, options = foreign.script.get("arch"), foreign.script.get("args")
    told = vars(options) if isinstance(options, Namespace) else {}
    content = {"global_pool": told.get("gp"), "model_args": told.get("model_kwargs")}
    return ForeignConfig({"architecture": name, **content} if told else {}, f"{foreign.path}: args")


def _architecture(
    tensors: Mapping[str, Tensor],
    name: str,
    arguments: ForeignConfig,
    config: ForeignConfig,
    pretrained: ForeignConfig,
    given: Given,
    report: Report,
) -> ViTConfig:
    """From shapes where they tell; from the name and its arguments where they do not."""
    width, channels, rows, columns = shape_of(tensors, "patch_embed.proj.weight", 4)
    hidden = shape_of(tensors, "blocks.0.mlp.fc2.weight", 2)[1]
    packed = shape_of(tensors, "blocks.0.mlp.fc1.weight", 2)[0] == 2 * hidden
    registers = length_of(tensors, "reg_token", 3, 1)
    prefix = ("cls_token" in tensors) + ("dist_token" in tensors) + registers
    patch = (rows, columns)
    size = _image_shape(arguments, pretrained, given) or _square(tensors, prefix, patch, report)
    return ViTConfig(
        patch_shape=patch,
        model_dimension=width,
        number_of_layers=len({key.split(".")[1] for key in tensors if key.startswith("blocks.")}),
        number_of_heads=_heads(name, arguments, given)
        or weights_alone.heads(width, _HEADS_BY_WIDTH, given, report),
        hidden_dimension=hidden,
        number_of_channels=channels,
        number_of_classes=length_of(tensors, "head.weight", 2, 0),
        max_image_shape=size,
        patch_bias="patch_embed.proj.bias" in tensors,
        class_token="cls_token" in tensors,
        distillation_token="dist_token" in tensors,
        number_of_register_tokens=registers,
        positions="learnable" if "pos_embed" in tensors else "none",
        prefix_positions=_prefix_positions(tensors, prefix, (size[0] // patch[0]) * (size[1] // patch[1])),
        normalization_epsilon=given.normalization_epsilon or timm_names.normalization_epsilon_of(name),
        normalization_before_blocks="norm_pre.weight" in tensors,
        activation="swiglu" if packed else _activation(name, arguments, given),
        query_bias="blocks.0.attn.qkv.bias" in tensors,
        key_bias="blocks.0.attn.qkv.bias" in tensors,
        value_bias="blocks.0.attn.qkv.bias" in tensors,
        attention_projection_bias="blocks.0.attn.proj.bias" in tensors,
        query_key_normalization="blocks.0.attn.q_norm.weight" in tensors,
        layer_scale=1e-5 if "blocks.0.ls1.gamma" in tensors else None,
        pool=_pool(tensors, name, config, arguments, given),
        final_normalization="after-pool" if "fc_norm.weight" in tensors else "before-pool",
    )


def _note_assumptions(
    name: str,
    model: ViTConfig,
    config: ForeignConfig,
    arguments: ForeignConfig,
    given: Given,
    report: Report,
) -> None:
    """What neither a config, nor shapes, nor a person tell is as timm has it by default."""
    told = {"pool": model.pool == "attention" or "global_pool" in config or "global_pool" in arguments}
    if model.positions == "rotary":
        told["rotary_base"] = "rope_temperature" in arguments
    else:
        told["activation"] = model.activation == "swiglu" or "act_layer" in arguments
        told["normalization_epsilon"] = False
    assumed = [
        f"{option} {getattr(model, option)}"
        for option, is_told in told.items()
        if not is_told and getattr(given, option, None) is None
    ]
    if assumed:
        why = f"{name} is not known here" if name else "no config.json names the architecture"
        report.notes.append(f"{why}: assumed are {', '.join(assumed)}")


def _required(told: Told | None, what: str, option: str) -> Told:
    if told is None:
        raise NotTold(f"neither shapes nor a config tell {what}", option)
    return told


def _heads(name: str, arguments: ForeignConfig, given: Given) -> int | None:
    """Attention heads: given, an argument, or what an architecture of that name has; None if nothing says."""
    if given.number_of_heads or "num_heads" in arguments:
        return given.number_of_heads or arguments.count("num_heads")
    return timm_names.heads_of(name)


def _activation(name: str, arguments: ForeignConfig, given: Given) -> Activation:
    if given.activation is not None:
        return given.activation
    if "act_layer" in arguments:
        return arguments.choice("act_layer", ACTIVATIONS)
    return timm_names.activation_of(name)


def _image_shape(arguments: ForeignConfig, pretrained: ForeignConfig, given: Given) -> tuple[int, int] | None:
    """Rows and columns of pixels: given, an argument, or what the config says; None if nothing says."""
    if given.max_image_shape is not None:
        return given.max_image_shape
    if "img_size" in arguments:
        return arguments.pair("img_size")
    return _input_size(pretrained) if "input_size" in pretrained else None


def _input_size(pretrained: ForeignConfig) -> tuple[int, int]:
    """Rows and columns of pixels, of timm's (channels, rows, columns)."""
    match pretrained.numbers("input_size"):
        case [_, rows, columns]:
            return int(rows), int(columns)
        case other:
            raise Failure(f"input_size is {list(other)}: expected channels, rows and columns")


def _square(
    tensors: Mapping[str, Tensor], prefix: int, patch: tuple[int, int], report: Report
) -> tuple[int, int]:
    """Rows and columns of pixels, if the positions are those of a square, with or without prefix tokens."""
    positions = length_of(tensors, "pos_embed", 3, 1)
    for patches in (positions - prefix, positions):
        side = math.isqrt(max(patches, 0))
        if side > 0 and side**2 == patches:
            rows, columns = side * patch[0], side * patch[1]
            report.notes.append(
                f"images are {rows} x {columns}, as the {positions} positions of a square are"
            )
            return rows, columns
    return _required(None, *_IMAGE_SHAPE)


def _prefix_positions(
    tensors: Mapping[str, Tensor], prefix: int, patches: int
) -> Literal["none", "class", "all"]:
    """Which prefix tokens have a position, by how many more positions than patches there are."""
    if "pos_embed" not in tensors or not prefix:
        return "all"
    positions = shape_of(tensors, "pos_embed", 3)[1]
    more = positions - patches
    if more == prefix:
        return "all"
    if more == 0:
        return "none"
    raise NotTold(
        f"there are {positions} positions for {patches} patches and {prefix} prefix tokens, so that "
        "images are of another size",
        _IMAGE_SHAPE[1],
    )


def _pool(
    tensors: Mapping[str, Tensor], name: str, config: ForeignConfig, arguments: ForeignConfig, given: Given
) -> Pool:
    # timm normalises after the pool, if nobody asks for it, where that is an average.
    default: Pool = "class" if "cls_token" in tensors and "fc_norm.weight" not in tensors else "mean"
    pool = _told_pool(default, POOLS, config, arguments)
    if "attn_pool.latent" in tensors:
        pool = "attention"
    pool = given.pool or pool
    includes_prefix = arguments.flag("pool_include_prefix", timm_names.includes_prefix(name))
    if (
        pool == "attention"
        and not includes_prefix
        and {"cls_token", "dist_token", "reg_token"} & tensors.keys()
    ):
        raise Failure(
            "its attention pool passes over class and register tokens, which none here does: it is not read"
        )
    return "mean-all" if pool == "mean" and includes_prefix else pool


def _pool_of_eva(config: ForeignConfig, arguments: ForeignConfig, given: Given) -> Pool:
    if given.pool is None:
        return _told_pool("mean", timm_eva.POOLS, config, arguments)
    if given.pool not in timm_eva.POOLS.values():
        known = " or ".join(timm_eva.POOLS.values())
        raise UsageFailure(f"--pool {given.pool} is none of timm's files of DINOv3: expected {known}")
    return given.pool


def _told_pool(
    default: Pool, known: Mapping[str, Pool], config: ForeignConfig, arguments: ForeignConfig
) -> Pool:
    pool = default
    for told in (config, arguments):
        if told.text("global_pool", ""):  # an empty one leaves pooling to others
            pool = told.choice("global_pool", known)
    return pool


def _classes(config: ForeignConfig, pretrained: ForeignConfig) -> tuple[str, ...]:
    return config.names("label_names") or config.names("labels") or pretrained.names("label_names")


def _preprocessing(pretrained: ForeignConfig, model: ViTConfig, report: Report) -> Preprocessing:
    if "mean" not in pretrained:
        report.notes.append(
            "no preprocessing lies beside the weights: mean and std 0.5, squashed, bicubic. The folder that "
            "timm.models.save_for_hf(model, FOLDER) writes tells the model's own"
        )
    channels = channels_of(model.number_of_channels)
    size = _size(pretrained, model, report)
    crop = pretrained.choice("crop_mode", _CROPS, "center" if "mean" in pretrained else "squash")
    crop_pct = pretrained.number("crop_pct", 1.0)
    if crop == "squash" and crop_pct < 1:
        report.notes.append("pictures are squashed whole; timm squashes them larger and cuts their edges off")
        crop_pct = 1.0
    return Preprocessing(
        size=size,
        channels=channels,
        crop=crop,
        crop_fraction=_fraction(size[0], crop_pct),
        interpolation=pretrained.choice("interpolation", INTERPOLATIONS, "bicubic"),
        mean=averaged_if_grey(pretrained.numbers("mean", (0.5,)), channels),
        std=averaged_if_grey(pretrained.numbers("std", (0.5,)), channels),
    )


def _size(pretrained: ForeignConfig, model: ViTConfig, report: Report) -> tuple[int, int]:
    """Of pictures: what the config says, where the model has patches for it."""
    size = _input_size(pretrained) if "input_size" in pretrained else model.max_image_shape
    if any(pixels % patch for pixels, patch in zip(size, model.patch_shape, strict=True)):
        report.notes.append(
            f"input_size is {size}, which is not whole patches of {model.patch_shape}: pictures come at "
            f"{model.max_image_shape}, for which the positions are made"
        )
        return model.max_image_shape
    return size


def _fraction(size: int, crop_pct: float) -> float:
    """timm rounds the size before the crop down; the fraction is of that size, which ours then comes to."""
    return size / max(1, math.floor(size / crop_pct))
